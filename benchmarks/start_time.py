"""How long a user waits at the start of nnlab, and how much memory it takes, as ratios within one run.

    python benchmarks/start_time.py            (half a minute of CPU time)
    python benchmarks/start_time.py --smoke    (one round of a short training: only whether it works)

1. `nnlab --help` against `python -c 'import click'`: goal <= 1.6.
2. `nnlab train experiments/grokking_mod31.yaml`, its program compiled before: until the first row of
   metrics.csv is written, against `python -c 'import jax, pandas'`: goal <= 2. Until then, the CPU seconds
   are those of the training's own process. From start to exit, figures included; cold, too, so that the
   difference is the compile's share.
3. Peak memory of that training, and of a worker of a sweep over two seeds of it, whose largest process it is.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from race import Cost, Goal, clean_environment, goals, print_costs, print_goals, race, run_process

EXPERIMENT = Path(__file__).resolve().parents[1] / "experiments" / "grokking_mod31.yaml"
ROUNDS = 5
SAMPLE_SECONDS = 0.002

HELP, CLICK, IMPORTS = "nnlab --help", "import click", "import jax, pandas"
FIRST_ROW, TRAIN = "nnlab train, warm, to the first row", "nnlab train, warm, to the exit"
COLD, SWEEP = "nnlab train, cold, to the exit", "nnlab sweep, warm, 2 workers"


class Runs:
    """Runs of nnlab, each in a directory of its own.

    Attributes:
        place: Where the directories and the caches are.
        changes: Overrides of the experiment.
        numbers: Names of directories that are not there yet.
    """

    def __init__(self, place: Path, changes: list[str]) -> None:
        self.place, self.changes, self.numbers = place, changes, itertools.count()

    def command(self, verb: str, *more: str) -> tuple[list[str], Path]:
        """A command on the experiment, and its run directory."""
        out = self.place / str(next(self.numbers))
        words = [sys.executable, "-m", "nnlab", verb, str(EXPERIMENT), *self.changes, *more]
        return [*words, "--out", str(out), "--quiet"], out

    def environment(self, cache: str) -> dict[str, str]:
        return clean_environment(XDG_CACHE_HOME=str(self.place / cache))

    def train(self) -> Cost:
        return run_process(self.command("train")[0], self.environment("warm"), codes=(0, 1))[0]

    def train_cold(self) -> Cost:
        cache = f"cold-{next(self.numbers)}"
        return run_process(self.command("train")[0], self.environment(cache), codes=(0, 1))[0]

    def train_to_first_row(self) -> Cost:
        """Until metrics.csv has a row; the training goes on to its end, so that nothing else is disturbed."""
        command, out = self.command("train")
        began = time.perf_counter()
        process = subprocess.Popen(command, env=self.environment("warm"), stdout=subprocess.DEVNULL)
        while not has_row(out / "metrics.csv") and process.poll() is None:
            time.sleep(SAMPLE_SECONDS)
        cost = Cost(time.perf_counter() - began, cpu_seconds(process.pid))
        if process.wait() not in (0, 1):
            sys.exit(f"nnlab train: exit code {process.returncode}")
        return cost

    def sweep(self) -> Cost:
        command, _ = self.command("sweep", "sweep.seeds=2", "--no-plots")
        return run_process(command, self.environment("warm"), codes=(0, 1))[0]


def has_row(table: Path) -> bool:
    """Whether a table has a whole row beside its head."""
    try:
        return table.read_bytes().count(b"\n") > 1
    except OSError:
        return False


def cpu_seconds(pid: int) -> float:
    """CPU seconds of a process so far, all threads; Linux counts them in hundredths."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def python(*words: str) -> Callable[[], Cost]:
    """A Python process as a contestant."""
    return lambda: run_process([sys.executable, *words], clean_environment())[0]


def measure(rounds: int, changes: list[str]) -> Iterator[Goal]:
    start = {HELP: python("-m", "nnlab", "--help"), CLICK: python("-c", CLICK)}
    costs = race(start, rounds)
    print_costs("From start to exit", costs)
    yield from goals(f"{HELP} / {CLICK}", costs[HELP], [costs[CLICK]], 1.6, "cpu")
    with tempfile.TemporaryDirectory() as name:
        runs = Runs(Path(name), changes)
        runs.train()  # compiles
        contestants = {FIRST_ROW: runs.train_to_first_row, IMPORTS: python("-c", IMPORTS), TRAIN: runs.train}
        costs = race(contestants, rounds)
        costs |= race({COLD: runs.train_cold, SWEEP: runs.sweep}, rounds=1)
    print_costs("`experiments/grokking_mod31.yaml`", costs)
    share = (costs[COLD].cpu - costs[TRAIN].cpu) / costs[COLD].cpu
    print(f"What the cache saves, the compile, is {share:.0%} of the cold training's CPU seconds.\n")
    yield from goals(f"{FIRST_ROW} / {IMPORTS}", costs[FIRST_ROW], [costs[IMPORTS]], 2, "cpu")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="one short round: only whether it works")
    smoke = parser.parse_args().smoke
    rounds, changes = (1, ["train.steps=20", "record.log_spaced=5"]) if smoke else (ROUNDS, [])
    print_goals(list(measure(rounds, changes)))


if __name__ == "__main__":
    main()
