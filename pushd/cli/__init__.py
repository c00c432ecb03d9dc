"""The command line. For people it is ``pushctl``: in bash and zsh, pushd is a builtin.

Each subcommand is a module of this package whose click command is named ``command``; it is imported
when it is asked for, so that ``pushctl token`` does not wait for what only the server needs.
"""

from __future__ import annotations

import errno
import importlib
import importlib.util
import keyword
import sys
from typing import Any, NoReturn

import click

from pushd import __version__
from pushd.cli.terminal import say_error
from pushd.errors import BadSetting, PushdError
from pushd.settings.tables import suggestion

# In the order of the help: start it, use it, look at it, keep its data.
COMMANDS = (
    *("serve", "token", "key", "publish", "pull", "tail", "call", "inbox"),
    *("channels", "groups", "users", "sessions", "presence", "nodes", "replay", "config"),
    *("backup", "restore", "verify", "compact", "migrate", "export", "import"),
)

EXIT_FAILED = 1
EXIT_USAGE = 2

EPILOG = """\
\b
Examples:
  pushctl serve --dev                      try it on this machine
  pushctl publish news '{"text":"hello"}'  publish to the channel news
  pushctl publish --group staff --all '…'  to a group, and to everybody
  pushctl tail news                        watch it
  pushctl users list --online              see who is there
  pushctl token --user alice --subscribe news
  pushctl config show                      every setting and where it came from

'pushctl COMMAND --help' says more. Settings: pushd.toml, PUSHD_... variables, options of serve.
"""


class LazyGroup(click.Group):
    """Imports a command when it is needed, and answers refusals in words instead of tracebacks."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name in COMMANDS if importlib.util.find_spec(_module(name))]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        command = importlib.import_module(_module(cmd_name)).command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and name not in COMMANDS:
            ctx.fail(f"There is no command {name!r}.{suggestion(name, COMMANDS)}")
        return super().resolve_command(ctx, args)

    def main(self, *args: Any, **extra: Any) -> Any:
        extra["prog_name"] = "pushctl"  # also when started as pushd or python -m pushd
        try:
            return super().main(*args, **extra)
        except PushdError as error:
            _refuse([error])
        except OSError as error:
            # Of what is printed: other writes say what they could not write.
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            say_error(f"The output cannot be written: {error.strerror}.", "Free some space.")
            sys.exit(EXIT_FAILED)
        except ExceptionGroup as group:  # a nursery wraps what its tasks raise
            refusals, others = group.split(PushdError)
            if others is not None or refusals is None:
                raise
            _refuse(_leaves(refusals))


def _module(name: str) -> str:
    return f"{__name__}.{name}{'_' if keyword.iskeyword(name) else ''}"


def _leaves(group: ExceptionGroup[PushdError]) -> list[PushdError]:
    found: list[PushdError] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, ExceptionGroup) else [error]
    return found


def _refuse(errors: list[PushdError]) -> NoReturn:
    for error in errors:
        say_error(error.detail, error.cure)
    usage = all(isinstance(error, BadSetting) for error in errors)
    sys.exit(EXIT_USAGE if usage else EXIT_FAILED)


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="pushctl", message="%(prog)s %(version)s")
def main() -> None:
    """pushd: a durable push server in one program.

    Back-ends publish over HTTP; every message is stored and numbered; clients are told the newest
    number and pull what they lack.
    """
