"""Running a sweep: an engine trains the missing trials, and the sweep's files are written as they end."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NamedTuple

from nnlab.errors import RunStatus
from nnlab.runs.signals import handle_stop_signals, pass_on
from nnlab.sweeps.engines.base import Engine, Event, Summary
from nnlab.sweeps.recorder import SweepRecorder


class SweepOutcome(NamedTuple):
    """How the running of a sweep ended.

    Attributes:
        summary: What summary.json holds.
        signal: The signal that interrupted the sweep, 0 if none did.
    """

    summary: Summary
    signal: int


def run_sweep(
    recorder: SweepRecorder,
    engine: Engine,
    fail_fast: bool = False,
    on_event: Callable[[Event], None] | None = None,
) -> SweepOutcome:
    """Run the trials that are left, to their ends or to SIGINT, SIGTERM or SIGHUP.

    Args:
        recorder: Of the sweep, whose directory is held by this process and begun.
        engine: Runs the trials; it is closed at the end.
        fail_fast: Stop at the first trial that fails.
        on_event: Called with each event of the engine.

    Returns:
        How it ended.

    Raises:
        NnlabError: The sweep cannot go on: the disk is full, say, or workers do not start. Its tables and its
            summary are written all the same.
    """
    recorder.write_trials()
    with contextlib.ExitStack() as stack:
        signals = stack.enter_context(_stop_at_signals(engine))
        stack.enter_context(_finish_at_errors(recorder))
        stack.enter_context(contextlib.closing(recorder.claims))
        stack.enter_context(contextlib.closing(engine))
        for event in engine.run(recorder.queue):
            if event.status:
                recorder.record(event)
            if event.status == RunStatus.FAILED and fail_fast and not engine.stopping:
                engine.stop()
            if on_event is not None:
                on_event(event)
            if event.status:
                recorder.write_trials_if_due()
    return SweepOutcome(recorder.finish(), signals[0] if signals else 0)


@contextlib.contextmanager
def _finish_at_errors(recorder: SweepRecorder) -> Iterator[None]:
    """Leave complete tables and a summary where the sweep cannot go on."""
    try:
        yield
    except (Exception, KeyboardInterrupt):
        recorder.finish()
        raise


@contextlib.contextmanager
def _stop_at_signals(engine: Engine) -> Iterator[list[int]]:
    """At SIGINT, SIGTERM or SIGHUP let the workers end their chunk; kill them at a second signal, which then
    goes to what handled it before."""
    signals: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if signals:
            engine.kill()
            pass_on(number, frame, previous)
        signals.append(number)
        engine.stop()

    with handle_stop_signals(handle) as previous:
        yield signals
