"""The public API: what a notebook or a script does, with the bytes and the words of the commands."""

import importlib
import json
import os
import pickle
import pkgutil
import pydoc
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from support import TINY, run_nnlab
from torture.kills import left_by

import nnlab
from nnlab.runs import signals
from nnlab.training import segments
from nnlab.training.experiment import build_experiment

API = [
    "Config", "ConfigError", "CrossValidation", "DiskError", "DriftError", "Interrupted", "InvalidValue",
    "NnlabError", "Plan", "Run", "RunStatus", "Sweep", "UsageError", "Verdict", "Verdicts", "__version__",
    "cross_validate", "experiment", "export_tables", "export_tensorboard", "find_runs", "interpolate", "load",
    "open", "plan_sweep", "register", "remove", "report", "sweep", "train", "watch",
]  # fmt: skip
NORMALIZED = """\
name: normalized
data: {type: gaussian, examples: 60, features: 5, classes: 3, normalize: standardize,
  split: {train: 40, validation: 20}}
model: [{type: dense, units: 6}, batch_norm, relu, {type: dropout, rate: 0.5}, {type: dense, units: 3}]
train: {steps: 30, stop: [{type: early_stopping, patience: 2}]}
record: {every: {steps: 5}, predictions: true}
"""


@pytest.fixture
def tiny(folder):
    (folder / "tiny.yaml").write_text(TINY)
    return folder / "tiny.yaml"


@pytest.fixture
def many_chunks(monkeypatch):
    """Chunks of few steps, so that a signal finds the training between two of them."""
    monkeypatch.setattr(segments, "CHUNK_SECONDS", 1e-9)
    monkeypatch.setattr(segments, "MAXIMUM_FIRST_STEPS", 4)


# --- importing ---------------------------------------------------------------------------------------------


def test_importing_nnlab_imports_nothing_heavy():
    script = "import sys, nnlab; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    heavy = {"numpy", "jax", "jaxlib", "optax", "pandas", "matplotlib", "click", "yaml", "rich", "pydantic"}
    assert set(done.stdout.split()) & heavy == set()


def test_the_api_is_what_it_says():
    assert sorted(nnlab.__all__) == sorted(API)
    assert set(API) <= set(dir(nnlab))
    for name in API:
        assert getattr(nnlab, name) is not None
    with pytest.raises(AttributeError, match="module 'nnlab' has no attribute 'trian'"):
        _ = nnlab.trian


def test_no_module_takes_the_place_of_a_name():
    """Importing nnlab.train, were there such a module, would set the name to it."""
    before = {name: getattr(nnlab, name) for name in API}
    for module in pkgutil.walk_packages(nnlab.__path__, "nnlab."):
        if module.name != "nnlab.__main__":
            importlib.import_module(module.name)
    assert {name: getattr(nnlab, name) for name in API} == before


@pytest.mark.parametrize("name", [name for name in API if name != "__version__"])
def test_every_name_is_documented(name):
    value = getattr(nnlab, name)
    assert len(pydoc.getdoc(value)) > 20
    if name in ("Run", "Sweep", "Verdicts"):
        for attribute, member in vars(value).items():
            if not attribute.startswith("_") and (callable(member) or isinstance(member, property)):
                assert pydoc.getdoc(member), f"{name}.{attribute}"


# --- a script ----------------------------------------------------------------------------------------------

SCRIPT = """\
import nnlab
experiment = nnlab.load({experiment!r}, "train.steps=1500")
run = nnlab.train(experiment, out="run")
print(run.status, bool(run.check()), run.numbers["grokking.verdict"])
run.figure("grokking").savefig("grokking.png")
pair = [[float(i in (3, 31 + 5)) for i in range(62)]]
print(run.predict(pair).argmax())
sweep = nnlab.open({sweep!r})
print(sweep.status, len(sweep.trials))
"""


def test_a_short_script_trains_checks_draws_predicts_and_opens_a_sweep(tiny, folder):
    assert run_nnlab("sweep", tiny, "sweep.seeds=2", "--out", "sweep", "--jobs", "1").exit_code == 0
    file = str(Path(__file__).parent.parent / "experiments" / "grokking_mod31.yaml")
    script = SCRIPT.format(experiment=file, sweep=str(folder / "sweep"))
    assert len(script.splitlines()) <= 12
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["complete True grokking", "8", "complete 2"]
    assert done.stderr == "", "nothing is printed unless it is asked for"
    assert (folder / "grokking.png").stat().st_size > 10_000


# --- the same as the command -------------------------------------------------------------------------------


def test_the_same_directory_and_bytes_as_the_command(tiny, folder, capfd):
    run = nnlab.train(nnlab.load("tiny.yaml"))
    assert capfd.readouterr() == ("", "")
    (default,) = (folder / "results").iterdir()
    assert run.path.resolve() == default.resolve()
    assert run_nnlab("train", "tiny.yaml", "--out", "command").exit_code == 0
    assert left_by(run.path) == left_by(folder / "command")
    figures = {path.name: path.read_bytes() for path in (folder / "command" / "plots").iterdir()}
    assert {path.name: path.read_bytes() for path in run.plots} == figures
    assert "finished before" in run_nnlab("train", "tiny.yaml").stderr


def test_a_finished_run_is_reused_and_trained_anew_on_request(tiny):
    lines = []
    first = nnlab.train(nnlab.load(tiny), "run", plots=False)
    assert not (first.path / "plots").exists()
    again = nnlab.train(nnlab.load(tiny), "run", plots=False, notify=lines.append)
    assert ["finished before" in line for line in lines] == [True]
    assert again.summary == first.summary
    chunks = []
    nnlab.train(nnlab.load(tiny), "run", plots=False, resume=False, progress=chunks.append)
    assert chunks[-1].step == 20


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        (["nowhere.yaml"], ["nowhere.yaml"]),
        (["tiny.yaml", "model.widht=3"], ["tiny.yaml", "model.widht=3"]),
        (["tiny.yaml", "oops"], ["tiny.yaml", "oops"]),
        (["tiny.yaml", "model.outputs=3"], ["tiny.yaml", "model.outputs=3"]),
        (["tiny.yaml", "+sweep.seeds=2"], ["tiny.yaml", "+sweep.seeds=2"]),
        (["tiny.yaml", "--out", "tiny.yaml"], ["tiny.yaml"]),
    ],
    ids=lambda words: " ".join(words),
)  # fmt: skip
def test_errors_have_the_words_of_the_command(words, arguments, tiny):
    out = "tiny.yaml" if "--out" in words else None
    with pytest.raises(nnlab.NnlabError) as error:
        nnlab.train(nnlab.load(*arguments), out)
    result = run_nnlab("train", *words)
    assert result.stderr == f"{error.value}\n"
    assert result.exit_code == error.value.exit_code


def test_a_run_that_fails_its_expectation_or_diverges_is_returned(tiny):
    failed = nnlab.train(nnlab.load(tiny, "expect.final.train_loss={max: 0}"), "failed", plots=False)
    assert failed.status is nnlab.RunStatus.COMPLETE
    assert not failed.check()
    assert [verdict.holds for verdict in failed.check()] == [True, False]
    assert "FAILS" in repr(failed.check())
    diverged = nnlab.train(nnlab.load(tiny, "optimizer.learning_rate=1e30"), "diverged", plots=False)
    assert diverged.status == "diverged"


def test_an_experiment_is_no_path(tiny):
    with pytest.raises(TypeError, match=r"takes an experiment of nnlab\.load, not str"):
        nnlab.train("tiny.yaml")


# --- experiments -------------------------------------------------------------------------------------------


def test_a_dict_with_numpy_and_tuples_is_the_experiment_of_the_file(tiny):
    tree = {
        "name": "tiny",
        "data": {"type": "xor", "examples": np.int64(120), "batch_size": 8},
        "model": {
            "type": "mlp", "width": np.int64(4), "depth": 2, "activation": np.str_("tanh"), "outputs": 2,
        },
        "optimizer": {"type": "sgd", "learning_rate": np.float32(0.1)},
        "train": {"steps": 20},
        "record": {"every": {"steps": np.array(5)}},
        "phenomena": ("gradient_flow",),
        "expect": {
            "gradient_flow.first_to_last_ratio": {"min": 0.0}, "final.train_loss": {"max": np.float64(100)},
        },
    }  # fmt: skip
    experiment = nnlab.experiment(tree)
    assert experiment.hash == nnlab.load(tiny).hash
    assert repr(experiment) == nnlab.load(tiny).text
    assert isinstance(tree["model"]["width"], np.int64), "the dict is left as it was"
    tree["optimizer"] = {
        "type": "sgd",
        "learning_rate": {"type": "piecewise", "values": np.float32([0.1, 0.01])},
    }
    assert nnlab.experiment(tree).tree["optimizer"]["learning_rate"]["values"] == [0.1, 0.01]


@pytest.mark.parametrize(
    ("tree", "words"),
    [
        ({"name": "x", "data": "xor", "model": ({"type": "dense", "unitz": 3},)}, "model[0].unitz: unknown"),
        ({"name": "x", "data": "xor", "model": {1, 2}}, "experiment: model: {1, 2} is no value"),
        ({"name": "x", "data": {3: 4}}, "experiment: data: a key must be a word, not 3"),
        (["name"], "experiment: an experiment is a dict of keys, not list"),
    ],
)
def test_what_is_wrong_with_a_dict_names_the_key_path(tree, words):
    with pytest.raises(nnlab.ConfigError) as error:
        nnlab.experiment(tree)
    assert words in str(error.value)


def test_a_dict_that_contains_itself_ends():
    tree = {"name": "x"}
    tree["data"] = tree
    with pytest.raises(nnlab.ConfigError, match="nested more than"):
        nnlab.experiment(tree)


# --- runs --------------------------------------------------------------------------------------------------


def test_tables_and_numbers_of_a_run(finished):
    run = nnlab.open(finished)
    assert run.metrics["step"].tolist() == [0, 5, 10, 15, 20]
    assert set(run.layers["layer"]) == {"dense_1", "dense_2", "dense_3"}
    assert run.table("timing")["step"].iloc[-1] == 20
    ratio = run.summary["gradient_flow"]["first_to_last_ratio"]
    assert run.numbers["gradient_flow.first_to_last_ratio"] == ratio
    assert run.check()
    assert [verdict.key for verdict in run.check()] == list(run.config.build().expect)
    with pytest.raises(nnlab.UsageError, match="no table 'metric'; did you mean 'metrics'"):
        run.table("metric")


def test_a_run_that_goes_on_is_not_as_expected(finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps(summary | {"status": "running"}))
    verdicts = nnlab.open(run).check()
    assert all(verdict.holds for verdict in verdicts)
    assert not verdicts
    assert "not finished" in repr(verdicts)


def test_a_figure_is_drawn_without_a_trace(finished):
    before = dict(mpl.rcParams)
    pyplot_before = "matplotlib.pyplot" in sys.modules
    figure = nnlab.open(finished).figure("training_curves")
    assert isinstance(figure, mpl.figure.Figure)
    assert figure._repr_png_().startswith(b"\x89PNG")
    assert dict(mpl.rcParams) == before
    assert ("matplotlib.pyplot" in sys.modules) == pyplot_before
    with pytest.raises(nnlab.UsageError, match="name a figure; there are training_curves, "):
        nnlab.open(finished).figure()
    with pytest.raises(nnlab.UsageError, match="did you mean 'training_curves'"):
        nnlab.open(finished).figure("training_curve")


def test_html_is_escaped(tmp_path):
    """A directory from elsewhere may hold anything."""
    tree = {"name": "x", "data": "xor", "model": "relu", "train": {"steps": 1}}
    config = nnlab.experiment(tree | {"phenomena": ["gradient_flow"]})
    summary = {"status": "complete", "gradient_flow": {"<b>": "<script>alert(1)</script>"}}
    page = nnlab.Run(tmp_path / "<i>", config, summary, {})._repr_html_()
    assert "<script" not in page
    assert "<i>" not in page
    assert page.count("<b>") == 1  # the name
    assert "&lt;script&gt;" in page
    verdict = nnlab.Verdict("<script>", "<", "<i>", False)
    assert "<script>" not in nnlab.Verdicts([verdict], nnlab.RunStatus.COMPLETE)._repr_html_()


@pytest.fixture(scope="module")
def normalized(tmp_path_factory):
    home = tmp_path_factory.mktemp("normalized")
    (home / "normalized.yaml").write_text(NORMALIZED)
    return nnlab.train(nnlab.load(home / "normalized.yaml"), home / "run", plots=False)


def test_predictions_on_raw_inputs_are_those_of_the_training(normalized):
    """The inputs of the training set, as they were before they were scaled."""
    tree = normalized.config.tree
    raw = nnlab.experiment(tree | {"data": tree["data"] | {"normalize": None}})
    inputs = build_experiment(raw).data.train.inputs
    outputs = normalized.predict(inputs)
    recorded = normalized.table("predictions").query("split == 'train'")["prediction"].to_numpy()
    np.testing.assert_allclose(outputs, recorded.reshape(outputs.shape), rtol=1e-4, atol=1e-5)
    assert outputs.dtype == np.float32
    some = normalized.predict(inputs[:3].astype(np.float64).tolist())
    np.testing.assert_allclose(some, outputs[:3], rtol=1e-5, atol=1e-6)
    assert normalized.predict(inputs[:0]).shape == (0, 3)
    reopened = nnlab.open(normalized.path)
    np.testing.assert_array_equal(reopened.predict(inputs), outputs)


def test_predictions_of_a_run_whose_frozen_layers_were_computed_once(tmp_path):
    """The training saw their outputs only; a prediction begins at the inputs."""
    optimizer = "optimizer: {type: sgd, groups: [{layers: dense_1, frozen: true}]}\n"
    text = NORMALIZED.replace("batch_norm, relu, {type: dropout, rate: 0.5}", "relu") + optimizer
    text = text.replace("stop: [{type: early_stopping, patience: 2}]", "cache_frozen: true")
    (tmp_path / "frozen.yaml").write_text(text)
    experiment = nnlab.load(tmp_path / "frozen.yaml", "data.normalize=null")
    run = nnlab.train(experiment, tmp_path / "run", plots=False)
    outputs = run.predict(build_experiment(run.config).data.train.inputs)
    recorded = run.table("predictions").query("split == 'train'")["prediction"].to_numpy()
    np.testing.assert_allclose(outputs, recorded.reshape(outputs.shape), rtol=1e-4, atol=1e-5)


def test_a_prediction_is_compiled_once_for_a_shape(normalized):
    inputs = np.zeros((4, 5), np.float32)
    normalized.predict(inputs)
    compiled = normalized._predictor._model.program._cache_size()
    normalized.predict(inputs + 1)
    assert normalized._predictor._model.program._cache_size() == compiled


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (np.zeros((4, 6)), "the inputs have the shape [4, 6]; the model takes [N, 5]"),
        (np.zeros(5), "the inputs have the shape [5]; the model takes [N, 5]"),
        (0.5, "the inputs have the shape []; the model takes [N, 5]"),
        ([[1, 2], [3]], "the inputs are no array of numbers"),
        ("five", "the inputs are no array of numbers"),
    ],
)
def test_inputs_that_do_not_fit_are_refused_in_a_line(normalized, inputs, words):
    with pytest.raises(nnlab.UsageError) as error:
        normalized.predict(inputs)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_the_weights_that_came_out(normalized):
    weights = normalized.weights()
    assert weights["dense_1/kernel"].shape == (5, 6)
    assert set(weights) >= {"batch_norm_1/mean", "batch_norm_1/variance", "dense_2/bias"}
    weights["dense_1/kernel"][:] = 0.0
    assert normalized.weights()["dense_1/kernel"].any(), "a copy is returned"


def test_a_solved_run_keeps_no_weights(folder):
    tree = {
        "name": "solved",
        "data": "linear_teacher",
        "model": [{"type": "dense", "units": 1, "use_bias": False}],
    }
    solver = {"loss": "squared_error", "solver": "least_squares"}
    run = nnlab.train(nnlab.experiment(tree | solver), "run", plots=False)
    with pytest.raises(nnlab.UsageError, match="was solved for; such a run keeps no weights"):
        run.predict([[0.0]])


# --- signals and progress ----------------------------------------------------------------------------------


def test_an_interrupt_saves_a_checkpoint_and_raises(tiny, many_chunks, default_signals):
    """As a notebook's stop button does; the same call goes on."""

    def interrupt(chunk):
        if chunk.step >= 8:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt) as error:
        nnlab.train(nnlab.load(tiny), "run", progress=interrupt)
    assert signal.getsignal(signal.SIGINT) is before
    assert isinstance(error.value, nnlab.Interrupted)
    assert str(error.value) == "run: interrupted; the same call goes on from its last checkpoint"
    run = nnlab.open(error.value.path)
    assert run.status is nnlab.RunStatus.INTERRUPTED
    assert not run.check()
    lines = []
    assert nnlab.train(nnlab.load(tiny), "run", plots=False, notify=lines.append).status == "complete"
    assert "goes on from step" in lines[0]
    nnlab.train(nnlab.load(tiny), "whole", plots=False)
    assert left_by(run.path) == left_by(nnlab.open("whole").path)


def test_a_second_interrupt_goes_to_whoever_had_the_first(tiny, many_chunks, default_signals):
    """A notebook's user who is in a hurry gets the KeyboardInterrupt now, and keeps the kernel."""
    heard = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        with signals.collect_stop_signals() as caught:
            for _ in range(3):
                os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert caught[0] == signal.SIGTERM
    assert heard == [signal.SIGTERM] * 2


def test_signals_are_left_alone_outside_the_main_thread(tiny):
    handlers, runs = [], []

    def train():
        def note(chunk):
            handlers.append(signal.getsignal(signal.SIGINT))

        runs.append(nnlab.train(nnlab.load(tiny), "run", plots=False, progress=note))

    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert runs[0].status == "complete"
    assert set(handlers) == {before}


def test_a_bar_is_shown_on_request(tiny, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    nnlab.train(nnlab.load(tiny), "run", plots=False, progress=True)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "tiny" in shown.err
    assert "20/20" in shown.err
    assert "steps/s" in shown.err
    monkeypatch.setenv("COLUMNS", "80")  # the numbers are cut, the bar is not
    nnlab.train(nnlab.load(tiny), "run", plots=False, resume=False, progress=True)
    assert "20/20" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        nnlab.ConfigError(["a.yaml:1:1: one", "a.yaml:2:1: two"]),
        nnlab.Interrupted(Path("run"), 2),
        nnlab.InvalidValue("is too large", ("model", 0)),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_come_out_of_a_pool_of_processes_as_they_were(error):
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), str(back), vars(back)) == (type(error), str(error), vars(error))
