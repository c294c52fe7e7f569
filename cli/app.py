"""The `headgate` command: its subcommands, and how it ends when something goes wrong."""

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

import headgate
from headgate.cli.bench import bench
from headgate.cli.errors import describe_mistake
from headgate.cli.evaluate import evaluate
from headgate.cli.export import export
from headgate.cli.inspect import inspect
from headgate.cli.predict import predict
from headgate.cli.serve import serve
from headgate.cli.threshold import threshold

app = typer.Typer(
    name="headgate",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.command()(export)
app.command()(serve)
app.command()(predict)
app.command()(inspect)
app.command()(evaluate)
app.command()(threshold)
app.command()(bench)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"headgate {headgate.__version__}")
        raise typer.Exit


@app.callback()
def headgate_command(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Serve Keras models over gRPC: typed, calibrated predictions instead of float arrays.

    From a Keras file to an answer:

      headgate export iris.keras models --labels setosa,versicolor,virginica
      headgate serve models
      headgate predict iris --input '[[5.1, 3.5, 1.4, 0.2]]'

    `headgate export --help` and so on say more.
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit the process.

    Exit codes: 0 done, 1 a mistake in what was asked for (one line on stderr says which), 2 wrong usage, 130 Ctrl-C.
    An exception that is none of the user's doing leaves with its traceback.
    """
    try:
        app(args=arguments, prog_name="headgate")
    except Exception as error:
        mistake = describe_mistake(error)
        if mistake is None:
            raise
        print(f"error: {mistake}", file=sys.stderr)
        sys.exit(1)
