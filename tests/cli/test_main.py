"""The root of the command line: names, lazy commands, refusals in words."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner, Result

from pushd import __version__, cli
from pushd.cli import main
from pushd.errors import BadSetting, Forbidden, PushdError


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def failing(monkeypatch: pytest.MonkeyPatch, error: Exception) -> Result:
    """What ``pushctl serve`` says when its command raises ``error``."""

    @click.command("serve")
    def command() -> None:
        raise error

    monkeypatch.setitem(sys.modules, "pushd.cli.serve", SimpleNamespace(command=command))
    monkeypatch.setattr(cli.importlib.util, "find_spec", lambda name: name)
    return run("serve")


def test_version_and_help() -> None:
    assert run("--version").stdout == f"pushctl {__version__}\n"
    text = run("--help").stdout
    assert text.startswith("Usage: pushctl ")
    assert "pushctl serve --dev" in text
    for name in ("serve", "token", "config"):
        assert f"\n  {name} " in text


@pytest.mark.parametrize("command", ["serve", "token", "config check", "config show"])
def test_every_command_explains_itself(command: str) -> None:
    result = run(*command.split(), "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: pushctl {command} ")
    assert "pushd serve" not in result.stdout  # pushd is a shell builtin


def test_the_module_calls_itself_pushctl() -> None:
    command = [sys.executable, "-m", "pushd", "nonsense"]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 2
    assert process.stderr.startswith("Usage: pushctl ")


def test_a_command_whose_module_is_missing_harms_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "COMMANDS", ("not_there", "config"))
    assert "not_there" not in run("--help").stdout
    assert run("not_there").exit_code == 2
    assert run("config", "docs").exit_code == 0


def test_a_misspelt_command_is_corrected() -> None:
    result = run("serv")
    assert result.exit_code == 2
    assert "Did you mean serve?" in result.stderr


def test_help_imports_no_server() -> None:
    script = (
        "import sys; from pushd.cli import main; main(['serve', '--help'], standalone_mode=False);"
        "print(*(name for name in ('trio', 'quart', 'sqlite3', 'rich') if name in sys.modules))"
    )
    command = [sys.executable, "-c", script]
    process = subprocess.run(command, capture_output=True, text=True, check=True)
    assert process.stdout.splitlines()[-1] == ""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Forbidden("not yours"), 1),
        (BadSetting("not mine"), 2),
        (ExceptionGroup("nursery", [ExceptionGroup("inner", [Forbidden("not yours")])]), 1),
    ],
)
def test_a_refusal_is_its_detail_and_its_cure(
    monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    result = failing(monkeypatch, error)
    inner: BaseException = error
    while isinstance(inner, ExceptionGroup):
        inner = inner.exceptions[0]
    assert isinstance(inner, PushdError)
    assert result.exit_code == code
    assert result.stdout == ""
    assert result.stderr == f"error: {inner.detail}\n{inner.cure}\n"


def test_a_group_with_other_errors_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    group = ExceptionGroup("nursery", [Forbidden("not yours"), ZeroDivisionError()])
    assert failing(monkeypatch, group).exception is group


@pytest.mark.parametrize("command", ["config docs", "--help", "config check --help"])
def test_output_that_cannot_be_written_is_no_traceback(command: str) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "pushd", *command.split()],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("error: The output cannot be written: No space left on device.")
