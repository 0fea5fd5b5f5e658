"""Detectors on constructed tables and small runs: each says yes where it should, and no to a control."""

import functools
import json
import math
from pathlib import Path

import numpy as np
import pandas
import pytest
from support import FakeRun

from nnlab.config import check_tree
from nnlab.config.document import Document
from nnlab.errors import InvalidValue
from nnlab.phenomena.base import RunPhenomenon, SweepPhenomenon
from nnlab.phenomena.signal import gradient_flow, symmetry
from nnlab.phenomena.signal.gradient_flow import verdict
from nnlab.registry import build, components
from nnlab.training.experiment import build_experiment
from nnlab.training.loop import train


def layers_table(grad_norm, activation_std=None, *, saturated=0.0, dead=0.0, later=(), change=0.0, **columns):
    """A table `layers` at step 0, of hidden layers and a read-out whose numbers must not count."""
    depth = len(grad_norm)
    rows = []
    for step, norms in enumerate((grad_norm, *later)):
        for i, norm in enumerate(norms):
            row = {
                "step": 10 * step,
                "layer": f"dense_{i + 1}",
                "index": i + 1,
                "fan_in": 10,
                "kernel_grad_norm": norm,
                "weight_norm": 1.0,
                "activation_std": 1.0 if activation_std is None else activation_std[i],
                "dead_fraction": dead if step == 0 else 2 * dead,
                "saturated_fraction": saturated if step == 0 else saturated / 2,
                "change_from_start": step * change * (i + 1),
            }
            rows.append(row | {name: values[i] for name, values in columns.items()})
        read_out = {"layer": f"dense_{depth + 1}", "index": depth + 1, "kernel_grad_norm": 1e9, "fan_in": 10}
        others = {"activation_std": 1e9, "dead_fraction": 1.0, "saturated_fraction": 1.0}
        norm_row = {"layer": "batch_norm_1", "index": 0, "kernel_grad_norm": None, "fan_in": None}
        shared = {"step": 10 * step, "weight_norm": 1.0, "change_from_start": 9.0}
        rows.insert(-depth, norm_row | others | shared)  # of the inputs, before the first kernel
        rows.append(read_out | others | shared)
    return pandas.DataFrame(rows)


def ladder(factor, depth=6, last=1.0):
    """Gradient norms that change by `factor` a layer towards the input and end at `last`."""
    return [last * factor ** (depth - 1 - i) for i in range(depth)]


# --- gradient flow ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [0.25, 0.9, 1.0, 3.0])
def test_the_numbers_of_a_ladder_of_gradients(factor):
    found = gradient_flow.detect(layers_table(ladder(factor), [2.0**-i for i in range(6)]))
    assert found.first_to_last_ratio == pytest.approx(factor**5)
    assert found.decay_per_layer == pytest.approx(factor)
    assert found.activation_spread == pytest.approx(2**-5)
    assert found.final_first_to_last_ratio == pytest.approx(factor**5)


def test_decay_is_the_slope_of_all_layers():
    norms = np.random.default_rng(0).uniform(0.01, 1.0, 9)
    slope = np.polyfit(range(9), np.log10(norms), 1)[0]
    found = gradient_flow.detect(layers_table(norms.tolist()))
    assert found.decay_per_layer == pytest.approx(10**-slope)


def test_first_and_last_record_are_told_apart():
    table = layers_table(ladder(1.0), saturated=0.4, dead=0.1, later=[ladder(1.0), ladder(0.25)], change=0.5)
    found = gradient_flow.detect(table.sample(frac=1, random_state=0).sort_values(["step", "index"]))
    assert found.first_to_last_ratio == pytest.approx(1.0)
    assert found.final_first_to_last_ratio == pytest.approx(0.25**5)
    assert (found.saturated_fraction, found.final_saturated_fraction) == pytest.approx((0.4, 0.2))
    assert (found.dead_fraction, found.final_dead_fraction) == pytest.approx((0.1, 0.2))
    assert found.first_layer_change == pytest.approx(1.0)


# a word -> (a case for it, and its control: the same, but too weak)
VERDICTS = {
    "vanishing": ({"grad_norm": ladder(0.25)}, {"grad_norm": ladder(0.5)}),
    "exploding": ({"grad_norm": ladder(2.0)}, {"grad_norm": ladder(1.5)}),
    "collapsing": (
        {"grad_norm": ladder(1.0), "activation_std": ladder(3.0)},
        {"grad_norm": ladder(1.0), "activation_std": ladder(2.0)},
    ),
    "saturated": (
        {"grad_norm": ladder(0.9), "saturated": 0.7},
        {"grad_norm": ladder(0.9), "saturated": 0.5},
    ),
}


@pytest.mark.parametrize(("word", "given", "refused"), [(word, *cases) for word, cases in VERDICTS.items()])
def test_each_verdict_is_given_and_refused(word, given, refused):
    assert gradient_flow.detect(layers_table(**given)).verdict == word
    assert gradient_flow.detect(layers_table(**refused)).verdict == "healthy"


def test_activations_that_grow_a_hundredfold_explode():
    growing = layers_table(ladder(1.0), ladder(0.3))
    assert gradient_flow.detect(growing).verdict == "exploding"
    assert gradient_flow.detect(layers_table(ladder(1.0), ladder(0.5))).verdict == "healthy"


@pytest.mark.parametrize(
    ("ratio", "spread", "saturated", "word"),
    [
        (1.0, 1.0, 0.0, "healthy"),
        (0.05, 0.5, 0.0, "healthy"),
        (19.0, 99.0, 0.5, "healthy"),
        (9e-13, 0.12, 0.0, "vanishing"),  # ATLAS section 3: sigmoid, Glorot
        (0.46, 0.44, 0.8, "saturated"),  # sigmoid, N(0, 1): its ratio alone would call it healthy
        (1.15, 8e-4, 0.0, "collapsing"),  # ReLU, Glorot: so would its
        (0.19, 8.8e2, 0.0, "exploding"),  # ReLU, 2 / sqrt n
        (33.0, 0.6, 0.0, "exploding"),  # ReLU, He, batch norm
        (0.0, 0.0, 0.0, "collapsing"),
        (0.0, 1.0, 1.0, "vanishing"),
        (math.inf, 1.0, 0.0, "exploding"),
        (1.0, math.inf, 0.0, "exploding"),
        (math.nan, 1.0, 0.0, "exploding"),
        (1.0, math.nan, 1.0, "exploding"),
    ],
)
def test_verdict(ratio, spread, saturated, word):
    assert verdict(ratio, spread, saturated, dead=0.5) == word


def test_dead_units_are_no_health():
    assert verdict(1.0, 1.0, 0.0, dead=0.91) == "dead"
    assert verdict(1.0, 1.0, 0.0, dead=0.89) == "healthy"
    assert verdict(0.001, 1.0, 0.0, dead=1.0) == "vanishing"


def test_activations_are_those_of_the_end_of_a_layer():
    """dense, batch_norm, sigmoid: the kernel's gradient, and the activation after the normalization."""
    row = {"step": 0, "dead_fraction": 0.0, "saturated_fraction": 0.0, "change_from_start": 0.0}
    table = pandas.DataFrame(
        [
            row | {"fan_in": 10, "kernel_grad_norm": 0.5, "activation_std": 9.0},
            row
            | {"fan_in": None, "kernel_grad_norm": None, "activation_std": 1.0, "saturated_fraction": 0.5},
            row | {"fan_in": 10, "kernel_grad_norm": 1.0, "activation_std": 7.0},
            row
            | {"fan_in": None, "kernel_grad_norm": None, "activation_std": 0.5, "saturated_fraction": 0.7},
            row | {"fan_in": 10, "kernel_grad_norm": 1e9, "activation_std": 1e9},
        ]
    )
    found = gradient_flow.detect(table)
    assert (found.first_to_last_ratio, found.activation_spread, found.saturated_fraction) == (0.5, 0.5, 0.6)


def test_gradients_of_zero():
    nothing = gradient_flow.detect(layers_table([0.0] * 4, [0.0] * 4))
    assert nothing[:3] == (None, None, None)
    assert (nothing.verdict, nothing.reason) == (
        None,
        "at step 0 the activations of all hidden layers are constant; at step 0 the gradients of all hidden "
        "layers are 0",
    )
    flat = gradient_flow.detect(layers_table([0.0] * 4))
    assert (flat.first_to_last_ratio, flat.verdict) == (None, None)
    first = gradient_flow.detect(layers_table([0.0, 0.1, 1.0]))
    assert (first.first_to_last_ratio, first.decay_per_layer, first.verdict) == (0, 0, "vanishing")
    last = gradient_flow.detect(layers_table([1.0, 0.1, 0.0]))
    assert (last.first_to_last_ratio, last.verdict) == (math.inf, "exploding")


@pytest.mark.parametrize(
    "norms", [[math.inf, 1.0, 1.0], [math.inf] * 3, [math.nan] * 3, [1.0, math.inf, 1.0]]
)
def test_gradients_that_are_no_numbers(norms):
    found = gradient_flow.detect(layers_table(norms))
    assert found.decay_per_layer == math.inf
    assert found.verdict == ("healthy" if norms[0] == norms[2] == 1.0 else "exploding")


def test_a_net_of_one_hidden_layer_or_none():
    one = gradient_flow.detect(layers_table([0.3]))
    assert (one.first_to_last_ratio, one.decay_per_layer, one.activation_spread) == (None, None, None)
    assert (one.verdict, one.reason) == (None, "there is a single hidden layer, and none to compare it with")
    assert gradient_flow.detect(layers_table([0.3], dead=1.0)).verdict == "dead"
    assert gradient_flow.detect(layers_table([0.3], saturated=1.0)).verdict == "saturated"
    table = layers_table([0.3])
    with pytest.raises(InvalidValue, match="no hidden layer"):
        gradient_flow.detect(table[table["index"] == 2])


def test_frozen_layers_are_left_out():
    """Their kernel has no gradient, and their grad_norm is 0; in a layer that diverges that is NaN."""

    def detected(frozen):
        norms = [math.nan if i in frozen else norm for i, norm in enumerate([0.5, 0.2, 0.1])]
        every = [0.0 if i in frozen else 1.0 for i in range(3)]
        table = layers_table(norms, [9.0, 2.0, 1.0], every=every).rename(columns={"every": "grad_norm"})
        return gradient_flow.detect(table)

    assert (detected([0]).first_to_last_ratio, detected([0]).activation_spread) == (2.0, 0.5)
    assert detected([0]).verdict == "healthy"
    assert (detected([0, 1]).verdict, detected([0, 1]).first_to_last_ratio) == (None, None)
    assert detected([0, 1]).reason == "there is a single trained hidden layer, and none to compare it with"
    with pytest.raises(InvalidValue, match="every hidden layer is frozen"):
        detected([0, 1, 2])
    diverged = layers_table([math.nan, 1.0], every=[math.nan, 1.0]).rename(columns={"every": "grad_norm"})
    assert gradient_flow.detect(diverged).verdict == "exploding"


# --- symmetry --------------------------------------------------------------------------------------------


def spread_table(*records):
    tables = [layers_table([1.0] * len(r), unit_spread=r).assign(step=i) for i, r in enumerate(records)]
    return pandas.concat(tables).fillna({"unit_spread": 5.0})  # the read-out's, which must not count


def test_the_widest_spread_decides():
    found = symmetry.detect(spread_table([0.5, 0.9], [1e-4, 2e-4]))
    assert (found.unit_spread, found.final_unit_spread, found.herding) == (0.9, 2e-4, True)
    found = symmetry.detect(spread_table([0.0, 0.0], [1e-4, 2e-3]))
    assert (found.unit_spread, found.final_unit_spread, found.herding) == (0.0, 2e-3, False)


def run(model, phenomena, data=None, steps=10):
    """The tables of a short training, and the phenomena built; trained once."""
    return _run(json.dumps([model, phenomena, data, steps]))


@functools.cache
def _run(arguments):
    model, phenomena, data, steps = json.loads(arguments)
    tree = {
        "name": "test",
        "data": data or {"type": "wine", "normalize": "standardize"},
        "model": model,
        "optimizer": {"type": "sgd", "learning_rate": 0.1, "momentum": 0.9},
        "train": {"steps": steps},
        "record": {"every": {"steps": max(1, steps)}},
        "phenomena": phenomena,
    }
    exp = build_experiment(check_tree(Document(tree, {}, {}, "test")))
    frames = {}
    for chunk in train(exp):
        for name, columns in chunk.tables.items():
            frames.setdefault(name, []).append(pandas.DataFrame(columns))
    return {name: pandas.concat(parts) for name, parts in frames.items()}, exp.plan.phenomena


@pytest.mark.parametrize(
    ("kernel_init", "herding"),
    [({"type": "constant", "value": 0.1}, True), ("zeros", True), ("glorot_normal", False)],
)
def test_units_that_start_alike_stay_alike(kernel_init, herding):
    model = [
        {"type": "dense", "units": 8, "kernel_init": kernel_init},
        "tanh",
        {"type": "dense", "units": 3, "kernel_init": {"type": "constant", "value": 0.1}},
    ]
    tables, _ = run(model, ["symmetry"])
    found = symmetry.detect(tables["layers"])
    assert found.herding is herding
    if herding:
        assert found.unit_spread == pytest.approx(0, abs=1e-6)
    else:
        assert found.unit_spread == pytest.approx(1.0, abs=0.3)
    moved = (
        tables["layers"].groupby("layer")["weight_norm"].agg(lambda values: values.iloc[-1] - values.iloc[0])
    )
    assert moved["dense_1"] != 0, "the layer learns all the same"


# --- all phenomena ---------------------------------------------------------------------------------------

# what those that are seen across a sweep must be told
REQUIRED = {
    "capacity": "model.width",
    "along": "optimizer.learning_rate",
    "weights": "model.0.kernel_init.gain",
    "level": 0.1,
    "modes": 8,
}


def built(name):
    parameters = components("phenomenon")[name].parameters.values()
    return build("phenomenon", {"type": name} | {p.name: REQUIRED[p.name] for p in parameters if p.required})


IN_RUNS = [name for name in components("phenomenon") if isinstance(built(name), RunPhenomenon)]
ARITHMETIC = ["answers", "progress_measures"]  # of modular addition, see test_grokking.py
OF_TWO_WEIGHTS = ["trajectory"]  # see test_run_phenomena.py
OF_TIME = ["gradient_through_time"]  # see test_recurrent.py
OF_CHANGES = ["augmentations"]  # see test_augmentation.py
# see test_image_phenomena.py
OF_PICTURES = ["confusion", "embeddings", "feature_maps", "filters", "reconstructions", "translation"]
OF_LANDSCAPES = ["loss_landscape", "training_path"]  # see test_loss_landscape.py
OF_KERNELS = ["tangent_kernel"]  # see test_laziness.py
OF_CLASSES = ["neural_collapse"]  # see test_inspection.py
# see test_generative_models.py
OF_SAMPLES = ["density_estimation", "mode_collapse", "posterior_collapse", "samples"]
OF_THEIR_OWN = [  # see the file of each
    name
    for name in IN_RUNS
    if Path(__file__).with_name(f"test_{name}.py").exists() and name not in ("grokking", *OF_LANDSCAPES)
]
APART = (
    OF_TWO_WEIGHTS
    + OF_TIME
    + OF_CHANGES
    + OF_PICTURES
    + OF_LANDSCAPES
    + OF_KERNELS
    + OF_CLASSES
    + OF_SAMPLES
    + OF_THEIR_OWN
)
NOT_HERE = ARITHMETIC + APART
PHENOMENA = [name for name in IN_RUNS if name not in NOT_HERE]


NETS = {
    "deep": [
        {"type": "repeat", "times": 3, "layers": [{"type": "dense", "units": 6}, "sigmoid"]},
        {"type": "dense", "units": 3},
    ],
    "linear": [{"type": "dense", "units": 3}],
    "normalized": ["batch_norm", {"type": "mlp", "width": 5, "depth": 1, "outputs": 3}],
}


@pytest.mark.parametrize("net", NETS)
def test_numbers_are_those_of_the_summary(net):
    tables, asked = run(NETS[net], PHENOMENA, steps=1)
    assert [phenomenon.name for phenomenon in asked] == PHENOMENA
    for phenomenon in asked:
        found = phenomenon.numbers_or_reason(FakeRun(tables, {"classes": 3}))
        assert tuple(name for name in found if name != "reason") == phenomenon.fields
        for probe in phenomenon.probes:
            assert set(probe.columns) <= set(tables[probe.table])
            steps = set(tables[probe.table]["step"])
            assert steps <= {0} if probe.record_at == "start" else steps == {0, 1}


def first_params(net):
    tree = {"name": "t", "data": "wine", "model": NETS[net], "train": {"steps": 0}}
    exp = build_experiment(check_tree(Document(tree, {}, {}, "test")))
    return exp.model.init(0)[0]


def test_unit_spread_equals_its_formula():
    tables, _ = run(NETS["normalized"], PHENOMENA, steps=1)
    params = first_params("normalized")
    first = tables["layers"].query("step == 0").set_index("layer")["unit_spread"]
    assert np.isnan(first["batch_norm_1"])
    for name in ("dense_1", "dense_2"):
        kernel = np.asarray(params[name]["kernel"], np.float64)
        expected = np.linalg.norm(kernel - kernel.mean(1, keepdims=True)) / np.linalg.norm(kernel)
        assert first[name] == pytest.approx(expected, rel=1e-5)


def test_change_from_start_is_the_distance_of_the_weights():
    tables, _ = run(NETS["deep"], PHENOMENA, steps=1)
    layers = tables["layers"].set_index(["step", "layer"])
    assert (layers.loc[0]["change_from_start"] == 0).all()
    # after one step the distance is what that step added
    np.testing.assert_allclose(
        layers.loc[1]["change_from_start"], layers.loc[0]["update_ratio"], rtol=1e-3, atol=1e-7
    )


def test_histograms_are_shares_of_the_weights():
    tables, _ = run(NETS["linear"], PHENOMENA, steps=1)
    kernel = np.asarray(first_params("linear")["dense_1"]["kernel"])
    for _, part in tables["histograms"].groupby(["layer", "of"]):
        assert part["share"].sum() == pytest.approx(1.0, abs=1e-5)
        np.testing.assert_allclose(
            part["left"].to_numpy()[1:], part["right"].to_numpy()[:-1], rtol=1e-3, atol=1e-5
        )
    weights = tables["histograms"].query("of == 'weights'")
    expected, edges = np.histogram(kernel, bins=gradient_flow.HISTOGRAM_BINS)
    np.testing.assert_allclose(weights["left"], edges[:-1], atol=1e-5)
    counts = weights["share"].to_numpy() * kernel.size
    assert np.abs(counts - expected).sum() <= 2, "but for values on an edge"


def test_curves_are_the_activations_of_the_model():
    tables, _ = run(NETS["deep"], PHENOMENA, steps=1)
    curve = tables["activations"]
    assert set(curve["activation"]) == {"sigmoid"}
    sigmoid = 1 / (1 + np.exp(-curve["z"].to_numpy(float)))
    np.testing.assert_allclose(curve["value"], sigmoid, atol=1e-6)
    np.testing.assert_allclose(curve["slope"], sigmoid * (1 - sigmoid), atol=1e-6)


def test_every_phenomenon_is_tested_here():
    """Those that are seen across a sweep, those of grokking, and the small ones, in files of their own."""
    small = [
        "gradient_noise",
        "incoming_norms",
        "learning_rate_range",
        "overfitting",
        "sparsity",
        "training_mode",
        "update_ratios",
    ]
    others = ["answers", "gradient_flow", "grokking", "progress_measures", "symmetry"]
    assert set(IN_RUNS) == {*small, *APART, *others}
    across = set(components("phenomenon")) - set(IN_RUNS)
    selecting = {"cross_validation", "voting"}  # see test_selection.py
    curves = {"bias_variance", "double_descent", "grokking_delay", "comparison"}
    curves |= {"memorisation", "variance_sources"}
    # see test_signal_propagation.py, test_superposition.py and test_laziness.py
    diagrams = {"phase_diagram", "superposition_by_density", "laziness"}
    of_lectures = {"approximation", "critical_batch", "zero_one_bias_variance"}  # each in a file of its own
    of_lectures |= {"chosen_by_folds", "mode_connectivity"}
    in_rounds = {"lottery_ticket", "pruning"}  # see test_lottery_ticket.py
    between = {"matched_units"}  # see test_mode_connectivity.py
    others = {*in_rounds, *between, "trajectories"}
    assert across == {*curves, *selecting, *diagrams, *of_lectures, *others}
    for name in curves | of_lectures:
        assert isinstance(built(name), SweepPhenomenon)
        assert Path(__file__).with_name(f"test_{name.removesuffix('_delay')}.py").exists()
    for name in components("phenomenon"):
        assert built(name).figures
        assert built(name).name == name
