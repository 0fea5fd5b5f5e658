"""Metrics: what is recorded of each split beside its loss, from the outputs for all of its examples at once.

A metric sees one of three tasks: `classes`, targets `[N]` of class numbers; `labels`, targets `[N, K]` of 0
and 1, each label by itself; or `values`, targets `[N, K]` to come close to. `N` is the examples of the split,
`K` the outputs, `C` the classes. Of two classes with one output, the output is the logit of class 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from nnlab.optim.losses import Loss
from nnlab.registry import Count, register
from nnlab.system.imports import Array, jax, jnp

Task = Literal["classes", "labels", "values"]
Better = Literal["lower", "higher"]
Average = Literal["macro", "micro"] | None

SUMMED_AT_ONCE = 128  # of more, the rounding of a float32 sum would show


def always_defined(targets: np.ndarray, classes: int) -> str:
    """No split on which the metric is undefined."""
    return ""


class Metric(NamedTuple):
    """A metric.

    Attributes:
        compute: (outputs `[N, K]`, targets) -> a number; of a metric of `values`, the outputs are values.
        tasks: Those that it suits.
        better: Whether lower or higher values are better.
        why_undefined: (targets of a split, C or 0) -> why there is no number for them, and the remedy; empty
            where there is one.
        column: What its columns are called after `train_`; its name in the registry where it is left out.
        name: Its name in the registry.
    """

    compute: Callable[[Array, Array], Array]
    tasks: tuple[Task, ...]
    better: Better = "higher"
    why_undefined: Callable[[np.ndarray, int], str] = always_defined
    column: str = ""
    name: str = ""

    @property
    def title(self) -> str:
        """What its columns are called after `train_`."""
        return self.column or self.name

    def of(self, loss: Loss, outputs: Array, targets: Array) -> Array:
        """Its number, for the outputs of a model that is trained for a loss; of outputs `[N, L, K]` and
        targets `[N, L]`, each position counts like an example."""
        if outputs.ndim > targets.ndim > 1:
            outputs, targets = outputs.reshape(-1, outputs.shape[-1]), targets.reshape(-1)
        return self.compute(loss.target_values(outputs) if "values" in self.tasks else outputs, targets)


def task_of(loss: Loss, classes: int, targets: Iterable[np.ndarray]) -> Task:
    """The task that metrics see.

    Args:
        loss: What training makes small.
        classes: Their number; 0 where targets are values.
        targets: Of each split.
    """
    if classes:
        return "classes"
    zero_or_one = loss.takes_probabilities and all(((t == 0) | (t == 1)).all() for t in targets)
    return "labels" if zero_or_one else "values"


def added_metrics(metrics: Sequence[Metric], classes: int) -> list[Metric]:
    """The metrics beside the loss and, for a classification, the accuracy, which are always recorded."""
    return [metric for metric in metrics if not (classes and metric.title == "accuracy")]


def metric_columns(metrics: Sequence[Metric], splits: Iterable[str], classes: int) -> dict[str, Better]:
    """The columns of metrics.csv that measure a split, in their order, and which values are better.

    Args:
        metrics: Those that the file asks for.
        splits: The names of the splits.
        classes: Their number; 0 where targets are values.
    """
    always: dict[str, Better] = {"loss": "lower"}
    if classes:
        always["accuracy"] = "higher"
    titles = always | {metric.title: metric.better for metric in added_metrics(metrics, classes)}
    return {f"{split}_{title}": better for split in splits for title, better in titles.items()}


@register("metric")
def accuracy() -> Metric:
    """The share of examples whose highest output is their class; of many labels, the share of labels.

    A classification records it unasked. A label is said where its logit is above 0.
    """

    def compute(outputs: Array, targets: Array) -> Array:
        if targets.ndim == 2:
            right = (outputs > 0) == (targets > 0.5)
            return _share(right.sum(dtype=jnp.int32), right.size)
        right = _by_class(outputs).argmax(-1) == targets
        return _share(right.sum(dtype=jnp.int32), right.size)

    return Metric(compute, ("classes", "labels"))


@register("metric")
def top_k(k: Count = 5) -> Metric:
    """The share of examples whose class is among the k highest outputs.

    Its columns are called test_top_5_accuracy and the like. Of equal outputs, that of the lower class number
    is taken for the higher, as for accuracy.

    Args:
        k: How many outputs count, fewer than there are classes.
    """

    def compute(outputs: Array, labels: Array) -> Array:
        scores = _by_class(outputs)
        of_label = jnp.take_along_axis(scores, labels[:, None], axis=-1)
        before = jnp.arange(scores.shape[-1])[None] < labels[:, None]
        above = (scores > of_label) | ((scores == of_label) & before)
        return _share((above.sum(-1) < k).sum(dtype=jnp.int32), len(labels))

    def why_undefined(labels: np.ndarray, classes: int) -> str:
        if k < classes:
            return ""
        return f"is 1 whatever the outputs, for {classes} classes and k {k}; give a smaller k"

    return Metric(compute, ("classes",), why_undefined=why_undefined, column=f"top_{k}_accuracy")


@register("metric")
def precision(average: Average = None) -> Metric:
    """Of the examples that are taken for a class, the share that is of it; 0 where there are none.

    scikit-learn's precision_score with zero_division 0.

    Args:
        average: `macro` is the mean over the classes that occur among targets or answers, or over all labels;
            `micro` counts all of them together. null is class 1 alone where there are two classes, else
            macro; the columns of the others say which: test_precision_micro.
    """
    return _averaged("precision", average, lambda hits, said, true: (hits, said))


@register("metric")
def recall(average: Average = None) -> Metric:
    """Of the examples of a class, the share that is taken for it; 0 where there are none.

    scikit-learn's recall_score with zero_division 0.

    Args:
        average: `macro` is the mean over the classes that occur among targets or answers, or over all labels;
            `micro` counts all of them together. null is class 1 alone where there are two classes, else
            macro; the columns of the others say which: test_recall_micro.
    """
    return _averaged("recall", average, lambda hits, said, true: (hits, true))


@register("metric")
def f1(average: Average = None) -> Metric:
    """The harmonic mean of precision and recall, 2 hits / (taken for the class + of the class).

    scikit-learn's f1_score with zero_division 0.

    Args:
        average: `macro` is the mean over the classes that occur among targets or answers, or over all labels;
            `micro` counts all of them together. null is class 1 alone where there are two classes, else
            macro; the columns of the others say which: test_f1_micro.
    """
    return _averaged("f1", average, lambda hits, said, true: (2 * hits, said + true))


@register("metric")
def balanced_accuracy() -> Metric:
    """The mean, over the classes that occur, of the share of their examples that is right.

    A model that always gives the same answer among C classes has 1 / C, however rare the others are.
    scikit-learn's balanced_accuracy_score.
    """

    def compute(outputs: Array, labels: Array) -> Array:
        hits, _, true = _counts(outputs, labels)
        return _mean_of(hits / jnp.maximum(true, 1), true > 0)

    return Metric(compute, ("classes",))


@register("metric")
def auc() -> Metric:
    """The area under the receiver operating characteristic: how often an example of a class scores above one
    that is not of it, ties counting half.

    Of two classes it is that of class 1; of more, the mean over the classes, each against the rest, by its
    softmax probability; of many labels, the mean over the labels. scikit-learn's roc_auc_score with
    multi_class ovr. A split in which a class has no example has none, and is refused.
    """

    def compute(outputs: Array, targets: Array) -> Array:
        if targets.ndim == 2:
            scores, positive = outputs, targets > 0.5
        elif max(outputs.shape[-1], 2) == 2:
            scores = _by_class(outputs)
            scores, positive = scores[:, 1:] - scores[:, :1], (targets == 1)[:, None]
        else:
            scores = _log_odds(outputs)
            positive = targets[:, None] == jnp.arange(outputs.shape[-1])[None]
        areas = jax.lax.map(lambda label: _area(*label), (scores.T, positive.T))
        return _mean(areas)

    def why_undefined(targets: np.ndarray, classes: int) -> str:
        if classes:
            absent = np.flatnonzero(np.bincount(targets, minlength=classes) == 0)
            if not absent.size:
                return ""
            return (
                f"needs an example of every class, and there is none of class {absent[0]}; leave it out, or "
                "give every split its share with data.split's stratify"
            )
        return _why_alike(targets)

    return Metric(compute, ("classes", "labels"), why_undefined=why_undefined)


@register("metric")
def perplexity() -> Metric:
    """exp of the mean of -log softmax(outputs)[class], over examples or positions.

    As many equally likely answers would be as hard to foretell: K for a uniform guess among K classes, 1 for
    certainty. It leaves out label smoothing and class weights.
    """

    def compute(outputs: Array, labels: Array) -> Array:
        scores = _by_class(outputs)
        of_label = jnp.take_along_axis(scores, labels[:, None], axis=-1)[:, 0]
        return jnp.exp(_mean(jax.nn.logsumexp(scores, axis=-1) - of_label))

    return Metric(compute, ("classes",), better="lower")


@register("metric")
def mean_absolute_error() -> Metric:
    """The mean of |output - target|, over targets and examples. scikit-learn's mean_absolute_error."""

    def compute(values: Array, targets: Array) -> Array:
        return _mean(jnp.abs(values - targets)).mean(-1)

    return Metric(compute, ("values", "labels"), better="lower")


@register("metric")
def rmse() -> Metric:
    """The root of the mean squared error of each target, in its unit; then the mean over the targets.

    scikit-learn's root_mean_squared_error.
    """

    def compute(values: Array, targets: Array) -> Array:
        return jnp.sqrt(_mean(jnp.square(values - targets))).mean(-1)

    return Metric(compute, ("values", "labels"), better="lower")


@register("metric")
def r2() -> Metric:
    """The share of a target's variance that is explained, 1 - squared error / variance; the mean over them.

    1 is perfect, 0 as good as the split's mean, below 0 worse. scikit-learn's r2_score. Targets that are all
    the same have none, and are refused.
    """

    def compute(values: Array, targets: Array) -> Array:
        deviation = targets - targets[:1]  # near 0, where float32 is fine
        deviation = deviation - _mean(deviation)[None]
        return (1.0 - _mean(jnp.square(values - targets)) / _mean(jnp.square(deviation))).mean(-1)

    return Metric(compute, ("values", "labels"), why_undefined=lambda targets, _: _why_alike(targets))


def _why_alike(targets: np.ndarray) -> str:
    """Why there is no number where a target is the same for all examples; empty where none is."""
    alike = np.flatnonzero((targets == targets[:1]).all(0))
    if not alike.size:
        return ""
    return f"needs targets that vary, and target {alike[0]} is always {targets[0, alike[0]]:g}; leave it out"


def _averaged(
    name: str, average: Average, parts: Callable[[Array, Array, Array], tuple[Array, Array]]
) -> Metric:
    """A ratio of counts, of class 1 or averaged.

    Args:
        name: Of the metric.
        average: How it is averaged.
        parts: (right answers, answers, truths, `[C]` each) -> numerator and denominator.
    """

    def compute(outputs: Array, targets: Array) -> Array:
        hits, said, true = _counts(outputs, targets)
        part, whole = parts(hits, said, true)
        if average == "micro":
            part, whole = part.sum(), whole.sum()
        elif average is None and targets.ndim == 1 and len(hits) == 2:
            part, whole = part[1], whole[1]
        ratio = part / jnp.maximum(whole, 1)
        if ratio.ndim == 0:
            return ratio
        return _mean(ratio) if targets.ndim == 2 else _mean_of(ratio, said + true > 0)

    return Metric(compute, ("classes", "labels"), column=f"{name}_{average}" if average else "")


def _by_class(outputs: Array) -> Array:
    """A score for each class: of one output, 0 for class 0 and the output for class 1."""
    if outputs.shape[-1] > 1:
        return outputs
    return jnp.concatenate([jnp.zeros_like(outputs), outputs], axis=-1)


def _counts(outputs: Array, targets: Array) -> tuple[Array, Array, Array]:
    """How many answers are right, answers there are, and targets there are, of each class or label, int32."""
    if targets.ndim == 2:
        said, true = outputs > 0, targets > 0.5
        hits, said, true = (flags.sum(0, dtype=jnp.int32) for flags in (said & true, said, true))
        return hits, said, true
    scores = _by_class(outputs)
    answers = scores.argmax(-1)
    none = jnp.zeros(scores.shape[-1], jnp.int32)
    hits = none.at[targets].add((answers == targets).astype(jnp.int32))
    return hits, none.at[answers].add(1), none.at[targets].add(1)


def _log_odds(outputs: Array) -> Array:
    """log(p / (1 - p)) of each output's softmax p, `[N, K]`; it tells apart what rounds to p = 1."""
    highest = jnp.arange(outputs.shape[-1])[None] == outputs.argmax(-1)[:, None]
    against_highest = jax.nn.logsumexp(jnp.where(highest, -jnp.inf, outputs), axis=-1, keepdims=True)
    top = outputs.max(-1, keepdims=True)
    shares = jnp.exp(outputs - top)
    against_others = top + jnp.log(shares.sum(-1, keepdims=True) - jnp.where(highest, 0.0, shares))
    return outputs - jnp.where(highest, against_highest, against_others)


def _area(scores: Array, positive: Array) -> Array:
    """The share of pairs, one positive and one not, `[N]` both, in which the positive one scores higher."""
    scores, positive = jax.lax.sort((scores, positive.astype(jnp.int32)), num_keys=1)
    negatives = jnp.cumsum(1 - positive)
    place = jnp.arange(len(scores))
    differs = scores[1:] != scores[:-1]
    ends = jnp.append(differs, True)  # of a stretch of equal scores
    starts = jnp.append(True, differs)
    first = jax.lax.cummax(jnp.where(starts, place, 0))
    last = jax.lax.cummin(jnp.where(ends, place, len(scores)), reverse=True)
    below = negatives[first] - (1 - positive[first])
    beaten = (below + negatives[last]) / (2 * negatives[-1])  # ties are in the second, not in the first
    return _sum(jnp.where(positive == 1, beaten, 0.0)) / positive.sum().astype(beaten.dtype)


def _share(count: Array, total: int) -> Array:
    """count / total; XLA would multiply by 1 / total, and n of n would not be 1."""
    return count / jax.lax.optimization_barrier(jnp.int32(total))


def _mean(values: Array) -> Array:
    """The mean over the first axis."""
    return _sum(values) / jax.lax.optimization_barrier(jnp.asarray(len(values), values.dtype))


def _mean_of(values: Array, counted: Array) -> Array:
    """The mean of those that are counted."""
    return _sum(jnp.where(counted, values, 0.0)) / counted.sum().astype(values.dtype)


def _sum(values: Array) -> Array:
    """The sum over the first axis, in parts, which rounds less."""
    fill = jnp.zeros((-len(values) % SUMMED_AT_ONCE, *values.shape[1:]), values.dtype)
    parts = jnp.concatenate([values, fill]).reshape(-1, SUMMED_AT_ONCE, *values.shape[1:])
    return jax.lax.optimization_barrier(parts.sum(1)).sum(0)
