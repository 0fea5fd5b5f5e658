"""A bar that shows how a sweep goes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from nnlab.errors import RunStatus
from nnlab.runs.progress import progress_console
from nnlab.sweeps.engines.base import Event
from nnlab.sweeps.plan import Plan

EventCallback = Callable[[Event], None]
"""Called with each event of a sweep: a trial has gone on, or has ended."""


@contextlib.contextmanager
def progress_bar(plan: Plan) -> Iterator[EventCallback]:
    """A bar on stderr, or in a notebook below the cell: the trials by what they cost, failures, time left."""
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
    with Progress(*columns, console=progress_console()) as bar:
        total = mean_cost * plan.trials_left
        shown = "starting workers" if plan.trials_left else f"{count} of {count} trials"
        task = bar.add_task(plan.config.name, total=total, shown=shown)

        def show(event: Event) -> None:
            name = event.trial.id
            if event.status:
                statuses[name] = event.status
            shares[name] = 1.0 if event.status else event.share
            bad = sum(status in (RunStatus.FAILED, RunStatus.DIVERGED) for status in statuses.values())
            words = f"{len(plan.finished) + len(statuses)} of {count} trials"
            completed = sum(costs.get(key, mean_cost) * share for key, share in shares.items())
            bar.update(
                task, completed=completed, shown=words + (f", {bad} failed or diverged" if bad else "")
            )

        yield show
