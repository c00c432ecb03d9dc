"""What import says of lines that are wrong, of trouble, and of how far it is."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from click.testing import CliRunner

from pushd.cli import main
from pushd.cli.datadir import Meter
from pushd.cli.import_ import _Import
from pushd.client import LineResult
from pushd.errors import BadRequest, Overloaded
from tests.support.app import KEY, running_server


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


async def test_an_import_names_the_lines_that_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The thread that imports cannot have signal handlers.
    monkeypatch.setattr("pushd.cli.import_.run", lambda main: trio.run(main))
    wrong = r'{"channel":"b c\u001b[2J\nline 9","data":1}'
    Path("x.ndjson").write_text(f'{{"channel":"a","data":1}}\n\n{wrong}\n')
    async with running_server(tmp_path / "new") as server:
        url = f"http://127.0.0.1:{server.port}"
        arguments = ["import", "x.ndjson", "--url", url, "--key", KEY]
        done = await trio.to_thread.run_sync(lambda: CliRunner().invoke(main, arguments))
    assert done.exit_code == 1
    assert r"line 3, refused for b c\x1b[2J\nline 9: " in done.stderr
    assert done.stdout == "1 messages stored, 0 were there before, 1 refused\n"


@pytest.mark.parametrize(
    "line",
    [
        b'{"channel":"a","data":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"channel":"\xff","data":1}',
        b'{"channel":"a"}',
        b"\xff\xfe{",
        b"\0",
    ],
    ids=["deep", "no UTF-8", "no data", "UTF-16", "NUL"],
)
def test_a_line_that_is_none_is_named(line: bytes) -> None:
    Path("x.ndjson").write_bytes(b'{"channel":"a","data":1}\n' + line + b"\n")
    work = _Import(Path("x.ndjson"))
    with pytest.raises(BadRequest, match=r"x.ndjson, line 2: "):
        list(work.lines())


def test_trouble_of_an_import_is_said_once_until_it_goes_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("x.ndjson").write_text('{"channel":"a","data":1}\n')
    work = _Import(Path("x.ndjson"))
    list(work.lines())
    for _ in range(3):
        work.trouble(Overloaded("Busy."), 1.0)
    assert capsys.readouterr().err.count("Busy.") == 1
    work.count(LineResult(0, "a", None, Overloaded("Gave up.")))
    work.trouble(Overloaded("Busy."), 1.0)
    assert capsys.readouterr().err.count("Busy.") == 1


@pytest.mark.parametrize(
    ("call", "shown"),
    [
        (("copied", 1 << 20, 4 << 20), "copied: 1.0 MiB of 4.0 MiB (25 %)"),
        (("ids checked", 5, 20), "ids checked: 5 of 20 (25 %)"),
        (("messages imported", 83001, 0), "messages imported: 83001"),
    ],
)
def test_progress_says_no_more_than_is_known(
    call: tuple[str, int, int], shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    meter = Meter()
    meter._next = 0.0
    meter(*call)
    assert capsys.readouterr().err == f"{shown}\n"
