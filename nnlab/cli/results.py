"""plot, check, compare: runs, read back."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

import nnlab
from nnlab.cli.options import PATH, import_modules
from nnlab.errors import UsageError
from nnlab.text import exact_value, short_value

if TYPE_CHECKING:
    from nnlab.runs.results import Run, Sweep


@click.command(short_help="Draw the figures of runs and sweeps.")
@click.argument("paths", nargs=-1, required=True, type=PATH, metavar="PATH...")
@click.option("--figure", "figures", multiple=True, help="Draw only this figure; may be given again.")
@click.option(
    "--format", "form", type=click.Choice(["png", "svg", "pdf"]), default="png", help="File format."
)
@click.option(
    "--out",
    type=PATH,
    help="Folder to draw into; default PATH/plots; for several, plots/ beside them.",
)
@import_modules
def plot(paths: tuple[Path, ...], figures: tuple[str, ...], form: str, out: Path | None) -> None:
    """Draw the figures of a run or a sweep, finished or running; several come on one axes.

    Of an experiment file it draws the learning-rate schedule, before anything is trained, into plots/: that
    of the optimizer itself, not those of its groups or of a sweep's values.
    """
    from nnlab.runs.figures import draw, untrained_run
    from nnlab.training.experiment import build_experiment

    results: Sequence[Run | Sweep]
    if all(path.is_file() for path in paths):
        results, home = [untrained_run(build_experiment(nnlab.load(path))) for path in paths], Path()
    else:
        results = [nnlab.open(path) for path in paths]
        home = paths[0] if len(paths) == 1 else paths[0].parent
    folder, say = out or home / "plots", functools.partial(click.echo, err=True)
    drawn = draw(results, folder, figures, form, linked=out is not None, notify=say)
    if not drawn:
        what = "it has" if len(paths) == 1 else "they have in common"
        raise UsageError(f"{', '.join(map(str, paths))}: nothing is drawn: there is no figure that {what}")
    for path in drawn:
        click.echo(path)


@click.command(short_help="Judge the expectations of runs and sweeps.")
@click.argument("paths", nargs=-1, required=True, type=PATH, metavar="PATH...")
@import_modules
def check(paths: tuple[Path, ...]) -> None:
    """Judge the expectations of runs and sweeps; exit 0 when all hold, 1 when not."""
    from nnlab.cli.output import print_verdicts

    all_hold = True
    for path in paths:
        run = nnlab.open(path)
        verdicts = run.check()
        if not verdicts.finished:
            click.echo(f"{path}: not finished (status {run.status})", err=True)
        if not len(verdicts):
            but = (
                "; it diverged, which it must expect to (status: {equals: diverged})"
                if verdicts.finished
                else ""
            )
            click.echo(
                f"{path}: its config has no expect: block, nothing to judge{'' if verdicts else but}",
                err=True,
            )
        print_verdicts(run.label, verdicts)
        all_hold = all_hold and bool(verdicts)
    raise click.exceptions.Exit(0 if all_hold else 1)


@click.command(short_help="Show what differs between runs.")
@click.argument("paths", nargs=-1, required=True, type=PATH, metavar="RUN RUN...")
@import_modules
def compare(paths: tuple[Path, ...]) -> None:
    """Show what differs between runs, in config and in outcome."""
    from nnlab.cli.output import print_table
    from nnlab.runs.catalogue import flattened
    from nnlab.runs.results import open_run

    if len(paths) < 2:
        raise UsageError("compare: name two or more runs")
    opened = [open_run(path) for path in paths]
    heads = [path.name for path in paths]
    for title, trees, text in (
        ("config", [run.config.tree for run in opened], exact_value),
        ("outcome", [run.summary for run in opened], short_value),
    ):
        flat = [dict(flattened(tree)) for tree in trees]
        keys = dict.fromkeys(key for leaves in flat for key in leaves)
        rows = [(key, *(text(leaves.get(key, "-")) for leaves in flat)) for key in keys]
        print_table((title, *heads), [row for row in rows if len(set(row[1:])) > 1])
