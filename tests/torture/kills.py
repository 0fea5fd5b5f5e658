"""Kill runs and sweeps at random moments, and compare what the same command then leaves.

A round starts the command, kills it at a random moment, starts it again, and so on; the last time it is
left alone. Tables, summary and weights must then be, byte for byte, those of a command that was never killed.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from torture import Report

RUN = """\
name: torture
data: {type: gaussian, examples: 900, features: 20, classes: 10, split: {train: 0.7, validation: 0.3}}
model: [{type: dense, units: 24}, batch_norm, relu, {type: dropout, rate: 0.2}, {type: dense, units: 10}]
optimizer: {type: adam, learning_rate: {type: cosine, peak: 0.002}}
train: {steps: 16000}
record: {every: {steps: 10}}
phenomena: [gradient_flow]
"""
SWEEP = """\
name: torture
data: {type: xor, examples: 400, batch_size: 8}
model: {type: mlp, width: 4, depth: 1, outputs: 2}
optimizer: {type: sgd, learning_rate: 0.1, momentum: 0.9}
train: {steps: 40000}
record: {log_spaced: 400}
sweep:
  axes: {model.width: [4, 6, 8], optimizer.learning_rate: [0.05, 0.1]}
  seeds: 2
"""
KILLS_A_ROUND = 5


def command(verb: str, config: Path, out: Path) -> list[str]:
    words = [verb, config, "--out", out, "--no-plots", "--quiet", "--checkpoint-every", 0]
    return [sys.executable, "-m", "nnlab", *map(str, words)]


def left_by(out: Path) -> dict[str, bytes]:
    """All that must be the same, by its path: all but clocks, versions, logs, older checkpoints."""
    files = {}
    for folder in sorted([out, *(place for place in out.glob("trials/*"))]):
        weights = sorted((folder / "checkpoints").glob("step-*"))[-1:]
        chosen = [*folder.glob("*.csv"), *folder.glob("*.yaml"), folder / "summary.json"]
        chosen += [file for place in weights for file in place.glob("*.safetensors")]
        files |= {str(f.relative_to(out)): f.read_bytes() for f in chosen if f.name != "timing.csv"}
    return files


def workers(process: int) -> list[int]:
    """The worker processes of a sweep."""
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(process)], capture_output=True, text=True)
    return [int(word) for word in listed.stdout.split()]


def killed(words: list[str], moment: float, pick: random.Random, worker: bool) -> bool:
    """Start a command and kill it, or a worker of it, after `moment` seconds; whether it came to that."""
    process = subprocess.Popen(words)
    try:
        process.wait(moment)
        return False
    except subprocess.TimeoutExpired:
        pass
    found = workers(process.pid) if worker else []
    os.kill(pick.choice(found) if found else process.pid, signal.SIGKILL)
    code = process.wait(300)
    if found and code != 0:
        raise SystemExit(f"a sweep whose worker was killed left with {code}")
    return True


def kills(verb: str, count: int, folder: Path, seed: int = 0, text: str = "") -> Report:
    """Kill `count` times, over as many rounds as that takes; of a sweep every other time a worker. text: what
    to train in place of the usual."""
    config = folder / "torture.yaml"
    config.write_text(text or (SWEEP if verb == "sweep" else RUN))
    subprocess.run(command(verb, config, folder / "compiling"), check=True)  # what is timed has its programs
    began = time.monotonic()
    subprocess.run(command(verb, config, folder / "whole"), check=True)
    lasted = time.monotonic() - began
    whole = left_by(folder / "whole")

    def one(number: int) -> tuple[int, list[str]]:
        pick, done = random.Random(f"{seed} {number}"), 0
        words = command(verb, config, folder / f"round-{number}")
        for turn in range(min(KILLS_A_ROUND, count)):
            done += killed(words, pick.uniform(0.15, 0.95) * lasted, pick, verb == "sweep" and turn % 2 == 1)
        subprocess.run(words, check=True)
        found = left_by(folder / f"round-{number}")
        names = whole.keys() | found.keys()
        return done, sorted(name for name in names if whole.get(name) != found.get(name))

    bad: list[str] = []
    # a sweep takes all cores by itself
    done, rounds, width = 0, 0, 1 if verb == "sweep" or count <= KILLS_A_ROUND else 2
    with ThreadPoolExecutor(width) as pool:
        while done < count:
            for number, (found, names) in enumerate(pool.map(one, range(rounds, rounds + width)), rounds):
                done += found
                bad += [f"round {number}: {', '.join(names)} differ"] if names else []
            rounds += width
    return Report(done, bad)
