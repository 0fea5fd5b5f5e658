"""Losses: from the model's outputs and the targets to one number for each example.

`B` is the batch, `K` the number of outputs. A loss also says how many outputs a task needs and, for a
classification, which examples the outputs get right.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, NamedTuple

from annotated_types import Lt

from nnlab.registry import BelowOne, register
from nnlab.system.imports import Array, jax, jnp


class Loss(NamedTuple):
    """A loss.

    Attributes:
        per_example: (outputs `[B, K]`, targets `[B]` or `[B, K]`) -> losses `[B]`.
        correct: (outputs, class numbers `[B]`) -> `[B]`, 1 where the outputs are right, else 0.
        outputs_for: Number of classes (0 for a regression) -> K; None where the loss cannot serve the task,
            0 for "as many as there are target values".
        applies: What the loss itself applies to the outputs, which are logits and may be any numbers; empty
            where it compares the outputs as they are.
    """

    per_example: Callable[[Array, Array], Array]
    correct: Callable[[Array, Array], Array]
    outputs_for: Callable[[int], int | None]
    applies: str = ""


def _highest(outputs: Array, labels: Array) -> Array:
    return (outputs.argmax(-1) == labels).astype(outputs.dtype)


def _positive(outputs: Array, labels: Array) -> Array:
    return ((outputs[:, 0] > 0) == (labels == 1)).astype(outputs.dtype)


def _one_for_two(classes: int) -> int | None:
    return 1 if classes == 2 else None


@register("loss")
def cross_entropy(label_smoothing: BelowOne = 0.0) -> Loss:
    """-log softmax(outputs)[label], for one output per class; the outputs are logits, without an activation.

    A uniform guess among K classes costs log K (2.303 for ten).

    Args:
        label_smoothing: s, which makes the target (1 - s) one-hot + s / K and the loss -sum of target
            log softmax(outputs), at best the target's entropy. The recorded losses are smoothed too;
            accuracy is not.

    Reference:
        Label smoothing: Szegedy et al. 2016, "Rethinking the Inception architecture for computer vision".
    """

    def per_example(outputs: Array, labels: Array) -> Array:
        log_p = jax.nn.log_softmax(outputs)
        of_label = -jnp.take_along_axis(log_p, labels[:, None], axis=-1)[:, 0]
        if label_smoothing == 0.0:  # the mean would be computed for nothing
            return of_label
        return (1.0 - label_smoothing) * of_label - label_smoothing * log_p.mean(-1)

    return Loss(per_example, _highest, lambda classes: classes or None, applies="softmax")


@register("loss")
def binary_cross_entropy() -> Loss:
    """-y log p - (1 - y) log(1 - p), p = sigmoid(output), for two classes and one output, a logit.

    The log loss of lecture 002; computed from the logit, so that it is finite however large that is.
    """

    def per_example(outputs: Array, labels: Array) -> Array:
        logit = outputs[:, 0]
        return jax.nn.softplus(logit) - labels.astype(logit.dtype) * logit

    return Loss(per_example, _positive, _one_for_two, applies="sigmoid")


@register("loss")
def perceptron() -> Loss:
    """(o - y) z, for two classes y and one output z: a threshold unit fires, o = 1, where z > 0, else o = 0.

    The unit's o is held fixed, so that the gradient by z is o - y, at z = 0 too: gradient descent with one
    example per step is Rosenblatt's rule, w <- w - rate (o - y) x, which leaves the weights as they are
    where o is right. The loss is never negative; it is 0 where o = y and, right or wrong, at z = 0, so that
    accuracy is the measure.

    Reference:
        Rosenblatt 1958, "The perceptron: a probabilistic model for information storage and organization in
        the brain".
    """

    def per_example(outputs: Array, labels: Array) -> Array:
        z = outputs[:, 0]
        fires = jax.lax.stop_gradient((z > 0).astype(z.dtype))
        return (fires - labels.astype(z.dtype)) * z

    return Loss(per_example, _positive, _one_for_two, applies="a threshold")


@register("loss")
def squared_error(outputs: Literal["mean", "sum"] = "mean", low: Annotated[float, Lt(1.0)] = 0.0) -> Loss:
    """(output - target)^2, then the mean or the sum over the outputs of an example.

    For a classification the target is 1 for the label's output and `low` for the others. Like every loss it
    is averaged over examples.

    Args:
        outputs: The mean or the sum over the outputs.
        low: The target of the other classes' outputs, below 1: 0 is one-hot, -1 suits outputs that end in
            tanh.

    Reference:
        Targets of -1: LeCun et al. 1989, "Backpropagation applied to handwritten zip code recognition".
    """

    def per_example(values: Array, targets: Array) -> Array:
        if targets.ndim == 1:
            of_label = jax.nn.one_hot(targets, values.shape[-1], dtype=values.dtype)
            targets = low + (1.0 - low) * of_label if low else of_label
        error = jnp.square(values - targets)
        return error.mean(-1) if outputs == "mean" else error.sum(-1)

    return Loss(per_example, _highest, lambda classes: classes)
