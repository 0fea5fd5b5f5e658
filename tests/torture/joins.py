"""Kill processes that share a sweep at random moments, start others in their place, and see what is left.

Four processes run the trials of one sweep together (`--join`); at random moments one of them, or a worker of
one, is killed, and another one started. At the end tables, summaries and weights must be, byte for byte,
those of one process that was never killed, and no trial may have been trained again after it had ended.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from pathlib import Path

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
        killed, codes = _one_sweep(
            [*command("sweep", config, out), "--join", "--jobs", "1"], count - done, pick
        )
        found = left_by(out)
        names = sorted(name for name in whole.keys() | found.keys() if whole.get(name) != found.get(name))
        bad += [f"sweep {number}: {', '.join(names)} differ"] if names else []
        bad += [f"sweep {number}: a process left with {code}" for code in codes if code]
        bad += [f"sweep {number}: {name} was trained again" for name in _trained_again(out)]
        done, number = done + killed, number + 1
    return Report(done, bad)


def _one_sweep(words: list[str], most: int, pick: random.Random) -> tuple[int, list[int]]:
    """Run a sweep to its end under fire: how often that killed, and the exit codes of those who lived."""
    processes, killed = [subprocess.Popen(words) for _ in range(PROCESSES)], 0
    while killed < most:
        time.sleep(pick.uniform(0.5, 4.0))
        running = [process for process in processes if process.poll() is None]
        if len(running) < PROCESSES:  # the sweep has come to its end
            break
        victim = pick.choice(running)
        found = workers(victim.pid) if killed % 2 else []
        os.kill(pick.choice(found) if found else victim.pid, signal.SIGKILL)
        killed += 1
        if not found:
            victim.wait()
            processes.remove(victim)
            processes.append(subprocess.Popen(words))
    return killed, [process.wait(300) for process in processes]


def _trained_again(out: Path) -> list[str]:
    """The trials that were begun once more after they had ended."""
    names = []
    for log in out.glob("trials/*/train.log"):
        lines = log.read_text().splitlines()
        ends = [number for number, line in enumerate(lines) if line.startswith("complete")]
        begins = [number for number, line in enumerate(lines) if line.startswith("nnlab ")]
        names += [log.parent.name] if ends and begins[-1] > ends[0] else []
    return sorted(names)
