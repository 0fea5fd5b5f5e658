"""Neural collapse: what the classes become in the last hidden layer, long after all examples are right.

C classes, P features and N training examples; `h_i` `[P]` is what the layer makes of example i, `m_c` the
mean of class c, `m` the mean of these, and W `[P, C]` the kernel of the classifier behind the layer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon, refuse_non_numeric
from nnlab.phenomena.inspection.embeddings import feature_layer
from nnlab.phenomena.probe import Probe, RowLabels, Snapshot, stages, subtree
from nnlab.system.imports import Array, jnp

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MINIMUM_CLASSES = 3  # two means are always opposite each other, and equally far from their middle
MINIMUM_FALL = 20.0  # of the variability within classes, from the first record without an error on
MAXIMUM_NORM_SPREAD, MAXIMUM_ANGLE_SPREAD, MAXIMUM_DUALITY_GAP = 0.04, 0.06, 0.35
COLUMNS = (
    "within_class_variability",
    "norm_spread",
    "angle_spread",
    "duality_gap",
    "nearest_mean_mismatch",
)

Verdict = Literal["neural collapse", "none"]


class NeuralCollapse(NamedTuple):
    """How far the classes have collapsed at the last record, see `neural_collapse`.

    Attributes:
        interpolation_step: Training step of the first record at which every training example is right; null
            if there is none.
        variability_at_interpolation: NC1 at that record; null without it.
        within_class_variability: NC1, from 0; null where the class means are all in one place.
        variability_fall: variability_at_interpolation / within_class_variability; null without either.
        norm_spread: NC2 of the lengths, from 0; null likewise.
        angle_spread: NC2 of the angles, from 0; null likewise.
        duality_gap: NC3, from 0 to 2; null also where the layer is not the one that the classifier reads.
        nearest_mean_mismatch: NC4, a share of the training examples from 0 to 1.
        verdict: `neural collapse` or `none`; null if the training set is never fitted.
        reason: Why numbers are null.
    """

    interpolation_step: int | None
    variability_at_interpolation: float | None
    within_class_variability: float | None
    variability_fall: float | None
    norm_spread: float | None
    angle_spread: float | None
    duality_gap: float | None
    nearest_mean_mismatch: float | None
    verdict: Verdict | None
    reason: str | None = None


@phenomenon
def neural_collapse(layer: str | None = None) -> RunPhenomenon:
    """Do the examples of a class become one point, and the classes corners of a simplex, after 100 %?

    With centred class means M, of rows m_c - m, and the covariances S_W = mean_i (h_i - m_c) (h_i - m_c)' and
    S_B = M' M / C, each record has of the training examples

        NC1  within_class_variability = trace(S_W pinv(S_B)) / C
        NC2  norm_spread = standard deviation / mean of |m_c - m| over the classes
             angle_spread = standard deviation of cos(m_c - m, m_d - m) over the pairs of classes
        NC3  duality_gap = |W / |W| - M' / |M||, with the norms of Frobenius
        NC4  nearest_mean_mismatch = share of the examples for which the net's answer is not the class with
             the nearest mean

    Verdicts:
        neural collapse: From the first record at which all training examples are right, NC1 falls 20 times or
            more; at the end norm_spread is at most 0.04, angle_spread 0.06 and, where the layer is the one
            that the classifier reads, duality_gap 0.35. NC4 is no part of it: it is small in any net that
            fits its data.
        none: The training examples are all right at some record, and that does not follow.

    Args:
        layer: The layer's path; null is the layer before the last one with a kernel.

    Reference:
        Papyan, Han & Donoho 2020, Prevalence of neural collapse during the terminal phase of deep learning
        training.
    """

    def rows(setup: Setup, data: Data) -> RowLabels:
        _check_classes(setup, data)
        return {"layer": [feature_layer(setup, layer) or "inputs"], "classes": [data.train.classes]}

    def measure(setup: Setup, snapshot: Snapshot) -> tuple[Array, ...]:
        return _statistics(setup, snapshot, layer)

    return RunPhenomenon(
        probes=(
            Probe(
                "neural_collapse",
                rows,
                COLUMNS,
                measure,
                passes=lambda data: len(data.train),
                evaluates_all_examples=True,
            ),
        ),
        result=NeuralCollapse,
        detect=detect,
        figures={"neural_collapse": collapse_curves},
        validate=rows,
    )


def _check_classes(setup: Setup, data: Data) -> None:
    """Raises InvalidValue where the net, or the training examples, have no classes that could collapse."""
    classes = data.train.classes
    if classes < MINIMUM_CLASSES:
        message = (
            f"neural_collapse takes {MINIMUM_CLASSES} classes or more; the data have {classes or 'none'}"
        )
        raise InvalidValue(message)
    if setup.output_shape != (classes,) or _classifier(setup) is None:
        raise InvalidValue("neural_collapse needs a net with a kernel and one output a class")
    counts = np.bincount(data.train.targets, minlength=classes)
    if counts.min() == 0:
        raise InvalidValue(f"neural_collapse needs examples of every class; class {counts.argmin()} has none")
    if counts.max() == 1:
        raise InvalidValue("neural_collapse needs classes of several examples; here each has a single one")


def _statistics(setup: Setup, snapshot: Snapshot, layer: str | None) -> tuple[Array, ...]:
    """The columns COLUMNS, `[1]` each."""
    inputs, targets = snapshot.examples["train"]
    output = snapshot.evaluate(snapshot.params, inputs)
    path = feature_layer(setup, layer)
    features = inputs if path is None else output.intermediates["outputs"][path]
    features, logits = (x.reshape(len(inputs), -1).astype(jnp.float32) for x in (features, output.value))
    is_class = (targets[:, None] == jnp.arange(logits.shape[1])[None, :]).astype(jnp.float32)
    means = is_class.T @ features / is_class.sum(0)[:, None]
    centre = means.mean(0, keepdims=True)
    centred, deviations = means - centre, features - is_class @ means
    norms, cosines = _lengths_and_cosines(centred)
    gap = _duality_gap(setup, snapshot, centred) if path == feature_layer(setup, None) else None
    # |h - m_c|^2 without |h|^2, which is the same for all classes
    distances = jnp.square(centred).sum(1)[None, :] - 2 * (features - centre) @ centred.T
    mismatch = (distances.argmin(1) != logits.argmax(1)).mean()
    columns = (
        _within_class_variability(centred, deviations),
        norms.std() / norms.mean(),
        cosines.std(),
        jnp.full((), jnp.nan) if gap is None else gap,
        mismatch,
    )
    return tuple(column.astype(jnp.float32)[None] for column in columns)


def _within_class_variability(centred: Array, deviations: Array) -> Array:
    """NC1, `[]`, of the centred class means M `[C, P]` and the deviations of the examples `[N, P]`.

    With M = U diag(s) V', pinv(S_B) / C is V diag(1 / s^2) V'. The rows of M add up to 0, so that one s is 0.
    """
    _, singular_values, directions = jnp.linalg.svd(centred, full_matrices=False)
    values = singular_values[: len(centred) - 1]
    rounding = max(centred.shape) * jnp.finfo(values.dtype).eps * values[0]
    inverses = jnp.where(values > rounding, 1 / values, 0.0)
    scores = deviations @ (directions[: len(values)].T * inverses[None, :])
    return jnp.where(values[0] > 0, jnp.square(scores).sum(1).mean(), jnp.nan)


def _lengths_and_cosines(centred: Array) -> tuple[Array, Array]:
    """The length of each row, `[C]`, and the cosine of each pair of different rows, `[C (C - 1) / 2]`."""
    norms = jnp.linalg.norm(centred, axis=1)
    first, second = np.triu_indices(len(centred), 1)
    return norms, (centred[first] * centred[second]).sum(1) / (norms[first] * norms[second])


def _duality_gap(setup: Setup, snapshot: Snapshot, centred: Array) -> Array | None:
    """NC3, `[]`, of the centred class means M `[C, P]`; None where no kernel `[P, C]` reads the features."""
    path = _classifier(setup)
    if path is None or "/" in path or setup.children[path].params["kernel"].shape != centred.shape[::-1]:
        return None
    kernel = subtree(snapshot.params, path)["kernel"]
    return jnp.linalg.norm(kernel / jnp.linalg.norm(kernel) - centred.T / jnp.linalg.norm(centred))


def _classifier(setup: Setup) -> str | None:
    """The path of the last layer with a kernel; None without any."""
    return next((stage.path for stage in reversed(stages(setup)) if stage.has_kernel), None)


def detect(run: RunView) -> NeuralCollapse:
    """The numbers of the table `neural_collapse`. Raises InvalidValue where it has no numbers."""
    table = run.tables["neural_collapse"]
    refuse_non_numeric(table, ("step", *COLUMNS))
    step = interpolation_step(run)
    numbers = {name: _number(table[name].iloc[-1]) for name in COLUMNS}
    reasons = []
    if numbers["within_class_variability"] is None:
        reasons.append("the class means are in one place")
    elif numbers["duality_gap"] is None:
        reasons.append("the classifier does not read this layer")
    first = fall = verdict = None
    if step is None:
        reasons.append("the training accuracy never reaches 100 %")
    else:
        first = _number(table.loc[table["step"] >= step, "within_class_variability"].iloc[0])
        fall = first / last if first is not None and (last := numbers["within_class_variability"]) else None
        verdict = _verdict(fall, numbers)
    return NeuralCollapse(
        interpolation_step=step,
        variability_at_interpolation=first,
        variability_fall=fall,
        verdict=verdict,
        reason="; ".join(reasons) or None,
        **numbers,
    )


def interpolation_step(run: RunView) -> int | None:
    """The step of the first record at which every training example is right."""
    metrics = run.tables["metrics"]
    refuse_non_numeric(metrics, ("step", "train_accuracy"))
    steps = metrics.loc[metrics["train_accuracy"] >= 1.0, "step"]
    return int(steps.iloc[0]) if len(steps) else None


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _verdict(fall: float | None, numbers: Mapping[str, float | None]) -> Verdict:
    bounds = {
        "norm_spread": MAXIMUM_NORM_SPREAD,
        "angle_spread": MAXIMUM_ANGLE_SPREAD,
        "duality_gap": MAXIMUM_DUALITY_GAP,
    }
    measured = {name: numbers[name] for name in bounds}
    if measured["duality_gap"] is None:  # the classifier reads another layer
        del measured["duality_gap"]
    has_fallen = fall is not None and fall >= MINIMUM_FALL
    is_simplex = all(value is not None and value <= bounds[name] for name, value in measured.items())
    return "neural collapse" if has_fallen and is_simplex else "none"


class Panel(NamedTuple):
    """A panel of the figure: its title, its y axis, and column, style and name of each line."""

    title: str
    label: str
    lines: Sequence[tuple[str, str, str]]
    is_log: bool = False


PANELS = (
    Panel(
        "NC1: the examples of a class become one point",
        "variability within classes",
        [("within_class_variability", "-", "")],
        is_log=True,
    ),
    Panel(
        "NC2: the class means become a simplex",
        "spread over classes",
        [("norm_spread", "-", "lengths"), ("angle_spread", "--", "cosines")],
    ),
    Panel(
        "NC3: the classifier becomes the means",
        "distance of kernel and means",
        [("duality_gap", "-", "")],
    ),
    Panel(
        "NC4: the nearest mean is the answer",
        "share of other answers",
        [("nearest_mean_mismatch", "-", "")],
    ),
)


def collapse_curves(runs: Sequence[RunView]) -> Figure:
    """NC1 to NC4 over training, the first record without a training error marked by a dotted line."""
    is_single = len(runs) == 1
    figure, axes = plotting.panels(2, 2, 4.8 + 0.15 * len(runs) * (not is_single), sharex=True)
    for run, colour in zip(runs, plotting.colours(len(runs)), strict=True):
        table, step = run.tables["neural_collapse"], interpolation_step(run)
        for ax, panel in zip(axes.flat, PANELS, strict=True):
            for column, style, name in panel.lines:
                ax.plot(table["step"], table[column], style, color=colour, label=name)
            if step is not None:
                ax.axvline(step, color="#555555" if is_single else colour, linestyle=":", linewidth=1.2)
    for ax, panel in zip(axes.flat, PANELS, strict=True):
        ax.set(title=panel.title, ylabel=panel.label)
        if panel.is_log:
            plotting.log_axis(ax)
        else:
            ax.set_ylim(0, None)
    for ax in axes[1]:
        plotting.step_axis(ax, runs[0].tables["neural_collapse"]["step"].tolist())
    if is_single:
        plotting.legend(axes[0][1])
        plotting.figure_title(figure, _finding(runs[0]))
    else:
        key = "cosines dashed; the first record without a training error dotted"
        plotting.colour_legend(figure, [_caption(run) for run in runs], key)
    return figure


def _caption(run: RunView) -> str:
    """A run and what it came to: `wide: neural collapse, NC1 falls 66 times`."""
    numbers = detect(run)
    if numbers.interpolation_step is None:
        return f"{run.label}: the training accuracy never reaches 100 %"
    fall = numbers.variability_fall
    falls = "" if fall is None else f", NC1 falls {plotting.scientific(fall)} times"
    return f"{run.label}: {'no ' * (numbers.verdict == 'none')}neural collapse{falls}"


def _finding(run: RunView) -> str:
    """The caption, and since when, and how near to a simplex."""
    numbers = detect(run)
    facts = [_caption(run)]
    if numbers.interpolation_step is not None:
        facts[0] += f" after 100 % at step {numbers.interpolation_step:,}"
    if numbers.angle_spread is not None:
        facts.append(f"the cosines spread by {plotting.scientific(numbers.angle_spread)}")
    return "; ".join(facts)
