"""The Typer application, and the only place that turns errors into messages and exit codes."""

import shlex
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from mnistgan import __version__
from mnistgan.errors import (
    MissingPluginError,
    MnistganError,
    ReportedElsewhereError,
    lacks_memory,
)
from mnistgan.terminal import console


class Group(TyperGroup):
    """The error boundary: turns each error that a user can cause into a message and exit code."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().main(*args, **kwargs)
        except MissingPluginError as error:
            words = args[0] if args else kwargs.get("args") or sys.argv[1:]
            missing = (word for name in error.plugins for word in ("--plugin", name))
            console.error(f"{error}. Try: {shlex.join(['mnistgan', *words, *missing])}")
        except ReportedElsewhereError as error:
            sys.exit(error.exit_code)
        except MnistganError as error:
            for problem in str(error).split("\n"):
                console.error(problem)
            sys.exit(error.exit_code)
        except OSError as error:
            if error.strerror is None:
                raise
            place = f"{error.filename}: " if error.filename else ""
            console.error(f"{place}{error.strerror}")
        except (MemoryError, RuntimeError) as error:
            if not lacks_memory(error):
                raise
            console.error("not enough memory; reduce data.batch_size, model.width or --n")
        sys.exit(1)


app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Train, sample, plot, animate and score GANs on MNIST.",
)


def _version(wanted: bool) -> None:
    if wanted:
        console.result(f"mnistgan {__version__}")
        raise typer.Exit()


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Train, sample, plot, animate and score GANs on MNIST."""
