"""How long a training step takes, as ratios within one run.

    python benchmarks/step_time.py              (make bench installs PyTorch first)
    python benchmarks/step_time.py --smoke      (tiny sizes, in seconds: only whether it works)

1. A 64-64-10 ReLU net, batch 250, SGD with momentum, cross-entropy, on shuffled mini-batches: nnlab's
   compiled chunk against a hand-written `lax.scan` of the same arithmetic (goal <= 1.05) and against a
   PyTorch eager loop (goal <= 0.25).
2. A net of 20 sigmoid layers of 100 units: a step with the inside view (the table layers.csv) against one
   without, at every step (goal <= 1.10) and at every 50th (goal <= 1.01).

Contestants take turns, and the ratio is of their fastest rounds. One thread each, the
fastest for nets of this size.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import Any, NamedTuple

os.environ.setdefault("PJRT_NPROC", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
import numpy as np
from race import print_ratio, race

from nnlab.config import check_tree
from nnlab.config.document import parse
from nnlab.training.arguments import Arguments
from nnlab.training.batches import BatchOrder
from nnlab.training.chunk import Core, build_core
from nnlab.training.compilation import programs_for
from nnlab.training.experiment import Experiment, build_experiment
from nnlab.training.lanes import Lanes
from nnlab.training.segments import Segment, chunk_inputs
from nnlab.training.state import State

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
data: {type: gaussian, examples: 5000, features: 100, batch_size: %d, split: {train: 5000}}
model:
  - {type: repeat, times: %d, layers: [{type: dense, units: 100, kernel_init: glorot_normal}, sigmoid]}
  - {type: dense, units: 10}
optimizer: {type: sgd, learning_rate: 0.05, momentum: 0.9}
train: {steps: 200}
"""


class Size(NamedTuple):
    """How much is measured: steps of the small net, layers of the deep one at these batch sizes, rounds."""

    steps: int
    layers: int
    batch_sizes: tuple[int, ...]
    rounds: int


FULL, SMOKE = Size(2000, 20, (64, BATCH), 9), Size(20, 2, (64,), 1)


def experiment(text: str) -> Experiment:
    return build_experiment(check_tree(parse(text, "benchmark")))


def nnlab_chunk(small: Experiment) -> Callable[[], Any]:
    """The chunk that `nnlab train` runs, without a record inside."""
    lanes = Lanes([small])
    programs, arguments = programs_for(lanes), lanes.arguments
    inputs = chunk_inputs(lanes, [BatchOrder(small)], 0, [Segment(False, small.total_steps)])

    def run() -> Any:
        state = lanes.first_states(programs.init)
        return jax.block_until_ready(programs.chunk(arguments, state, *inputs)[0])

    return run


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


def inside_view(layers: int, batch: int) -> tuple[dict[str, Callable[[], Any]], int]:
    """Steps of the deep net without the inside view, with it at every 50th step, and at every step."""
    deep = experiment(DEEP % (batch, layers))
    lanes, count = Lanes([deep]), deep.total_steps
    arguments = lanes.arguments
    rows = jnp.asarray(BatchOrder(deep).rows(0, count)).reshape(count // 50, 50, -1)
    state = lanes.first_states(jax.jit(deep.plan.optimizer.init))

    def plain(core: Core, state: State, index: jax.Array) -> Any:
        return core.train_step(state, core.blocks.batch(core.arguments.data, index))[0], None

    def looking(core: Core, state: State, index: jax.Array) -> Any:
        batch = core.blocks.batch(core.arguments.data, index)
        after, snapshot = core.recorder.observed_step(state, batch)
        return after, core.recorder.measure("every_record", snapshot)

    def program(first: Any, rest: Any) -> Callable[..., Any]:
        def run(arguments: Arguments, state: State, rows: jax.Array) -> Any:
            core = build_core(deep, arguments)

            def fifty(state: State, index: jax.Array) -> Any:
                state, seen = first(core, state, index[0])
                state, more = jax.lax.scan(lambda s, i: rest(core, s, i), state, index[1:])
                return state, (seen, more)

            return jax.lax.scan(fifty, state, rows)

        return jax.jit(run).lower(arguments, state, rows).compile()

    kinds = {"without": (plain, plain), "every 50th": (looking, plain), "every step": (looking, looking)}
    programs = {name: program(*bodies) for name, bodies in kinds.items()}
    return {
        n: lambda p=p: jax.block_until_ready(p(arguments, state, rows)) for n, p in programs.items()
    }, count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--smoke", action="store_true", help="tiny sizes: only whether it works")
    size = SMOKE if parser.parse_args().smoke else FULL
    small = experiment(SMALL % size.steps)
    contestants = {"nnlab": nnlab_chunk(small), "hand-written lax.scan": hand_written(small)}
    eager = torch_eager(small)
    if eager is None:
        print("PyTorch is not installed (make bench installs it); the others go on without it")
    else:
        contestants["PyTorch eager"] = eager
    times = race(contestants, size.steps, size.rounds)
    print(f"64-64-10 net, batch {BATCH}, one thread: microseconds a step")
    for name, microseconds in times.items():
        print(f"  {name:24s} {microseconds:8.1f}")
    views = {}
    for batch in size.batch_sizes:
        programs, count = inside_view(size.layers, batch)
        views[batch] = race(programs, count, size.rounds)
        print(f"{size.layers} x 100 net, batch {batch}, inside view: microseconds a step")
        for name, microseconds in views[batch].items():
            print(f"  {name:24s} {microseconds:8.1f}")
    print("ratios")
    for name, goal in (("hand-written lax.scan", 1.05), ("PyTorch eager", 0.25)):
        if name in times:
            print_ratio(f"nnlab / {name}", times["nnlab"] / times[name], goal)
    for batch, found in views.items():
        for name, goal in (("every step", 1.10), ("every 50th", 1.01)):
            print_ratio(f"inside view {name} / without, batch {batch}", found[name] / found["without"], goal)


if __name__ == "__main__":
    main()
