"""Signals through random nets: theory by other quadratures, probes in NumPy, detectors on planted tables."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pandas
import pytest
from support import FakeRun, FakeSweep, assert_labelled, assert_readable, experiment_of, title_of, trained

from nnlab import plotting
from nnlab.errors import InvalidValue, NnlabError
from nnlab.phenomena.signal import phase_diagram as diagrams
from nnlab.phenomena.signal import signal_propagation as signals
from nnlab.phenomena.signal.mean_field import critical_line, trajectory

# sigma_w^2 of tanh at sigma_b^2 = 0.05 -> c* and chi, by 151 Gauss-Hermite nodes in NumPy
TANH = {
    1.0: (1.0, 0.7590),
    1.3: (1.0, 0.8802),
    1.5: (0.9995, 0.9386),  # after 100 layers
    2.0: (0.744, 1.0477),
    2.5: (0.447, 1.1335),
    4.0: (0.165, 1.3424),
}


@functools.cache
def followed(activation, sigma_w_squared, sigma_b_squared, depth=300):
    """The theory's layers, as NumPy arrays."""
    follow = jax.jit(trajectory, static_argnums=(0, 3, 4, 5))
    layers = follow(activation, sigma_w_squared, sigma_b_squared, 1.0, 0.6, depth)
    return signals.THEORY_COLUMNS, [np.asarray(column, float) for column in layers]


def last_of(activation, sigma_w_squared, sigma_b_squared, depth=300):
    names, columns = followed(activation, sigma_w_squared, sigma_b_squared, depth)
    return {name: column[-1] for name, column in zip(names, columns, strict=True)}


@pytest.mark.parametrize("sigma_w_squared", TANH)
def test_fixed_points_are_those_of_the_published_settings(sigma_w_squared):
    c, chi = TANH[sigma_w_squared]
    last = last_of(jnp.tanh, sigma_w_squared, 0.05)
    assert last["chi"] == pytest.approx(chi, abs=3e-4)
    assert last["correlation"] == pytest.approx(c, abs=6e-4)


GRID = np.linspace(-9, 9, 801)


def expectation(function, z=GRID):
    """E function(z) of a standard normal z, by the trapezoidal rule."""
    return float(np.trapezoid(function(z) * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi), z))


@pytest.mark.parametrize("sigma_w_squared", [1.3, 2.5])
def test_fixed_points_hold_by_another_quadrature(sigma_w_squared):
    last = last_of(jnp.tanh, sigma_w_squared, 0.05)
    q, c = last["variance"], last["correlation"]
    size, across = math.sqrt(q), math.sqrt(1 - c**2)
    variance = sigma_w_squared * expectation(lambda z: np.tanh(size * z) ** 2) + 0.05
    assert variance == pytest.approx(q, rel=1e-5)
    chi = sigma_w_squared * expectation(lambda z: (1 - np.tanh(size * z) ** 2) ** 2)
    assert last["chi"] == pytest.approx(chi, rel=1e-4)
    means = [expectation(lambda w, u=u: np.tanh(size * (c * u + across * w))) for u in GRID]
    covariance = sigma_w_squared * expectation(lambda u: np.tanh(size * u) * np.array(means)) + 0.05
    assert covariance / q == pytest.approx(c, abs=1e-4)


def test_relu_follows_its_closed_form():
    """V(q) = q / 2, chi = sigma_w^2 / 2, and the arc-cosine kernel of Cho & Saul for the correlation."""
    names, columns = followed(jax.nn.relu, 1.5, 0.3, 30)
    found = dict(zip(names, columns, strict=True))
    q, c = 1.8, 1.2 / 1.8
    for layer in range(30):
        assert found["variance"][layer] == pytest.approx(q, rel=1e-4)
        assert found["correlation"][layer] == pytest.approx(c, abs=2e-3)
        kernel = (math.sqrt(1 - c * c) + c * (math.pi - math.acos(c))) / math.pi
        q, c = 0.75 * q + 0.3, (0.75 * q * kernel + 0.3) / (0.75 * q + 0.3)
    np.testing.assert_allclose(found["chi"], 0.75, rtol=1e-4)


def test_the_variance_of_relu_is_held_and_its_correlation_goes_on():
    for sigma_w_squared in (0.5, 4.0):
        last = last_of(jax.nn.relu, sigma_w_squared, 0.0)
        assert last["chi"] == pytest.approx(sigma_w_squared / 2, rel=1e-4)
        assert last["correlation"] == pytest.approx(1.0, abs=2e-3)


def test_the_critical_line():
    x, y = (np.asarray(values, float) for values in critical_line(jnp.tanh))
    assert np.interp(0.05, y, x) == pytest.approx(1.761, abs=2e-3)
    assert (x[0], y[0]) == pytest.approx((1.0, 0.0), abs=1e-4)
    x, y = (np.asarray(values, float) for values in critical_line(jax.nn.relu))
    np.testing.assert_allclose(x, 2.0, rtol=1e-5)
    np.testing.assert_allclose(y, 0.0, atol=1e-3)


# --- probes ----------------------------------------------------------------------------------------------


def tree(layers, **keys):
    return {
        "name": "test",
        "data": {"type": "gaussian", "examples": 10, "features": 7, "classes": 3, "batch_size": "full"},
        "model": layers,
        "train": {"steps": 0},
        "record": {"every": {"steps": 1}, "layers": False},
        "phenomena": ["signal_propagation"],
    } | keys


def dense(units, gain=1.0, std=0.3):
    return {
        "type": "dense",
        "units": units,
        "kernel_init": {"type": "lecun_normal", "gain": gain},
        "bias_init": {"type": "normal", "std": std},
    }


@functools.cache
def measured():
    """A net of unequal layers, the weights that it begins with, and its tables."""
    net = [dense(6), "tanh", dense(9), "tanh", dense(5), "tanh", {"type": "dense", "units": 3}]
    exp = experiment_of(tree(net))
    return exp.model.init(exp.plan.seed)[0], trained(exp)[0]


def test_signals_are_those_of_numpy():
    params, tables = measured()
    found = tables["signal"]
    h, z = signals._pairs(7).astype(float), []
    kernels = [np.asarray(params[f"dense_{i}"]["kernel"], float) for i in range(1, 5)]
    biases = [np.asarray(params[f"dense_{i}"]["bias"], float) for i in range(1, 4)]
    for kernel, bias in zip(kernels, biases, strict=False):
        z.append(h @ kernel + bias)
        h = np.tanh(z[-1])
    np.testing.assert_allclose(found["variance"], [np.mean(layer**2) for layer in z], rtol=1e-5)
    units = [layer / np.linalg.norm(layer, axis=1, keepdims=True) for layer in z]
    correlations = [np.mean((layer[:4] * layer[4:]).sum(1)) for layer in units]
    np.testing.assert_allclose(found["correlation"], correlations, rtol=1e-5)
    weights = [kernel.shape[0] * np.mean(kernel**2) for kernel in kernels[:3]]
    np.testing.assert_allclose(found["sigma_w_squared"], weights, rtol=1e-5)
    np.testing.assert_allclose(found["sigma_b_squared"], [np.mean(bias**2) for bias in biases], rtol=1e-5)


def test_gradients_are_those_of_autodiff():
    """By the pre-activations, of one random combination of the outputs for each of four inputs."""
    params, tables = measured()
    inputs = signals._pairs(7)[:4]
    direction = signals.generator(0, "signal_propagation", "gradient").standard_normal((4, 3), np.float32)

    def combination(shifts, example, weights):
        h = example
        for number, shift in enumerate(shifts, 1):
            layer = params[f"dense_{number}"]
            h = jnp.tanh(h @ layer["kernel"] + layer["bias"] + shift)
        return (h @ params["dense_4"]["kernel"]) @ weights

    shifts = [jnp.zeros(units) for units in (6, 9, 5)]
    norms = [
        [jnp.linalg.norm(g) for g in jax.grad(combination)(shifts, x, w)]
        for x, w in zip(inputs, direction, strict=True)
    ]
    expected = np.exp(np.log(np.array(norms, float)).mean(0))
    np.testing.assert_allclose(tables["signal"]["gradient_norm"], expected, rtol=1e-4)


def test_pairs_have_their_size_and_correlation():
    inputs = signals._pairs(50).astype(float)
    np.testing.assert_allclose((inputs**2).mean(1), 1.0, rtol=1e-5)
    np.testing.assert_allclose((inputs[:4] * inputs[4:]).mean(1), 0.6, rtol=1e-5)


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ([dense(5), "batch_norm", "tanh", dense(3)], "'batch_norm_1' is something else"),
        ([dense(7), {"type": "residual", "layers": [dense(7), "tanh"]}, dense(3)], "is something else"),
        ([dense(5), "tanh", dense(5), "relu", dense(3)], "the same activation"),
        ([dense(3)], "a hidden layer"),
    ],
)
def test_a_net_that_the_theory_does_not_speak_of_is_refused(layers, words):
    with pytest.raises(NnlabError, match=words):
        experiment_of(tree(layers))


# --- detectors -------------------------------------------------------------------------------------------


def planted(chi=0.9, correlation=1.0, chi_theory=None, c_theory=1.0, depth=60, decay=6.0, **columns):
    """The tables of a net whose chi settles at once and whose correlation settles exponentially."""
    index = np.arange(1, depth + 1)
    distance = (correlation - 0.6) * np.exp(-index / decay)
    layers = {
        "index": index,
        "layer": [f"dense_{i}" for i in index],
        "sigma_w_squared": 1.3,
        "sigma_b_squared": 0.05,
        "variance": 0.5,
        "correlation": correlation - distance,
        "gradient_norm": chi ** (-index / 2),
    }
    theory = {
        "index": np.arange(1, 1001),
        "variance": 0.5,
        "correlation": c_theory,
        "chi": chi if chi_theory is None else chi_theory,
        "correlation_slope": math.exp(-1 / decay),
    }
    return {"signal": pandas.DataFrame(layers | columns), "mean_field": pandas.DataFrame(theory)}


@pytest.mark.parametrize(
    ("chi", "correlation", "phase"),
    [
        (0.9, 1.0, "ordered"),
        (0.9, 0.99, None),  # two inputs can still be told apart
        (1.1, 1.0, None),  # relu: gradients explode, and inputs become alike
        (1.1, 0.4, "chaotic"),
        (1.1, 0.95, None),
        (0.9, 0.4, None),
    ],
)
def test_each_phase_is_given_and_refused(chi, correlation, phase):
    found = signals.detect(planted(chi, correlation, c_theory=correlation))
    assert found.phase == phase
    assert found.phase_theory == ("ordered" if chi < 1 else "chaotic")
    assert found.chi_measured == pytest.approx(chi)
    assert found.correlation_measured == pytest.approx(correlation, abs=1e-3)
    assert (phase is None) == ("neither clearly" in (found.reason or ""))


@pytest.mark.parametrize("chi", [0.0, math.nan])
def test_a_chi_that_says_nothing_of_the_phase(chi):
    tables = planted(chi_theory=chi)  # that of sign, which has no slope; that of square, which overflows
    assert signals.detect(tables).phase_theory is None


def test_numbers_of_a_planted_net():
    found = signals.detect(planted(0.88, chi_theory=0.8))
    assert found.chi_ratio == pytest.approx(1.1)
    assert (found.sigma_w_squared, found.sigma_b_squared) == pytest.approx((1.3, 0.05))
    assert found.depth_scale_theory == pytest.approx(6.0)
    assert found.depth_scale_measured == pytest.approx(6.0)
    assert found.reason is None


def test_what_has_not_settled_is_null_with_a_reason():
    tables = planted()
    tables["mean_field"]["correlation"] = 1 - 1 / tables["mean_field"]["index"]  # as at the edge of chaos
    found = signals.detect(tables)
    assert (found.correlation_theory, found.depth_scale_theory) == (None, None)
    assert "edge of chaos" in found.reason
    tables["mean_field"]["variance"] = 2.0 ** np.minimum(tables["mean_field"]["index"], 99)
    found = signals.detect(tables)
    assert found.variance_theory is None
    assert found.phase is None
    assert "settles nowhere" in found.reason


def test_a_shallow_net_has_no_chi():
    found = signals.detect(planted(depth=4))
    assert (found.chi_measured, found.chi_ratio, found.phase) == (None, None, None)
    assert "fewer than 5" in found.reason


@pytest.mark.parametrize(
    ("weights", "words"),
    [(np.linspace(1, 3, 60), "one for all layers"), (0.0, "are 0"), (np.nan, "not finite")],
)
def test_weights_of_which_the_theory_knows_nothing(weights, words):
    with pytest.raises(InvalidValue, match=words):
        signals.detect(planted(sigma_w_squared=weights))


def test_the_figure_says_the_phase():
    with plotting.style():
        draw = signals.signal_propagation().figures["signal_propagation"]
        figure = draw([FakeRun(planted(), {}), FakeRun(planted(1.1, 0.4), {})])
        assert_readable(figure)
    assert_labelled(figure)
    titles = [title_of(ax) for ax in figure.axes]
    assert titles[::3] == ["run: ordered", "run: chaotic"]
    assert titles[2] == "χ 0.900, theory 0.900"


def test_the_figure_of_one_layer_without_numbers_says_none():
    tables = planted(math.nan, depth=1)
    with plotting.style():
        figure = signals.signal_propagation().figures["signal_propagation"]([FakeRun(tables, {})])
        assert_readable(figure)
    assert title_of(figure.axes[2]) == "χ none, theory none"
    assert figure.axes[0].get_lines()[1].get_marker() == "_"


# --- the phase diagram -----------------------------------------------------------------------------------

GAIN = "model.0.kernel_init.gain"


def sweep_of(points, errors=(0.0,), sigma_b_squared=(0.05,), variance=1.0):
    """A sweep over sigma_w^2 -> (chi, correlation), each chi off theory by the errors of its seeds."""
    rows = [
        {
            "trial": f"{x}-{seed}-{b}", GAIN: math.sqrt(x), "seed": seed, "status": "complete", "bias": b,
            "signal_propagation.sigma_w_squared": x, "signal_propagation.sigma_b_squared": b,
            "signal_propagation.variance_theory": variance,
            "signal_propagation.chi_theory": chi, "signal_propagation.chi_measured": chi * (1 + error),
            "signal_propagation.correlation_measured": correlation,
        }
        for x, (chi, correlation) in points.items()
        for seed, error in enumerate(errors)
        for b in sigma_b_squared
    ]  # fmt: skip
    line = [{"variance": q, "sigma_w_squared": 1 + q, "sigma_b_squared": q**2} for q in (0.0, 0.2, 0.4)]
    line = pandas.concat([pandas.DataFrame(line).assign(trial=row["trial"]) for row in rows])
    return FakeSweep(pandas.DataFrame(rows), {"critical_line": line}, [GAIN, "bias"])


TWO_PHASES = {1.0: (0.8, 1.0), 1.2: (0.9, 0.999), 1.3: (1.0 / 0.9, 0.8), 2.0: (1.2, 0.3)}


def test_theory_is_met_on_the_mean_of_the_seeds():
    found = diagrams.detect(sweep_of(TWO_PHASES, [-0.08, 0.12]), [GAIN])
    assert found.greatest_chi_error == pytest.approx(0.02)
    assert (found.points, found.ordered_points, found.chaotic_points, found.agrees) == (4, 2, 2, True)
    found = diagrams.detect(sweep_of(TWO_PHASES, [0.0, 0.08]), [GAIN])
    assert (found.greatest_chi_error, found.agrees) == (pytest.approx(0.04), False)


def test_the_edge_is_where_chi_is_1():
    found = diagrams.detect(sweep_of(TWO_PHASES), [GAIN])
    assert found.critical_measured == pytest.approx(1.25)
    assert found.critical_theory == pytest.approx(1.2 + 0.2 / 12)  # between two points of the line
    ordered = {x: TWO_PHASES[x] for x in (1.0, 1.2)}
    found = diagrams.detect(sweep_of(ordered), [GAIN])
    assert found.critical_measured is None
    assert "does not rise through 1" in found.reason
    found = diagrams.detect(sweep_of(TWO_PHASES, sigma_b_squared=(0.0, 0.3)), [GAIN, "bias"])
    assert (found.points, found.critical_theory, found.critical_measured) == (8, None, None)


def test_a_phase_that_theory_denies():
    sweep = sweep_of(TWO_PHASES | {1.5: (0.99, 0.5)}, [0.02])  # measured: 1.0098, chaotic
    found = diagrams.detect(sweep, [GAIN])
    assert (found.greatest_chi_error, found.phases_agree, found.agrees) == (pytest.approx(0.02), False, False)


def test_without_a_variance_there_are_no_phases():
    found = diagrams.detect(sweep_of(TWO_PHASES, variance=np.nan), [GAIN])
    assert (found.points, found.ordered_points, found.chaotic_points) == (4, 0, 0)
    assert found.critical_measured == pytest.approx(1.25)


def test_without_any_chi_there_is_no_diagram():
    sweep = sweep_of(TWO_PHASES)
    sweep.completed_trials["signal_propagation.chi_measured"] = np.nan
    with pytest.raises(InvalidValue, match="no trial has a measured chi"):
        diagrams.detect(sweep, [GAIN])


def test_the_diagram_says_where_gradients_explode():
    with plotting.style():
        figure = diagrams.diagram([sweep_of(TWO_PHASES)], [GAIN])
        assert_readable(figure)
    assert_labelled(figure)
    assert "explode from σw² 1.25 on, theory 1.22" in title_of(figure.axes[0])
