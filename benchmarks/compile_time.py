"""How long a chunk of training compiles, against the same by hand, as ratios within one run.

    python benchmarks/compile_time.py            (widths 16 and 256)
    python benchmarks/compile_time.py --smoke    (one round of one width, without the inside view)

A net 40-w-w-10, batch 100, SGD with momentum, 4,000 training and 12,000 test examples: CPU seconds of
tracing, lowering and compiling nnlab's chunk, which trains, evaluates both splits and, with the inside view,
makes the table layers.csv. By hand: the `lax.scan` of the training, and the evaluation of both splits, each
compiled by itself. Goals: without the inside view <= 1.3 times the sum of the two, with it <= 1.8 times.

Nothing is kept from one round to the next, in memory or on disk. Contestants take turns; the least counts.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

os.environ.setdefault("PJRT_NPROC", "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import numpy as np
from by_hand import BATCH, EXAMPLES, FEATURES, TRAINING, Split, first_weights, jax_functions
from chunks import compiling, experiment
from race import Cost, Goal, goals, measured, print_costs, print_goals, race

from nnlab.training.experiment import Experiment
from nnlab.training.lanes import Lanes

WIDTHS, SMOKE_WIDTHS = (16, 256), (4,)
ROUNDS, STEPS = 3, 6000
VIEWS = {"false": ("nnlab", 1.3), "true": ("nnlab, inside view", 1.8)}  # record.layers: contestant, bound

CONFIG = """
name: bench-compile
data:
  type: gaussian
  examples: 16000
  features: 40
  classes: 10
  batch_size: 100
  split: {train: 4000, test: 12000}
model: {type: mlp, width: %d, depth: 2, outputs: 10}
optimizer: {type: sgd, learning_rate: 0.03, momentum: 0.9}
train: {steps: 6000}
record: {every: {steps: 100}, layers: %s}
"""


def compiling_alone(function: Callable[..., Any], *inputs: Any) -> Callable[[], Cost]:
    """A function that is traced, lowered and compiled anew, as a contestant."""

    def call() -> None:
        jax.clear_caches()
        jax.jit(function).lower(*inputs).compile()

    return measured(call)


def optimizer_state(one: Experiment) -> Callable[[], Cost]:
    """The first state, whose program nnlab compiles by itself before that of the chunk, as a contestant."""
    lanes = Lanes([one])

    def call() -> None:
        jax.clear_caches()
        lanes.first_states(jax.jit(one.optimizer.init))

    return measured(call)


def race_width(width: int, views: Sequence[str], rounds: int) -> Iterator[Goal]:
    by_hand = jax_functions()
    train, test = (
        Split(np.zeros((count, FEATURES), np.float32), np.zeros(count, np.int32))
        for count in (TRAINING, EXAMPLES - TRAINING)
    )
    weights, order = first_weights(width, 0), np.zeros((STEPS, BATCH), np.int32)
    nnlab = {view: experiment(CONFIG % (width, view)) for view in views}
    contestants = {
        "scan": compiling_alone(by_hand.train, weights, train, order),
        "evaluation": compiling_alone(by_hand.evaluate, weights, (train, test)),
        "first state": optimizer_state(nnlab["false"]),
    } | {view: measured(compiling([one])) for view, one in nnlab.items()}
    found = race(contestants, rounds)
    costs = {VIEWS[view][0]: minus(found[view], found["first state"]) for view in views}
    costs["by hand, scan"], costs["by hand, evaluation"] = found["scan"], found["evaluation"]
    costs["by hand, the sum"] = both = plus(found["scan"], found["evaluation"])
    print_costs(f"Trace, lower and compile, 40-{width}-{width}-10", costs)
    for name, bound in (VIEWS[view] for view in views):
        yield from goals(f"compile width {width}, {name} / by hand", costs[name], [both], bound, "cpu")


def plus(one: Cost, other: Cost) -> Cost:
    return Cost(one.wall_clock + other.wall_clock, one.cpu + other.cpu)


def minus(one: Cost, other: Cost) -> Cost:
    return Cost(one.wall_clock - other.wall_clock, one.cpu - other.cpu)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="only whether it works")
    smoke = parser.parse_args().smoke
    widths, views, rounds = (SMOKE_WIDTHS, ["false"], 1) if smoke else (WIDTHS, ["false", "true"], ROUNDS)
    print_goals([goal for width in widths for goal in race_width(width, views, rounds)])


if __name__ == "__main__":
    main()
