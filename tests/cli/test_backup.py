"""What backup, restore, verify, compact, migrate, export and import say, and how they end."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner, Result
from sqlite_utils import Database

from migrations import MIGRATIONS
from pushd.cli import main
from pushd.log.lock import LockFile
from pushd.log.store import DATABASE
from tests.log.support import open_and_close
from tests.log.vaults import change, epochs, fill, rows
from tests.support.app import KEY, Server, running_server

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory: Path = tmp_path_factory.mktemp("whole") / "data"
    trio.run(fill, directory)
    return directory


@pytest.fixture
def data(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("PUSHD_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("os.nice", lambda _: 0)
    return Path(shutil.copytree(whole, tmp_path / "data"))


def run(*arguments: object, **environ: str) -> Result:
    return CliRunner().invoke(main, list(map(str, arguments)), env=environ)


def test_a_backup_says_what_is_in_it(data: Path) -> None:
    done = run("backup", "b.db")
    assert done.exit_code == 0, done.output
    assert "b.db: " in done.stdout
    assert "33 channels, 66 messages, the newest of 20" in done.stdout
    assert "\nsha256 " in done.stdout
    told = json.loads(run("backup", "b.db", "--force", "--json").stdout)
    assert (told["report"]["messages"], told["report"]["problems"]) == (66, [])


def test_the_directory_is_found_as_the_server_finds_it(data: Path, tmp_path: Path) -> None:
    elsewhere = data.rename(tmp_path / "elsewhere")
    assert run("verify").exit_code == 1
    assert run("verify", PUSHD_DATA=str(elsewhere)).exit_code == 0
    (tmp_path / "pushd.toml").write_text(f'data = "{elsewhere}"\n')
    assert run("verify").exit_code == 0
    # What is wrong with the settings does not matter to whom names the directory.
    (tmp_path / "pushd.toml").write_text("oops = 1\n")
    assert run("verify").exit_code == 2
    assert run("verify", "--data", elsewhere).exit_code == 0


def test_verify_ends_with_1_when_something_is_wrong(data: Path) -> None:
    assert run("verify").stdout.endswith("\nsound\n")
    assert run("verify", "--quick").stdout.endswith("a quick look tells\n")
    change(data / DATABASE, "DELETE FROM messages WHERE seq = 7")
    done = run("verify")
    assert done.exit_code == 1
    assert "wrong: channel news: 1 of 6…20 are missing" in done.stdout
    told = json.loads(run("verify", "--json").stdout)
    assert told["sound"] is False
    assert len(told["problems"]) >= 2


def test_a_restore_asks_and_without_a_terminal_it_wants_force(data: Path) -> None:
    run("backup", "b.db")
    before = epochs(data)
    for what in ("b.db", "--adopt"):
        done = run("restore", what)
        assert done.exit_code == 1
        # Refused before the backup is looked at, which may take minutes.
        assert done.stderr.startswith(
            f"error: Nobody can be asked here: 'pushctl restore {what} --force' does it"
        )
        assert done.stderr.count("\n") == 2
        assert epochs(data) == before
    done = run("restore", "b.db", "--force")
    assert done.exit_code == 0
    assert "backup   b.db: 33 channels, 66 messages" in done.stderr
    assert "replaces data: 33 channels" in done.stderr
    assert "33 channels with new epochs" in done.stdout
    assert "the replaced log is in data/replaced-" in done.stdout
    assert min(epochs(data).values()) > max(before.values())


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1), ("\n", 1), ("", 1)])
def test_the_answer_counts(
    data: Path, answer: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("backup", "b.db")
    before = epochs(data)
    monkeypatch.setattr("pushd.cli.restore._can_ask", lambda: True)
    done = CliRunner().invoke(main, ["restore", "b.db"], input=answer)
    assert done.exit_code == code
    assert ("Nothing was changed." in done.stderr) == (code == 1)
    assert (epochs(data) == before) == (code == 1)


def test_while_a_server_runs_it_is_named(data: Path) -> None:
    run("backup", "b.db")
    lock = LockFile(data, "127.0.0.1:8080")
    try:
        for arguments in (
            ("restore", "b.db", "--force"),
            ("restore", "--adopt", "--force"),
            ("compact",),
        ):
            done = run(*arguments)
            assert done.exit_code == 1
            assert f"process {os.getpid()} " in done.stderr
            assert "127.0.0.1:8080" in done.stderr
    finally:
        lock.release()


def test_nobody_is_asked_about_a_log_that_is_served(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pushd.cli.restore._can_ask", lambda: True)
    lock = LockFile(data)
    try:
        done = CliRunner().invoke(main, ["restore", "--adopt"], input="y\n")
    finally:
        lock.release()
    assert done.exit_code == 1
    assert "[y/N]" not in done.stderr
    assert f"process {os.getpid()} " in done.stderr


def test_ctrl_c_is_told_by_the_status(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pushd.cli.backup.backup", interrupted)
    done = run("backup", "b.db")
    assert (done.exit_code, done.stderr) == (130, "stopped before it was done\n")


def test_compacting_says_what_it_gave_back(data: Path) -> None:
    change(data / DATABASE, "CREATE TABLE x AS SELECT zeroblob(4000000)", "DROP TABLE x")
    done = run("compact")
    assert done.exit_code == 0, done.output
    assert re.fullmatch(
        r"data: \d+\.\d KiB, before 3.9 MiB; 33 channels, 66 messages, all as they were;"
        r" \d+\.\d s\n",
        done.stdout,
    )
    told = json.loads(run("compact", "--json").stdout)
    assert told["path"] == "data"
    assert told["before"] == told["after"] == (data / DATABASE).stat().st_size
    assert (told["report"]["messages"], told["report"]["problems"]) == (66, [])
    assert "not in use" in told["report"]["kind"]
    change(data / DATABASE, "DELETE FROM messages WHERE seq = 7")
    done = run("compact")
    assert done.exit_code == 1
    assert "not sound" in done.stderr
    assert "pushctl restore" in done.stderr


@pytest.mark.parametrize("arguments", [(), ("b.db", "--adopt")])
def test_a_file_or_adopt(data: Path, arguments: tuple[str, ...]) -> None:
    assert run("restore", *arguments).exit_code == 2


def test_adopting(data: Path) -> None:
    before = epochs(data)
    done = run("restore", "--adopt", "--force")
    assert done.exit_code == 0
    assert "33 channels with new epochs" in done.stdout
    assert min(epochs(data).values()) > max(before.values())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_restores_belongs_to_the_owner_of_the_directory(data: Path) -> None:
    run("backup", "b.db")
    for path in (data, data / DATABASE):
        os.chown(path, 1234, 1234)
    (data / "pushd.lock").unlink()
    assert run("restore", "b.db", "--force").exit_code == 0
    owners = {path.name: path.stat().st_uid for path in data.iterdir()}
    assert set(owners.values()) == {1234}, owners


@pytest.mark.skipif(os.geteuid() != 0, reason="root becomes another user")
@pytest.mark.parametrize(
    "arguments",
    [
        "serve --data data",
        "verify data",
        "backup c.db --data data",
        "backup data/c.db --data other --force",
        "restore b.db --data data --force",
        "restore data/b.db --data new --force",
        "restore --adopt --data data --force",
        "compact --data data",
        "migrate --data data",
        "export - --data data",
        "export data/x --from b.db",
    ],
)
def test_without_rights_it_says_so(data: Path, arguments: str) -> None:
    run("backup", "b.db")
    shutil.copytree(data, data.with_name("other"))
    data.parent.chmod(0o755)
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    python = [*as_nobody, sys.executable]
    if subprocess.run([*python, "-c", "import trio"], capture_output=True, check=False).returncode:
        pytest.skip("nobody else may use this Python")
    command = [*python, "-m", "pushd", *arguments.split()]
    environ = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    environ |= {"PUSHD_API_KEY": "k" * 32, "PUSHD_LISTEN": "127.0.0.1:0"}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ermission denied" in done.stderr
    assert "belongs to user id 0, this runs as 65534" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def to_come() -> Iterator[str]:
    """A migration that the data does not have yet."""

    @MIGRATIONS(name="9999_more")
    def more(db: Database, /) -> None:
        db.execute("CREATE TABLE more (x)")

    yield "9999_more"
    MIGRATIONS._migrations.pop()


def test_a_migration_makes_a_backup_first(data: Path, to_come: str) -> None:
    assert run("migrate", "--check").stdout == f"data: to come: {to_come}\n"
    assert f"migrations to come: {to_come}" in run("verify").stdout
    tables = "SELECT count(*) FROM sqlite_master WHERE name = 'more'"
    assert rows(data / DATABASE, tables) == [(0,)]
    done = run("migrate")
    assert done.exit_code == 0, done.output
    (kept,) = data.glob("before-migration-*.db")
    assert f"migrated; the backup is {kept.relative_to(data.parent)}" in done.stdout
    assert rows(kept, tables) == [(0,)]
    assert rows(data / DATABASE, tables) == [(1,)]
    assert run("migrate").stdout == "data: nothing to migrate\n"
    # A restore brings an older backup to this version.
    assert run("restore", kept, "--force").exit_code == 0
    assert rows(data / DATABASE, tables) == [(1,)]
    open_and_close(data)


def test_no_migration_while_a_server_runs(data: Path, to_come: str) -> None:
    lock = LockFile(data)
    try:
        done = run("migrate")
    finally:
        lock.release()
    assert done.exit_code == 1
    assert f"process {os.getpid()} " in done.stderr
    assert not list(data.glob("before-*"))


def exported(*arguments: object) -> list[dict[str, object]]:
    done = run("export", "-", *arguments)
    assert done.exit_code == 0, done.output
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_an_export_holds_what_can_be_pulled(data: Path) -> None:
    lines = exported()
    assert len(lines) == 66
    news = [line for line in lines if line["channel"] == "news"]
    assert [line["seq"] for line in news] == list(range(6, 21))
    assert news[2]["type"] == "redacted"
    assert news[2]["data"] is None
    epoch = epochs(data)["user:alice"]
    first = next(line for line in lines if line["channel"] == "user:alice")
    assert list(first) == ["channel", "epoch", "seq", "at", "id", "type", "sender", "data"]
    assert first["id"] == f"{epoch}.1"
    assert first["data"] == [0, "é\u2028"]
    run("backup", "b.db")
    assert exported("--from", "b.db", "--channel", "many:1*", "--channel", "again") == [
        line for line in lines if str(line["channel"]).startswith(("many:1", "again"))
    ]
    assert run("export", "x.ndjson").exit_code == 0
    assert run("export", "x.ndjson").exit_code == 1
    assert len(Path("x.ndjson").read_text().split("\n")) == 67


@pytest.mark.parametrize("kind", ["symbolic link", "hard link", "file"])
def test_an_export_goes_into_no_file_that_somebody_has_put_there(data: Path, kind: str) -> None:
    """In a directory of many: it would overwrite another file, or be read by whoever owns it."""
    victim, partial = Path("victim"), Path("x.ndjson.partial")
    victim.write_text("precious")
    if kind == "symbolic link":
        partial.symlink_to(victim)
    elif kind == "hard link":
        partial.hardlink_to(victim)
    else:
        partial.touch(mode=0o666)
    with partial.open() as theirs:
        assert run("export", "x.ndjson").exit_code == 0
        assert theirs.read() == ("" if kind == "file" else "precious")
    assert victim.read_text() == "precious"
    made = Path("x.ndjson")
    assert not made.is_symlink()
    assert made.stat().st_mode & 0o777 == 0o600
    assert len(made.read_text().splitlines()) == 66


def test_line_ends_within_a_message_do_not_end_the_line(data: Path) -> None:
    change(data / DATABASE, "UPDATE messages SET data = CAST('[1,\r\n2]' AS BLOB) WHERE seq = 9")
    assert [1, 2] in [line["data"] for line in exported()]


async def import_into(server: Server, file: str) -> Result:
    url = f"http://127.0.0.1:{server.port}"
    return await trio.to_thread.run_sync(lambda: run("import", file, "--url", url, "--key", KEY))


def without_position(line: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in line.items() if name not in ("epoch", "seq", "at")}


async def test_an_import_keeps_order_ids_and_senders(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The thread that imports cannot have signal handlers.
    monkeypatch.setattr("pushd.cli.import_.run", lambda main: trio.run(main))
    run("export", "x.ndjson")
    async with running_server(tmp_path / "new") as server:
        done = await import_into(server, "x.ndjson")
        assert done.stdout == "66 messages stored, 0 were there before\n", done.output
        again = await import_into(server, "x.ndjson")
        assert again.stdout == "0 messages stored, 66 were there before\n"
        Path("y.ndjson").write_text('{"channel":"news","data":1}\n{"channel":"a b","data":1}\nno')
        wrong = await import_into(server, "y.ndjson")
        assert wrong.exit_code == 1
        assert "y.ndjson, line 3" in wrong.stderr
    old, new = exported(), exported("--data", tmp_path / "new" / "log")
    assert list(map(without_position, new)) == list(map(without_position, old))
    assert [line["seq"] for line in new if line["channel"] == "news"] == list(range(1, 16))
