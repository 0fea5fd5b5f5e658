"""Run an experiment for many values and seeds: what `nnlab.sweep` and the command `nnlab sweep` do."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from nnlab.config import Config
from nnlab.errors import Interrupted, UsageError
from nnlab.registry import imported_modules, plugins_used
from nnlab.runs.figures import draw
from nnlab.runs.results import Sweep, open_sweep
from nnlab.runs.resume import Notify, ResumePolicy, ignore
from nnlab.runs.together import refuse_drawn_seed
from nnlab.storage.lock import DirectoryLock
from nnlab.sweeps.claims import Claims
from nnlab.sweeps.directory import SweepDirectory
from nnlab.sweeps.engines.base import Engine
from nnlab.sweeps.engines.launchers import Launcher, ProcessLauncher, split_command
from nnlab.sweeps.engines.ray_launcher import RayLauncher, ray_address
from nnlab.sweeps.engines.workers import WorkerEngine
from nnlab.sweeps.plan import Plan, make_plan, renew_plan
from nnlab.sweeps.progress import EventCallback, progress_bar
from nnlab.sweeps.recorder import SweepRecorder
from nnlab.sweeps.run import run_sweep
from nnlab.system import device


def sweep(
    experiment: Config,
    out: str | Path | None = None,
    *,
    jobs: int | None = None,
    engine: str = "local",
    launcher: str | None = None,
    join: bool = False,
    resume: bool = True,
    allow_drift: bool = False,
    checkpoint_every: float = 60.0,
    fail_fast: bool = False,
    platform: str = "auto",
    deterministic: bool = False,
    plots: bool = True,
    progress: bool | EventCallback = False,
    notify: Notify = ignore,
) -> Sweep:
    """Run an experiment for every combination of its sweep's values, each trial once.

    The same call gives the same directory as the command `nnlab sweep`, byte for byte; again, it runs only
    what is missing or failed, and with more values in the sweep, the new ones. A thread may call it, too.

    In the main thread SIGINT (a notebook's stop button), SIGTERM and SIGHUP end the trials at a checkpoint,
    within seconds; at a second one the workers are killed. Elsewhere signals are left alone.

    Args:
        experiment: An experiment with a `sweep:` block; `nnlab.load` takes overrides as axes, too.
        out: The sweep directory; by default results/<name>-sweep-<hash of the experiment without its sweep>.
        jobs: Number of worker processes, among which GPUs are divided; by default one per core, or per GPU.
        engine: `local`, `ray` for actors of Ray on this machine, or `ray://HOST:PORT` for those of a cluster.
        launcher: A command that starts each worker elsewhere, such as `srun -n1` or `ssh host`. There, as in
            a cluster, are this Python and the directory at the same paths; jobs must be given.
        join: Whether other processes, which are called so too, may run trials of this sweep, each trial once.
        resume: Whether to keep the trials that are finished; else all of them are run anew.
        allow_drift, checkpoint_every, platform, deterministic: As for each trial by `nnlab.train`.
        fail_fast: Whether to stop at the first trial that fails.
        plots: Whether to draw the figures of the sweep into its folder plots/.
        progress: Whether to show a bar, or a function that is called with each `Event`.
        notify: Called with each line that is worth knowing of the data, and of a figure with nothing in it.

    Returns:
        The sweep; its `status` says whether trials failed, its `check()` whether it came out as expected.

    Raises:
        ConfigError: The experiment has no sweep, or some of its trials are wrong.
        UsageError: The directory is another sweep's, or in use; an argument or a component cannot be used.
        DriftError: A trial was begun where other numbers come out.
        DiskError, NnlabError: Something cannot be written; no worker can be started.
        Interrupted: A signal ended the sweep, see `nnlab.train`; the same call continues.
    """
    _check_type(experiment, "nnlab.sweep")
    workforce = _workforce(jobs, engine, launcher, platform, deterministic)
    directory, policy = _directory(experiment, out), ResumePolicy(checkpoint_every, resume, allow_drift)
    plan, modules = make_plan(experiment, directory, policy), _worker_modules(experiment)
    _check_plan(plan, join, resume)
    with directory.held(shared=join) as lock:
        recorder = _begin(renew_plan(plan, directory, policy), directory, lock, join, policy)
        _run(recorder, workforce.engine(plan, directory, policy, modules, lock), fail_fast, progress, notify)
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


class _Workforce(NamedTuple):
    """How many workers run trials, as actors of which cluster of Ray, if any, or started by which command, on
    which platform, and whether its results are to be the same bits each time."""

    jobs: int | None
    ray: str | None
    prefix: Sequence[str]
    platform: str
    deterministic: bool

    def engine(
        self,
        plan: Plan,
        directory: SweepDirectory,
        policy: ResumePolicy,
        modules: Sequence[str],
        lock: DirectoryLock,
    ) -> Engine:
        launcher = self._launcher(directory.path / "sweep.log", lock)
        is_here = self.ray is None and not self.prefix
        gpus = device.visible_gpus(self.platform) if is_here else []
        gpus = device.grouped_gpus(gpus, (plan.config.tree["train"] or {}).get("devices", 1))
        return WorkerEngine(
            directory.path, launcher, self.jobs, self.platform, policy, modules, self.deterministic, gpus
        )

    def _launcher(self, log: Path, lock: DirectoryLock) -> Launcher:
        if self.ray is None:
            # a command may outlive its worker, and would keep the lock; what runs elsewhere has leases alone
            return ProcessLauncher(log, self.prefix, () if self.prefix else (lock.descriptor,))
        jobs = self.jobs or max(device.core_count(), device.worker_count(self.platform))
        return RayLauncher(self.ray, log, jobs, int(self.platform == "gpu"))


def _workforce(
    jobs: int | None, engine: str, launcher: str | None, platform: str, deterministic: bool
) -> _Workforce:
    """Those who run trials, as the arguments of `sweep` say. Raises UsageError."""
    if jobs is not None and jobs < 1:
        raise UsageError(f"jobs: {jobs} worker processes run nothing; name 1 or more")
    ray = ray_address(engine)
    if launcher is not None and ray is not None:
        raise UsageError(f"--launcher: --engine {engine} starts the workers; leave out one of the two")
    if jobs is None and (launcher is not None or ray):
        option = "--launcher" if ray is None else f"--engine {engine}"
        raise UsageError(f"{option}: name --jobs, too, how many workers it is to start")
    prefix = split_command(launcher) if launcher is not None else []
    return _Workforce(jobs, ray, prefix, platform, deterministic)


def _check_plan(plan: Plan, join: bool, resume: bool) -> None:
    """Check that a sweep can be run, and be shared where it is to be. Raises UsageError."""
    if join:
        refuse_drawn_seed(plan.config, "--join")
    if join and not resume:
        raise UsageError("--join: --force would remove what other processes run; leave out one of the two")
    if join and plan.search is not None:
        raise UsageError("--join: a search chooses each trial by those before, in one process; leave it out")
    if plan.search is not None:
        plan.search.require()


def _begin(
    plan: Plan, directory: SweepDirectory, lock: DirectoryLock, join: bool, policy: ResumePolicy
) -> SweepRecorder:
    """Begin a sweep, or see that the processes which have begun it mean the same one. Raises UsageError."""
    left = [trial for group in plan.groups for trial in group.trials]
    claims = Claims(directory, lock, join, left)
    is_the_same = join and directory.holds(plan.config)
    if not is_the_same:
        if not lock.is_alone:
            raise UsageError(
                f"{directory.path}: other processes are at work here on other values of this sweep; wait for "
                "them, or name another --out"
            )
        claims.clear()
    if lock.is_alone:
        directory.begin_sweep(plan.config, force=not policy.resume)
    if join:
        lock.share()
    return SweepRecorder(plan, directory, claims)


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
    recorder: SweepRecorder,
    engine: Engine,
    fail_fast: bool,
    progress: bool | EventCallback,
    notify: Notify,
) -> None:
    for note in recorder.plan.notes:
        notify(f"note: {note}")
    with contextlib.ExitStack() as stack:
        on_event = progress if callable(progress) else None
        if progress is True:
            on_event = stack.enter_context(progress_bar(recorder.plan))
        outcome = run_sweep(recorder, engine, fail_fast, on_event)
    if outcome.signal:
        raise Interrupted(recorder.plan.path, outcome.signal)


def _opened(directory: SweepDirectory, plots: bool, notify: Notify) -> Sweep:
    result = open_sweep(directory.path)
    if not plots or result.completed_trials.empty:  # all may have diverged
        return result
    return replace(result, plots=draw([result], directory.path / "plots", notify=notify))


def _directory(experiment: Config, out: str | Path | None) -> SweepDirectory:
    return SweepDirectory(Path(out) if out is not None else SweepDirectory.default(experiment))
