"""Kill a sweep, or one of its workers, at random moments, and compare what the same command then leaves.

    python tests/torture_sweep.py [--kills 20]        (make torture)

Every round starts a sweep, kills it (even rounds) or a worker of it (odd rounds) with SIGKILL at a random
moment, runs the same command again, and compares tables and trials with those of a sweep that was left alone,
byte for byte.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CONFIG = """\
name: torture
data: {type: xor, examples: 400, batch_size: 8}
model: {type: mlp, width: 4, depth: 1, outputs: 2}
optimizer: {type: sgd, learning_rate: 0.1}
train: {steps: 20000}
record: {log_spaced: 10}
sweep:
  axes: {model.width: [4, 6, 8], optimizer.learning_rate: [0.05, 0.1]}
  seeds: 2
"""
TABLES = ("trials.csv", "summary.csv", "summary.json", "sweep.yaml")
OF_A_TRIAL = ("metrics.csv", "layers.csv", "summary.json", "config.yaml")


def command(config: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "nnlab", "sweep", str(config), "--out", str(out), "--no-plots", "--quiet"]


def left_by(out: Path) -> dict[str, bytes]:
    """All that must be the same, by its path."""
    files = [out / name for name in TABLES]
    files += [trial / name for trial in sorted((out / "trials").iterdir()) for name in OF_A_TRIAL]
    return {str(file.relative_to(out)): file.read_bytes() for file in files}


def children(process: int) -> list[int]:
    """The worker processes of a sweep."""
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process)], capture_output=True, text=True)
    return [int(word) for word in listed.stdout.split()]


def interrupted(config: Path, out: Path, moment: float, worker: bool, pick: random.Random) -> str:
    """Start a sweep and kill it, or a worker of it, after `moment` seconds; what was done."""
    process = subprocess.Popen(command(config, out))
    try:
        process.wait(moment)
        return "was done before"
    except subprocess.TimeoutExpired:
        pass
    workers = children(process.pid)
    if worker and not workers:
        worker = False
    os.kill(pick.choice(workers) if worker else process.pid, signal.SIGKILL)
    code = process.wait(300)
    if worker and code != 0:
        raise SystemExit(f"a sweep whose worker was killed left with {code}")
    return "worker killed" if worker else "sweep killed"


def torture(kills: int, folder: Path, seed: int = 0) -> int:
    """The number of rounds in which something differed."""
    pick = random.Random(seed)
    config = folder / "torture.yaml"
    config.write_text(CONFIG)
    subprocess.run(command(config, folder / "compiling"), check=True)  # what is timed has compiled programs
    began = time.monotonic()
    subprocess.run(command(config, folder / "whole"), check=True)
    lasted = time.monotonic() - began
    whole = left_by(folder / "whole")
    bad = 0
    for number in range(kills):
        out, moment = folder / f"round-{number}", pick.uniform(0.1, 0.9) * lasted
        what = interrupted(config, out, moment, number % 2 == 1, pick)
        subprocess.run(command(config, out), check=True)
        found = left_by(out)
        differing = sorted(name for name in whole.keys() | found.keys() if whole.get(name) != found.get(name))
        bad += bool(differing)
        print(f"{number:3d} {what} after {moment:5.2f} s: {differing or 'same bytes'}", flush=True)
    return bad


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bad = torture(options.kills, Path(folder), options.seed)
    print(f"{options.kills - bad} of {options.kills} kills left the bytes of a sweep that was left alone")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main()
