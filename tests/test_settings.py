"""Settings: where they come from, what wins, and what is said when something is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from pushd.errors import BadSetting
from pushd.settings import JwtTable, Settings, load
from pushd.settings.declare import Declared
from pushd.settings.docs import settings_markdown
from pushd.settings.model import all_declared, by_name

DOCS = Path(__file__).parent.parent / "docs" / "settings.md"
SECRET = "correct-horse-battery-staple-0123456789"
PEM = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n"


@pytest.fixture(autouse=True)
def _in_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def write(text: str, name: str = "pushd.toml") -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def problems(toml: str = "", environ: Mapping[str, str] | None = None, **options: str) -> list[str]:
    if toml:
        write(toml)
    with pytest.raises(BadSetting) as caught:
        load(environ=environ or {}, options=options)
    found = caught.value.extra["problems"]
    assert all(problem in caught.value.detail for problem in found)
    return list(found)


def test_later_sources_win() -> None:
    write('max_body = "1KiB"\nmax_head = "2KiB"\nmax_wait = 3\n')
    environ = {"PUSHD_MAX_BODY": "4KiB", "PUSHD_MAX_HEAD": "5KiB"}
    loaded = load(environ=environ, options={"max_body": "6KiB"})
    got = loaded.settings
    assert (got.max_body, got.max_head, got.max_wait) == (6 << 10, 5 << 10, 3.0)
    assert got.max_headers == Settings().max_headers
    names = ("max_body", "max_head", "max_wait", "max_headers")
    assert [loaded.sources[name] for name in names] == [
        "--max-body",
        "PUSHD_MAX_HEAD",
        "pushd.toml:3",
        "default",
    ]


def test_the_file_is_the_named_one() -> None:
    write("max_cursors = 1")
    other = write("max_cursors = 2", "a/other.toml")
    named = write("max_cursors = 3", "b/named.toml")
    environ = {"PUSHD_CONFIG": str(other)}
    assert load(environ={}).settings.max_cursors == 1
    assert load(environ=environ).settings.max_cursors == 2
    assert load(named, environ=environ).settings.max_cursors == 3


@pytest.mark.parametrize("name", ["gone.toml", "."])
def test_a_named_file_must_be_readable(name: str) -> None:
    with pytest.raises(BadSetting, match=r"gone\.toml: No such file|Is a directory"):
        load(Path(name), environ={})


def test_paths_in_a_file_count_from_its_directory() -> None:
    write(PEM, "etc/key.pem")
    toml = 'data = "logs"\n[[jwt]]\nalg = "EdDSA"\npublic_key_file = "key.pem"\n'
    got = load(write(toml, "etc/pushd.toml"), environ={}).settings
    assert got.data == Path("etc/logs")
    assert got.jwt == (JwtTable("EdDSA", PEM),)
    assert load(environ={"PUSHD_DATA": "logs"}).settings.data == Path("logs")


@pytest.mark.parametrize(
    "environ",
    [
        {"PUSHD_URL": "x", "PUSHD_TOKEN": "x", "PUSHD_CHAT_DATA": "x"},
        {"PUSHD_SERVICE_HOST": "10.0.0.1", "PUSHD_PORT_8080_TCP_ADDR": "10.0.0.1"},
        {"PATH": "/bin", "XPUSHD_LISTEN": "x"},
    ],
)
def test_variables_of_others_are_left_alone(environ: dict[str, str]) -> None:
    assert load(environ=environ).settings == Settings()


# What is wrong is said, all of it, and where


def test_everything_wrong_is_reported_at_once_with_its_source() -> None:
    toml = 'heartbeat_intervall = "25s"\n\nlisten = 8080\n[[keys]]\nname = "a"\n'
    found = problems(toml, {"PUSHD_JWT_SECRE": "x", "PUSHD_MAX_BODY": "64K"}, drain="soon")
    assert [problem.split(": ")[0] for problem in found] == [
        "pushd.toml:1",
        "pushd.toml:3",
        *["pushd.toml:4"] * 2,
        "PUSHD_JWT_SECRE",
        "PUSHD_MAX_BODY",
        "--drain",
    ]
    assert "Did you mean heartbeat_interval?" in found[0]
    assert "Did you mean PUSHD_JWT_SECRET?" in found[4]


def test_bad_toml_names_the_line() -> None:
    (problem,) = problems("dev = true\nlisten = oops\n")
    assert problem.startswith("pushd.toml: ")
    assert "line 2" in problem


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({"PUSHD_HEARTBEAT_TIMEOUT": "10s"}, "heartbeat_interval"),
        ({"PUSHD_MAX_BODY": "2MiB"}, "max_body"),
        ({"PUSHD_DEV": "1", "PUSHD_LISTEN": "0.0.0.0:0"}, "dev"),
        ({"PUSHD_ADMIN_LISTEN": "127.0.0.1:8080"}, "admin_listen"),
        ({"PUSHD_ADMIN_LISTEN": "0.0.0.0:8080"}, "admin_listen"),
    ],
)
def test_settings_that_contradict_each_other(environ: dict[str, str], name: str) -> None:
    (problem,) = problems(environ=environ)
    assert f": {name}: " in problem
    assert problem.split(":")[0] in environ


@pytest.mark.parametrize("admin", ["127.0.0.1:8081", "127.0.0.2:8080", "none"])
def test_two_listeners_of_their_own(admin: str) -> None:
    load(environ={"PUSHD_ADMIN_LISTEN": admin})


# Secrets


SECRETS = [item for item in all_declared() if item.kind.secret]


@pytest.mark.parametrize("item", SECRETS, ids=lambda item: item.name)
@pytest.mark.parametrize("secret", [SECRET, "too-short", SECRET + "é", SECRET + "\n"])
def test_a_secret_is_shown_nowhere(item: Declared, secret: str) -> None:
    assert item.variable is not None
    assert item.option is None
    try:
        shown = repr(load(environ={item.variable: secret}))
    except BadSetting as error:
        shown = f"{error.detail} {error.as_dict()}"
    assert secret.strip() not in shown
    assert secret not in item.kind.show(secret)


def test_a_secret_in_a_table_is_shown_nowhere() -> None:
    write(f'[[jwt]]\nalg = "HS256"\nsecret = "{SECRET}"\n')
    loaded = load(environ={})
    assert loaded.settings.jwt[0].material == SECRET
    assert SECRET not in repr(loaded)


# Documentation


def test_the_documentation_is_fresh() -> None:
    fresh = settings_markdown()
    assert DOCS.read_text("utf-8") == fresh, "run: pushctl config docs > docs/settings.md"
    assert all(f"| `{name}` |" in fresh for name in by_name())
