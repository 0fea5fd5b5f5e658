"""sweep: many runs of one experiment."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

import nnlab
from nnlab.cli import completion, options
from nnlab.cli.options import PATH
from nnlab.cli.train import say
from nnlab.errors import Interrupted
from nnlab.text import short_value

if TYPE_CHECKING:
    from nnlab.config import Config
    from nnlab.runs.results import Sweep
    from nnlab.runs.resume import ResumePolicy
    from nnlab.sweeps.plan import Plan

MAXIMUM_TRIALS_SHOWN = 40


class Settings(NamedTuple):
    """The options of `options.of_sweep`."""

    jobs: int | None
    engine: str
    launcher: str | None
    out: Path | None
    resume: bool
    allow_drift: bool
    checkpoint_every: float
    fail_fast: bool
    platform: str
    deterministic: bool
    dry_run: bool
    no_plots: bool
    quiet: bool
    join: bool = False

    @property
    def policy(self) -> ResumePolicy:
        from nnlab.runs.resume import ResumePolicy

        return ResumePolicy(self.checkpoint_every, self.resume, self.allow_drift)


@click.command(short_help="Run an experiment for many values and seeds.")
@click.argument("config", type=PATH)
@click.argument("overrides", nargs=-1, metavar="[a.b=v1,v2]...", shell_complete=completion.overrides)
@options.of_sweep
@click.option(
    "--join",
    is_flag=True,
    help="Share the trials with other processes that --join the same sweep, on any hosts that share it.",
)
@click.option("--smoke", is_flag=True, help="Only see that it runs: every trial cut short, no verdict.")
def sweep(config: Path, overrides: tuple[str, ...], smoke: bool, **words: Any) -> None:
    """Run the experiment CONFIG for every combination of its sweep's values, on all cores.

    Overrides: a.b=v1,v2 or a.b=range(a,b[,step]), linspace(a,b,n), geomspace(a,b,n), logspace(a,b,n) make an
    axis; a.b=c, +a.b=c and ~a.b change the experiment as for train (sweep.seeds=5). The same command again
    runs only what is missing or failed, and with more values only the new ones.
    """
    settings = Settings(**words)
    experiment = nnlab.load(config, *overrides, smoke=smoke, axes=True)
    if settings.dry_run:
        print_plan(experiment, settings)
    else:
        sys.exit(int(not sweep_and_report(experiment, settings).check()))


def sweep_and_report(experiment: Config, settings: Settings) -> Sweep:
    """Run a sweep and print the outcome; leaves with the exit code of a signal that interrupted it."""
    from nnlab.cli.output import print_sweep

    try:
        result = nnlab.sweep(
            experiment,
            settings.out,
            jobs=settings.jobs,
            engine=settings.engine,
            launcher=settings.launcher,
            join=settings.join,
            resume=settings.resume,
            allow_drift=settings.allow_drift,
            checkpoint_every=settings.checkpoint_every,
            fail_fast=settings.fail_fast,
            platform=settings.platform,
            deterministic=settings.deterministic,
            plots=not settings.no_plots,
            progress=not settings.quiet and sys.stderr.isatty(),
            notify=lambda line: say(line, settings.quiet),
        )
    except Interrupted as interruption:
        if not settings.quiet:
            from nnlab.runs.results import open_sweep

            print_sweep(open_sweep(interruption.path))
        sys.exit(128 + interruption.signal)
    if not settings.quiet:
        print_sweep(result)
    return result


def print_plan(experiment: Config, settings: Settings) -> None:
    """Print the trials, programs and estimated cost of a sweep. Raises NnlabError where it cannot be run."""
    plan = nnlab.plan_sweep(
        experiment, settings.out, resume=settings.resume, allow_drift=settings.allow_drift
    )
    for note in plan.notes:
        say(f"note: {note}", settings.quiet)
    if settings.quiet:
        return
    if plan.search is None:
        _print_trials(plan)
    click.echo(plan.in_words(settings.jobs))


def _print_trials(plan: Plan) -> None:
    from nnlab.cli.output import print_table

    rows = plan.rows(MAXIMUM_TRIALS_SHOWN)
    head = ("trial", *plan.axes, "seed", "program")
    print_table(head, [[short_value(cell) for cell in row] for row in rows])
    if len(plan.trials) > len(rows):
        click.echo(f"... and {len(plan.trials) - len(rows)} more")
