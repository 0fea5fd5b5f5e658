"""Kill processes that share a sweep at random moments, start others in their place, and see what is left.

Four processes run the trials of one sweep together (`--join`); at random moments one of them, or a worker of
one, is killed, and another one started. At the end tables, summaries and weights must be, byte for byte,
those of one process that was never killed, and no trial may have been trained again after it had ended.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
from pathlib import Path

from nnlab import __version__
from torture import Report
from torture.kills import SWEEP, command, left_by, workers

PROCESSES = 4


def joins(count: int, folder: Path, seed: int = 0, text: str = SWEEP) -> Report:
    """Kill `count` times, over as many sweeps as that takes, every other time a worker."""
    config, pick = folder / "torture.yaml", random.Random(seed)
    config.write_text(text)
    subprocess.run(command("sweep", config, folder / "whole"), check=True)
    whole = left_by(folder / "whole")
    done, number, bad = 0, 0, []
    while done < count:
        out = folder / f"sweep-{number}"
        killed, codes = _one_sweep(config, out, count - done, pick)
        found = left_by(out)
        names = sorted(name for name in whole.keys() | found.keys() if whole.get(name) != found.get(name))
        bad += [f"sweep {number}: {', '.join(names)} differ"] if names else []
        bad += [f"sweep {number}: a process left with {code}" for code in codes if code]
        bad += [f"sweep {number}: {name} was trained again" for name in trained_again(out)]
        done, number = done + killed, number + 1
    return Report(done, bad)


def _one_sweep(config: Path, out: Path, most: int, pick: random.Random) -> tuple[int, list[int]]:
    """Run a sweep to its end under fire: how often that killed, and the exit codes of those who lived."""
    words = [*command("sweep", config, out), "--join", "--jobs", "1"]
    processes, killed, hit = [subprocess.Popen(words) for _ in range(PROCESSES)], 0, set()
    while killed < most:
        time.sleep(pick.uniform(0.5, 4.0))
        running = {process.pid: process for process in processes if process.poll() is None}
        if len(running) < PROCESSES:  # the sweep has come to its end
            break
        # a trial whose worker dies twice is given up, as it should be, so that it is killed once
        training = [(pid, trial) for pid, trial in _training(out) if pid in running and trial not in hit]
        pid, trial = pick.choice(training if killed % 2 and training else [(p, "") for p in running])
        found = workers(pid) if trial else []
        os.kill(pick.choice(found) if found else pid, signal.SIGKILL)
        killed += 1
        hit.add(trial)
        if not found:
            running[pid].wait()
            processes.remove(running[pid])
            processes.append(subprocess.Popen(words))
    return killed, [process.wait(300) for process in processes]


def _training(out: Path) -> list[tuple[int, str]]:
    """The processes that have a trial, each with its trial."""
    pairs = []
    for file in sorted(out.glob("trials/*/.lease-*/holder")):
        with contextlib.suppress(OSError, IndexError):  # given up in this moment, or about to be written
            pairs.append((int(file.read_text().split()[1]), file.parents[1].name))
    return pairs


def trained_again(out: Path) -> list[str]:
    """The trials of which a step was taken once more after they had ended. One that is killed between its
    last checkpoint and its summary is begun again, and has nothing left to do."""
    names = []
    for log in sorted(out.glob("trials/*/train.log")):
        before, ending, after = log.read_text().partition("complete at step ")
        if f"nnlab {__version__}" in after and f"goes on from step {after.split()[0]}\n" not in after:
            names.append(f"{log.parent.name} ({' / '.join((before + ending + after).splitlines())})")
    return names
