"""Surroundings that say no: a disk of 1 MB, a folder that may not be written, a second process, a worker that
dies as it writes, a clock that is set back. A check gives what went wrong, or raises `CannotTryError`."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from torture import Report
from torture.kills import RUN, SWEEP, command, left_by, workers


class CannotTryError(Exception):
    """This machine does not let it be tried."""


def nnlab(words: list[str], **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, **options)


def one_line(done: subprocess.CompletedProcess[str], code: int, *parts: str) -> str:
    """What is wrong with how a command refused."""
    right = done.returncode == code and done.stderr.count("\n") == 1 and all(p in done.stderr for p in parts)
    return "" if right else f"left with {done.returncode}: {done.stderr!r}"


@contextlib.contextmanager
def mounted(place: Path, options: str) -> Iterator[None]:
    """A small file system in memory, mounted at a place."""
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    try:
        if subprocess.run(words, capture_output=True).returncode:
            raise CannotTryError("mounting is not allowed here")
    except FileNotFoundError:
        raise CannotTryError("there is no mount here") from None
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


def a_disk_of_1_mb(folder: Path, config: Path, whole: dict[str, bytes]) -> str:
    """It fills up while the run trains: one line that names the path; with room again, the same bytes."""
    disk = folder / "disk"
    with mounted(disk, "size=1m"):
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(850_000))
        reason = one_line(
            nnlab(command("train", config, disk / "run")), 1, f"{disk}/run", "No space left on device"
        )
        ballast.unlink()
        again = nnlab(command("train", config, disk / "run"))
        if again.returncode:
            return reason or f"with room again: {again.stderr!r}"
        return reason or ("" if left_by(disk / "run") == whole else "other bytes")


def a_folder_that_may_not_be_written(folder: Path, config: Path, whole: dict[str, bytes]) -> str:
    disk = folder / "disk"
    with mounted(disk, "size=1m,ro"):
        return one_line(
            nnlab(command("train", config, disk / "run")), 1, f"{disk}/run", "Read-only file system"
        )


def a_second_process(folder: Path, config: Path, whole: dict[str, bytes]) -> str:
    """It is refused, naming the first, which goes on as if nothing were."""
    words = command("train", config, folder / "run")
    first = subprocess.Popen(words)
    while not (folder / "run" / "metrics.csv").exists() and first.poll() is None:
        time.sleep(0.01)
    first.send_signal(signal.SIGSTOP)  # as if it took long
    second = nnlab(words)
    first.send_signal(signal.SIGCONT)
    if first.wait(300):
        return f"the first one left with {first.returncode}"
    reason = one_line(second, 2, "another process is at work here", f"process {first.pid}")
    return reason or ("" if left_by(folder / "run") == whole else "other bytes")


def a_worker_that_dies_as_it_writes(folder: Path, config: Path, whole: dict[str, bytes]) -> str:
    """Its trial is run again by another worker, in the same sweep."""
    config = config.with_name("sweep.yaml")
    subprocess.run(command("sweep", config, folder / "whole"), check=True)
    process = subprocess.Popen(command("sweep", config, folder / "run"))
    trials = folder / "run" / "trials"
    while not any(trials.glob("*/checkpoints/.step-*/*")):
        if process.poll() is not None:
            return "it ended before a checkpoint was seen to be written"
    os.kill(workers(process.pid)[0], signal.SIGKILL)
    if process.wait(300):
        return f"the sweep left with {process.returncode}"
    return "" if left_by(folder / "run") == left_by(folder / "whole") else "other bytes"


def a_clock_set_back_by_a_day(folder: Path, config: Path, whole: dict[str, bytes]) -> str:
    """While a run trains, and before the next one goes on with it."""
    if importlib.util.find_spec("libfaketime") is None:
        raise CannotTryError("libfaketime is not installed")
    [library] = [
        file
        for place in importlib.util.find_spec("libfaketime").submodule_search_locations
        for file in Path(place).rglob("libfaketime.so.1")
    ]
    clock = folder / "clock"
    clock.write_text("+0")
    environment = os.environ | {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "DONT_FAKE_MONOTONIC": "1",  # which no system sets back
    }
    shown = [sys.executable, "-c", "import time; print(time.time())"]
    process = subprocess.Popen(command("train", config, folder / "run"), env=environment)
    while not (folder / "run" / "metrics.csv").exists() and process.poll() is None:
        time.sleep(0.01)
    clock.write_text("-1d")
    if time.time() - float(nnlab(shown, env=environment).stdout) < 80_000:
        return "the clock was not set back"
    process.send_signal(signal.SIGTERM)
    code = process.wait(300)
    clock.write_text("-2d")
    again = nnlab(command("train", config, folder / "run"), env=environment)
    if code not in (0, 143) or again.returncode:
        return f"left with {code}, then {again.returncode}: {again.stderr!r}"
    return "" if left_by(folder / "run") == whole else "other bytes"


# of few trials, which still save checkpoints often enough to be met while they do
SMALL_SWEEP = SWEEP.replace("[4, 6, 8]", "[4, 6]").replace("seeds: 2", "seeds: 1").replace("40000", "8000")
CHECKS: list[Callable[[Path, Path, dict[str, bytes]], str]] = [
    a_disk_of_1_mb,
    a_folder_that_may_not_be_written,
    a_second_process,
    a_worker_that_dies_as_it_writes,
    a_clock_set_back_by_a_day,
]


# what no other test tries: that a disk is full, say, is among the calls that fail in `faults`
FEW_CHECKS = [a_folder_that_may_not_be_written, a_second_process, a_worker_that_dies_as_it_writes]


def surroundings(folder: Path, shorter: bool = False) -> Report:
    """All of them, or fewer, shorter ones; those that cannot be tried here are told of, and are no case."""
    config = folder / "torture.yaml"
    config.write_text(RUN.replace("16000", "4000") if shorter else RUN)
    config.with_name("sweep.yaml").write_text(SMALL_SWEEP if shorter else SWEEP)
    subprocess.run(command("train", config, folder / "whole"), check=True)
    whole, cases, bad = left_by(folder / "whole"), 0, []
    for check in FEW_CHECKS if shorter else CHECKS:
        name = check.__name__.replace("_", " ")
        place = folder / check.__name__
        place.mkdir()
        try:
            reason = check(place, config, whole)
        except CannotTryError as error:
            print(f"{name}: not tried: {error}")
            continue
        cases += 1
        bad += [f"{name}: {reason}"] if reason else []
    return Report(cases, bad)
