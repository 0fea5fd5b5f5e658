"""Recurrent layers against PyTorch, tasks of memory, and the gradient through time against closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas
import pytest
from support import (
    KEY,
    assert_labelled,
    assert_told_apart,
    close,
    drawn,
    figure_for_people,
    from_config,
    load,
    pulled_back,
)

from nnlab.config import check_tree
from nnlab.config.document import Document
from nnlab.data.datasets.memory_tasks import adding, recall
from nnlab.errors import ConfigError, InvalidValue
from nnlab.nn.model import build_model
from nnlab.nn.recurrent import bidirectional, gru, lstm, simple_rnn
from nnlab.phenomena.signal.gradient_through_time import detect, spectral_radius, verdict
from nnlab.runs.results import open_run
from nnlab.runs.run import run
from nnlab.storage.run_directory import RunDirectory
from nnlab.training.experiment import build_experiment

SEED, BATCH, LENGTH, FEATURES, UNITS = 7, 6, 5, 3, 4
PYTORCH = {"simple_rnn": "RNN", "lstm": "LSTM", "gru": "GRU"}
GATES = {"simple_rnn": 1, "lstm": 4, "gru": 3}
BIASED = {"units": UNITS, "bias_init": {"type": "normal", "std": 0.5}}


# --- layers ----------------------------------------------------------------------------------------------


def theirs_with(torch, name, params, directions):
    """PyTorch's layer with these weights; of its two biases nnlab has one, but for the gru."""
    both = len(directions) == 2
    theirs = getattr(torch.nn, PYTORCH[name])(FEATURES, UNITS, batch_first=True, bidirectional=both)
    for suffix, own in zip(("", "_reverse"), directions, strict=False):
        other_bias = own.get("recurrent_bias", np.zeros_like(own["bias"]))
        for word, array in (
            ("weight_ih", own["kernel"]),
            ("weight_hh", own["recurrent_kernel"]),
            ("bias_ih", own["bias"]),
            ("bias_hh", other_bias),
        ):
            getattr(theirs, f"{word}_l0{suffix}").data = torch.tensor(np.asarray(array).T.copy())
    return theirs


@pytest.mark.parametrize(
    ("name", "both_ways", "read"),
    [(name, *case) for name in PYTORCH for case in ((False, None), (True, -1))] + [("lstm", True, None)],
)
def test_recurrent_layers_equal_pytorch(name, both_ways, read):
    torch = pytest.importorskip("torch")
    config = {"type": name, **BIASED, "read": read}
    config = {"type": "bidirectional", "layer": config} if both_ways else config
    net = build_model(from_config(config), (LENGTH, FEATURES))
    params, state = net.init(SEED)
    (own,) = params.values()
    directions = [own["forward"], own["backward"]] if both_ways else [own]
    x = drawn((BATCH, LENGTH, FEATURES))
    out, (by_params, by_x), weights = pulled_back(net, params, state, x)

    theirs = theirs_with(torch, name, params, directions)
    z = torch.tensor(x, requires_grad=True)
    states, last = theirs(z)
    last = last[0] if name == "lstm" else last
    y = states if read is None else torch.cat(list(last), -1)
    (y * torch.tensor(weights)).sum().backward()
    close(out.value, y)
    close(by_x, z.grad)
    (found,) = by_params.values()
    found = [found["forward"], found["backward"]] if both_ways else [found]
    for suffix, gradients in zip(("", "_reverse"), found, strict=False):
        close(gradients["kernel"].T, getattr(theirs, f"weight_ih_l0{suffix}").grad)
        close(gradients["recurrent_kernel"].T, getattr(theirs, f"weight_hh_l0{suffix}").grad)
        close(gradients["bias"], getattr(theirs, f"bias_ih_l0{suffix}").grad)
        if name == "gru":
            close(gradients["recurrent_bias"], getattr(theirs, f"bias_hh_l0{suffix}").grad)


@pytest.mark.parametrize("name", PYTORCH)
def test_what_recurrent_layers_hold(name):
    """Parameters by closed form, each gate's recurrent kernel orthogonal, and the lstm's forget bias."""
    gates, biases = GATES[name], 2 if name == "gru" else 1
    net = build_model(from_config({"type": name, "units": UNITS}), (LENGTH, FEATURES))
    assert net.setup.count("params") == gates * UNITS * (FEATURES + UNITS + biases)
    bare = build_model(from_config({"type": name, "units": UNITS, "use_bias": False}), (LENGTH,))
    assert bare.setup.count("params") == gates * UNITS * (1 + UNITS)
    (own,) = net.init(SEED)[0].values()
    for block in np.split(own["recurrent_kernel"], gates, axis=1):
        np.testing.assert_allclose(block @ block.T, np.eye(UNITS), atol=1e-6)
    assert np.abs(own["kernel"]).max() <= np.sqrt(6 / (FEATURES + UNITS))
    forget = np.repeat([0, 1, 0, 0], UNITS) if name == "lstm" else np.zeros(gates * UNITS)
    np.testing.assert_array_equal(own["bias"], forget)


def test_read_names_a_step():
    """It is the one among all states, and later elements have no part in it."""
    params, state = build_model(gru(UNITS), (LENGTH, FEATURES)).init(SEED)
    x = jnp.asarray(drawn((BATCH, LENGTH, FEATURES)))

    def value(read, x):
        net = build_model(gru(UNITS, read=read), (LENGTH, FEATURES))
        return net.apply(params, state, x, key=KEY, train=True).value

    every = value(None, x)
    close(value(-1, x), every[:, -1])
    close(value(-2, x.at[:, -1].set(9.0)), every[:, -2])


def test_a_sequence_of_one_feature_needs_no_axis_for_it():
    layer = simple_rnn(UNITS)
    params, state = build_model(layer, (LENGTH,)).init(SEED)
    x = jnp.asarray(drawn((BATCH, LENGTH)))
    flat, deep = (build_model(layer, shape) for shape in ((LENGTH,), (LENGTH, 1)))
    close(
        flat.apply(params, state, x, key=KEY, train=True).value,
        deep.apply(params, state, x[..., None], key=KEY, train=True).value,
    )


def test_recurrent_layers_refuse_what_does_not_fit():
    with pytest.raises(InvalidValue, match=r"lstm takes sequences, \[T, D\] or \[T\], not \[2, 3, 4\]"):
        lstm(UNITS).setup((2, 3, 4))
    with pytest.raises(InvalidValue, match="read: 5 is no position of a sequence of 5"):
        gru(UNITS, read=5).setup((LENGTH, FEATURES))
    with pytest.raises(InvalidValue, match="dense has no states; take simple_rnn, lstm or gru"):
        bidirectional({"type": "dense", "units": 3})


# --- data sets -------------------------------------------------------------------------------------------


def test_recall_is_a_symbol_and_then_noise():
    examples = load(
        {"type": "recall", "length": 30, "symbols": 5, "noise": 0.2, "split": {"train": 1.0}}
    ).train
    assert examples.inputs.shape == (1000, 30, 5)
    np.testing.assert_array_equal(examples.inputs[:, 0], np.eye(5)[examples.targets])
    assert np.bincount(examples.targets).tolist() == [200] * 5
    later = examples.inputs[:, 1:]
    assert later.std() == pytest.approx(0.2, rel=0.02)
    means = np.stack([later[examples.targets == label].mean(0) for label in range(5)])
    assert np.abs(means).max() < 5 * 0.2 / np.sqrt(200), "the noise tells nothing of the symbol"


def test_adding_is_the_sum_of_the_two_marked_numbers():
    examples = load({"type": "adding", "length": 11, "examples": 3000, "split": {"train": 1.0}}).train
    numbers, marks = examples.inputs[..., 0], examples.inputs[..., 1]
    assert marks[:, :5].sum(1).tolist() == marks[:, 5:].sum(1).tolist() == [1] * 3000
    assert set(marks.argmax(1)) == set(range(5))
    np.testing.assert_allclose(examples.targets[:, 0], (numbers * marks).sum(1), rtol=1e-6)
    assert np.square(examples.targets - 1).mean() == pytest.approx(1 / 6, rel=0.1)


@pytest.mark.parametrize("task", [recall, adding])
def test_sequences_too_large_are_refused(task):
    with pytest.raises(InvalidValue, match="need more memory than there is"):
        task(length=10**6, examples=10**8)


# --- the gradient through time ---------------------------------------------------------------------------


def experiment(name="rnn", **keys):
    tree = {
        "name": name,
        "data": {
            "type": "recall",
            "length": 12,
            "examples": 40,
            "symbols": 3,
            "noise": 0.0,
            "batch_size": 20,
        },
        "model": [
            {"type": "simple_rnn", "units": 8, "activation": "identity"},
            {"type": "dense", "units": 3},
        ],
        "optimizer": {"type": "sgd", "learning_rate": 1e-3},
        "train": {"steps": 0},
        "phenomena": ["gradient_through_time"],
        **keys,
    }
    return build_experiment(check_tree(Document(tree, {}, {}, "test")))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(name, keys of its experiment) -> a finished run."""
    home = tmp_path_factory.mktemp("runs")

    def one(name, **keys):
        run(experiment(name, **keys), RunDirectory(home / name))
        return open_run(home / name)

    return one


def test_a_linear_net_goes_by_its_spectral_radius(trained):
    """By gain^d at every distance: the norm, the detector's numbers; and the figure of two such runs."""
    runs = []
    for gain, word in ((0.5, "vanishing"), (1.5, "exploding")):
        kernel = {"type": "orthogonal", "gain": gain}
        rnn = {"type": "simple_rnn", "units": 8, "activation": "identity", "recurrent_init": kernel}
        runs.append(trained(f"gain-{gain}", model=[rnn, {"type": "dense", "units": 3}], train={"steps": 1}))
        table = runs[-1].tables["gradient_through_time"].query("step == 0").set_index("distance")
        norms = table["gradient_norm"]
        assert len(norms) == 12
        np.testing.assert_allclose(norms, norms[0] * gain**norms.index, rtol=1e-4)
        found = detect(runs[-1].tables)
        assert (found.factor_per_step, found.spectral_radius) == pytest.approx((gain, gain), rel=1e-4)
        assert found.slope_over_log_radius == pytest.approx(1.0, rel=1e-3)
        assert found.first_to_last_ratio == pytest.approx(gain**11, rel=1e-3)
        assert found.verdict == word
    for shown in (runs, runs[:1]):
        figure = figure_for_people(shown, "gradient_through_time")
        assert_labelled(figure)
        assert_told_apart(figure, ["gain-0.5", "gain-1.5"][: len(shown)])


def test_the_gradient_by_perturbations_is_that_by_the_states():
    """Backpropagated by hand: one step back is (1 - h^2), then the transposed recurrent kernel."""
    net = build_model(simple_rnn(UNITS), (LENGTH, FEATURES))
    params, state = net.init(SEED)
    (own,) = params.values()
    x, weights = jnp.asarray(drawn((BATCH, LENGTH, FEATURES))), drawn((BATCH, UNITS), 1)

    def total(perturbations):
        changed = {"simple_rnn_1": {**own, "perturbations": perturbations}}
        return (weights * net.apply(changed, state, x, key=KEY, train=False).value).sum()

    found = jax.grad(total)(jnp.zeros((BATCH, LENGTH, UNITS)))
    states = net.apply(params, state, x, key=KEY, train=False).intermediates["states"]["simple_rnn_1"]
    expected = weights
    for t in reversed(range(LENGTH)):
        close(found[:, t], expected)
        expected = (expected * (1 - np.square(states[:, t]))) @ own["recurrent_kernel"].T


@pytest.mark.parametrize(("clip", "status"), [(None, "diverged"), ({"global_norm": 1.0}, "complete")])
def test_at_a_scale_of_1_5_over_50_steps_only_a_clipped_training_is_finite(trained, clip, status):
    kernel = {"type": "orthogonal", "gain": 1.5}
    rnn = {"type": "simple_rnn", "units": 8, "activation": "identity", "recurrent_init": kernel}
    found = trained(
        status,
        data={"type": "recall", "length": 50, "examples": 40, "symbols": 3, "batch_size": 20},
        model=[rnn, {"type": "dense", "units": 3}],
        optimizer={"type": "sgd", "learning_rate": 0.1, "clip": clip},
        train={"steps": 10},
        record={"every": {"steps": 5}, "layers": False},
        phenomena=[],
    )
    assert found.summary["status"] == status


@pytest.mark.parametrize("shape", ["random", "orthogonal", "rotation", "nilpotent"])
def test_spectral_radius_equals_numpy(shape):
    matrix = {
        "random": drawn((12, 12), 3, 0.4),
        "orthogonal": np.linalg.qr(drawn((12, 12)))[0] * 1.3,
        "rotation": np.array([[0.0, 2.0], [-0.5, 0.0]]),
        "nilpotent": np.array([[0.0, 1.0], [0.0, 0.0]]),
    }[shape].astype(np.float32)
    expected = np.abs(np.linalg.eigvals(matrix.astype(np.float64))).max()
    assert float(spectral_radius(jnp.asarray(matrix))) == pytest.approx(expected, rel=2e-3)


def tables_of(norms, radius=np.nan):
    distances = pandas.DataFrame({"step": 0, "distance": range(len(norms)), "gradient_norm": norms})
    return {
        "gradient_through_time": distances,
        "recurrent_kernel": pandas.DataFrame({"step": [0], "spectral_radius": [radius]}),
    }


def test_the_numbers_of_constructed_norms():
    found = detect(tables_of([2.0 * 0.8**d for d in range(10)] + [np.nan] * 4))
    assert found.factor_per_step == pytest.approx(0.8)
    assert found.log10_slope == pytest.approx(np.log10(0.8))
    assert found.first_to_last_ratio == pytest.approx(0.8**9)
    assert (found.spectral_radius, found.slope_over_log_radius) == (None, None)
    assert detect(tables_of([1.0, 0.9, 0.81], radius=1.0)).slope_over_log_radius is None
    lost = detect(tables_of([1.0, 0.5, 0.0]))
    assert (lost.factor_per_step, lost.first_to_last_ratio) == pytest.approx((0.5, 0.0))
    nothing = detect(tables_of([0.0, 0.0], radius=0.9))
    assert (nothing.factor_per_step, nothing.slope_over_log_radius) == (None, None)
    assert (nothing.first_to_last_ratio, nothing.verdict) == (None, "none")
    assert detect(tables_of([1.0, np.inf])).verdict == "exploding"


@pytest.mark.parametrize(
    ("ratio", "word"),
    [(0.009, "vanishing"), (0.011, "healthy"), (19.0, "healthy"), (21.0, "exploding"), (np.nan, "exploding")],
)
def test_verdict_on_both_sides_of_each_bound(ratio, word):
    assert verdict(ratio) == word


def test_it_is_seen_in_the_last_recurrent_layer_however_it_reads(trained):
    """Both ways, and with fewer steps than the sequence has."""
    inner = {"type": "simple_rnn", "units": 3, "read": 4}
    both = [{"type": "bidirectional", "layer": inner}, {"type": "dense", "units": 3}]
    table = trained("both", model=both).tables["gradient_through_time"]
    assert set(table["layer"]) == {"bidirectional_1/backward"}
    norms = table.set_index("distance")["gradient_norm"]
    assert norms[:5].gt(0).all()
    assert norms[5:].isna().all()


def test_without_a_recurrent_layer_it_is_refused():
    with pytest.raises(ConfigError, match="gradient_through_time needs a recurrent layer"):
        experiment(model=["flatten", {"type": "dense", "units": 3}])
