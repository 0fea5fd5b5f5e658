"""Signal propagation: what a random net makes of two inputs, and of the gradient, beside what theory says."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.activations import identity, slope
from nnlab.nn.layer import Activation, Setup
from nnlab.phenomena.base import RunPhenomenon, phenomenon
from nnlab.phenomena.probe import (
    Probe,
    RowLabels,
    Snapshot,
    Stage,
    stages,
    subtree,
)
from nnlab.phenomena.signal.mean_field import (
    CRITICAL_VARIANCES,
    LARGEST_VARIANCE,
    SMALLEST_VARIANCE,
    critical_line,
    trajectory,
)
from nnlab.phenomena.signal.signal_propagation_figure import signal_by_layer
from nnlab.system.imports import Array, jnp
from nnlab.system.random import generator

if TYPE_CHECKING:
    import pandas

INPUT_VARIANCE, INPUT_CORRELATION = 1.0, 0.6
PAIRS = 4  # of inputs, over which all is averaged
BACKWARD_PASSES = 1  # by the pre-activations alone, of the first input of each pair
THEORY_DEPTH = 1_000  # layers; what has not settled by then is taken to settle nowhere

SETTLED_CHI = 0.01  # relative distance from its limit, below which a layer's chi has settled
MINIMUM_SETTLED_LAYERS = 5  # for a slope
LAST_LAYERS_SHARE = 0.2  # of all, whose means are q* and c* as measured
UNEQUAL_RATIO = 2.0  # greatest over least sigma_w^2 of the layers, above which they have none in common
SETTLED_CHANGE = 5e-4  # of q (relative) and c over the second half of the theory's layers
LARGEST_CORRELATION_SLOPE = 0.99  # nearer to 1, c settles too slowly to have a depth scale
SMALLEST_DISTANCE = 1e-4  # of c from 1 that float32 still resolves well

ORDERED_CORRELATION, CHAOTIC_CORRELATION = 0.995, 0.9

Phase = Literal["ordered", "chaotic"]


class SignalPropagation(NamedTuple):
    """Theory and measurement of the hidden layers, at step 0.

    Attributes:
        sigma_w_squared: Mean square of a hidden layer's weights times fan_in, mean over the layers; above 0.
        sigma_b_squared: Mean square of their biases; 0 or more.
        variance_theory: q*, the mean square at which the pre-activations settle; null where it grows without
            bound.
        variance_measured: The mean square in the last fifth of the hidden layers.
        correlation_theory: c*, at which the correlation of two inputs settles, from 0.6; null where it has
            not after 1,000 layers, as at the edge of chaos.
        correlation_measured: The correlation in the last fifth of the hidden layers.
        chi_theory: Factor on the squared gradient from a layer to the one before, where q has settled.
        chi_measured: The same from the slope of the logarithm of the squared gradient, over the layers in
            which the theory's chi is within 1 % of its limit; null where there are fewer than five.
        chi_ratio: chi_measured / chi_theory.
        depth_scale_theory: Layers over which the distance of c from c* falls e-fold; null where c* is, and
            where that takes 100 layers or more.
        depth_scale_measured: The same from the slope of log(1 - c) in the ordered phase; null elsewhere,
            where single nets scatter about c* as widely as they come from.
        phase: As measured, see `signal_propagation`.
        phase_theory: ordered where chi_theory is below 1, chaotic where it is above; null where the variance
            grows without bound, and where the activation has no slope, as sign.
        reason: Why numbers are null.
    """

    sigma_w_squared: float
    sigma_b_squared: float
    variance_theory: float | None
    variance_measured: float
    correlation_theory: float | None
    correlation_measured: float
    chi_theory: float
    chi_measured: float | None
    chi_ratio: float | None
    depth_scale_theory: float | None
    depth_scale_measured: float | None
    phase: Phase | None
    phase_theory: Phase | None
    reason: str | None = None


@phenomenon
def signal_propagation() -> RunPhenomenon:
    """Is a random net ordered or chaotic: do two inputs become alike, or do they come apart?

    For a chain of dense layers with one activation, of any kind. Four pairs of inputs with mean square 1 and
    correlation 0.6 are sent through the hidden layers, and the gradient of a random combination of the
    outputs is sent back; the data give the inputs' shape only. sigma_w^2 and sigma_b^2 of the theory
    (`nnlab.phenomena.signal.mean_field`) are measured on the first weights.

    Verdicts:
        ordered: The measured chi is below 1 and the measured correlation at least 0.995: gradients vanish,
            and two inputs can no longer be told apart.
        chaotic: chi is above 1 and the correlation at most 0.9: gradients explode, and similar inputs come
            apart. Neither, as near the edge of chaos, is null, and so is a net whose variance grows without
            bound, as that of a linear net may.

    Reference:
        Poole et al. 2016 (figures 1 and 2); Schoenholz et al. 2017 (figures 2 and 5: depth scales, and
        gradients); lectures 001 and 004 (initial weights).
    """
    return RunPhenomenon(
        probes=(
            Probe(
                "signal",
                _layer_rows,
                SIGNAL_COLUMNS,
                _measure,
                record_at="start",
                passes=lambda data: PAIRS * (2 + BACKWARD_PASSES),
            ),
            Probe("mean_field", _theory_rows, THEORY_COLUMNS, _theory, record_at="start"),
            Probe("critical_line", _critical_rows, CRITICAL_COLUMNS, _critical_line, record_at="start"),
        ),
        result=SignalPropagation,
        detect=lambda run: detect(run.tables),
        figures={
            "signal_propagation": lambda runs: signal_by_layer(runs, [detect(run.tables) for run in runs])
        },
        validate=_check_chain,
    )


# --- the detector ----------------------------------------------------------------------------------------


def detect(tables: Mapping[str, pandas.DataFrame]) -> SignalPropagation:
    """The numbers of the tables `signal` and `mean_field`. Raises InvalidValue where the theory has nothing
    to say of the weights."""
    layers, theory = tables["signal"], tables["mean_field"]
    weights = layers["sigma_w_squared"].to_numpy(float)
    if not (np.isfinite(weights).all() and weights.min() > 0):
        raise InvalidValue("a hidden layer's weights are 0 or not finite")
    if weights.max() > UNEQUAL_RATIO * weights.min():
        raise InvalidValue(
            f"sigma_w² is {weights.min():.3g} to {weights.max():.3g}; the theory has one for all layers"
        )
    last = layers.tail(max(1, round(LAST_LAYERS_SHARE * len(layers))))
    settled_layers = _settled_layers(theory, len(layers))
    chi_theory, chi = float(theory["chi"].iloc[-1]), _chi(layers[settled_layers])
    q, c = _fixed_points(theory)
    correlation = float(last["correlation"].mean())
    depth_scale = _depth_scale(layers[settled_layers]) if correlation >= ORDERED_CORRELATION else None
    measured_phase = None if chi is None or q is None else phase(chi, correlation)
    scale = None if c is None else _theoretical_depth_scale(theory)
    return SignalPropagation(
        sigma_w_squared=float(weights.mean()),
        sigma_b_squared=float(layers["sigma_b_squared"].mean()),
        variance_theory=q,
        variance_measured=float(last["variance"].mean()),
        correlation_theory=c,
        correlation_measured=correlation,
        chi_theory=chi_theory,
        chi_measured=chi,
        chi_ratio=chi / chi_theory if chi is not None and chi_theory else None,
        depth_scale_theory=scale,
        depth_scale_measured=depth_scale,
        phase=measured_phase,
        phase_theory=None if q is None else _theoretical_phase(chi_theory),
        reason=_reason(q, c, chi, chi_theory, scale, depth_scale, measured_phase),
    )


def phase(chi: float, correlation: float) -> Phase | None:
    """The phase that chi and the correlation of the last layers show, see `signal_propagation`."""
    if chi < 1 and correlation >= ORDERED_CORRELATION:
        return "ordered"
    return "chaotic" if chi > 1 and correlation <= CHAOTIC_CORRELATION else None


def _theoretical_phase(chi: float) -> Phase | None:
    """The phase of the theory's chi; None on the edge, and where chi is 0 or not finite, and says nothing."""
    if not math.isfinite(chi) or chi in (0, 1):
        return None
    return "ordered" if chi < 1 else "chaotic"


def _settled_layers(theory: pandas.DataFrame, count: int) -> np.ndarray:
    """In which of the first layers chi has settled, `[count]`."""
    chi = theory["chi"].to_numpy(float)
    return np.abs(chi[:count] - chi[-1]) <= SETTLED_CHI * chi[-1]


def _chi(layers: pandas.DataFrame) -> float | None:
    """e to minus the slope of the logarithm of the squared gradient; None where too few layers have one."""
    gradients = layers["gradient_norm"].to_numpy(float)
    if len(layers) < MINIMUM_SETTLED_LAYERS or not (np.isfinite(gradients) & (gradients > 0)).all():
        return None
    return math.exp(-2 * np.polyfit(layers["index"], np.log(gradients), 1)[0])


def _fixed_points(theory: pandas.DataFrame) -> tuple[float | None, float | None]:
    """q* and c*; None where they are not reached."""
    half, end = theory.iloc[len(theory) // 2], theory.iloc[-1]
    q, c = float(end["variance"]), float(end["correlation"])
    has_c = abs(c - float(half["correlation"])) <= SETTLED_CHANGE
    if q <= SMALLEST_VARIANCE * 2:
        return 0.0, c if has_c else None
    has_q = q < LARGEST_VARIANCE / 2 and abs(q / float(half["variance"]) - 1) <= SETTLED_CHANGE
    return q if has_q else None, c if has_q and has_c else None


def _theoretical_depth_scale(theory: pandas.DataFrame) -> float | None:
    slope = float(theory["correlation_slope"].iloc[-1])
    return -1 / math.log(slope) if 0 < slope <= LARGEST_CORRELATION_SLOPE else None


def _depth_scale(layers: pandas.DataFrame) -> float | None:
    """Over which 1 - c falls e-fold, before float32 loses it; None where that is seen in too few layers."""
    distances = 1 - layers["correlation"].to_numpy(float)
    count = int(np.argmax(np.append(distances, 0.0) <= SMALLEST_DISTANCE))
    if count < MINIMUM_SETTLED_LAYERS:
        return None
    slope = np.polyfit(np.arange(count), np.log(distances[:count]), 1)[0]
    return -1 / float(slope) if slope < 0 else None


def _reason(
    q: float | None,
    c: float | None,
    chi: float | None,
    chi_theory: float,
    scale: float | None,
    depth_scale: float | None,
    phase: Phase | None,
) -> str | None:
    """Why there are numbers that are null; None where there are none."""
    reasons = []
    if q is None:
        reasons.append("the variance settles nowhere")
    elif c is None:
        reasons.append("the correlation has not settled after 1,000 layers, as at the edge of chaos")
    elif scale is None:
        reasons.append("the correlation does not settle exponentially")
    if chi is None:
        reasons.append(
            f"fewer than {MINIMUM_SETTLED_LAYERS} hidden layers have settled, or a gradient is not above 0"
        )
    elif phase is None and q is not None:
        reasons.append("the net is neither clearly ordered nor clearly chaotic")
    if not chi_theory:
        reasons.append("the activation has no slope")
    if depth_scale is None:
        reasons.append("a depth scale is measured in the ordered phase only, over five layers or more")
    return "; ".join(reasons) or None


# --- probes ----------------------------------------------------------------------------------------------

SIGNAL_COLUMNS = ("sigma_w_squared", "sigma_b_squared", "variance", "correlation", "gradient_norm")
THEORY_COLUMNS = ("variance", "correlation", "chi", "correlation_slope")
CRITICAL_COLUMNS = ("sigma_w_squared", "sigma_b_squared")


def _check_chain(setup: Setup, data: Data) -> None:
    """Refuse a net that the theory does not speak of. Raises InvalidValue."""
    for path, leaf in setup.leaves():
        is_part = leaf.type in ("dense", "flatten") or leaf.activation is not None
        if not is_part or "/" in path or (leaf.type == "dense" and len(leaf.output_shape) > 1):
            raise InvalidValue(
                "signal_propagation needs a chain of dense layers, each followed by one activation, and "
                f"flatten before them where inputs have more axes; '{path}' is something else"
            )
    activations = {str(stage.activation) for stage in _hidden(setup)}
    if not activations:
        raise InvalidValue("signal_propagation needs a hidden layer before the last dense one")
    if len(activations) > 1:
        raise InvalidValue("signal_propagation needs the same activation after every hidden layer")
    if math.prod(data.train.inputs.shape[1:]) < 2:
        raise InvalidValue("signal_propagation needs inputs of two values or more, which can be correlated")


def _hidden(setup: Setup) -> list[Stage]:
    """The dense layers but the last one, which is the read-out."""
    return stages(setup)[:-1]


def _activation(setup: Setup) -> Activation:
    return _hidden(setup)[0].activation or identity


def _layer_rows(setup: Setup, data: Data) -> RowLabels:
    paths = [stage.path for stage in _hidden(setup)]
    return {"layer": paths, "index": list(range(1, len(paths) + 1))}


def _sigmas(setup: Setup, snapshot: Snapshot) -> tuple[Array, Array]:
    """sigma_w^2 and sigma_b^2 of each hidden layer, `[L]` each."""
    params = [subtree(snapshot.params, stage.path) for stage in _hidden(setup)]
    kernels = [jnp.vdot(layer["kernel"], layer["kernel"]) / layer["kernel"].shape[1] for layer in params]
    biases = [
        jnp.vdot(layer["bias"], layer["bias"]) / layer["bias"].size if "bias" in layer else jnp.zeros(())
        for layer in params
    ]
    return jnp.stack(kernels), jnp.stack(biases)


def _measure(setup: Setup, snapshot: Snapshot) -> tuple[Array, ...]:
    """The columns of the table `signal`, `[L]` each."""
    shape = snapshot.examples["train"].inputs.shape[1:]
    inputs = jnp.asarray(_pairs(math.prod(shape)).reshape(-1, *shape))
    values = snapshot.evaluate(snapshot.params, inputs).intermediates
    z = [
        values["inputs"][stage.last] if stage.activation else values["outputs"][stage.path]
        for stage in _hidden(setup)
    ]
    widths = jnp.array([layer.shape[1] for layer in z], jnp.float32)
    signals = _stacked(z)
    squares = jnp.square(signals).sum(2)
    products = (signals[:, :PAIRS] * signals[:, PAIRS:]).sum(2)
    correlations = (products / jnp.sqrt(squares[:, :PAIRS] * squares[:, PAIRS:])).mean(1)
    gradients = _gradient_norms(setup, snapshot, [layer[:PAIRS] for layer in z])
    return *_sigmas(setup, snapshot), squares.mean(1) / widths, correlations, gradients


def _stacked(layers: Sequence[Array]) -> Array:
    """Values `[B, U]` of each layer as `[L, B, U]`, with zeros up to the widest layer.

    There may be hundreds of layers: a sum over all of them is one to compile.
    """
    widest = max(layer.shape[1] for layer in layers)
    return jnp.stack([jnp.pad(layer, ((0, 0), (0, widest - layer.shape[1]))) for layer in layers])


def _pairs(size: int) -> np.ndarray:
    """Inputs `[2 PAIRS, size]` of mean square INPUT_VARIANCE: the second half has INPUT_CORRELATION with the
    first, row by row. They are the same for all seeds, since weights have no preferred direction."""

    def unit(values: np.ndarray) -> np.ndarray:
        return values / np.linalg.norm(values, axis=1, keepdims=True)

    first, second = generator(0, "signal_propagation", "inputs").standard_normal((2, PAIRS, size))
    first = unit(first)
    across = unit(second - (second * first).sum(1, keepdims=True) * first)
    second = INPUT_CORRELATION * first + math.sqrt(1 - INPUT_CORRELATION**2) * across
    return (math.sqrt(INPUT_VARIANCE * size) * np.concatenate([first, second])).astype(np.float32)


def _gradient_norms(setup: Setup, snapshot: Snapshot, z: Sequence[Array]) -> Array:
    """The norm of the gradient of a random combination of the outputs by the pre-activations of each hidden
    layer, `[L]`, as geometric mean over examples.

    Args:
        setup: Of the model.
        snapshot: With its weights.
        z: The pre-activations of each hidden layer, `[B, U]`.
    """
    random = generator(0, "signal_propagation", "gradient")
    gradient = jnp.asarray(random.standard_normal((len(z[0]), *setup.output_shape), np.float32))
    activation, gradients = _activation(setup), []
    for stage, inputs in zip(stages(setup)[:0:-1], reversed(z), strict=True):
        kernel = subtree(snapshot.params, stage.path)["kernel"]
        gradient = (gradient @ kernel.T) * slope(activation, inputs, activation(inputs))
        gradients.append(gradient)
    stacked = _stacked(gradients[::-1])
    largest = jnp.abs(stacked).max(2, keepdims=True)  # squares of small ones would leave float32
    scaled = stacked / jnp.where(largest > 0, largest, 1.0)
    norms = largest[:, :, 0] * jnp.sqrt(jnp.square(scaled).sum(2))
    return jnp.exp(jnp.log(norms).mean(1))


def _theory_rows(setup: Setup, data: Data) -> RowLabels:
    return {"index": list(range(1, max(THEORY_DEPTH, len(_hidden(setup))) + 1))}


def _theory(setup: Setup, snapshot: Snapshot) -> tuple[Array, ...]:
    """The columns of the table `mean_field`."""
    kernels, biases = _sigmas(setup, snapshot)
    depth = max(THEORY_DEPTH, len(kernels))
    return trajectory(
        _activation(setup), kernels.mean(), biases.mean(), INPUT_VARIANCE, INPUT_CORRELATION, depth
    )


def _critical_rows(setup: Setup, data: Data) -> RowLabels:
    return {"variance": [float(q) for q in CRITICAL_VARIANCES]}


def _critical_line(setup: Setup, snapshot: Snapshot) -> tuple[Array, Array]:
    """The columns of the table `critical_line`."""
    return critical_line(_activation(setup))
