"""How CPU seconds and peak memory grow with the size of a training: no worse than linearly.

    python benchmarks/growth.py            (steps, records and trials ten times, layers four times, twice)
    python benchmarks/growth.py --smoke    (one axis in tiny sizes: only whether it works)

Each axis has three sizes, a factor apart. A straight line through the smaller two says what the largest would
take if it grew in proportion; the goal is at most 1.1 times that, for CPU seconds and for the peak memory of
the largest process. Steps, trials and records are measured with compiled programs on disk, figures included;
layers, whose number is what has to be compiled, without.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from race import Cost, Goal, Quantity, clean_environment, print_goals, print_table, race, run_process

CONFIG = """
name: bench-growth
data: {type: gaussian, examples: 200, features: 20, batch_size: 20, split: {train: 100, test: 100}}
model: {type: mlp, width: 16, depth: 1, outputs: 10}
optimizer: {type: sgd, learning_rate: 0.01}
train: {steps: 100}
record: {every: {steps: 100}}
"""
ROUNDS, SLACK = 2, 1.1
RECORDED_STEPS = 40_000  # however many records there are


class Axis(NamedTuple):
    """What grows.

    Attributes:
        name: Its name.
        sizes: Three, each the same factor above the one before.
        words: size -> what is added to `nnlab`, the file and its options aside.
        is_warm: Whether the program is on disk.
    """

    name: str
    sizes: tuple[int, int, int]
    words: Callable[[int], list[str]]
    is_warm: bool = True


def steps(size: int) -> list[str]:
    return ["train", f"train.steps={size}", f"record.every.steps={size // 10}"]


def records(size: int) -> list[str]:
    return ["train", f"train.steps={RECORDED_STEPS}", f"record.every.steps={RECORDED_STEPS // size}"]


def trials(size: int) -> list[str]:
    return ["sweep", f"sweep.seeds={size}", "--no-plots"]


def layers(size: int) -> list[str]:
    return ["train", f"model.depth={size}"]


AXES = [
    Axis("steps", (20_000, 200_000, 2_000_000), steps),
    Axis("records", (40, 400, 4_000), records),
    Axis("trials", (20, 200, 2_000), trials),
    Axis("layers", (2, 8, 32), layers, is_warm=False),
]
SMOKE = Axis("records", (1, 2, 4), records)


def grow(axis: Axis, rounds: int, place: Path) -> Iterator[Goal]:
    config, numbers = place / "growth.yaml", itertools.count()
    config.write_text(CONFIG)

    def run(size: int) -> Cost:
        verb, *words = axis.words(size)
        number = next(numbers)
        out, cache = place / f"{axis.name}-{number}", "warm" if axis.is_warm else f"cold-{axis.name}-{number}"
        command = [sys.executable, "-m", "nnlab", verb, str(config), *words, "--out", str(out), "--quiet"]
        return run_process(command, clean_environment(XDG_CACHE_HOME=str(place / cache)))[0]

    costs = race({str(size): lambda size=size: run(size) for size in axis.sizes}, rounds)
    print(f"{axis.name}\n")
    rows = [(name, f"{c.wall_clock:.2f}", f"{c.cpu:.2f}", f"{c.peak:.0f}") for name, c in costs.items()]
    print_table([axis.name, "wall-clock, s", "CPU, s", "peak, MiB"], rows)
    print()
    yield judged(axis, list(costs.values()), "cpu")
    yield judged(axis, list(costs.values()), "peak")


def judged(axis: Axis, costs: list[Cost], quantity: Quantity) -> Goal:
    """The cost of the largest size, by that on the straight line through the others."""
    small, medium, large = (getattr(cost, quantity) for cost in costs)
    slope = (medium - small) / (axis.sizes[1] - axis.sizes[0])
    line = medium + max(0.0, slope) * (axis.sizes[2] - axis.sizes[1])
    return Goal(f"growth, {axis.sizes[2]:,} {axis.name} / straight line", quantity, large / line, SLACK)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="one axis in tiny sizes: only whether it works")
    axes, rounds = ([SMOKE], 1) if parser.parse_args().smoke else (AXES, ROUNDS)
    with tempfile.TemporaryDirectory() as place:
        print_goals([goal for axis in axes for goal in grow(axis, rounds, Path(place))])


if __name__ == "__main__":
    main()
