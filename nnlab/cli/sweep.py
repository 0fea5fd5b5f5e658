"""sweep: many runs of one experiment."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from nnlab.cli import options
from nnlab.cli.options import CONFIG

if TYPE_CHECKING:
    from nnlab.config import Config
    from nnlab.runs.resume import Keep
    from nnlab.sweeps.engines.local import Event
    from nnlab.sweeps.run import Plan
    from nnlab.sweeps.trials import Trial

SHOWN_TRIALS = 40
COMPILE_SECONDS = 1.5  # about what a program takes


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
    def keep(self) -> Keep:
        from nnlab.runs.resume import Keep

        return Keep(self.checkpoint_every, self.resume, self.allow_drift)


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
    from nnlab.sweeps.run import plan, plan_search, run_sweep
    from nnlab.sweeps.trials import trials_of

    directory = SweepDirectory(settings.out or SweepDirectory.default(checked))
    searching = plan_search(checked)
    trials = [] if searching else trials_of(checked)
    force = not settings.resume
    directory.check(checked, force)
    todo = searching or plan(checked, trials, directory, force, settings.allow_drift)
    if settings.dry_run:
        if not settings.quiet:
            _print_plan(directory.path, todo, settings.jobs)
        return directory.path
    if todo.search is not None:
        todo.search.require()
    with directory.held() as lock:
        directory.check(checked, force)
        todo = searching or plan(checked, trials, directory, force, settings.allow_drift)
        directory.begin_sweep(checked, force)
        local = LocalEngine(
            directory.path, settings.jobs, settings.platform, settings.keep, keep_open=(lock,)
        )
        with _progress(checked, todo, settings.quiet) as watch:
            outcome = run_sweep(checked, todo, directory, local, settings.fail_fast, watch)
        drawn = [] if settings.no_plots or outcome.signal else _draw(directory.path)
    if not settings.quiet:
        _report(directory.path, drawn)
    if outcome.signal:
        raise click.exceptions.Exit(128 + outcome.signal)
    return directory.path


def _draw(place: Path) -> list[Path]:
    from nnlab.runs.figures import draw
    from nnlab.runs.results import SweepResult

    result = SweepResult.of(place)
    return [] if result.trials.empty else draw([result], place / "plots")  # all may have diverged


def _report(place: Path, drawn: list[Path]) -> None:
    from nnlab.cli.output import print_sweep
    from nnlab.runs.results import SweepResult

    print_sweep(SweepResult.of(place), drawn)


def verdict_code(place: Path) -> int:
    from nnlab.runs.expectations import judge_sweep
    from nnlab.runs.results import SweepResult

    result = SweepResult.of(place)
    failed = result.summary["status"] != "complete"
    return int(failed or not all(holds for *_, holds in judge_sweep(result)))


@contextlib.contextmanager
def _progress(config: Config, todo: Plan, quiet: bool) -> Iterator[Callable[[Event], None] | None]:
    """A bar over the trials, by what they cost, with failures and time left."""
    if quiet or not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    costs = {trial.id: max(1.0, group.cost) for group in todo.groups for trial in group.trials}
    count = todo.draws or len(todo.trials)
    cost = sum(costs.values()) / max(1, len(costs))  # of a trial that a search is yet to choose
    ended: dict[str, str] = {}
    shares: dict[str, float] = {}
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[shown]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(config.name, total=cost * todo.left, shown="starting workers")

        def watch(event: Event) -> None:
            name = event.trial.id
            if event.status:
                ended[name] = event.status
            shares[name] = 1.0 if event.status else event.share
            bad = sum(status in ("failed", "diverged") for status in ended.values())
            words = f"{len(todo.done) + len(ended)} of {count} trials"
            done = sum(costs.get(key, cost) * share for key, share in shares.items())
            bar.update(task, completed=done, shown=words + (f", {bad} failed or diverged" if bad else ""))

        yield watch


def _print_plan(place: Path, todo: Plan, jobs: int | None) -> None:
    from nnlab.cli.output import print_table, short
    from nnlab.sweeps.tables import plain

    work = sum(group.cost * len(group.trials) for group in todo.groups)
    if todo.search is not None:
        work *= todo.draws / sum(len(group.trials) for group in todo.groups)
        click.echo(f"{place}: up to {todo.draws} trials, chosen as it goes, {_estimate(todo, work, jobs)}")
        return
    axes = list(todo.trials[0].axes)
    groups = {trial.id: number for number, group in enumerate(todo.groups, 1) for trial in group.trials}
    rows = [
        (
            trial.id,
            *(short(plain(trial.axes[axis])) for axis in axes),
            str(trial.seed),
            _state(todo, trial, groups),
        )
        for trial in todo.trials[:SHOWN_TRIALS]
    ]
    print_table(("trial", *axes, "seed", "program"), rows)
    if len(todo.trials) > SHOWN_TRIALS:
        click.echo(f"... and {len(todo.trials) - SHOWN_TRIALS} more")
    click.echo(
        f"{place}: {len(todo.trials)} trials, {len(todo.done)} done, {todo.left} to run as "
        f"{len(todo.groups)} programs, {_estimate(todo, work, jobs)}"
    )


def _estimate(todo: Plan, work: float, jobs: int | None) -> str:
    from nnlab.system import device

    workers = min(jobs or device.core_count(), max(1, todo.left))
    seconds = (work / _rate() + COMPILE_SECONDS * len(todo.groups)) / workers
    return f"{work:.2g} floating-point operations: about {_duration(seconds)} on {workers} workers"


def _state(todo: Plan, trial: Trial, groups: dict[str, int]) -> str:
    return todo.done[trial.id]["status"] if trial.id in todo.done else f"{groups[trial.id]}"


def _rate() -> float:
    """Floating-point operations a second of one core at training, about a third of its best at products."""
    import numpy as np
    from threadpoolctl import threadpool_limits

    square = np.ones((256, 256), np.float32)
    best = float("inf")
    with threadpool_limits(1):
        for _ in range(20):
            began = time.perf_counter()
            square @ square
            best = min(best, time.perf_counter() - began)
    return 2 * 256**3 / best / 3


def _duration(seconds: float) -> str:
    for size, unit in ((3600.0, "hours"), (60.0, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(1.0, seconds):.0f} seconds"
