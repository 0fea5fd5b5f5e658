"""Gradient flow: do gradients reach the first layer, and activations the last?"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Activation, Setup
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon
from nnlab.phenomena.layer_table import hidden_layers
from nnlab.phenomena.probe import (
    Probe,
    RowLabels,
    Snapshot,
    Stage,
    arrays_by_layer,
    layer_norms,
    layer_norms_without_underflow,
    layer_rows,
    stages,
    subtree,
)
from nnlab.phenomena.signal import gradient_flow_figures as figures
from nnlab.system.imports import Array, jax, jnp

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

HISTOGRAM_BINS = 60
ACTIVATION_INPUTS = np.linspace(-6.0, 6.0, 241, dtype=np.float32)

COLLAPSING_SPREAD = 0.01  # activation std of the last over that of the first hidden layer
EXPLODING_SPREAD = 100.0
VANISHING_RATIO = 0.01  # gradient norm of the first over that of the last hidden layer
EXPLODING_RATIO = 20.0
DEAD_FRACTION = 0.9  # of the units
SATURATED_FRACTION = 0.6  # of the activations

Verdict = Literal["collapsing", "exploding", "vanishing", "dead", "saturated", "healthy"]


class GradientFlow(NamedTuple):
    """How signals travel through the hidden layers, frozen ones left out.

    Gradients are those of the kernels: those of biases do not depend on the size of the activations, and
    would hide a collapse.

    Attributes:
        first_to_last_ratio: Gradient norm of the first over that of the last hidden layer, at step 0; from 0,
            null for a single layer and where all gradients are 0.
        decay_per_layer: Factor by which the gradient norm changes per layer towards the input, at step 0: 10
            to minus the slope of log10 of the norm over depth; from 0, null likewise.
        activation_spread: Standard deviation of the last over that of the first hidden layer's activations,
            at step 0; from 0, null for a single layer and where all activations are constant.
        dead_fraction: Share of dead units, mean over the hidden layers at step 0; 0 to 1.
        saturated_fraction: Share of saturated activations, mean over the hidden layers at step 0; 0 to 1.
        verdict: At step 0, see `gradient_flow`; null where there is too little to see.
        final_first_to_last_ratio: As first_to_last_ratio, at the last record.
        final_dead_fraction: As dead_fraction, at the last record.
        final_saturated_fraction: As saturated_fraction, at the last record.
        first_layer_change: Distance of the first layer's weights from their start over the norm of the start
            (the distance itself where that is 0), at the last record; from 0.
        reason: Why numbers are null.
    """

    first_to_last_ratio: float | None
    decay_per_layer: float | None
    activation_spread: float | None
    dead_fraction: float
    saturated_fraction: float
    verdict: Verdict | None
    final_first_to_last_ratio: float | None
    final_dead_fraction: float
    final_saturated_fraction: float
    first_layer_change: float
    reason: str | None = None


@phenomenon
def gradient_flow() -> RunPhenomenon:
    """Do gradients vanish or explode, activations collapse or explode, units die or saturate?

    The gradient's ratio alone would call ReLU with Glorot weights healthy (0.9 at depth 50, while activations
    fall to 2e-8), and sigmoid with N(0, 1) weights too (0.2 to 0.5, its units flat). Frozen layers have no
    gradient, and are left out.

    Verdicts:
        Of step 0, over the hidden layers; the first that applies. What is not finite is exploding. A single
        layer, and layers without any gradient or all constant, can be dead or saturated; else there is no
        verdict.
        collapsing: The activations' standard deviation falls below a hundredth from first to last layer.
        exploding: It grows more than a hundredfold, or the gradient more than twentyfold towards the input.
        vanishing: The gradient falls below a hundredth towards the input.
        dead: More than nine in ten units are flat for every example.
        saturated: More than three in five activations of a bounded function are flat.
        healthy: None of these.

    Reference:
        Glorot & Bengio 2010; lectures 000 (vanishing and exploding gradients), 001 (sigmoid's slope of at
        most 0.25, initial weights, figures 11 to 18) and 004.
    """
    return RunPhenomenon(
        probes=(
            Probe("layers", layer_rows, ("kernel_grad_norm", "change_from_start"), _gradient_and_change),
            Probe("histograms", _histogram_rows, ("left", "right", "share"), _histograms, record_at="start"),
            Probe("activations", _activation_rows, ("value", "slope"), _activation_curves, record_at="start"),
        ),
        result=GradientFlow,
        detect=detect_in,
        figures={
            "gradient_over_time": with_results(figures.gradient_over_time),
            "depth_profile": with_results(figures.depth_profile),
            "histograms": figures.histograms,
            "activation_slope": figures.activation_slope,
            "flat_units": figures.flat_units,
        },
    )


def with_results(
    draw: Callable[[Sequence[RunView], Sequence[GradientFlow]], Figure],
) -> Callable[[Sequence[RunView]], Figure]:
    """A figure that is drawn from runs and what is detected in them, as one of runs alone."""

    @functools.wraps(draw)
    def draw_detected(runs: Sequence[RunView]) -> Figure:
        return draw(runs, [detect_in(run) for run in runs])

    return draw_detected


def verdict(ratio: float | None, spread: float | None, saturated: float, dead: float) -> Verdict | None:
    """The verdict of `gradient_flow`, from first_to_last_ratio, activation_spread and the two fractions."""
    known = [number for number in (ratio, spread) if number is not None]
    if not all(map(math.isfinite, known)):
        return "exploding"
    if spread is not None and spread < COLLAPSING_SPREAD:
        return "collapsing"
    if (spread or 0.0) > EXPLODING_SPREAD or (ratio or 0.0) > EXPLODING_RATIO:
        return "exploding"
    if ratio is not None and ratio < VANISHING_RATIO:
        return "vanishing"
    if dead > DEAD_FRACTION:
        return "dead"
    if saturated > SATURATED_FRACTION:
        return "saturated"
    return "healthy" if len(known) == 2 else None


def detect_in(run: RunView) -> GradientFlow:
    """The numbers of a run."""
    return detect(run.tables["layers"])


def detect(layers: pandas.DataFrame) -> GradientFlow:
    """The numbers of the table `layers`. Raises InvalidValue where no hidden layer is trained."""
    every = hidden_layers(layers)
    hidden = _trained(every)
    first = hidden[hidden["step"] == hidden["step"].min()]
    last = hidden[hidden["step"] == hidden["step"].max()]
    norms, stds = first["kernel_grad_norm"].to_numpy(float), first["activation_std"].to_numpy(float)
    final_norms = last["kernel_grad_norm"].to_numpy(float)
    ratio, final_ratio = _first_to_last(norms), _first_to_last(final_norms)
    spread = _first_to_last(stds[::-1])
    dead, saturated = float(first["dead_fraction"].mean()), float(first["saturated_fraction"].mean())
    return GradientFlow(
        first_to_last_ratio=ratio,
        decay_per_layer=None if ratio is None else _decay(norms),
        activation_spread=spread,
        dead_fraction=dead,
        saturated_fraction=saturated,
        verdict=verdict(ratio, spread, saturated, dead),
        final_first_to_last_ratio=final_ratio,
        final_dead_fraction=float(last["dead_fraction"].mean()),
        final_saturated_fraction=float(last["saturated_fraction"].mean()),
        first_layer_change=float(last["change_from_start"].iloc[0]),
        reason=_reason(norms, final_norms, stds, len(every) > len(hidden)),
    )


def _trained(hidden: pandas.DataFrame) -> pandas.DataFrame:
    """The hidden layers that are not frozen. Raises InvalidValue where all are."""
    if "grad_norm" not in hidden:
        return hidden
    trained = hidden[
        hidden["kernel_grad_norm"].notna() | (hidden["grad_norm"] != 0)
    ]  # NaN where one diverges
    if trained.empty:
        raise InvalidValue("every hidden layer is frozen")
    return trained


def _reason(
    norms: np.ndarray, final_norms: np.ndarray, stds: np.ndarray, some_are_frozen: bool
) -> str | None:
    """Why there are numbers that are null; None where there are none."""
    if len(norms) < 2:
        which = "trained hidden layer" if some_are_frozen else "hidden layer"
        return f"there is a single {which}, and none to compare it with"
    parts = []
    if not stds.any():
        parts.append("at step 0 the activations of all hidden layers are constant")
    if not norms.any():
        parts.append("at step 0 the gradients of all hidden layers are 0")
    elif not final_norms.any():
        parts.append("at the last record the gradients of all hidden layers are 0")
    return "; ".join(parts) or None


def _first_to_last(values: np.ndarray) -> float | None:
    """The first layer's value over the last one's; None where there is nothing to compare."""
    return _ratio(values[0], values[-1]) if len(values) > 1 and values.any() else None


def _ratio(numerator: float, denominator: float) -> float:
    """One number over another; 0 / 0 is 0, since nothing arrives."""
    above, below = float(numerator), float(denominator)  # NumPy's warn of infinity over infinity
    if above == 0:
        return 0.0
    return above / below if below else math.inf


def _decay(norms: np.ndarray) -> float:
    """10^(-slope) of log10(norm) over depth; 0 where a norm is 0."""
    if (norms == 0).any():
        return 0.0
    if not np.isfinite(norms).all():
        return math.inf
    return float(10 ** -np.polyfit(np.arange(len(norms)), np.log10(norms), 1)[0])


# --- probes ----------------------------------------------------------------------------------------------


def _gradient_and_change(setup: Setup, snapshot: Snapshot) -> tuple[Array, Array]:
    """The gradient norm of each kernel (NaN where there is none, or it is frozen), and the distance from the
    first weights."""
    kernels = [
        [subtree(snapshot.gradients, layer.path)["kernel"]] if layer.has_kernel else []
        for layer in stages(setup)
    ]
    has_gradient = np.array([s.has_kernel and not snapshot.frozen(s.path) for s in stages(setup)])
    norm = jnp.where(has_gradient, layer_norms_without_underflow(kernels), jnp.nan)
    change = jax.tree.map(jnp.subtract, snapshot.params, snapshot.initial_params)
    distance = layer_norms_without_underflow(arrays_by_layer(change, setup))
    start = layer_norms(arrays_by_layer(snapshot.initial_params, setup))
    return norm, distance / jnp.where(start > 0, start, 1.0)


def _kernel_stages(setup: Setup) -> list[Stage]:
    """The layers with a kernel, each with all that follows it up to the next one."""
    kernels: list[Stage] = []
    for stage in stages(setup):
        if stage.has_kernel:
            kernels.append(stage)
        elif kernels:
            kernels[-1] = kernels[-1]._replace(last=stage.last)
    return kernels


def _histogram_rows(setup: Setup, data: Data) -> RowLabels:
    paths = [stage.path for stage in _kernel_stages(setup)]
    keys = itertools.product(paths, ("weights", "outputs"), range(HISTOGRAM_BINS))
    layer, of, number = zip(*keys, strict=True)
    return {"layer": layer, "of": of, "bin": number}


def _histograms(setup: Setup, snapshot: Snapshot) -> tuple[Array, Array, Array]:
    """Each kernel's weights and each layer's outputs in equal bins from the least to the greatest."""
    bins = []
    for stage in _kernel_stages(setup):
        bins.append(_histogram(subtree(snapshot.params, stage.path)["kernel"]))
        bins.append(_histogram(snapshot.intermediates["outputs"][stage.last]))
    left, right, share = (jnp.concatenate(column) for column in zip(*bins, strict=True))
    return left, right, share


def _histogram(values: Array) -> tuple[Array, Array, Array]:
    """The left and right borders of the bins, and the shares of the values in them."""
    low, high = values.min(), values.max()
    width = jnp.maximum(high - low, jnp.maximum(1e-6 * jnp.abs(high), 1e-30)) / HISTOGRAM_BINS
    index = jnp.clip(((values - low) / width).astype(jnp.int32), 0, HISTOGRAM_BINS - 1)
    share = jnp.bincount(index.reshape(-1), length=HISTOGRAM_BINS).astype(jnp.float32) / values.size
    left = low + width * np.arange(HISTOGRAM_BINS, dtype=np.float32)
    return left, left + width, share


def _distinct_activations(setup: Setup) -> dict[str, Activation]:
    """Each activation of a model by its name and arguments."""
    activations = [leaf.activation for _, leaf in setup.leaves() if leaf.activation is not None]
    return {_name_with_arguments(activation): activation for activation in activations}


def _name_with_arguments(activation: Activation) -> str:
    """`relu`, `leaky_relu(negative_slope=0.01)`."""
    arguments = ", ".join(f"{key}={value}" for key, value in getattr(activation, "keywords", {}).items())
    name = getattr(activation, "func", activation).__name__
    return f"{name}({arguments})" if arguments else name


def _activation_rows(setup: Setup, data: Data) -> RowLabels:
    names = list(_distinct_activations(setup))
    return {
        "activation": [name for name in names for _ in ACTIVATION_INPUTS],
        "z": [z for _ in names for z in ACTIVATION_INPUTS],
    }


def _activation_curves(setup: Setup, snapshot: Snapshot) -> tuple[Array, Array]:
    """f(z) and f'(z) of each activation at ACTIVATION_INPUTS."""
    z = jnp.asarray(ACTIVATION_INPUTS)
    pairs = [jax.jvp(f, (z,), (jnp.ones_like(z),)) for f in _distinct_activations(setup).values()]
    empty = [jnp.zeros(0, jnp.float32)]
    return jnp.concatenate(empty + [p[0] for p in pairs]), jnp.concatenate(empty + [p[1] for p in pairs])
