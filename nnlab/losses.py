"""Losses: from the model's outputs and the targets to one number an example.

`B` is the batch, `K` the number of outputs. A loss also says how many outputs a task needs, and, for a
classification, which examples the outputs get right.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from nnlab.lazy import Array, jax, jnp
from nnlab.registry import register


class Loss(NamedTuple):
    """per_example: (outputs `[B, K]`, targets) -> `[B]`; correct: the same -> `[B]` of 0 or 1.

    outputs_for: number of classes (0 for a regression) -> K; None where the loss cannot serve the task.
    0 stands for "as many as there are target values".
    """

    per_example: Callable[[Array, Array], Array]
    correct: Callable[[Array, Array], Array]
    outputs_for: Callable[[int], int | None]


def _highest(outputs: Array, labels: Array) -> Array:
    return (outputs.argmax(-1) == labels).astype(outputs.dtype)


@register("loss")
def cross_entropy() -> Loss:
    """-log softmax(outputs)[label], for one output a class; the outputs are logits.

    A uniform guess among K classes costs log K (2.303 for ten).
    """

    def per_example(outputs: Array, labels: Array) -> Array:
        return -jnp.take_along_axis(jax.nn.log_softmax(outputs), labels[:, None], axis=-1)[:, 0]

    return Loss(per_example, _highest, lambda classes: classes or None)


@register("loss")
def binary_cross_entropy() -> Loss:
    """-y log p - (1 - y) log(1 - p), p = sigmoid(output), for two classes and one output, a logit.

    The log loss of lecture 002; computed from the logit, so that it is finite however large that is.
    """

    def per_example(outputs: Array, labels: Array) -> Array:
        logit = outputs[:, 0]
        return jax.nn.softplus(logit) - labels.astype(logit.dtype) * logit

    def correct(outputs: Array, labels: Array) -> Array:
        return ((outputs[:, 0] > 0) == (labels == 1)).astype(outputs.dtype)

    return Loss(per_example, correct, lambda classes: 1 if classes == 2 else None)


@register("loss")
def squared_error(outputs: Literal["mean", "sum"] = "mean") -> Loss:
    """(output - target)^2, then the mean or the sum over the outputs of an example.

    For a classification the target is one-hot. Averaged over examples like every loss.
    """

    def per_example(values: Array, targets: Array) -> Array:
        if targets.ndim == 1:
            targets = jax.nn.one_hot(targets, values.shape[-1], dtype=values.dtype)
        error = jnp.square(values - targets)
        return error.mean(-1) if outputs == "mean" else error.sum(-1)

    return Loss(per_example, _highest, lambda classes: classes)
