"""Run an experiment for many values and seeds: what `nnlab.sweep` and the command `nnlab sweep` do."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

from nnlab.config import Config
from nnlab.errors import Interrupted, UsageError
from nnlab.registry import imported_modules, plugins_used
from nnlab.runs.figures import draw
from nnlab.runs.results import Sweep, open_sweep
from nnlab.runs.resume import Notify, ResumePolicy, ignore
from nnlab.sweeps.directory import SweepDirectory
from nnlab.sweeps.engines.base import Engine
from nnlab.sweeps.engines.local import LocalEngine
from nnlab.sweeps.plan import Plan, make_plan, renew_plan
from nnlab.sweeps.progress import EventCallback, progress_bar
from nnlab.sweeps.run import SweepOutcome, run_sweep


def sweep(
    experiment: Config,
    out: str | Path | None = None,
    *,
    jobs: int | None = None,
    resume: bool = True,
    allow_drift: bool = False,
    checkpoint_every: float = 60.0,
    fail_fast: bool = False,
    platform: str = "auto",
    plots: bool = True,
    progress: bool | EventCallback = False,
    notify: Notify = ignore,
) -> Sweep:
    """Run an experiment for every combination of its sweep's values, each trial once.

    The same call gives the same directory as the command `nnlab sweep`, byte for byte. The trials run in
    processes of their own, `python -m nnlab.sweeps.worker`, so a notebook or a thread may call this. The same
    call again runs only what is missing or failed, and with more values in the sweep, the new ones.

    In the main thread SIGINT (a notebook's stop button), SIGTERM and SIGHUP end the trials at a checkpoint,
    within seconds; at a second one the workers are killed. Elsewhere signals are left alone.

    Args:
        experiment: An experiment with a `sweep:` block; `nnlab.load` takes overrides as axes, too.
        out: The sweep directory; by default results/<name>-sweep-<hash of the experiment without its sweep>.
        jobs: Number of worker processes; by default one per core, or one on an accelerator.
        resume: Whether to keep the trials that are finished; else all of them are run anew.
        allow_drift, checkpoint_every, platform: As for each trial by `nnlab.train`.
        fail_fast: Whether to stop at the first trial that fails.
        plots: Whether to draw the figures of the sweep into its folder plots/.
        progress: Whether to show a bar, or a function that is called with each `Event`.
        notify: Called with each line that is worth knowing of the data, and of a figure with nothing in it.

    Returns:
        The sweep; its `status` says whether trials failed, its `check()` whether it came out as expected.

    Raises:
        ConfigError: The experiment has no sweep, or some of its trials are wrong.
        UsageError: The directory holds something else, another process works on it, a package is missing,
            jobs is below 1, or the script or notebook itself defines a component, which is in no module.
        DriftError: A trial was begun where other numbers come out.
        DiskError: Something cannot be written.
        NnlabError: No worker can be started.
        Interrupted: A signal ended the sweep, see `nnlab.train`; the same call continues.
    """
    _check_type(experiment, "nnlab.sweep")
    _check_jobs(jobs)
    directory, policy = _directory(experiment, out), ResumePolicy(checkpoint_every, resume, allow_drift)
    plan, modules = make_plan(experiment, directory, policy), _worker_modules(experiment)
    if plan.search is not None:
        plan.search.require()
    with directory.held() as lock:
        plan = renew_plan(plan, directory, policy)
        directory.begin_sweep(experiment, force=not resume)
        engine = LocalEngine(directory.path, jobs, platform, policy, modules, (lock,))
        outcome = _run(plan, directory, engine, fail_fast, progress, notify)
        if outcome.signal:
            raise Interrupted(directory.path, outcome.signal)
        return _opened(directory, plots, notify)


def plan_sweep(
    experiment: Config,
    out: str | Path | None = None,
    *,
    resume: bool = True,
    allow_drift: bool = False,
) -> Plan:
    """Say what `sweep` would run and what it would cost, as `nnlab sweep --dry-run` does; nothing is written.

    Args:
        experiment: See `sweep`.
        out: See `sweep`.
        resume: See `sweep`.
        allow_drift: See `sweep`.

    Returns:
        The plan; its `estimate(jobs)` is the cost, `table` lists the trials.

    Raises:
        ConfigError: The experiment has no sweep, or some of its trials are wrong.
        UsageError: The directory holds something else.
    """
    _check_type(experiment, "nnlab.plan_sweep")
    policy = ResumePolicy(resume=resume, allow_drift=allow_drift)
    return make_plan(experiment, _directory(experiment, out), policy)


def _check_type(experiment: object, function: str) -> None:
    if not isinstance(experiment, Config):
        raise TypeError(f"{function} takes an experiment of nnlab.load, not {type(experiment).__name__}")


def _check_jobs(jobs: int | None) -> None:
    if jobs is not None and jobs < 1:
        raise UsageError(f"jobs: {jobs} worker processes run nothing; name 1 or more")


def _worker_modules(experiment: Config) -> list[str]:
    """The modules that workers import: those named by --import, and those whose components it uses.

    Raises UsageError where a script or a notebook registers one itself: no worker can import that.
    """
    used = plugins_used(experiment.tree)
    if "__main__" in used:
        raise UsageError(
            "a component of this experiment is defined in the script or notebook itself, where the workers "
            "of a sweep cannot import it; put it into a module, and import that"
        )
    return list(dict.fromkeys([*imported_modules(), *used]))


def _run(
    plan: Plan,
    directory: SweepDirectory,
    engine: Engine,
    fail_fast: bool,
    progress: bool | EventCallback,
    notify: Notify,
) -> SweepOutcome:
    for note in plan.notes:
        notify(f"note: {note}")
    with contextlib.ExitStack() as stack:
        on_event = progress if callable(progress) else None
        if progress is True:
            on_event = stack.enter_context(progress_bar(plan))
        return run_sweep(plan, directory, engine, fail_fast, on_event)


def _opened(directory: SweepDirectory, plots: bool, notify: Notify) -> Sweep:
    result = open_sweep(directory.path)
    if not plots or result.completed_trials.empty:  # all may have diverged
        return result
    return replace(result, plots=draw([result], directory.path / "plots", notify=notify))


def _directory(experiment: Config, out: str | Path | None) -> SweepDirectory:
    return SweepDirectory(Path(out) if out is not None else SweepDirectory.default(experiment))
