"""sweep: many runs of one experiment."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from nnlab.cli import options
from nnlab.cli.options import CONFIG

if TYPE_CHECKING:
    from nnlab.config import Config
    from nnlab.runs.resume import ResumePolicy
    from nnlab.sweeps.engines.base import Event
    from nnlab.sweeps.plan import Plan
    from nnlab.sweeps.trials import Trial

SHOWN_TRIALS = 40


class Settings(NamedTuple):
    """What `options.of_sweep` says."""

    jobs: int | None
    engine: str
    out: Path | None
    resume: bool
    allow_drift: bool
    checkpoint_every: float
    fail_fast: bool
    platform: str
    dry_run: bool
    no_plots: bool
    quiet: bool

    @property
    def keep(self) -> ResumePolicy:
        from nnlab.runs.resume import ResumePolicy

        return ResumePolicy(self.checkpoint_every, self.resume, self.allow_drift)


@click.command(short_help="Run an experiment for many values and seeds.")
@click.argument("config", type=CONFIG)
@click.argument("overrides", nargs=-1, metavar="[a.b=v1,v2]...")
@options.of_sweep
@click.option("--smoke", is_flag=True, help="Only see that it runs: every trial cut short, no verdict.")
def sweep(config: Path, overrides: tuple[str, ...], smoke: bool, **settings: Any) -> None:
    """Run the experiment CONFIG for every combination of its sweep's values, on all cores.

    Overrides: a.b=v1,v2 or a.b=range(a,b[,step]), linspace(a,b,n), geomspace(a,b,n), logspace(a,b,n) make an
    axis; a.b=c, +a.b=c and ~a.b change the experiment as for train (sweep.seeds=5). The same command again
    runs only what is missing or failed, and with more values only the new ones.
    """
    from nnlab.config import load

    chosen = Settings(**settings)
    place = run_all(load(config, overrides, smoke, axes=True), chosen)
    if not chosen.dry_run:
        sys.exit(verdict_code(place))


def run_all(checked: Config, settings: Settings) -> Path:
    """Run what is left of a sweep, or with --dry-run print it; where it lies. Leaves at a signal."""
    from nnlab.sweeps.directory import SweepDirectory
    from nnlab.sweeps.engines.local import LocalEngine
    from nnlab.sweeps.plan import make_plan, renew_plan
    from nnlab.sweeps.run import run_sweep

    directory = SweepDirectory(settings.out or SweepDirectory.default(checked))
    force = not settings.resume
    plan = make_plan(checked, directory, force, settings.allow_drift)
    if settings.dry_run:
        if not settings.quiet:
            _print_plan(directory.path, plan, settings.jobs)
        return directory.path
    if plan.search is not None:
        plan.search.require()
    with directory.held() as lock:
        plan = renew_plan(plan, directory, force, settings.allow_drift)
        directory.begin_sweep(checked, force)
        engine = LocalEngine(
            directory.path, settings.jobs, settings.platform, settings.keep, inherited_descriptors=(lock,)
        )
        with _progress(plan, settings.quiet) as show:
            outcome = run_sweep(plan, directory, engine, settings.fail_fast, show)
        drawn = [] if settings.no_plots or outcome.signal else _draw(directory.path)
    if not settings.quiet:
        _report(directory.path, drawn)
    if outcome.signal:
        raise click.exceptions.Exit(128 + outcome.signal)
    return directory.path


def _draw(place: Path) -> list[Path]:
    from nnlab.runs.figures import draw
    from nnlab.runs.results import open_sweep

    result = open_sweep(place)
    return [] if result.trials.empty else draw([result], place / "plots")  # all may have diverged


def _report(place: Path, drawn: list[Path]) -> None:
    from nnlab.cli.output import print_sweep
    from nnlab.runs.results import open_sweep

    print_sweep(open_sweep(place), drawn)


def verdict_code(place: Path) -> int:
    from nnlab.runs.results import open_sweep

    result = open_sweep(place)
    failed = result.summary["status"] != "complete"
    return int(failed or not result.check())


@contextlib.contextmanager
def _progress(plan: Plan, quiet: bool) -> Iterator[Callable[[Event], None] | None]:
    """A bar over the trials, by what they cost, with failures and time left."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    costs = {trial.id: max(1.0, group.trial_flops) for group in plan.groups for trial in group.trials}
    count = plan.draws or len(plan.trials)
    mean_cost = sum(costs.values()) / max(1, len(costs))  # of a trial that a search is yet to choose
    statuses: dict[str, str] = {}
    shares: dict[str, float] = {}
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[shown]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        total = mean_cost * plan.trials_left
        task = bar.add_task(plan.config.name, total=total, shown="starting workers")

        def show(event: Event) -> None:
            name = event.trial.id
            if event.status:
                statuses[name] = event.status
            shares[name] = 1.0 if event.status else event.share
            bad = sum(status in ("failed", "diverged") for status in statuses.values())
            words = f"{len(plan.finished) + len(statuses)} of {count} trials"
            completed = sum(costs.get(key, mean_cost) * share for key, share in shares.items())
            bar.update(
                task, completed=completed, shown=words + (f", {bad} failed or diverged" if bad else "")
            )

        yield show


def _print_plan(place: Path, plan: Plan, jobs: int | None) -> None:
    from nnlab.cli.output import print_table, short
    from nnlab.sweeps.tables import plain

    if plan.search is not None:
        click.echo(f"{place}: up to {plan.draws} trials, chosen as it goes, {plan.estimate(jobs)}")
        return
    axes = list(plan.trials[0].axes)
    programs = {trial.id: number for number, group in enumerate(plan.groups, 1) for trial in group.trials}
    rows = [
        (
            trial.id,
            *(short(plain(trial.axes[axis])) for axis in axes),
            str(trial.seed),
            _state(plan, trial, programs),
        )
        for trial in plan.trials[:SHOWN_TRIALS]
    ]
    print_table(("trial", *axes, "seed", "program"), rows)
    if len(plan.trials) > SHOWN_TRIALS:
        click.echo(f"... and {len(plan.trials) - SHOWN_TRIALS} more")
    click.echo(
        f"{place}: {len(plan.trials)} trials, {len(plan.finished)} done, {plan.trials_left} to run as "
        f"{len(plan.groups)} programs, {plan.estimate(jobs)}"
    )


def _state(plan: Plan, trial: Trial, programs: dict[str, int]) -> str:
    return plan.finished[trial.id]["status"] if trial.id in plan.finished else f"{programs[trial.id]}"
