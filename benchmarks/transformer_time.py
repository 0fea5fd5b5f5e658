"""A step of Power et al.'s transformer, as ratios within one run.

    python benchmarks/transformer_time.py        (make bench installs PyTorch first)

Two post-norm layers of 128 features and 4 heads, four tokens of which the last is read out, p = 97, batch
512, AdamW, all cores: nnlab's compiled chunk against a hand-written `lax.scan`, PyTorch eager and PyTorch
compiled; the same arithmetic on the same batches. `all positions` computes the last layer everywhere, as one
who writes it down plainly would; `read-out only` computes it where it is read. Goal: nnlab at most 0.8 times
the best PyTorch.

Contestants take turns, and the ratio is of their fastest rounds. `--smoke` takes two steps, one round, and
leaves compiled PyTorch out: only whether it works.

    python benchmarks/transformer_time.py --seeds 32

On an accelerator: steps a second of 32 seeds side by side, against PyTorch training one (goal: 20 times).
"""

from __future__ import annotations

import argparse
import importlib.util
import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("PJRT_NPROC", str(len(os.sched_getaffinity(0))))

import jax
import jax.numpy as jnp
import numpy as np
import optax
from chunks import compiling, experiment, training
from race import goals, measured, note_missing, print_compile_share, print_costs, print_goals, race

from nnlab.training.batches import BatchOrder
from nnlab.training.experiment import Experiment

THREADS = os.environ["PJRT_NPROC"]
STEPS, SMOKE_STEPS, ROUNDS = 30, 2, 5
TOKENS, BATCH, UNITS, HEADS, LAYERS, PRIME = 4, 512, 128, 4, 2, 97
RATE, DECAY, B1, B2 = 1e-3, 1.0, 0.9, 0.98

POWER = """
name: bench-power
seed: %d
data:
  type: modular_arithmetic
  operation: x/y
  modulus: 97
  encoding: tokens
  split: {train: 0.5, validation: 0.5}
  batch_size: 512
model:
  - {type: embedding, vocabulary: 99, units: 128, positions: sinusoidal}
  - {type: transformer_block, heads: 4, norm: post, activation: relu, causal: true, use_bias: false}
  - {type: transformer_block, heads: 4, norm: post, activation: relu, causal: true, use_bias: false, read: -1}
  - {type: dense, units: 97, use_bias: false}
optimizer: {type: adamw, learning_rate: 1.0e-3, b2: 0.98, weight_decay: 1.0}
train: {steps: %d}
record: {every: {steps: 30}, layers: false}
"""


def sinusoids() -> np.ndarray:
    angles = np.arange(TOKENS)[:, None] / 10_000 ** (2 * (np.arange(UNITS) // 2) / UNITS)
    return np.where(np.arange(UNITS) % 2 == 0, np.sin(angles), np.cos(angles)).astype(np.float32)


def hand_written(task: Experiment, read_out_only: bool) -> Callable[[], Any]:
    """The same training as a JAX user would write it by hand, with optax."""
    inputs = jnp.asarray(task.data.train.inputs.astype(np.int32))
    targets, order = (
        jnp.asarray(task.data.train.targets),
        jnp.asarray(BatchOrder(task).rows(0, task.total_steps)),
    )
    random, places = np.random.default_rng(0), sinusoids()

    def drawn(*shape: int) -> jax.Array:
        return jnp.asarray(random.normal(0, shape[0] ** -0.5, shape), jnp.float32)

    def norm(x: jax.Array, scale: jax.Array, shift: jax.Array) -> jax.Array:
        mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
        return (x - mean) * jax.lax.rsqrt(variance + 1e-5) * scale + shift

    def block(w: Any, x: jax.Array, last: bool) -> jax.Array:
        asking = x[:, -1:] if last else x
        q, k, v = (
            (a @ w[n]).reshape(BATCH, -1, HEADS, UNITS // HEADS)
            for a, n in ((asking, "q"), (x, "k"), (x, "v"))
        )
        mixed = jax.nn.dot_product_attention(q, k, v, is_causal=not last).reshape(asking.shape)
        x = norm(asking + mixed @ w["o"], w["scale1"], w["shift1"])
        return norm(x + jax.nn.relu(x @ w["in"]) @ w["out"], w["scale2"], w["shift2"])

    def loss(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        x = params["embedding"][x] + places
        for number, weights in enumerate(params["blocks"]):
            x = block(weights, x, read_out_only and number == LAYERS - 1)
        return optax.softmax_cross_entropy_with_integer_labels(x[:, -1] @ params["out"], y).mean()

    def layer() -> dict[str, jax.Array]:
        square = {n: drawn(UNITS, UNITS) for n in "qkvo"}
        wide = {"in": drawn(UNITS, 4 * UNITS), "out": drawn(4 * UNITS, UNITS)}
        norms = {f"{n}{i}": jnp.full(UNITS, v) for i in (1, 2) for n, v in (("scale", 1.0), ("shift", 0.0))}
        return square | wide | norms

    optimizer = optax.adamw(RATE, B1, B2, weight_decay=DECAY)

    @jax.jit
    def train(params: Any) -> Any:
        def step(carry: Any, rows: jax.Array) -> Any:
            params, state = carry
            gradient = jax.grad(loss)(params, inputs[rows], targets[rows])
            updates, state = optimizer.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, optimizer.init(params)), order)[0]

    blocks = [layer() for _ in range(LAYERS)]
    start = {"embedding": drawn(PRIME + 2, UNITS), "blocks": blocks, "out": drawn(UNITS, PRIME)}
    return lambda: jax.block_until_ready(train(start))


def torch_loop(task: Experiment, read_out_only: bool, compiled: bool) -> Callable[[], Any]:
    """The same training as a PyTorch user would write it, batches indexed without a data loader."""
    import torch
    from torch import nn

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(int(THREADS))

    class Block(nn.Module):
        def __init__(self, last: bool) -> None:
            super().__init__()
            self.last = last
            self.q, self.k, self.v, self.o = (nn.Linear(UNITS, UNITS, bias=False) for _ in range(4))
            self.inner, self.outer = (
                nn.Linear(UNITS, 4 * UNITS, bias=False),
                nn.Linear(4 * UNITS, UNITS, bias=False),
            )
            self.norm1, self.norm2 = nn.LayerNorm(UNITS), nn.LayerNorm(UNITS)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            asking = x[:, -1:] if self.last else x
            q, k, v = (
                f(a).unflatten(-1, (HEADS, -1)).transpose(1, 2)
                for f, a in ((self.q, asking), (self.k, x), (self.v, x))
            )
            mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=not self.last)
            x = self.norm1(asking + self.o(mixed.transpose(1, 2).flatten(2)))
            return self.norm2(x + self.outer(torch.relu(self.inner(x))))

    class Transformer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(PRIME + 2, UNITS)
            self.register_buffer("places", torch.from_numpy(sinusoids()))
            self.blocks = nn.ModuleList(Block(read_out_only and i == LAYERS - 1) for i in range(LAYERS))
            self.out = nn.Linear(UNITS, PRIME, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.embedding(x) + self.places
            for block in self.blocks:
                x = block(x)
            return self.out(x[:, -1])

    net = Transformer().to(device)
    forward = torch.compile(net) if compiled else net
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, betas=(B1, B2), weight_decay=DECAY, fused=True)
    inputs = torch.from_numpy(task.data.train.inputs.astype(np.int64)).to(device)
    targets = torch.from_numpy(task.data.train.targets.astype(np.int64)).to(device)
    order = torch.from_numpy(BatchOrder(task).rows(0, task.total_steps).astype(np.int64)).to(device)

    def run() -> None:
        for rows in order:
            optimizer.zero_grad()
            nn.functional.cross_entropy(forward(inputs[rows]), targets[rows]).backward()
            optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=1, help="trained side by side by nnlab")
    parser.add_argument("--smoke", action="store_true", help="two steps: only whether it works")
    options = parser.parse_args()
    seeds, smoke = options.seeds, options.smoke
    steps, rounds = (SMOKE_STEPS, 1) if smoke else (STEPS, ROUNDS)
    tasks = [experiment(POWER % (seed, steps)) for seed in range(seeds)]
    contestants = {"nnlab": training(tasks)}
    has_torch = importlib.util.find_spec("torch") is not None
    if not has_torch:
        note_missing("PyTorch")
    for words, read_out_only in (("read-out only", True), ("all positions", False)):
        contestants[f"JAX scan, {words}"] = hand_written(tasks[0], read_out_only)
        if has_torch:
            contestants[f"PyTorch eager, {words}"] = torch_loop(tasks[0], read_out_only, compiled=False)
        if has_torch and not smoke:
            contestants[f"PyTorch compiled, {words}"] = torch_loop(tasks[0], read_out_only, compiled=True)
    costs = race({name: measured(call) for name, call in contestants.items()}, rounds)
    costs = {name: cost.per(steps * (seeds if name == "nnlab" else 1)) for name, cost in costs.items()}
    where = f"{THREADS} threads" if jax.default_backend() == "cpu" else str(jax.devices()[0].device_kind)
    at_once = "" if seeds == 1 else f", a seed of {seeds} side by side"
    print_costs(f"A step of Power et al.'s transformer, batch {BATCH}, {where}{at_once}", costs, "ms")
    print_compile_share(measured(compiling(tasks))().cpu, costs["nnlab"], "steps")
    rivals = [cost for name, cost in costs.items() if name.startswith("PyTorch")]
    what, bound = "transformer, step, nnlab / best PyTorch", 0.8 if seeds == 1 else 1 / 20
    print_goals(goals(what, costs["nnlab"], rivals, bound, "wall_clock", "cpu"))


if __name__ == "__main__":
    main()
