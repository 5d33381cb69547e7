"""The program ``maskdino``: find the command, run it, and turn errors into one line and an exit status."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

import typer
from typer.core import TyperGroup
from typer.main import get_command

from engine.commands import command_modules, load_command
from engine.commands.terminal import CANCELLED, FAILED, keep_standard_streams, leave
from engine.device import share_the_cores
from engine.distribution import version
from engine.errors import CancelledError, MaskDinoError, about_a_file

logger = logging.getLogger("engine")


class LazyCommands(TyperGroup):
    """The commands, each imported when it is asked for."""

    def list_commands(self, ctx: typer.Context) -> list[str]:
        """Name the commands in the order of the help page."""
        return list(command_modules())

    def get_command(self, ctx: typer.Context, cmd_name: str):
        """Load one command, None where there is no such name."""
        if cmd_name not in command_modules():
            return None
        command = load_command(cmd_name).command
        if not isinstance(command, typer.Typer):
            app = typer.Typer(add_completion=False, rich_markup_mode=None)
            app.command(cmd_name)(command)
            command = app
        loaded = get_command(command)
        loaded.name = cmd_name
        return loaded


app = typer.Typer(
    cls=LazyCommands, add_completion=False, rich_markup_mode=None, no_args_is_help=True, pretty_exceptions_enable=False
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"maskdino {version()}")
        raise typer.Exit


@app.callback()
def program(
    debug: bool = typer.Option(False, "--debug", help="Show every log line, and the traceback of an error."),
    quiet: bool = typer.Option(False, "--quiet", help="Show warnings and errors alone."),
    show_version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Print the version and exit."
    ),
) -> None:
    """Find buildings in imagery with Mask DINO."""
    _log_to_terminal(logging.DEBUG if debug else logging.WARNING if quiet else logging.INFO)


def _log_to_terminal(level: int) -> None:
    """Send notes to standard output, so that standard error holds nothing but what went wrong."""
    handler = NotesHandler()
    handler.setFormatter(NotesFormatter("%(message)s"))
    for name in ("engine", "training"):
        logging.getLogger(name).handlers = [handler]
        logging.getLogger(name).setLevel(level)
        logging.getLogger(name).propagate = False
    # Libraries warn about what this program handles itself, such as a raster without georeference.
    logging.captureWarnings(True)
    root = logging.getLogger()
    root.setLevel(level)
    root.handlers = [handler] if level == logging.DEBUG else [logging.NullHandler()]


class NotesFormatter(logging.Formatter):
    """Put the level before what is more than a note."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one record."""
        text = super().format(record)
        return text if record.levelno == logging.INFO else f"{record.levelname.lower()}: {text}"


class NotesHandler(logging.Handler):
    """Print above the progress bar, if one is drawn."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one record."""
        bars = sys.modules.get("tqdm")  # where it is not loaded, no bar is drawn
        if bars is None:
            sys.stdout.write(self.format(record) + "\n")
            sys.stdout.flush()
        else:
            bars.tqdm.write(self.format(record), file=sys.stdout)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program and exit: 0 done, 1 failed with one line on standard error, 2 wrong usage, 130 cancelled."""
    share_the_cores()
    keep_standard_streams()
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    for flag in ("--debug", "--quiet"):  # wherever it stands
        if flag in given:
            given = [flag, *(word for word in given if word != flag)]
    try:
        get_command(app).main(args=given, prog_name="maskdino")
    except SystemExit as end:
        if not end.code and (lost := getattr(sys.stdout, "lost", None)) is not None:
            leave(FAILED, f"the work is done, but what it printed is lost: {lost.strerror}.")
        raise
    except CancelledError as error:
        leave(CANCELLED, error.message)
    except MaskDinoError as error:
        _fail(str(error), debug)
    except MemoryError:
        _fail("There is not enough memory. Use a smaller --batch-size, or a smaller model.", debug)
    except Exception as error:  # the last line of defence: a person gets a line, a developer gets the traceback
        if (known := about_a_file(error)) is not None:
            _fail(str(known), debug)
        _fail(f"{type(error).__name__}: {error} This should not happen; --debug shows where it did.", debug)


def _fail(message: str, debug: bool) -> None:
    if debug:
        logger.exception("Failed.")
    leave(FAILED, " ".join(message.split()))
