"""Signals while a run trains: the first one ends it at a checkpoint, a second one ends it at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

Handler = Callable[[int, FrameType | None], object]
Previous = dict[int, Handler | int | None]
"""What handled a signal before, by its number, as `signal.signal` returns it."""


@contextlib.contextmanager
def collect_stop_signals() -> Iterator[list[int]]:
    """Collect the first SIGINT, SIGTERM or SIGHUP, so that a chunk can end; the next one goes to what
    handled it before. Outside the main thread, where Python delivers no signals, nothing is collected."""
    caught: list[int] = []

    def collect(number: int, frame: FrameType | None) -> None:
        if caught:
            pass_on(number, frame, previous)
        caught.append(number)

    with handle_stop_signals(collect) as previous:
        yield caught


@contextlib.contextmanager
def handle_stop_signals(handler: Handler) -> Iterator[Previous]:
    """Let a function handle SIGINT, SIGTERM and, unless it is ignored as under nohup, SIGHUP; only the main
    thread may. Yields what handled them before, and will again."""
    previous: Previous = {}
    if threading.current_thread() is threading.main_thread():
        numbers = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            numbers.append(signal.SIGHUP)
        previous = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield previous
    finally:
        for number, before in previous.items():  # None is a handler outside of Python, which cannot be named
            signal.signal(number, signal.SIG_DFL if before is None else before)


def pass_on(number: int, frame: FrameType | None, previous: Previous) -> None:
    """Let what handled a signal before handle it."""
    before = previous[number]
    if callable(before):
        before(number, frame)
    elif before == signal.SIG_DFL:
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)


@contextlib.contextmanager
def exit_at_second_signal() -> Iterator[None]:
    """End the process at its second signal, even while XLA compiles or computes: Python's own handlers wait
    until that is over, and take two of a kind for one. For a process that does nothing but train."""
    reading_end, writing_end = os.pipe()
    os.set_blocking(writing_end, False)

    def listen() -> None:
        count = 0
        while number := os.read(reading_end, 1):
            count += 1
            if count == 2:
                os._exit(128 + number[0])
        os.close(reading_end)

    try:
        previous = signal.set_wakeup_fd(writing_end, warn_on_full_buffer=False)
    except ValueError:  # only the main thread may
        os.close(reading_end)
        os.close(writing_end)
        yield
        return
    threading.Thread(target=listen, daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(previous)
        os.close(writing_end)  # at which the thread ends
