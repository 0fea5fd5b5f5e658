"""cross-validate: choose epochs, and perhaps a value, on folds, then train on all of them so."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

import nnlab
from nnlab.cli import completion, options
from nnlab.cli.options import PATH
from nnlab.cli.sweep import Settings, print_plan, sweep_and_report


@click.command("cross-validate", short_help="Choose epochs, and values, on folds, then refit on all.")
@click.argument("config", type=PATH)
@click.argument("overrides", nargs=-1, metavar="[a.b=v1,v2]...", shell_complete=completion.overrides)
@click.option(
    "--folds", type=click.IntRange(2, 1000), help="Parts, each validated on once; default the file's, or 10."
)
@options.of_sweep
def cross_validate(config: Path, overrides: tuple[str, ...], folds: int | None, **words: Any) -> None:
    """Train the experiment CONFIG once for each fold, and on all of them for the mean of the best epochs.

    What `data.split` gives to the test set (15 % where there is no split, and the data have none of their
    own) stays out of the folds and chooses nothing. The trainings on folds are a sweep, with the figure
    `cross_validation`; where its expectations hold, the last one follows as the run refit/ in its directory,
    without what looks at a validation set. An experiment that sweeps over data.split.fold keeps its folds.

    An experiment that sweeps over one other axis, such as model.width, is trained at each of its values on
    each fold; the refit has the best of them, and the figure is `chosen_by_folds`.
    """
    from nnlab.cli.train import train_and_report
    from nnlab.sweeps.cross_validation import (
        Choice,
        choice_in_words,
        choice_of,
        fold_sweep,
        refit_experiment,
        refit_policy,
    )

    settings = Settings(**words)
    folded = fold_sweep(nnlab.load(config, *overrides, axes=True), folds)
    refit_experiment(folded, Choice(1.0, {}))  # a mistake in it is reported before anything is trained
    if settings.dry_run:
        print_plan(folded, settings)
        return
    result = sweep_and_report(folded, settings)
    if not result.check():
        sys.exit(1)
    choice = choice_of(result)
    if not settings.quiet:
        click.echo(choice_in_words(result, choice), err=True)
    refit, path = refit_experiment(folded, choice), result.path / "refit"
    policy, plots = refit_policy(path, refit, settings.policy), not settings.no_plots
    train_and_report(
        refit,
        path,
        settings.platform,
        policy,
        plots=plots,
        quiet=settings.quiet,
        deterministic=settings.deterministic,
    )
