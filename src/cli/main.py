"""The command ``inarch``: commands are gathered, errors become one line and exit code 2."""

import gc
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, NoReturn

import typer

from .. import __version__
from ..errors import InarchError, InarchWarning
from ..registry import registry
from .check import check
from .doctor import doctor
from .eval import evaluate
from .methods import methods
from .new_method import new_method
from .plan import plan
from .plugins import plugins
from .train import train

# Click's base class of wrong command lines. Typer brings a click of its own from 0.20 on and exports only some of it.
CommandLineError: Any = typer.BadParameter.__mro__[2]

REFUSED = 2
INTERRUPTED = 130


def build_app() -> typer.Typer:
    """The command line with every command, those of plugins included."""
    app = typer.Typer(
        name="inarch",
        help="Graft any parameter-efficient fine-tuning method onto any Hugging Face model.",
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback(invoke_without_command=True)(_options)
    for command in (check, doctor, methods, new_method, plan, plugins, train):
        app.command()(command)
    app.command("eval")(evaluate)
    registry().add_commands(app)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: The words after ``inarch``; those of the process by default.

    Returns:
        The exit code: 0, or 2 for whatever was refused, said in one line on standard error.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    try:
        with _warnings_in_one_line():
            code = int(build_app()([word for word in words if word != "--debug"], standalone_mode=False) or 0)
    except CommandLineError as error:
        _say(error.format_message())
        return REFUSED
    except InarchError as error:
        if debug:
            traceback.print_exc()
        _say(str(error))
        return REFUSED
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    if code == INTERRUPTED:
        _say("interrupted")
    return code


def run() -> NoReturn:
    """Run the command that was typed, and end the process."""
    gc.freeze()  # or searches for cycles, the last of which takes most of a second, go through all that is imported
    sys.exit(main())


@contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    """Inside, Inarch's own warnings are a line each, all of them; others are shown as Python does."""
    usual = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if issubclass(category, InarchWarning):
            print(f"inarch: warning: {' '.join(str(message).split())}", file=sys.stderr)  # noqa: T201 - one line
        else:
            usual(message, category, *where, **more)

    with warnings.catch_warnings():
        warnings.simplefilter("always", InarchWarning)
        warnings.showwarning = show
        yield


def _version(wanted: bool) -> None:
    if wanted:
        print(__version__)  # noqa: T201 - this is the command's output
        raise typer.Exit


def _options(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.", callback=_version)] = False,
) -> None:
    """Options of every command; ``main`` has taken ``--debug`` out by now, so that it may stand anywhere."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _say(message: str) -> None:
    print(f"inarch: error: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201 - one line, whatever it holds
