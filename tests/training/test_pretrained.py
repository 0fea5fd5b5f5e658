"""First weights that were trained before, and frozen layers that are computed once."""

import os
import shutil
import signal

import jax
import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from torture.kills import left_by

from nnlab.config.document import parse
from nnlab.config.load import check_tree, load
from nnlab.config.training_keys import Initialize
from nnlab.errors import ConfigError, DriftError
from nnlab.nn.model import build_model
from nnlab.registry import build
from nnlab.runs.resume import ResumePolicy, RunTask
from nnlab.runs.run import run, run_together
from nnlab.storage.run_directory import RunDirectory
from nnlab.storage.tables import read_table
from nnlab.training import segments
from nnlab.training.experiment import build_experiment
from nnlab.training.pretrained import load_pretrained

BASE = """\
name: base
data: {type: gaussian, examples: 60, features: 6, classes: 3, split: {train: 36, validation: 24, seed: 0},
  batch_size: 8}
model:
  [{type: dense, units: 5}, batch_norm, relu, {type: dense, units: 4}, relu, {type: dense, units: 3}]
optimizer: {type: adam, learning_rate: 0.02}
train: {steps: 20}
record: {every: {steps: 5}, layers: false}
"""
TARGET = """\
name: target
data: {type: gaussian, examples: 60, features: 6, classes: 2, split: {train: 36, validation: 24, seed: 0},
  batch_size: 8}
model:
  - {type: dense, units: 5}
  - batch_norm
  - relu
  - {type: dense, units: 4}
  - relu
  - {type: dropout, rate: 0.3}
  - {type: dense, units: 4, use_bias: false}
  - batch_norm
  - {type: dense, units: 2}
initialize: {from: SOURCE, layers: [dense_1, batch_norm_1, dense_2]}
optimizer:
  type: adam
  learning_rate: 0.02
  groups: [{layers: [dense_1, batch_norm_1, dense_2], frozen: true}]
train: {steps: 30, cache_frozen: true}
record: {every: {steps: 5}, predictions: true}
phenomena: [gradient_flow]
expect: {trained_parameters: {equals: 34}}
"""
DRAWN = TARGET.replace("initialize: {from: SOURCE, layers: [dense_1, batch_norm_1, dense_2]}\n", "").replace(
    "predictions: true}\nphenomena: [gradient_flow]", "layers: false}"
)
TAKEN = {
    *("dense_1/kernel", "dense_1/bias", "dense_2/kernel", "dense_2/bias"),
    *("batch_norm_1/scale", "batch_norm_1/shift", "batch_norm_1/mean", "batch_norm_1/variance"),
}


@pytest.fixture(autouse=True)
def _as_optax_is_written():
    """Its Adam multiplies floats by a step that is an integer."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A finished run of BASE; not to be changed."""
    place = tmp_path_factory.mktemp("source") / "run"
    with jax.numpy_dtype_promotion("standard"):
        assert run(bound(BASE), RunDirectory(place)).summary["status"] == "complete"
    return place


def bound(text, *replaced):
    for old, new in replaced:
        assert old in text
        text = text.replace(old, str(new))
    return build_experiment(check_tree(parse(text, "test.yaml")))


def refusal(text, *replaced):
    """The one line that it is refused with."""
    with pytest.raises(ConfigError) as refused:
        bound(text, *replaced)
    [line] = refused.value.lines
    return line


def kept(place, group="weights"):
    """The arrays of the newest checkpoint."""
    return load_file(sorted(place.glob(f"checkpoints/*/{group}.safetensors"))[-1])


def first_weights(experiment):
    return {
        f"{layer}/{name}": array
        for tree in experiment.first_weights()
        for layer, arrays in tree.items()
        for name, array in arrays.items()
    }


def test_weights_come_from_a_run_or_a_file(source):
    """Those that are asked for; the others are drawn as they are without."""
    drawn = first_weights(
        bound(TARGET, ("SOURCE, layers: [dense_1, batch_norm_1, dense_2]", f"{source}, layers: dense_1"))
    )
    for place in (source, next(source.glob("checkpoints/*/weights.safetensors"))):
        found = first_weights(bound(TARGET, ("SOURCE", place)))
        for name, array in found.items():
            np.testing.assert_array_equal(array, kept(source)[name] if name in TAKEN else drawn[name])
    assert not np.array_equal(found["dense_2/kernel"], drawn["dense_2/kernel"])


def test_a_run_that_restores_its_best_weights_hands_those_on(tmp_path):
    stopped = BASE.replace("steps: 20", "steps: 60, stop: [{type: early_stopping, patience: 3}]").replace(
        "learning_rate: 0.02", "learning_rate: 0.3"
    )
    assert run(bound(stopped), RunDirectory(tmp_path / "run")).summary["status"] == "complete"
    found = bound(TARGET, ("SOURCE", tmp_path / "run")).pretrained.arrays
    best, last = (kept(tmp_path / "run", group) for group in ("best", "weights"))
    assert not np.array_equal(best["dense_1/kernel"], last["dense_1/kernel"])
    for name in TAKEN:
        np.testing.assert_array_equal(found[name], best[name])


@pytest.mark.parametrize(
    ("layers", "taken"),
    [
        ("dense_1", {"dense_1/kernel", "dense_1/bias"}),
        ("[dense_1, '*norm*']", {name for name in TAKEN if not name.startswith("dense_2")}),
        ("['dense_?', batch_norm_1]", TAKEN | {"dense_3/kernel", "dense_3/bias"}),
        ("null", TAKEN | {"dense_3/kernel", "dense_3/bias"}),
    ],
)
def test_layers_are_chosen_by_pattern(source, layers, taken):
    asked = f"initialize: {{from: {source}, layers: {layers}}}\noptimizer"
    assert set(bound(BASE, ("optimizer", asked)).pretrained.arrays) == taken


def test_a_layer_may_have_another_name_there(source):
    asked = f"initialize: {{from: {source}, layers: dense_2, names: {{dense_2: dense_1}}}}\noptimizer"
    found = bound(
        BASE, ("optimizer", asked), ("  [{type", "  [{type: dense, units: 6}, {type")
    ).pretrained.arrays
    np.testing.assert_array_equal(found["dense_2/kernel"], kept(source)["dense_1/kernel"])
    assert set(found) == {"dense_2/kernel", "dense_2/bias"}


def test_the_report_tells_what_came_and_what_did_not(source):
    assert bound(TARGET, ("SOURCE", source)).pretrained.report == (
        f"first weights from {source}: 8 arrays, of dense_1, batch_norm_1, dense_2; "
        "drawn: dense_3, batch_norm_2, dense_4; of no use here: dense_3/bias, dense_3/kernel"
    )


def broken(source, place):
    """A copy of a run with a bit of its newest weights flipped."""
    shutil.copytree(source, place)
    file = next(place.glob("checkpoints/*/weights.safetensors"))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


def without_checkpoints(source, place):
    shutil.copytree(source, place)
    shutil.rmtree(place / "checkpoints")


def with_a_damaged_config(source, place):
    shutil.copytree(source, place)
    text = (place / "config.yaml").read_text()
    (place / "config.yaml").write_text(text.replace("units: 5", "unit: 5").replace("steps: 20", "stepz: 20"))


def solved(source, place):
    text = "name: solved\ndata: {type: linear_teacher, examples: 20, features: 3}\n" + (
        "model: [{type: dense, units: 1, use_bias: false}]\nloss: squared_error\nsolver: least_squares\n"
    )
    assert run(bound(text), RunDirectory(place)).summary["status"] == "complete"


def arrays(**changed):
    """Writes a file of the source's weights with these changes."""

    def make(source, place):
        found = {name.replace("/", "__"): array for name, array in kept(source).items()} | changed
        save_file({name.replace("__", "/"): a for name, a in found.items() if a is not None}, place)

    return make


HUGE = np.full((6, 5), 1e300)
MISSING = "there is no 'PLACE' (relative paths start at the working directory)"
UNTRAINED = "'PLACE' has no checkpoint to take weights from"
BFLOAT16 = np.zeros((6, 5), ml_dtypes.bfloat16)
SPARE = {"dense_1__kernel": np.zeros((6, 7), np.float32), "more": np.zeros(2, np.float32)}


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda source, place: None, MISSING),
        (lambda source, place: place.mkdir(), "'PLACE' is no run directory: it has no config.yaml"),
        (without_checkpoints, f"{UNTRAINED}; train it to its end"),
        (broken, f"{UNTRAINED}: PLACE/checkpoints/step-0000000020/weights.safetensors: damaged"),
        (with_a_damaged_config, ": model[0].unit: unknown; did you mean 'units'?"),
        (solved, "'PLACE' was solved for; such a run keeps no weights"),
        (lambda source, place: place.write_bytes(b"PK\3\4 a pickle"), "'PLACE' holds no safetensors"),
        (lambda source, place: os.mkfifo(place), "'PLACE' cannot be read: is no plain file"),
        (arrays(dense_1__kernel=BFLOAT16), "'PLACE' holds no safetensors that NumPy can take"),
        (arrays(dense_2__bias=None), "9 of 10 arrays match; not there: dense_2/bias; let `layers`"),
        (arrays(**SPARE), "do not fit: dense_1/kernel ([6, 7] there, [6, 5] here); of no use here: more"),
        (arrays(dense_1__kernel=np.zeros((6, 5), np.int8)), "do not fit: dense_1/kernel (int8 there)"),
        (arrays(dense_1__bias=np.full(5, np.nan, np.float32)), "'PLACE': dense_1/bias is not finite"),
        (arrays(dense_1__kernel=HUGE), "'PLACE': dense_1/kernel is not finite"),
    ],
)  # fmt: skip
def test_what_cannot_be_taken_over_is_told_in_a_line(source, make, expected, tmp_path, nnlab):
    place, file, out = tmp_path / "there", tmp_path / "test.yaml", tmp_path / "out"
    make(source, place)
    file.write_text(f"initialize:\n  from: {place}\n{BASE}")
    result = nnlab("train", file, "--out", out)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert result.stderr.startswith(f"{file}:2:3: initialize.from: ")
    assert expected.replace("PLACE", str(place)) in result.stderr
    assert not out.exists()


@pytest.mark.parametrize(
    ("rest", "at", "expected"),
    [
        ("layers: [dense_1, dnse_2]", "1:32: initialize.layers[1]", "did you mean 'dense_2'? there are"),
        ("layers: relu_1", "1:14: initialize.layers[0]", "'relu_1' is no layer that takes weights over;"),
        ("names: {dense_9: a}", "1:22: initialize.names.dense_9", "did you mean 'dense_1'? there are"),
        ("layers: dense_1, names: {dense_2: a}", "1:39: initialize.names.dense_2", "'dense_2' is no layer"),
        ("names: {dense_2: a}", "2:3: initialize.from", "not there: dense_2/kernel (a/kernel), dense_2/bias"),
    ],
)  # fmt: skip
def test_layers_that_are_not_there_are_told_at_their_place(source, rest, at, expected):
    line = refusal(f"initialize: {{{rest},\n  from: {source}}}\n{BASE}")
    assert line.startswith(f"test.yaml:{at}: ")
    assert expected in line


def convolutional(nn):
    """Images: padding, pooling, groups; what is flattened is normalized too."""
    return nn.Sequential(
        *(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(4, 6, 3, groups=2), nn.ReLU(), nn.Flatten(), nn.BatchNorm1d(36)),
        *(nn.Linear(36, 5), nn.ReLU(), nn.Linear(5, 4)),
    )


def of_signals(nn):
    return nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(24, 3))


def of_plain_images(nn):
    """One channel, no convolution: the order of the rows is the same."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.LayerNorm(5), nn.Linear(5, 3, bias=False)
    )


NORM = {"type": "batch_norm", "epsilon": 1e-5}  # PyTorch's
TORCH = {
    "convolutional": (
        convolutional,
        [
            {"type": "conv2d", "filters": 4, "size": 3, "padding": 1},
            *(NORM, "relu", "max_pool"),
            {"type": "conv2d", "filters": 6, "size": 3, "groups": 2},
            *("relu", "flatten", NORM, {"type": "dense", "units": 5}, "relu", {"type": "dense", "units": 4}),
        ],
        {
            "conv2d_1": "0",
            "batch_norm_1": "1",
            "conv2d_2": "4",
            "batch_norm_2": "7",
            "dense_1": "8",
            "dense_2": "10",
        },
        (8, 10, 3),
    ),
    "signals": (
        of_signals,
        [{"type": "conv1d", "filters": 4, "size": 3}, "relu", "flatten", {"type": "dense", "units": 3}],
        {"conv1d_1": "0", "dense_1": "3"},
        (8, 2),
    ),
    "plain images": (
        of_plain_images,
        [
            *("flatten", {"type": "dense", "units": 5}, "relu", "layer_norm"),
            {"type": "dense", "units": 3, "use_bias": False},
        ],
        {"dense_1": "1", "layer_norm_1": "3", "dense_2": "4"},
        (3, 4),
    ),
}


@pytest.mark.parametrize(("make", "layers", "names", "shape"), TORCH.values(), ids=TORCH)
def test_weights_of_pytorch_give_its_outputs(make, layers, names, shape, tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file as save_state

    theirs = make(torch.nn).eval()
    torch.manual_seed(0)
    for array in theirs.state_dict().values():
        if array.is_floating_point():  # positive, as variances are
            array.copy_(torch.rand(array.shape) - 0.5 * (array.dim() > 1))
    save_state(theirs.state_dict(), tmp_path / "model.safetensors")
    net = build_model(build("layer", layers), shape)
    asked = Initialize(str(tmp_path / "model.safetensors"), None, names)
    weights = load_pretrained(asked, net.setup, shape)
    params, state = (weights.replace_in(tree) for tree in net.init(0))
    inputs = np.random.default_rng(0).normal(size=(7, *shape)).astype(np.float32)
    channels_first = np.moveaxis(inputs, -1, 1) if make is not of_plain_images else inputs
    expected = theirs(torch.from_numpy(np.ascontiguousarray(channels_first))).detach().numpy()
    found = net.apply(params, state, inputs, key=jax.random.key(0), train=False).value
    assert len(weights.arrays) == sum(a.is_floating_point() for a in theirs.state_dict().values())
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("both_ways", [False, True])
@pytest.mark.parametrize(("layer", "theirs"), [("simple_rnn", "RNN"), ("lstm", "LSTM"), ("gru", "GRU")])
def test_recurrent_weights_of_pytorch_give_its_outputs(layer, theirs, both_ways, tmp_path):
    """With two biases where nnlab has one, and one after the other where it has forward and backward."""
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file as save_state

    torch.manual_seed(0)
    module = getattr(torch.nn, theirs)(3, 4, batch_first=True, bidirectional=both_ways)
    save_state({f"rnn.{name}": a for name, a in module.state_dict().items()}, tmp_path / "m.safetensors")
    one = {"type": layer, "units": 4, "read": None}
    config = {"type": "bidirectional", "layer": one} if both_ways else one
    paths = [f"bidirectional_1/{way}" for way in ("forward", "backward")] if both_ways else [f"{layer}_1"]
    net = build_model(build("layer", [config]), (5, 3))
    asked = Initialize(str(tmp_path / "m.safetensors"), None, dict.fromkeys(paths, "rnn"))
    weights = load_pretrained(asked, net.setup, (5, 3))
    assert "of no use" not in weights.report
    inputs = np.random.default_rng(0).normal(size=(7, 5, 3)).astype(np.float32)
    params, state = (weights.replace_in(tree) for tree in net.init(0))
    found = net.apply(params, state, inputs, key=jax.random.key(0), train=False).value
    expected, _ = module(torch.from_numpy(inputs))
    np.testing.assert_allclose(found, expected.detach(), rtol=1e-5, atol=1e-5)


def test_a_file_of_pytorch_needs_names(tmp_path):
    """The module that is named as an example is the first one whose weights fit."""
    shapes = {"0": (4, 5), "10": (5, 6), "9": (5, 6)}  # BASE has 6 inputs and 5 units
    arrays = {f"{name}.weight": np.zeros(shape, np.float32) for name, shape in shapes.items()}
    save_file(arrays, tmp_path / "model.safetensors")
    line = refusal(f"initialize: {{from: {tmp_path / 'model.safetensors'}}}\n{BASE}")
    assert line.startswith("test.yaml:1:1: initialize.names: ")
    said = "(0.weight, 10.weight, 9.weight); say which of its modules a layer is: {dense_1: 9}"
    assert line.endswith(said)


def test_cached_layers_give_what_frozen_ones_do(source, tmp_path, nnlab):
    """The same numbers, with dropout and batch normalization after them; and they stay as they came."""
    texts = {"cached": TARGET, "frozen": TARGET.replace("cache_frozen: true", "cache_frozen: false")}
    for name, text in texts.items():
        told, experiment = [], bound(text, ("SOURCE", source))
        outcome = run(experiment, RunDirectory(tmp_path / name), notify=told.append)
        assert told == [experiment.pretrained.report]
        assert nnlab("check", tmp_path / name).exit_code == 0
        assert outcome.summary["parameters"] == 103
        assert outcome.summary["trained_parameters"] == 34
    tables = {name: {f.stem: read_table(f) for f in (tmp_path / name).glob("*.csv")} for name in texts}
    seen = tables["cached"]["layers"]["layer"].unique().tolist()
    assert seen == ["dense_3", "batch_norm_2", "dense_4"]
    tables["frozen"]["layers"] = tables["frozen"]["layers"].query("layer in @seen").reset_index(drop=True)
    for name in ("metrics", "layers", "predictions"):
        cached, frozen = (
            tables[way][name].select_dtypes("number").drop(columns="index", errors="ignore") for way in texts
        )
        np.testing.assert_allclose(cached, frozen, rtol=1e-6, atol=1e-6)
    weights = {name: kept(tmp_path / name) for name in texts}
    for name, array in weights["frozen"].items():
        np.testing.assert_allclose(weights["cached"][name], array, rtol=1e-6, atol=1e-6)
    for way in texts:
        for name in TAKEN:
            np.testing.assert_array_equal(weights[way][name], kept(source)[name])
        assert not np.array_equal(weights[way]["dense_3/kernel"], kept(source)["dense_3/kernel"])
        remembered = [name for name in kept(tmp_path / way, "training") if "dense" in name]
        assert {name.split("/")[-2] for name in remembered} == {"dense_3", "dense_4"}


@pytest.fixture
def often(monkeypatch):
    """Chunks of few steps, so that there are many of them."""
    monkeypatch.setattr(segments, "CHUNK_SECONDS", 1e-9)
    monkeypatch.setattr(segments, "MAXIMUM_FIRST_STEPS", 4)


def interrupted(text, place, *replaced):
    """A run that gets a signal in its third chunk."""
    seen = []

    def watch(chunk):
        seen.append(chunk.step)
        if len(seen) == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    assert (
        run(bound(text, *replaced), RunDirectory(place), watch, ResumePolicy(every=1e9)).signal
        == signal.SIGTERM
    )


@pytest.mark.usefixtures("often")
def test_going_on_with_cached_layers_leaves_the_same_bytes(source, tmp_path):
    assert (
        run(bound(TARGET, ("SOURCE", source)), RunDirectory(tmp_path / "whole")).summary["status"]
        == "complete"
    )
    interrupted(TARGET, tmp_path / "run", ("SOURCE", source))
    told = []
    assert (
        run(bound(TARGET, ("SOURCE", source)), RunDirectory(tmp_path / "run"), notify=told.append).summary[
            "status"
        ]
        == "complete"
    )
    assert "goes on from step" in told[0]
    assert left_by(tmp_path / "run") == left_by(tmp_path / "whole")


@pytest.mark.usefixtures("often")
def test_going_on_from_other_first_weights_is_a_drift(source, tmp_path):
    file = tmp_path / "weights.safetensors"
    found = kept(source)
    save_file(found, file)
    interrupted(TARGET, tmp_path / "run", ("SOURCE", file))
    found["dense_1/bias"][0] += 1
    save_file(found, file)
    with pytest.raises(DriftError, match="initialize"):
        run(bound(TARGET, ("SOURCE", file)), RunDirectory(tmp_path / "run"))


def test_lanes_with_cached_layers_are_the_runs_by_themselves(source, tmp_path):
    """Where the frozen layers are drawn, what the data become is each lane's own."""
    texts = {seed: DRAWN.replace("name: target", f"name: target\nseed: {seed}") for seed in (1, 2)}
    lanes = [RunTask(bound(text), RunDirectory(tmp_path / str(seed))) for seed, text in texts.items()]
    assert [outcome.summary["status"] for outcome in run_together(lanes)] == ["complete"] * 2
    assert run(bound(texts[2]), RunDirectory(tmp_path / "alone")).summary["status"] == "complete"
    found, alone = (read_table(tmp_path / name / "metrics.csv") for name in ("2", "alone"))
    np.testing.assert_allclose(found, alone, rtol=1e-5, atol=1e-6)


NOISE = "{type: noise, std: 0.1}"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("phenomena:", f"augment: [{NOISE}]\nphenomena:", "needs inputs that stay as they are"),
        (", frozen: true", ", learning_rate: 0.1", "nothing to compute once: 'dense_1' is not frozen"),
        ("groups: [{layers: [dense_1,", "groups: [{layers: [", "'dense_1' is not frozen by optimizer.groups"),
        ("[gradient_flow]", "[confusion]", "leaves no inputs for confusion to look at"),
        ("[gradient_flow]", "[augmentations]", "leaves no inputs for augmentations to look at"),
    ],
)
def test_what_needs_the_inputs_cannot_be_cached(source, old, new, expected):
    line = refusal(TARGET, ("SOURCE", source), (old, new))
    assert line.startswith("test.yaml:19:20: train.cache_frozen: ")
    assert expected in line


def test_smoke_does_without_the_source(tmp_path):
    (tmp_path / "test.yaml").write_text(TARGET)
    assert not build_experiment(load(tmp_path / "test.yaml", smoke=True)).pretrained.arrays
