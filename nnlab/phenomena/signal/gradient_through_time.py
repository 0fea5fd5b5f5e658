"""Gradient through time: how far back in a sequence does the gradient of the loss reach?

Letters in shapes: B examples, T steps of a sequence, U units, D distances from the last state.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup, Shape, Tree
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon
from nnlab.phenomena.probe import Probe, RowLabels, Snapshot, subtree
from nnlab.phenomena.signal.gradient_flow import EXPLODING_RATIO, VANISHING_RATIO
from nnlab.system.imports import Array, jax, jnp

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AVERAGED_EXAMPLES = 64  # the first ones of the training set
KERNEL_SQUARINGS = 10  # which make the kernel's power 2^10
MINIMUM_LOG_RADIUS = 1e-3  # below it the radius is 1: there is no slope to compare with

Verdict = Literal["vanishing", "exploding", "none", "healthy"]


class GradientThroughTime(NamedTuple):
    """How the gradient changes along the states of the last recurrent layer.

    g(d) is the gradient norm d steps before the last state.

    Attributes:
        factor_per_step: Factor by which g changes per step back, at step 0 of training: e to the slope of
            log g(d) over d, fitted where g is positive and finite; null where that is at fewer than two d.
        log10_slope: Its decimal logarithm.
        first_to_last_ratio: g of the first state over g(0), at step 0; null where both are 0.
        spectral_radius: Largest |eigenvalue|, rho, of the recurrent kernel of a simple_rnn, at step 0; null
            for layers with gates.
        slope_over_log_radius: log factor_per_step / log rho, 1 where the gradient goes by rho^d; null where
            rho is 1.
        verdict: At step 0, see `gradient_through_time`.
        final_factor_per_step: As factor_per_step, at the last record.
        final_first_to_last_ratio: As first_to_last_ratio, at the last record.
        final_spectral_radius: As spectral_radius, at the last record.
        final_verdict: As verdict, at the last record.
        reason: Why numbers are null.
    """

    factor_per_step: float | None
    log10_slope: float | None
    first_to_last_ratio: float | None
    spectral_radius: float | None
    slope_over_log_radius: float | None
    verdict: Verdict
    final_factor_per_step: float | None
    final_first_to_last_ratio: float | None
    final_spectral_radius: float | None
    final_verdict: Verdict
    reason: str | None = None


@phenomenon
def gradient_through_time() -> RunPhenomenon:
    """Does the gradient of the loss by the states of a recurrent layer vanish or explode, step by step back?

    The gradient of an example's loss by the state h_t `[U]`, on which all later states depend, in root mean
    square over 64 training examples, in evaluation mode. The verdict is about the whole length; the factor
    per step is not. The first state of a layer that runs backward is that of the last element.

    Verdicts:
        vanishing: The gradient falls below a hundredth from the last state back to the first.
        exploding: It grows more than twentyfold or is not finite.
        none: There is no gradient, as at a loss of 0.
        healthy: None of these.

    Reference:
        Bengio et al. 1994; Pascanu et al. 2013 (the spectral radius of the recurrent kernel; clipping);
        lectures 001 and 004 (gradients vanish and explode in recurrent nets most of all).
    """
    return RunPhenomenon(
        probes=(
            Probe("gradient_through_time", _distances, ("gradient_norm",), _gradient_norms),
            Probe("recurrent_kernel", _one_row, ("spectral_radius",), _spectral_radius),
        ),
        result=GradientThroughTime,
        detect=lambda run: detect(run.tables),
        figures={"gradient_through_time": norm_by_distance},
        validate=lambda setup, data: _recurrent_path(setup),
    )


def verdict(ratio: float | None) -> Verdict:
    """The verdict on the gradient norm at the first state over that at the last."""
    if ratio is None:
        return "none"
    if not math.isfinite(ratio) or ratio > EXPLODING_RATIO:
        return "exploding"
    return "vanishing" if ratio < VANISHING_RATIO else "healthy"


def detect(tables: Mapping[str, pandas.DataFrame]) -> GradientThroughTime:
    """The numbers of the tables `gradient_through_time` and `recurrent_kernel`."""
    steps = tables["recurrent_kernel"]["step"]
    first, last = (_gradient_profile(tables, step) for step in (steps.min(), steps.max()))
    factor = first.factor
    return GradientThroughTime(
        factor_per_step=factor,
        log10_slope=None if factor is None else math.log10(factor),
        first_to_last_ratio=first.ratio,
        spectral_radius=first.radius,
        slope_over_log_radius=_slope_over_log_radius(factor, first.radius),
        verdict=verdict(first.ratio),
        final_factor_per_step=last.factor,
        final_first_to_last_ratio=last.ratio,
        final_spectral_radius=last.radius,
        final_verdict=verdict(last.ratio),
        reason=_reason(first, last),
    )


def _reason(first: GradientProfile, last: GradientProfile) -> str | None:
    """Why there are numbers that are null; None where there are none."""
    reasons = []
    for profile, moment in ((first, "step 0"), (last, "the last record")):
        if profile.ratio is None:
            reasons.append(f"at {moment} there is no gradient")
        elif profile.factor is None:
            reasons.append(f"at {moment} the gradient is positive and finite at fewer than two states")
    if first.radius is None:
        reasons.append("a layer with gates has no spectral radius")
    elif not reasons and _slope_over_log_radius(first.factor, first.radius) is None:
        reasons.append("a spectral radius of 0 or 1 has no slope to compare with")
    return "; ".join(reasons) or None


def _slope_over_log_radius(factor: float | None, radius: float | None) -> float | None:
    if not factor or not radius or abs(math.log(radius)) < MINIMUM_LOG_RADIUS:
        return None
    return math.log(factor) / math.log(radius)


class GradientProfile(NamedTuple):
    """The gradient along the states at one record.

    Attributes:
        norms: g(d) `[D]`.
        radius: rho; None where the layer has gates.
    """

    norms: np.ndarray
    radius: float | None

    @property
    def has_logarithm(self) -> np.ndarray:
        """Where g is positive and finite, `[D]`: log g is drawn and fitted there."""
        return np.isfinite(self.norms) & (self.norms > 0)

    @property
    def ratio(self) -> float | None:
        """First state over last."""
        last, first = float(self.norms[0]), float(self.norms[-1])
        if last == 0:
            return math.inf if first else None
        return first / last

    @property
    def factor(self) -> float | None:
        """By which g changes per step back; None where that is known at fewer than two distances."""
        if self.has_logarithm.sum() < 2:
            return None
        distances = np.flatnonzero(self.has_logarithm)
        return float(np.exp(np.polyfit(distances, np.log(self.norms[self.has_logarithm]), 1)[0]))


def _gradient_profile(tables: Mapping[str, pandas.DataFrame], step: int) -> GradientProfile:
    by_distance, kernel = (tables[name] for name in ("gradient_through_time", "recurrent_kernel"))
    rows = by_distance[by_distance["step"] == step].sort_values("distance")
    radius = float(kernel.loc[kernel["step"] == step, "spectral_radius"].iloc[0])
    norms = rows["gradient_norm"].dropna().to_numpy(float)
    if not norms.size:
        raise InvalidValue(f"at step {step} there are no gradients")
    return GradientProfile(norms, None if math.isnan(radius) else radius)


# --- probes ----------------------------------------------------------------------------------------------


def _recurrent_path(setup: Setup) -> str:
    """The path of the last recurrent layer. Raises InvalidValue."""
    paths = [path for path, leaf in setup.leaves() if "recurrent_kernel" in leaf.params]
    if not paths:
        raise InvalidValue("gradient_through_time needs a recurrent layer; give the model a simple_rnn")
    return paths[-1]


def _distances(setup: Setup, data: Data) -> RowLabels:
    """distance: 0 for the last state, and up to the longest sequence that could reach the layer."""
    count = _maximum_length(setup, data.train.inputs.shape[1:])
    return {"layer": [_recurrent_path(setup)] * count, "distance": list(range(count))}


def _maximum_length(setup: Setup, input_shape: Shape) -> int:
    shapes = [input_shape, *(leaf.output_shape for _, leaf in setup.leaves())]
    return max(shape[0] for shape in shapes if shape)


def _gradient_norms(setup: Setup, snapshot: Snapshot) -> tuple[Array]:
    """g `[D]`, NaN beyond the first state."""
    path = _recurrent_path(setup)
    examples = snapshot.examples["train"]
    inputs, targets = examples.inputs[:AVERAGED_EXAMPLES], examples.targets[:AVERAGED_EXAMPLES]
    states = jax.eval_shape(snapshot.evaluate, snapshot.params, inputs).intermediates["states"][path]

    def loss(perturbations: Array) -> Array:
        params = _with_perturbations(snapshot.params, path.split("/"), perturbations)
        return snapshot.loss.per_example(snapshot.evaluate(params, inputs).value, targets).sum()

    gradient = jax.grad(loss)(jnp.zeros(states.shape, states.dtype))
    missing = _maximum_length(setup, examples.inputs.shape[1:]) - states.shape[1]
    return (jnp.pad(_root_mean_square(gradient)[::-1], (0, missing), constant_values=jnp.nan),)


def _with_perturbations(params: Tree, path: Sequence[str], perturbations: Array) -> Tree:
    """The params with perturbations beside the weights of the layer at a path, see `nnlab.nn.recurrent`."""
    if not path:
        return {**params, "perturbations": perturbations}
    return {**params, path[0]: _with_perturbations(params[path[0]], path[1:], perturbations)}


def _root_mean_square(gradient: Array) -> Array:
    """The root mean square over examples of the norms over units, `[B, T, U] -> [T]`.

    The values are scaled before they are squared, lest they leave float32.
    """
    largest = jnp.abs(gradient).max((0, 2))
    scale = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1.0)
    scaled = gradient / jnp.broadcast_to(scale[None, :, None], gradient.shape)
    norms = scale * jnp.sqrt(jnp.square(scaled).sum(2).mean(0))
    return jnp.where(jnp.isfinite(norms), norms, jnp.inf)


def _one_row(setup: Setup, data: Data) -> RowLabels:
    return {"layer": [_recurrent_path(setup)]}


def _spectral_radius(setup: Setup, snapshot: Snapshot) -> tuple[Array]:
    """rho `[1]`; NaN for a layer with gates, whose kernel is not square."""
    kernel = subtree(snapshot.params, _recurrent_path(setup))["recurrent_kernel"]
    square = kernel.shape[0] == kernel.shape[1]
    return ((spectral_radius(kernel) if square else jnp.asarray(jnp.nan, kernel.dtype))[None],)


def spectral_radius(matrix: Array) -> Array:
    """The largest |eigenvalue| of a matrix, from the norms of its powers: |W^2n| / |W^n| -> rho^n.

    n = 2^9, reached by squaring a matrix that is brought back to norm 1 each time; 0 where a power is 0.
    """

    def norm(power: Array) -> Array:
        return jnp.sqrt(jnp.square(power).sum())

    size = norm(matrix)
    log, before = jnp.log(size), jnp.zeros_like(size)
    for _ in range(KERNEL_SQUARINGS):
        matrix = matrix / jnp.where(size > 0, size, 1.0)
        matrix = jnp.matmul(matrix, matrix, precision="highest")
        size = norm(matrix)
        before, log = log, 2 * log + jnp.log(size)
    return jnp.where(size > 0, jnp.exp((log - before) / 2 ** (KERNEL_SQUARINGS - 1)), 0.0)


# --- the figure ------------------------------------------------------------------------------------------


def norm_by_distance(runs: Sequence[RunView]) -> Figure:
    """g(d) / g(0) over d, at the start and, where something was trained, at the end; rho^d dashed."""
    steps = [run.tables["recurrent_kernel"]["step"] for run in runs]
    moments = [
        ("step 0", [step.min() for step in steps]),
        ("the last record", [step.max() for step in steps]),
    ]
    if moments[0][1] == moments[1][1]:  # nothing was trained
        moments = moments[:1]
    height = 3.6 + 0.15 * len(runs)
    figure, axes = plotting.panels(1, len(moments), height, sharex=True, sharey=True)
    for ax, (moment, chosen) in zip(axes[0], moments, strict=True):
        _draw_moment(ax, runs, chosen)
        ax.set(title=f"Gradient through time, at {moment}", xlabel="steps back from the last state")
    axes[0][0].set_ylabel("gradient norm over that of the last state")
    if any(np.isfinite(line.get_ydata()).any() for ax in axes[0] for line in ax.lines):
        plotting.log_axis(axes[0][0])
    title = "factor per step back; dashed: a factor of the recurrent kernel's spectral radius"
    plotting.legend_below(figure, axes[0][0], columns=2, title=title)
    return figure


def _draw_moment(ax: Axes, runs: Sequence[RunView], steps: Sequence[int]) -> None:
    """Draw each run at one of its steps."""
    profiles = [_gradient_profile(run.tables, step) for run, step in zip(runs, steps, strict=True)]
    for run, profile, colour in zip(runs, profiles, plotting.colours(len(runs)), strict=True):
        factor = "" if profile.factor is None else f", {profile.factor:.3g}"
        _draw_profile(ax, profile, f"{run.label}: {verdict(profile.ratio)}{factor}", colour)
    without = [run.label for run, profile in zip(runs, profiles, strict=True) if profile.ratio is None]
    if without:
        words = plotting.title(f"no gradient: {', '.join(without)}", across=2)
        ax.text(0.02, 0.02, words, transform=ax.transAxes, fontsize=plotting.SMALL_SIZE)


def _draw_profile(ax: Axes, profile: GradientProfile, label: str, colour: plotting.Colour) -> None:
    distance, last = np.arange(len(profile.norms)), profile.norms[0]
    relative = np.where(profile.has_logarithm, profile.norms, np.nan) / (
        last if profile.has_logarithm[0] else np.nan
    )
    ax.plot(distance, relative, color=colour, label=label)
    if profile.radius is not None and profile.has_logarithm[0]:
        with np.errstate(over="ignore"):
            powers = profile.radius**distance
        ax.plot(distance, np.where(np.isfinite(powers), powers, np.nan), "--", color=colour, linewidth=1)
