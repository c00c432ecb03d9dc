"""The documentation holds: links lead somewhere, commands exist, and every name is a real one."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from pushd import errors
from pushd.cli import main as pushctl
from pushd.core.frames import RECONNECT, ClientFrame
from pushd.errors import PushdError
from pushd.settings.load import OTHER_VARIABLES
from pushd.settings.model import by_name

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(DOCS.rglob("*.md"))]
PAGES += [ROOT / "benchmarks" / "README.md"]

_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"(?ms)^```(\w*)\n(.*?)^```$")
_HEADING = re.compile(r"(?m)^#+ (.+)$")


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


each_page = pytest.mark.parametrize("page", PAGES, ids=relative)


def prose(page: Path) -> str:
    """The text without its code blocks, which may hold brackets of their own."""
    return _FENCE.sub("", page.read_text("utf-8"))


def blocks(page: Path) -> Iterator[tuple[str, str]]:
    """Language and text of each code block."""
    for found in _FENCE.finditer(page.read_text("utf-8")):
        yield found[1], found[2]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as the usual viewers make them."""
    found = set()
    for heading in _HEADING.findall(prose(page)):
        text = re.sub(r"[^\w\- ]", "", heading.lower())
        found.add(text.strip().replace(" ", "-"))
    return found


@each_page
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for link in _LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = unquote(link).partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{relative(page)} links to {link}"
        assert target.is_relative_to(ROOT), f"{relative(page)} links out of the repository: {link}"
        if anchor:
            assert anchor in anchors(target), f"{relative(page)}: no heading for {link}"


def test_what_the_code_refers_to_is_there() -> None:
    """``docs/PAGE.md``, or ``docs/PAGE.md, "Heading"``; ``docs/decisions/NUMBER``."""
    references = 0
    for path in sorted((ROOT / "pushd").rglob("*.py")):
        text = re.sub(r"\s+(# )?", " ", path.read_text("utf-8"))
        for name, heading in re.findall(r"docs/([\w-]+\.md)(?:, \"([^\"]+)\")?", text):
            references += 1
            lines = (DOCS / name).read_text("utf-8").splitlines()
            known = {line.lstrip("# ") for line in lines if line.startswith("#")}
            assert not heading or heading in known, f"{relative(path)}: {name}, {heading}"
        for number in re.findall(r"docs/decisions/(\d{4})", text):
            references += 1
            assert list(DOCS.glob(f"decisions/{number}-*.md")), f"{relative(path)}: {number}"
    assert references > 10


def test_every_page_is_reachable_from_the_readme() -> None:
    seen: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        links = (link.partition("#")[0] for link in _LINK.findall(prose(page)) if ":" not in link)
        waiting += [(page.parent / unquote(link)).resolve() for link in links if link]
        waiting = [each for each in waiting if each.is_file()]
    assert set(PAGES) <= seen, f"nothing links to {[relative(p) for p in set(PAGES) - seen]}"


def all_errors() -> list[type[PushdError]]:
    found = [PushdError]
    for kind in found:
        found += kind.__subclasses__()
    return [kind for kind in found if kind.__module__ == errors.__name__]


@pytest.mark.parametrize("kind", all_errors(), ids=lambda kind: kind.__name__)
def test_every_error_is_documented(kind: type[PushdError]) -> None:
    if kind is errors.Reset:
        return  # the base of three that are
    rows = [line for line in (DOCS / "errors.md").read_text("utf-8").splitlines() if "|" in line]
    named = [row for row in rows if f"| `{kind.code}` |" in row]
    assert named, f"docs/errors.md has no row for {kind.code}"
    if kind.status not in (410, 500):  # one status for the whole table, or none on the wire
        statuses = [row for row in named if f"| {kind.status} |" in row]
        assert statuses, f"docs/errors.md: {kind.code} with status {kind.status}"


def test_every_documented_code_exists() -> None:
    """Also those of the client, which name themselves in their own module."""
    from pushd.client import problems

    assert problems.BadAnswer.code
    known = {kind.code for kind in all_errors()}
    known |= {kind.code for kind in PushdError.__subclasses__()}
    rows = re.findall(r"(?m)^\| `(\w+)` \|", (DOCS / "errors.md").read_text("utf-8"))
    assert set(rows) <= known


def test_every_frame_and_close_code_is_documented() -> None:
    text = (DOCS / "protocol.md").read_text("utf-8")
    for frame in ClientFrame.__args__:
        assert f'{{"type":"{frame.__struct_config__.tag}"' in text
    for code in RECONNECT:
        assert f"| {code} |" in text


def command_lines(page: Path) -> Iterator[str]:
    """What a reader would type: lines of blocks without a language, and `code` in the text."""
    for language, text in blocks(page):
        if language == "":
            yield from (line.removeprefix("$ ").strip() for line in text.splitlines())
    yield from re.findall(r"`([^`\n]+)`", prose(page))


def make_targets() -> set[str]:
    return set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8")))


@each_page
def test_commands_exist(page: Path) -> None:
    subcommands = set(pushctl.list_commands(None))  # type: ignore[arg-type]
    for line in command_lines(page):
        words = line.removeprefix("PUSHD_MAX_BODDY=1 ").split()
        if len(words) < 2:
            continue
        if words[0] == "make" and re.fullmatch("[a-z-]+", words[1]):
            assert words[1] in make_targets(), f"{relative(page)}: {line}"
        if words[0] == "pushctl" and re.fullmatch("[a-z]+", words[1]):
            planned = words[1] in ("backup", "restore")  # named as missing
            assert planned or words[1] in subcommands, f"{relative(page)}: {line}"


@each_page
def test_variables_exist(page: Path) -> None:
    text = page.read_text("utf-8")
    variables = {item.variable for item in by_name().values()} | OTHER_VARIABLES
    variables |= {"PUSHD_JITTER"}  # of the tests alone
    mistakes = {"PUSHD_MAX_BODDY"}  # shown as one
    assert set(re.findall(r"\bPUSHD_[A-Z][A-Z_]*[A-Z]\b", text)) <= variables | mistakes


def test_settings_that_are_named_exist() -> None:
    """Where the operator's page names a limit in code quotes, it is a setting."""
    text = (DOCS / "operations.md").read_text("utf-8")
    named = set(re.findall(r"`([a-z]+_[a-z_]+)`", text)) - {"worker_connections"}
    named = {name for name in named if not name.startswith(("pushd_", "process_", "retry_"))}
    assert named <= set(by_name()) | {kind.code for kind in all_errors()}


def test_metrics_that_are_named_exist() -> None:
    from pushd.cluster.bus.busstate import BusState, totals
    from pushd.cluster.bus.busstate import gauges as gauges_of_redis
    from pushd.metrics import Counters, PushdCollector

    text = (DOCS / "operations.md").read_text("utf-8")
    rendered = PushdCollector(Counters()).render().decode()
    files = (ROOT / "pushd" / "web" / "metrics.py", ROOT / "pushd" / "cluster" / "edge" / "edge.py")
    gauges = "".join(path.read_text("utf-8") for path in files)
    state = BusState("redis://x")
    of_redis = {each.name for each in gauges_of_redis(state)}
    of_redis |= {f"{each.name}_total" for each in totals(state)}
    for name in set(re.findall(r"(?<!\$)\bpushd_[a-z_]+", text)):
        assert f"# TYPE {name} " in rendered or f'"{name}"' in gauges or name in of_redis, name


@each_page
def test_python_blocks_compile(page: Path) -> None:
    for language, text in blocks(page):
        if language == "python":
            ast.parse(text)
