"""Losses: from the model's outputs and the targets to one number for each example.

`B` is the batch, `K` the number of outputs, `L` that of positions. A loss also says how many outputs a task
needs and, for a classification, which examples the outputs get right.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal, NamedTuple

from annotated_types import Le, Lt

from nnlab.registry import TRACED, BelowOne, Positive, register
from nnlab.system.imports import Array, jax, jnp

THRESHOLD = "a threshold"

ClassWeights = Literal["balanced"] | list[Positive] | dict[str, Positive] | None
"""Weights of the classes as a file gives them: from the data, in the order of the classes, or by class."""


class Loss(NamedTuple):
    """A loss.

    Attributes:
        per_example: (outputs `[B, K]`, targets `[B]` or `[B, K]`) -> losses `[B]`.
        correct: (outputs, class numbers `[B]`) -> `[B]`, 1 where the outputs are right, else 0.
        outputs_for: Number of classes (0 for a regression) -> K; None where the loss cannot serve the task,
            0 for "as many as there are target values".
        applies: What the loss itself applies to the outputs, which are logits and may be any numbers, or, of
            a THRESHOLD, need but be of either sign; empty where it compares the outputs as they are. What
            applies a sigmoid takes values from 0 to 1.
        class_weights: How the classes are weighted, if they are.
        weight_of: (class numbers `[B]`) -> weights `[B]`, by which `per_example` multiplies; None where all
            count the same.
        unit: Of its values, for an axis; empty where they have none, or one that depends on the targets'.
        takes_targets: Whether the targets matter; without them there are no classes, and no accuracy.
    """

    per_example: Callable[[Array, Array], Array]
    correct: Callable[[Array, Array], Array]
    outputs_for: Callable[[int], int | None]
    applies: str = ""
    class_weights: ClassWeights = None
    weight_of: Callable[[Array], Array] | None = None
    unit: str = ""
    takes_targets: bool = True

    @property
    def takes_probabilities(self) -> bool:
        """Whether targets that are values must lie from 0 to 1."""
        return self.applies == "sigmoid"

    def target_values(self, outputs: Array) -> Array:
        """What outputs `[B, K]` say of targets that are values."""
        return jax.nn.sigmoid(outputs) if self.takes_probabilities else outputs

    def over_positions(self) -> Loss:
        """The loss of examples with outputs `[B, L, K]` and a class at each position, `[B, L]`: the mean over
        the positions, each of which counts like an example of one class."""

        def by_position(measure: Callable[[Array, Array], Array]) -> Callable[[Array, Array], Array]:
            def mean(outputs: Array, labels: Array) -> Array:
                values = measure(outputs.reshape(-1, outputs.shape[-1]), labels.reshape(-1))
                return _mean_of_rows(values.reshape(labels.shape))

            return mean

        weight_of = self.weight_of
        return self._replace(
            per_example=by_position(self.per_example),
            correct=by_position(self.correct),
            weight_of=None if weight_of is None else lambda labels: _mean_of_rows(weight_of(labels)),
        )

    def weighted(self, weights: Array) -> Loss:
        """The loss of which each example counts as much as its class.

        Args:
            weights: `[C]`, of the classes.
        """

        def weighted_per_example(outputs: Array, labels: Array) -> Array:
            return weights[labels] * self.per_example(outputs, labels)

        return self._replace(per_example=weighted_per_example, weight_of=lambda labels: weights[labels])


def _mean_of_rows(values: Array) -> Array:
    """The mean of each row, `[B]` of `[B, L]`; XLA would multiply by 1 / L, and L of L would not be 1."""
    return values.sum(-1) / jax.lax.optimization_barrier(jnp.asarray(values.shape[-1], values.dtype))


def _highest(outputs: Array, labels: Array) -> Array:
    return (outputs.argmax(-1) == labels).astype(outputs.dtype)


def _positive(outputs: Array, labels: Array) -> Array:
    return ((outputs[:, 0] > 0) == (labels == 1)).astype(outputs.dtype)


def _one_for_two(classes: int) -> int | None:
    return 1 if classes == 2 else None


def _of_values(classes: int) -> int | None:
    return None if classes else 0


def _of_label(values: Array, labels: Array) -> Array:
    """The value of each example's label, `[B]` of `[B, K]`; a sum, whose gradient needs no scatter."""
    is_label = jnp.arange(values.shape[-1])[None] == labels[:, None]
    return jnp.where(is_label, values, 0.0).sum(-1)


@register("loss")
def cross_entropy(label_smoothing: BelowOne = 0.0, class_weights: ClassWeights = None) -> Loss:
    """-log softmax(outputs)[label], for one output per class; the outputs are logits, without an activation.

    A uniform guess among K classes costs log K (2.303 for ten). Where one class is rare, class_weights keep
    the model from always answering the frequent ones: `loss: {type: cross_entropy, class_weights: balanced}`;
    `metrics: [balanced_accuracy, f1]` show what accuracy hides.

    The weights are scaled to a mean of 1 over the training examples; the loss of a step is the mean of
    weight times loss over its batch. Of all training examples that is PyTorch's CrossEntropyLoss(weight), of
    a batch an unbiased estimate of it (PyTorch divides by the weights in the batch, so that in a batch of one
    they would do nothing); with `balanced` it is Keras's class_weight. The recorded loss of a split is
    weighted too, sum w l / sum w; accuracy is not.

    Args:
        label_smoothing: s, which makes the target (1 - s) one-hot + s / K and the loss -sum of target
            log softmax(outputs), at best the target's entropy. The recorded losses are smoothed too;
            accuracy is not.
        class_weights: How much an example of each class counts: `balanced`, n / (K n_k) for the n_k of n
            training examples that are of class k (scikit-learn's, counted after label_noise); a list, in the
            order of the classes; or a mapping of a class, by its name or else its number, to its weight, 1
            for the classes that it leaves out. null counts all the same.

    Reference:
        Label smoothing: Szegedy et al. 2016, "Rethinking the Inception architecture for computer vision".
    """

    def per_example(outputs: Array, labels: Array) -> Array:
        log_p = jax.nn.log_softmax(outputs)
        of_label = -_of_label(log_p, labels)
        if label_smoothing == 0.0:  # the mean would be computed for nothing
            return of_label
        return (1.0 - label_smoothing) * of_label - label_smoothing * log_p.mean(-1)

    return Loss(per_example, _highest, lambda classes: classes or None, "softmax", class_weights, unit="nats")


@register("loss")
def binary_cross_entropy(class_weights: ClassWeights = None) -> Loss:
    """-y log p - (1 - y) log(1 - p), p = sigmoid(output), for two classes and one output, a logit.

    The log loss of lecture 002; computed from the logit, so that it is finite however large that is.

    Of many labels at once it is the mean over them: targets `[N, K]` from 0 to 1, read with `task:
    regression`, and K outputs, as PyTorch's BCEWithLogitsLoss. Metrics such as f1 then take each label by
    itself. An autoencoder of inputs from 0 to 1 (`reconstruct: true`) has such targets too.

    Args:
        class_weights: How much an example of each of two classes counts, as for cross_entropy.
    """

    def per_example(outputs: Array, targets: Array) -> Array:
        if targets.ndim == 2:
            return (jax.nn.softplus(outputs) - targets * outputs).mean(-1)
        logit = outputs[:, 0]
        return jax.nn.softplus(logit) - targets.astype(logit.dtype) * logit

    def outputs_for(classes: int) -> int | None:
        return _one_for_two(classes) if classes else 0

    return Loss(per_example, _positive, outputs_for, "sigmoid", class_weights, unit="nats")


@register("loss")
def hinge(class_weights: ClassWeights = None) -> Loss:
    """max(0, 1 - y z) for two classes, y = 1 or -1, and one output z: the loss of a support vector machine.

    Of K > 2 classes and as many outputs, the sum of max(0, 1 - z_label + z_k) over the other classes, divided
    by K. Keras's and scikit-learn's hinge loss for one output, PyTorch's MultiMarginLoss for several.

    Args:
        class_weights: How much an example of each class counts, as for cross_entropy.

    Reference:
        Weston & Watkins 1998, "Multi-class support vector machines".
    """

    def per_example(outputs: Array, labels: Array) -> Array:
        if outputs.shape[-1] == 1:
            z = outputs[:, 0]
            return jax.nn.relu(1.0 - jnp.where(labels == 1, z, -z))
        margins = jax.nn.relu(1.0 - _of_label(outputs, labels)[:, None] + outputs)
        others = jnp.arange(outputs.shape[-1])[None] != labels[:, None]
        return jnp.where(others, margins, 0.0).mean(-1)

    def correct(outputs: Array, labels: Array) -> Array:
        return _positive(outputs, labels) if outputs.shape[-1] == 1 else _highest(outputs, labels)

    def outputs_for(classes: int) -> int | None:
        return _one_for_two(classes) or classes or None

    return Loss(per_example, correct, outputs_for, THRESHOLD, class_weights)


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

    return Loss(per_example, _positive, _one_for_two, applies=THRESHOLD)


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


@register("loss")
def importance_weighted_error(decay: Annotated[Positive, Le(1.0)] = 0.9) -> Loss:
    """sum_k decay^k (output_k - target_k)^2 over the outputs k = 0, 1, ... of an example.

    The first outputs count most; it is for targets that are values.

    Args:
        decay: How much an output counts beside the one before, above 0 and at most 1.

    Reference:
        Elhage et al. 2022, Toy models of superposition (the importance of features).
    """

    def per_example(values: Array, targets: Array) -> Array:
        weights = decay ** jnp.arange(values.shape[-1], dtype=values.dtype)
        return jnp.square(values - targets) @ weights

    return Loss(per_example, _highest, _of_values)


@register("loss")
def absolute_error() -> Loss:
    """|output - target|, then the mean over the outputs of an example.

    Outliers pull less than on the squared error: it is least at the median. PyTorch's L1Loss.
    """

    def per_example(values: Array, targets: Array) -> Array:
        return jnp.abs(values - targets).mean(-1)

    return Loss(per_example, _highest, _of_values)


@register("loss")
def huber(delta: Annotated[Positive, TRACED] = 1.0) -> Loss:
    """error^2 / 2 up to an error of delta, delta (|error| - delta / 2) beyond; the mean over the outputs.

    The squared error near the target, the absolute one for outliers. PyTorch's HuberLoss.

    Args:
        delta: From which error on it grows in a straight line.

    Reference:
        Huber 1964, "Robust estimation of a location parameter".
    """

    def per_example(values: Array, targets: Array) -> Array:
        error = jnp.abs(values - targets)
        return jnp.where(error <= delta, 0.5 * jnp.square(error), delta * (error - 0.5 * delta)).mean(-1)

    return Loss(per_example, _highest, _of_values)


@register("loss")
def layer_loss() -> Loss:
    """The loss that the last layer computes itself: its output.

    For layers that learn without targets, such as `rbm`; the labels of the data are left aside, and there is
    no accuracy. What the loss is, and what it is in evaluation, the layer says.
    """
    return Loss(lambda outputs, targets: outputs[:, 0], _highest, _of_values, takes_targets=False)
