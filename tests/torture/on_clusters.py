"""Run a sweep on a cluster of Slurm and on one of Ray, kill what it depends on, and see what is left.

At random moments a worker, a node with all that runs on it, the cluster's controller or the sweep itself is
killed, and what was killed is started again; a sweep that has ended without all of its trials is run again by
the same command. At the end tables, summaries and weights must be, byte for byte, those of a sweep on this
machine that was never killed, and no trial may have been trained again after it had ended.
"""

from __future__ import annotations

import importlib.util
import os
import random
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from clusters import KINDS, LOOPBACK, Cluster, Ray, Slurm, closing, listening, why_no_slurm

from torture import Report
from torture.joins import trained_again
from torture.kills import SWEEP, command, left_by

SWEEP_OF_60 = SWEEP.replace("[4, 6, 8]", "[4, 6]").replace("[0.05, 0.1]", "[0.03, 0.05, 0.1]")
SWEEP_OF_60 = SWEEP_OF_60.replace("seeds: 2", "seeds: 10").replace("log_spaced: 400", "log_spaced: 100")
WORKERS = 2
MOST_COMMANDS = 50  # until a sweep under fire has all of its trials


def slurm_kills(count: int, folder: Path, seed: int = 0, text: str = SWEEP_OF_60) -> Report:
    """Kill each of what Slurm has `count` times; without Slurm say so, and nothing else."""
    reason = why_no_slurm()
    return _told(reason) if reason else _kills(Slurm, count, folder, seed, text)


def ray_kills(count: int, folder: Path, seed: int = 0, text: str = SWEEP_OF_60) -> Report:
    """Kill each of what Ray has `count` times; without Ray say so, and nothing else."""
    installed = importlib.util.find_spec("ray") is not None
    return _kills(Ray, count, folder, seed, text) if installed else _told("Ray is not installed")


def _told(reason: str) -> Report:
    print(reason)
    return Report(0, [])


def _kills(start: Callable[[Path], Cluster], count: int, folder: Path, seed: int, text: str) -> Report:
    config, pick = folder / "torture.yaml", random.Random(seed)
    config.write_text(text)
    (folder / "cluster").mkdir()
    with closing(start(folder / "cluster")) as cluster:
        here, there = folder / "here", folder / "there"
        jobs = ["--jobs", str(WORKERS)]
        local = _seconds([*command("sweep", config, here), *jobs], {})
        on_cluster = _seconds([*command("sweep", config, there), *jobs, *cluster.options], cluster.variables)
        trials = len(list(here.glob("trials/*")))
        print(f"a sweep of {trials} trials: {local:.0f} s here, {on_cluster:.0f} s there", flush=True)
        whole = left_by(here)
        bad = [f"listens at {address}" for address in listening(cluster.processes()) - LOOPBACK]
        bad += [f"untouched: {name} differs" for name in _differing(whole, left_by(there))]
        left, number = dict.fromkeys((*KINDS, "sweep"), count), 0
        while any(left.values()):
            out = folder / f"sweep-{number}"
            words = [*command("sweep", config, out), *jobs, *cluster.options]
            bad += [f"sweep {number}: {reason}" for reason in _one_sweep(words, cluster, left, pick)]
            bad += [f"sweep {number}: {name} differs" for name in _differing(whole, left_by(out))]
            bad += [f"sweep {number}: {name} was trained again" for name in trained_again(out)]
            number += 1
    return Report(count * (len(KINDS) + 1), bad)


def _seconds(words: list[str], variables: Mapping[str, str]) -> float:
    began = time.monotonic()
    subprocess.run(words, check=True, env={**os.environ, **variables})
    return time.monotonic() - began


def _differing(whole: Mapping[str, bytes], found: Mapping[str, bytes]) -> list[str]:
    return sorted(name for name in whole.keys() | found.keys() if whole.get(name) != found.get(name))


def _one_sweep(words: list[str], cluster: Cluster, left: dict[str, int], pick: random.Random) -> list[str]:
    """Run a sweep until it has all of its trials, killing what is left to be killed; what went wrong."""
    for _ in range(MOST_COMMANDS):
        process = subprocess.Popen(words, env={**os.environ, **cluster.variables})
        while any(left.values()) and process.poll() is None:
            try:
                process.wait(pick.uniform(1.0, 6.0))
                break
            except subprocess.TimeoutExpired:
                kind = pick.choice([kind for kind, count in left.items() if count])
            if kind == "sweep":
                process.kill()
                left[kind] -= 1
            else:
                left[kind] -= cluster.kill(kind, pick)
                cluster.mend()
        if process.wait(600) == 0:
            return []
    return [f"left with {process.returncode} after {MOST_COMMANDS} commands"]
