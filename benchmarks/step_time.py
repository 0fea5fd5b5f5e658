"""How long a training step takes, as ratios within one run.

    python benchmarks/step_time.py              (make bench installs PyTorch first)
    python benchmarks/step_time.py --smoke      (tiny sizes, in seconds: only whether it works)

1. A 64-64-10 ReLU net, batch 250, SGD with momentum, cross-entropy, on shuffled mini-batches: nnlab's
   compiled chunk against a hand-written `lax.scan` of the same arithmetic (goal <= 1.05) and against a
   PyTorch eager loop (goal <= 0.25).
2. A net of 20 sigmoid layers of 100 units: what the inside view (the table layers.csv) adds to a step, at
   every step (goal <= 1.10) and at every 50th (goal <= 1.01). A record also evaluates all examples, with the
   view or without. So the view's share is what records with it take more than records without it, of the
   same steps, and the ratio is of that and a plain step to a plain step.

Contestants take turns, and the ratio is of their fastest rounds, in CPU seconds. One thread each, the fastest
for nets of this size.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

os.environ.setdefault("PJRT_NPROC", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np
from chunks import compiling, experiment, training
from race import Goal, goals, measured, note_missing, print_compile_share, print_costs, print_goals, race

from nnlab.training.batches import BatchOrder
from nnlab.training.experiment import Experiment

BATCH = 250
RATE, MOMENTUM = 0.05, 0.9

SMALL = """
name: bench-small
data: {type: gaussian, examples: 5000, features: 64, batch_size: 250, split: {train: 5000}}
model: {type: mlp, width: 64, depth: 1}
optimizer: {type: sgd, learning_rate: 0.05, momentum: 0.9}
train: {steps: %d}
"""

DEEP = """
name: bench-deep
data: {type: gaussian, examples: {batch}, features: 100, batch_size: {batch}, split: {train: {batch}}}
model:
  - {type: repeat, times: {layers}, layers: [{type: dense, units: 100, kernel_init: glorot_normal}, sigmoid]}
  - {type: dense, units: 10}
optimizer: {type: sgd, learning_rate: 0.05, momentum: 0.9}
train: {steps: {steps}}
record: {every: {steps: 50}, layers: {view}}
"""


class Size(NamedTuple):
    """How much is measured: steps of both nets, layers of the deep one at these batch sizes, rounds."""

    steps: int
    deep_steps: int
    layers: int
    batch_sizes: tuple[int, ...]
    rounds: int


FULL, SMOKE = Size(2000, 600, 20, (64, BATCH), 5), Size(20, 50, 2, (64,), 1)


def hand_written(small: Experiment) -> Callable[[], Any]:
    """The same training as a JAX user would write it by hand."""
    inputs, targets = jnp.asarray(small.data.train.inputs), jnp.asarray(small.data.train.targets)
    order = jnp.asarray(BatchOrder(small).rows(0, small.total_steps))

    def loss(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        hidden = jax.nn.relu(x @ params["w1"] + params["b1"])
        logits = hidden @ params["w2"] + params["b2"]
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], axis=-1).mean()

    def step(carry: Any, rows: jax.Array) -> Any:
        params, velocity = carry
        gradient = jax.grad(loss)(params, inputs[rows], targets[rows])
        velocity = jax.tree.map(lambda v, g: MOMENTUM * v + g, velocity, gradient)
        return (jax.tree.map(lambda p, v: p - RATE * v, params, velocity), velocity), None

    @jax.jit
    def train(params: Any) -> Any:
        return jax.lax.scan(step, (params, jax.tree.map(jnp.zeros_like, params)), order)[0]

    random = np.random.default_rng(0)
    start = {
        "w1": jnp.asarray(random.normal(0, 64**-0.5, (64, 64)), jnp.float32),
        "b1": jnp.zeros(64),
        "w2": jnp.asarray(random.normal(0, 64**-0.5, (64, 10)), jnp.float32),
        "b2": jnp.zeros(10),
    }
    return lambda: jax.block_until_ready(train(start))


def torch_eager(small: Experiment) -> Callable[[], Any] | None:
    """The same training as PyTorch's tutorial has it, without its data loader; None where it is missing."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(1)
    inputs = torch.from_numpy(small.data.train.inputs)
    targets = torch.from_numpy(small.data.train.targets.astype(np.int64))
    order = torch.from_numpy(BatchOrder(small).rows(0, small.total_steps).astype(np.int64))
    net = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    optimizer = torch.optim.SGD(net.parameters(), lr=RATE, momentum=MOMENTUM)
    criterion = torch.nn.CrossEntropyLoss()

    def run() -> None:
        for rows in order:
            optimizer.zero_grad()
            criterion(net(inputs[rows]), targets[rows]).backward()
            optimizer.step()

    return run


def race_small(size: Size) -> Iterator[Goal]:
    """The small net against the others."""
    small = experiment(SMALL % size.steps)
    contestants = {"nnlab": training([small]), "lax.scan by hand": hand_written(small)}
    eager = torch_eager(small)
    if eager is None:
        note_missing("PyTorch")
    else:
        contestants["PyTorch eager"] = eager
    calls = {name: measured(call) for name, call in contestants.items()}
    costs = {name: cost.per(size.steps) for name, cost in race(calls, size.rounds).items()}
    print_costs(f"A step of the 64-64-10 net, batch {BATCH}, one thread", costs, "µs")
    print_compile_share(measured(compiling([small]))().cpu, costs["nnlab"], "steps")
    for name, bound in (("lax.scan by hand", 1.05), ("PyTorch eager", 0.25)):
        rivals = [costs[name]] if name in costs else []
        yield from goals(f"small net, step, nnlab / {name}", costs["nnlab"], rivals, bound, "cpu")


def race_inside_view(size: Size, batch: int) -> Iterator[Goal]:
    """The deep net with records at no, some and all steps, with the inside view and without."""
    text = DEEP.replace("{batch}", str(batch)).replace("{layers}", str(size.layers))
    text = text.replace("{steps}", str(size.deep_steps))
    kinds = {name: experiment(text.replace("{view}", view)) for name, view in (("", "false"), (VIEW, "true"))}
    every = {"no record": 0, "a record every 50 steps": 50, "a record at every step": 1}
    calls = {
        when + name: measured(training([deep], steps))
        for when, steps in every.items()
        for name, deep in kinds.items()
    }
    costs = {name: cost.per(size.deep_steps) for name, cost in race(calls, size.rounds).items()}
    print_costs(f"A step of the {size.layers} x 100 net, batch {batch}, one thread", costs, "µs")
    for when, bound in (("a record at every step", 1.10), ("a record every 50 steps", 1.01)):
        plain, added = costs["no record"].cpu, costs[when + VIEW].cpu - costs[when].cpu
        yield Goal(f"inside view, {when}, batch {batch}", "cpu", (plain + added) / plain, bound)


VIEW = ", inside view"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true", help="tiny sizes: only whether it works")
    size = SMOKE if parser.parse_args().smoke else FULL
    found = list(race_small(size))
    for batch in size.batch_sizes:
        found += race_inside_view(size, batch)
    print_goals(found)


if __name__ == "__main__":
    main()
