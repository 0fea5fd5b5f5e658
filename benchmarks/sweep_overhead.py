"""What a trial of a sweep costs beside its training, and how much memory many of them take.

    python benchmarks/sweep_overhead.py            (100 trials of 20 steps of a net of width 4, and 1,000)
    python benchmarks/sweep_overhead.py --smoke    (few trials: only whether it works)

The sweep runs without a compilation cache, with one, and with ten times as many trials. Memory is sampled
over the last: the goal is that no process grows by more than a twentieth from a quarter of the trials to the
end.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from race import CORES, Cost, Goal, clean_environment, finished, print_costs, print_goals, print_table

TRIALS, SMOKE_TRIALS = 100, 2
SAMPLE_SECONDS = 0.05

TINY = """
name: bench-tiny
data: {type: xor}
model: {type: mlp, width: 4, depth: 1, outputs: 2}
optimizer: {type: sgd, learning_rate: 0.05}
train: {steps: 20}
sweep: {axes: {optimizer.learning_rate: {linspace: [0.01, 0.5, %d]}}}
"""


class Sample(NamedTuple):
    """Trials begun so far, and the peak resident memory of each process in MiB, by its id."""

    begun: int
    peaks: dict[int, float]


class Swept(NamedTuple):
    """What a sweep took, the id of its process, and samples of the memory of that and of its workers."""

    cost: Cost
    parent: int
    samples: list[Sample]


def sweep(place: Path, label: str, trials: int) -> Swept:
    config, out = place / f"{label}.yaml", place / label
    config.write_text(TINY % trials)
    command = [sys.executable, "-m", "nnlab", "sweep", str(config), "--out", str(out)]
    command += ["--no-plots", "--quiet"]
    began = time.perf_counter()
    environment = clean_environment(XDG_CACHE_HOME=str(place))
    process = subprocess.Popen(command, env=environment, text=True)
    samples: list[Sample] = []
    watcher = threading.Thread(target=watch, args=(process.pid, out / "trials", samples), daemon=True)
    watcher.start()
    cost = finished(process, began)
    watcher.join()
    return Swept(cost, process.pid, samples)


def watch(parent: int, trials: Path, samples: list[Sample]) -> None:
    """Sample until the parent has gone."""
    while peak(parent):
        begun = sum(1 for _ in trials.iterdir()) if trials.exists() else 0
        children = Path(f"/proc/{parent}/task/{parent}/children")
        try:
            pids = [parent, *map(int, children.read_text().split())]
        except OSError:
            return
        samples.append(Sample(begun, {pid: peak(pid) for pid in pids}))
        time.sleep(SAMPLE_SECONDS)


def peak(pid: int) -> float:
    """Peak resident memory so far, in MiB; 0 where the process has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    found = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(found[0].split()[1]) / 1024 if found else 0.0


def print_memory(trials: int, swept: Swept) -> Iterator[Goal]:
    """At a quarter of the trials, at the last of them, and for the parent after the tables are written."""
    samples, parent = swept.samples, swept.parent
    most = max(len(sample.peaks) for sample in samples)
    working = [sample for sample in samples if len(sample.peaks) == most and all(sample.peaks.values())]
    quarter = next(sample for sample in working if sample.begun >= trials / 4)
    last, rows = working[-1], []
    for pid, after in last.peaks.items():
        before, name = quarter.peaks.get(pid, math.nan), "parent" if pid == parent else "worker"
        rows.append([name, f"{before:.0f}", f"{after:.0f}", f"{after / before:.3f}"])
        yield Goal(f"{name}, {last.begun} trials / {quarter.begun}", "peak", after / before, 1.05)
    rows.append(["parent, tables written", "", f"{max(sample.peaks[parent] for sample in samples):.0f}", ""])
    print("Peak resident memory, MiB\n")
    print_table(["", f"at {quarter.begun} trials", f"at {last.begun} trials", "ratio"], rows)
    print()


def measure(trials: int) -> Sequence[Goal]:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        cold, warm = (sweep(place, label, trials) for label in ("cold", "warm"))
        longer = sweep(place, "many", 10 * trials)
    costs = {
        f"{trials} trials, cold": cold.cost,
        f"{trials} trials, warm": warm.cost,
        f"{10 * trials} trials, warm": longer.cost,
    }
    print_costs(f"Trials of 20 steps of a net of width 4, nnlab sweep on {CORES} cores", costs)
    further = (longer.cost.cpu - warm.cost.cpu) / (9 * trials) * 1e3
    print(f"A further trial takes {further:.1f} CPU ms.\n")
    return list(print_memory(10 * trials, longer))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="few trials: only whether it works")
    print_goals(measure(SMOKE_TRIALS if parser.parse_args().smoke else TRIALS))


if __name__ == "__main__":
    main()
