"""Gradient through time: how far back in a sequence does the gradient of the loss reach?

Sources: lectures 001 and 004 (gradients vanish and explode in recurrent nets most of all); Bengio et al.
1994; Pascanu et al. 2013 (the spectral radius of the recurrent kernel; clipping).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup, Shape
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon
from nnlab.phenomena.probe import Probe, Snapshot, subtree
from nnlab.system.imports import Array, jax, jnp

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EXAMPLES = 64  # of the training set, the first ones, over which the gradient is averaged
SQUARINGS = 10  # of the recurrent kernel: its power 2^10
NEAR_ONE = 1e-3  # a radius whose logarithm is below this is 1: there is no slope to compare


class GradientThroughTime(NamedTuple):
    """Of the last recurrent layer, at step 0; g(d) is the gradient norm d steps before the last state.

    factor_per_step: by which g changes a step back: e to the slope of log g(d) over d, fitted to where g is
    positive and finite; null where that is at fewer than two. log10_slope: its decimal logarithm.
    first_to_last_ratio: g of the first state over g(0); null where both are 0. spectral_radius: the recurrent
    kernel's largest |eigenvalue|, rho, of a simple_rnn; null for gates. slope_over_log_radius: log
    factor_per_step / log rho, 1 where the gradient goes by rho^d; null where rho is 1. verdict: of step 0,
    see `gradient_through_time`.
    final_...: the same at the last record.
    """

    factor_per_step: float | None
    log10_slope: float | None
    first_to_last_ratio: float | None
    spectral_radius: float | None
    slope_over_log_radius: float | None
    verdict: str
    final_factor_per_step: float | None
    final_first_to_last_ratio: float | None
    final_spectral_radius: float | None
    final_verdict: str


@phenomenon
def gradient_through_time() -> RunPhenomenon:
    """Does the gradient of the loss by the states of a recurrent layer vanish or explode, step by step back?

    The gradient of an example's loss by the state h_t `[U]`, all later states following from it, in root mean
    square over 64 training examples, in evaluation mode. The verdict is `vanishing` where it falls below a
    hundredth from the last state back to the first, `exploding` where it grows twentyfold or is not finite,
    `none` where there is no gradient, as at a loss of 0, else `healthy`: as gradient_flow says it of layers.
    It is of the whole length; the factor a step is not. A backward layer's first state is that of the last
    element.
    """
    return RunPhenomenon(
        probes=(
            Probe("gradient_through_time", _distances, ("gradient_norm",), _norms),
            Probe("recurrent_kernel", _one_row, ("spectral_radius",), _radius),
        ),
        result=GradientThroughTime,
        detect=lambda run: summarize(run.tables),
        figures={"gradient_through_time": norm_by_distance},
        validate=_check,
    )


def verdict(ratio: float | None) -> str:
    """One word for the gradient at the first state over that at the last."""
    if ratio is None:
        return "none"
    if not math.isfinite(ratio) or ratio > 20:
        return "exploding"
    return "vanishing" if ratio < 0.01 else "healthy"


def summarize(tables: Mapping[str, pandas.DataFrame]) -> GradientThroughTime:
    """The detector's numbers."""
    steps = tables["recurrent_kernel"]["step"]
    first, last = (_seen(tables, step) for step in (steps.min(), steps.max()))
    factor = first.factor
    return GradientThroughTime(
        factor_per_step=factor,
        log10_slope=None if factor is None else math.log10(factor),
        first_to_last_ratio=first.ratio,
        spectral_radius=first.radius,
        slope_over_log_radius=_over_log_radius(factor, first.radius),
        verdict=verdict(first.ratio),
        final_factor_per_step=last.factor,
        final_first_to_last_ratio=last.ratio,
        final_spectral_radius=last.radius,
        final_verdict=verdict(last.ratio),
    )


def _over_log_radius(factor: float | None, radius: float | None) -> float | None:
    if not factor or not radius or abs(math.log(radius)) < NEAR_ONE:
        return None
    return math.log(factor) / math.log(radius)


class Record(NamedTuple):
    """norms: g(d) `[distances]`; radius: rho, None where there are gates."""

    norms: np.ndarray
    radius: float | None

    @property
    def ratio(self) -> float | None:
        """First state over last."""
        last, first = float(self.norms[0]), float(self.norms[-1])
        if last == 0:
            return math.inf if first else None
        return first / last

    @property
    def factor(self) -> float | None:
        there = np.isfinite(self.norms) & (self.norms > 0)
        if there.sum() < 2:
            return None
        slope = np.polyfit(np.flatnonzero(there), np.log(self.norms[there]), 1)[0]
        return float(np.exp(slope))


def _seen(tables: Mapping[str, pandas.DataFrame], step: int) -> Record:
    by_distance, kernel = (tables[name] for name in ("gradient_through_time", "recurrent_kernel"))
    rows = by_distance[by_distance["step"] == step].sort_values("distance")
    radius = float(kernel.loc[kernel["step"] == step, "spectral_radius"].iloc[0])
    norms = rows["gradient_norm"].to_numpy(float)
    return Record(norms[~np.isnan(norms)], None if math.isnan(radius) else radius)


def _recurrent_path(setup: Setup) -> str:
    """The last recurrent layer. Raises InvalidValue."""
    paths = [path for path, leaf in setup.leaves() if "recurrent_kernel" in leaf.params]
    if not paths:
        raise InvalidValue("gradient_through_time needs a recurrent layer; give the model a simple_rnn")
    return paths[-1]


def _check(setup: Setup, data: Data) -> None:
    _recurrent_path(setup)


def _distances(setup: Setup, data: Data) -> dict[str, list[Any]]:
    """distance: 0 for the last state, and up to the longest sequence that could reach the layer."""
    count = _longest(setup, data.train.inputs.shape[1:])
    return {"layer": [_recurrent_path(setup)] * count, "distance": list(range(count))}


def _longest(setup: Setup, input_shape: Shape) -> int:
    shapes = [input_shape, *(leaf.output_shape for _, leaf in setup.leaves())]
    return max(shape[0] for shape in shapes if shape)


def _norms(setup: Setup, snapshot: Snapshot) -> tuple[Array]:
    """g `[distances]`, NaN beyond the first state."""
    path = _recurrent_path(setup)
    examples = snapshot.examples["train"]
    inputs, targets = examples.inputs[:EXAMPLES], examples.targets[:EXAMPLES]
    states = jax.eval_shape(snapshot.evaluate, snapshot.params, inputs).intermediates["states"][path]

    def loss(perturbations: Array) -> Array:
        params = _with_perturbations(snapshot.params, path.split("/"), perturbations)
        return snapshot.loss.per_example(snapshot.evaluate(params, inputs).value, targets).sum()

    gradient = jax.grad(loss)(jnp.zeros(states.shape, states.dtype))
    beyond = _longest(setup, examples.inputs.shape[1:]) - states.shape[1]
    return (jnp.pad(_root_mean_square(gradient)[::-1], (0, beyond), constant_values=jnp.nan),)


def _with_perturbations(params: Any, path: Sequence[str], perturbations: Array) -> dict[str, Any]:
    """The params with perturbations beside the weights of the layer at a path, see `nnlab.nn.recurrent`."""
    if not path:
        return {**params, "perturbations": perturbations}
    return {**params, path[0]: _with_perturbations(params[path[0]], path[1:], perturbations)}


def _root_mean_square(gradient: Array) -> Array:
    """Of the examples' norms, `[B, T, U] -> [T]`: the values are first scaled, lest their squares leave
    float32."""
    largest = jnp.abs(gradient).max((0, 2))
    scale = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1.0)
    scaled = gradient / jnp.broadcast_to(scale[None, :, None], gradient.shape)
    found = scale * jnp.sqrt(jnp.square(scaled).sum(2).mean(0))
    return jnp.where(jnp.isfinite(found), found, jnp.inf)


def _one_row(setup: Setup, data: Data) -> dict[str, list[Any]]:
    return {"layer": [_recurrent_path(setup)]}


def _radius(setup: Setup, snapshot: Snapshot) -> tuple[Array]:
    kernel = subtree(snapshot.params, _recurrent_path(setup))["recurrent_kernel"]
    square = kernel.shape[0] == kernel.shape[1]
    return ((spectral_radius(kernel) if square else jnp.asarray(jnp.nan, kernel.dtype))[None],)


def spectral_radius(matrix: Array) -> Array:
    """The largest |eigenvalue| of a matrix: its powers' norms grow by it, |W^2n| / |W^n| -> rho^n.

    n = 2^9, by squaring a matrix that is brought back to norm 1 each time; 0 where a power is 0.
    """

    def norm(power: Array) -> Array:
        return jnp.sqrt(jnp.square(power).sum())

    size = norm(matrix)
    log, before = jnp.log(size), jnp.zeros_like(size)
    for _ in range(SQUARINGS):
        matrix = matrix / jnp.where(size > 0, size, 1.0)
        matrix = jnp.matmul(matrix, matrix, precision="highest")
        size = norm(matrix)
        before, log = log, 2 * log + jnp.log(size)
    return jnp.where(size > 0, jnp.exp((log - before) / 2 ** (SQUARINGS - 1)), 0.0)


def norm_by_distance(runs: Sequence[RunView]) -> Figure:
    """g(d) / g(0) over d, at the start and, where something was trained, at the end; rho^d dashed."""
    steps = [run.tables["recurrent_kernel"]["step"] for run in runs]
    trained = any(own.max() > own.min() for own in steps)
    figure, axes = plotting.panels(
        1, 1 + trained, width=8.2 if trained else 6.4, height=4.2, sharex=True, sharey=True
    )
    for ax, when, title in zip(axes[0], ("min", "max"), ("step 0", "the last record"), strict=False):
        records = [_seen(run.tables, getattr(own, when)()) for run, own in zip(runs, steps, strict=True)]
        for run, record, colour in zip(runs, records, plotting.colours(len(runs)), strict=True):
            _draw(ax, record, f"{run.label} ({verdict(record.ratio)})", colour)
        ax.set(title=f"Gradient by the states, at {title}", xlabel="steps back from the last state")
        lost = ", ".join(run.label for run, record in zip(runs, records, strict=True) if record.ratio is None)
        if lost:
            ax.text(0.02, 0.02, f"no gradient: {lost}", transform=ax.transAxes, fontsize=7)
    axes[0][0].set_ylabel("gradient norm over that of the last state")
    if any(np.isfinite(line.get_ydata()).any() for ax in axes[0] for line in ax.lines):
        plotting.log_axis(axes[0][0])
    handles, labels = axes[0][0].get_legend_handles_labels()
    title = r"dashed: $\rho^d$, $\rho$ the spectral radius of the recurrent kernel"
    figure.legend(handles, labels, loc="outside lower center", ncols=min(2, len(labels)), title=title)
    return figure


def _draw(ax: Axes, record: Record, label: str, colour: Any) -> None:
    distance, last = np.arange(len(record.norms)), record.norms[0]
    there = np.isfinite(record.norms) & (record.norms > 0)
    shown = np.where(there, record.norms, np.nan) / (last if there[0] else np.nan)
    ax.plot(distance, shown, color=colour, label=label)
    if record.radius is not None and there[0]:
        with np.errstate(over="ignore"):
            line = record.radius**distance
        ax.plot(distance, np.where(np.isfinite(line), line, np.nan), "--", color=colour, linewidth=1)
