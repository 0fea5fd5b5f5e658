"""The command line. Commands are thin: they parse words, call the package, print.

Modules are imported inside the commands, so that `nnlab --help` answers at once.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from pathlib import Path

import click

from nnlab import __version__
from nnlab.cli.cross_validate import cross_validate
from nnlab.cli.export import export
from nnlab.cli.generate import generate
from nnlab.cli.registry import list_components, schema, show
from nnlab.cli.reports import report, watch
from nnlab.cli.results import check, compare, plot
from nnlab.cli.runs import remove, runs
from nnlab.cli.sweep import sweep
from nnlab.cli.train import info, new, summary, train, validate
from nnlab.errors import NnlabError
from nnlab.system.garbage import collect_seldom


class _Commands(click.Group):
    """A group that lists commands in the order of their use, and turns errors into lines and exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except NnlabError as error:
            from nnlab.cli.output import without_controls

            for line in str(error).splitlines():
                click.echo(without_controls(line), err=True)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            ctx.exit(130)
        except MemoryError:
            click.echo("out of memory", err=True)
            ctx.exit(1)
        except OSError as error:  # of a path that is too long, say, or an output that is full
            if error.errno == errno.EPIPE:
                raise  # the reader of the output has left: click ends silently
            what = str(error.filename or "output")[:300]
            click.echo(f"{what}: {error.strerror or error}", err=True)
            ctx.exit(2 if error.filename else 1)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        from nnlab.text import suggestion

        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            message = f"there is no command '{args[0]}'{suggestion(args[0], self.commands)}"
            raise click.UsageError(message, ctx) from error


@click.group(
    cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__, prog_name="nnlab")
def cli() -> None:
    """A lab bench for the training of neural networks: one YAML file in, a measured verdict out.

    Start with `nnlab new`, which lists experiments to begin from. Exit codes: 0 done, 1 an expectation or
    a run failed, 2 wrong usage or config, 3 diverged, 130/143 interrupted.
    """


for command in (
    train,
    sweep,
    cross_validate,
    plot,
    check,
    report,
    watch,
    validate,
    summary,
    list_components,
    show,
    runs,
    remove,
    compare,
    generate,
    export,
    new,
    schema,
    info,
):
    cli.add_command(command)


def main() -> None:
    """Run `nnlab`. Until a training handles signals, one ends the process at once, even during imports, which
    would turn a KeyboardInterrupt into an error of theirs."""
    collect_seldom()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda caught, _: os._exit(128 + caught))
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # it was closed
            setattr(sys, name, Path(os.devnull).open("w"))  # noqa: SIM115
    sys.exit(cli())
