"""The trainings of benchmarks/sweep_time.py as one would write them by hand: in PyTorch, in NumPy and in JAX.

MLPs 40-h-h-10 with ReLU and He-normal weights, batch 100, SGD with momentum, cross-entropy, on 4,000 examples
with some wrong labels, and all 16,000 evaluated at 8 moments. All read the same file of examples and draw
split, label noise, first weights and order from the seed, each with its own generator, so that they train the
same thing but for chance.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

EXAMPLES, TRAINING, FEATURES, CLASSES = 16000, 4000, 40, 10
NOISE, BATCH, RATE, MOMENTUM, LOOKS = 0.15, 100, 0.03, 0.9, 8


class Setting(NamedTuple):
    """What is trained: the full sweep, or less of it for a try."""

    widths: list[int]
    seeds: int
    epochs: int

    @property
    def steps(self) -> int:
        return self.epochs * (TRAINING // BATCH)

    @property
    def looks(self) -> list[int]:
        """The steps at which all examples are evaluated; the last one is after the training."""
        last, count = self.steps, min(LOOKS, self.steps + 1)
        return sorted(
            {0, last, *(round(math.expm1(math.log1p(last) * i / (count - 1))) for i in range(count))}
        )

    @property
    def trainings(self) -> list[tuple[int, int]]:
        """Width and seed of each training, the costliest first."""
        return [(width, seed) for width in sorted(self.widths, reverse=True) for seed in range(self.seeds)]

    @property
    def flops(self) -> float:
        """Floating-point operations that nobody can do without, about: a step takes 2 forward and 4 backward
        a weight and example, though none of the 2 that would lead back to the inputs."""
        weights = sum(sum(math.prod(shape) for shape in shapes(width)) for width, _ in self.trainings)
        return weights * (6.0 * BATCH * self.steps + 2.0 * EXAMPLES * len(self.looks))


class Ended(NamedTuple):
    """What a training came to, and what it did for it."""

    width: int
    seed: int
    error: float
    steps: int
    looks: int


class Split(NamedTuple):
    """NumPy arrays: inputs `[N, 40]` float32, targets `[N]` int64."""

    inputs: Any
    targets: Any


def shapes(width: int) -> list[tuple[int, int]]:
    return [(FEATURES, width), (width, width), (width, CLASSES)]


@functools.cache
def examples(file: Path) -> Split:
    """All examples of the file."""
    import numpy as np

    with np.load(file) as archive:
        inputs = np.concatenate([archive["x"], archive["x_test"]]).astype(np.float32)
        return Split(inputs, np.concatenate([archive["y"], archive["y_test"]]).astype(np.int64))


@functools.cache
def prepared(file: Path, seed: int) -> tuple[Split, Split]:
    """Training and test examples of a seed; a share of the training labels is drawn anew."""
    import numpy as np

    random, (inputs, targets) = np.random.default_rng([seed, 0]), examples(file)
    rows = random.permutation(len(inputs))
    train, test = (Split(inputs[part], targets[part]) for part in (rows[:TRAINING], rows[TRAINING:]))
    wrong = random.permutation(TRAINING)[: round(NOISE * TRAINING)]
    train.targets[wrong] = random.integers(0, CLASSES, len(wrong))
    return train, test


def first_weights(width: int, seed: int) -> list[Any]:
    """He-normal kernels, each followed by its zero biases, as NumPy float32 arrays."""
    import numpy as np

    random, arrays = np.random.default_rng([seed, 1]), []
    for rows, columns in shapes(width):
        kernel = random.standard_normal((rows, columns), np.float32) * np.float32(math.sqrt(2 / rows))
        arrays += [kernel, np.zeros(columns, np.float32)]
    return arrays


def batches(seed: int, epochs: int) -> Any:
    """The training examples of each step, `[steps, BATCH]`: every epoch is a permutation."""
    import numpy as np

    random = np.random.default_rng([seed, 2])
    return np.concatenate([random.permutation(TRAINING).reshape(-1, BATCH) for _ in range(epochs)])


# PyTorch, as its tutorial has it, without the data loader, which is slower


def train_torch(setting: Setting, file: Path, training: tuple[int, int]) -> Ended:
    import torch
    from torch import nn

    torch.set_num_threads(1)
    width, seed = training
    torch.manual_seed(seed)
    train, test = (tuple(map(torch.from_numpy, part)) for part in prepared(file, seed))
    net = nn.Sequential(
        nn.Linear(FEATURES, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, CLASSES)
    )
    for layer in net[::2]:
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(net.parameters(), lr=RATE, momentum=MOMENTUM)

    def look() -> list[tuple[float, float]]:
        """Loss and accuracy of training and test examples."""
        found = []
        with torch.no_grad():
            for inputs, targets in (train, test):
                outputs = net(inputs)
                correct = (outputs.argmax(1) == targets).float().mean().item()
                found.append((criterion(outputs, targets).item(), correct))
        return found

    (inputs, targets), step, records, due = train, 0, [], set(setting.looks)
    for _ in range(setting.epochs):
        for rows in torch.randperm(TRAINING).split(BATCH):
            if step in due:
                records.append(look())
            optimizer.zero_grad()
            criterion(net(inputs[rows]), targets[rows]).backward()
            optimizer.step()
            step += 1
    records.append(look())
    return Ended(width, seed, 1 - records[-1][1][1], step, len(records))


# NumPy


def train_numpy(setting: Setting, file: Path, training: tuple[int, int]) -> Ended:
    width, seed = training
    train, test = prepared(file, seed)
    weights, records, due = first_weights(width, seed), [], set(setting.looks)
    velocity, order = [0 * array for array in weights], batches(seed, setting.epochs)
    for step, rows in enumerate(order):
        if step in due:
            records.append([numpy_look(weights, part) for part in (train, test)])
        gradients = numpy_gradients(weights, train.inputs[rows], train.targets[rows])
        for w, v, g in zip(weights, velocity, gradients, strict=True):
            v *= MOMENTUM
            v += g
            w -= RATE * v
    records.append([numpy_look(weights, part) for part in (train, test)])
    return Ended(width, seed, 1 - records[-1][1][1], len(order), len(records))


def numpy_forward(weights: Sequence[Any], x: Any) -> tuple[Any, Any, Any]:
    """Both hidden layers and the logarithms of the probabilities."""
    import numpy as np

    w1, b1, w2, b2, w3, b3 = weights
    first = np.maximum(x @ w1 + b1, 0)
    second = np.maximum(first @ w2 + b2, 0)
    outputs = second @ w3 + b3
    outputs -= outputs.max(1, keepdims=True)
    return first, second, outputs - np.log(np.exp(outputs).sum(1, keepdims=True))


def numpy_gradients(weights: Sequence[Any], x: Any, y: Any) -> list[Any]:
    import numpy as np

    first, second, outputs = numpy_forward(weights, x)
    error = np.exp(outputs)
    error[np.arange(len(y)), y] -= 1
    error /= len(y)
    back2 = (error @ weights[4].T) * (second > 0)
    back1 = (back2 @ weights[2].T) * (first > 0)
    pairs = ((x, back1), (first, back2), (second, error))
    return [part for below, above in pairs for part in (below.T @ above, above.sum(0))]


def numpy_look(weights: Sequence[Any], part: Split) -> tuple[float, float]:
    """Loss and accuracy."""
    import numpy as np

    *_, outputs = numpy_forward(weights, part.inputs)
    loss = -outputs[np.arange(len(part.targets)), part.targets].mean()
    return float(loss), float((outputs.argmax(1) == part.targets).mean())


# JAX


class JaxFunctions(NamedTuple):
    """Pure functions to be compiled.

    Attributes:
        train: (weights, training split, order) -> weights: one scan over the steps.
        evaluate: (weights, splits) -> loss and accuracy of each, `[4]`.
        train_and_evaluate: (weights, training split, test split, order, looks) -> what `evaluate` finds at
            the steps at which it looks, and at the end.
    """

    train: Callable[..., Any]
    evaluate: Callable[..., Any]
    train_and_evaluate: Callable[..., Any]


def jax_functions() -> JaxFunctions:
    import jax
    import jax.numpy as jnp

    def forward(weights: Any, x: Any) -> Any:
        w1, b1, w2, b2, w3, b3 = weights
        hidden = jax.nn.relu(jax.nn.relu(x @ w1 + b1) @ w2 + b2)
        return jax.nn.log_softmax(hidden @ w3 + b3)

    def loss(weights: Any, x: Any, y: Any) -> Any:
        return -jnp.take_along_axis(forward(weights, x), y[:, None], axis=1).mean()

    def step(carry: Any, train: Any, rows: Any) -> Any:
        weights, velocity = carry
        gradients = jax.grad(loss)(weights, train.inputs[rows], train.targets[rows])
        velocity = jax.tree.map(lambda v, g: MOMENTUM * v + g, velocity, gradients)
        return jax.tree.map(lambda w, v: w - RATE * v, weights, velocity), velocity

    def at_rest(weights: Any) -> Any:
        return weights, jax.tree.map(jnp.zeros_like, weights)

    def train(weights: Any, train: Any, order: Any) -> Any:
        return jax.lax.scan(lambda c, rows: (step(c, train, rows), None), at_rest(weights), order)[0][0]

    def evaluate(weights: Any, parts: Any) -> Any:
        found = []
        for x, y in parts:
            outputs = forward(weights, x)
            found += [-jnp.take_along_axis(outputs, y[:, None], axis=1).mean()]
            found += [(outputs.argmax(1) == y).mean()]
        return jnp.stack(found)

    def train_and_evaluate(weights: Any, train: Any, test: Any, order: Any, looks: Any) -> Any:
        def step_and_look(carry: Any, now: Any) -> Any:
            rows, due = now
            seen = jax.lax.cond(due, lambda: evaluate(carry[0], (train, test)), lambda: jnp.zeros(4))
            return step(carry, train, rows), seen

        (weights, _), seen = jax.lax.scan(step_and_look, at_rest(weights), (order, looks))
        return jnp.concatenate([seen, evaluate(weights, (train, test))[None]])

    return JaxFunctions(train, evaluate, train_and_evaluate)


def jax_inputs(setting: Setting, file: Path, training: tuple[int, int]) -> tuple[Any, ...]:
    import numpy as np

    width, seed = training
    train, test = (Split(part.inputs, part.targets.astype(np.int32)) for part in prepared(file, seed))
    order = batches(seed, setting.epochs).astype(np.int32)
    return first_weights(width, seed), train, test, order, np.isin(np.arange(len(order)), setting.looks)
