"""Figures of tiny runs and sweeps: drawn for one and for several, labelled, and the same bytes twice."""

import functools
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
from support import (
    assert_labelled,
    assert_told_apart,
    assert_vector,
    figure_for_people,
    run_nnlab,
    title_of,
)

from nnlab.config import check_tree
from nnlab.config.document import Document
from nnlab.errors import UsageError
from nnlab.registry import build, components
from nnlab.runs import figures
from nnlab.runs.labels import with_distinct_labels
from nnlab.runs.results import open_run, open_sweep
from nnlab.runs.run import run
from nnlab.storage.run_directory import RunDirectory
from nnlab.training.experiment import build_experiment

pytestmark = pytest.mark.usefixtures("sweeps_here")

# what those that are seen across a sweep must be told
REQUIRED = {
    "capacity": "model.width",
    "along": "optimizer.weight_decay",
    "weights": "model.0.kernel_init.gain",
    "level": 0.1,
    "modes": 8,
}


def built(name):
    parameters = components("phenomenon")[name].parameters.values()
    return build("phenomenon", {"type": name} | {p.name: REQUIRED[p.name] for p in parameters if p.required})


SEEN = {name: built(name) for name in components("phenomenon")}
IN_RUNS = [name for name, phenomenon in SEEN.items() if not phenomenon.spans_sweep]
OF_GROKKING = ["answers", "grokking", "progress_measures"]
# each in a file of its own, or see test_inspection.py, test_recurrent.py, test_run_phenomena.py
APART = [
    "augmentations",
    "density_estimation",
    "edge_of_stability",
    "forgetting",
    "gradient_through_time",
    "learning_rate_range",
    "loss_landscape",
    "mode_collapse",
    "neural_collapse",
    "next_token",
    "peak_factors",
    "plasticity",
    "posterior_collapse",
    "samples",
    "signal_propagation",
    "sparse_parity",
    "spectral_bias",
    "superposition",
    "tangent_kernel",
    "training_path",
    "trajectory",
]
# see test_image_phenomena.py
OF_PICTURES = ["confusion", "embeddings", "feature_maps", "filters", "reconstructions", "translation"]
PHENOMENA = [name for name in IN_RUNS if name not in OF_GROKKING + APART + OF_PICTURES]
FIGURES = ["training_curves", *(name for p in PHENOMENA for name in SEEN[p].figures)]
FIGURES_OF_GROKKING = ["training_curves", *(name for p in OF_GROKKING for name in SEEN[p].figures)]

DENSE = {"type": "dense", "units": 5}
READ_OUT = {"type": "dense", "units": 3}
RUNS = {
    "sigmoid": {"model": [{"type": "repeat", "times": 6, "layers": [DENSE, "sigmoid"]}, READ_OUT]},
    "relu": {"model": [DENSE, "relu", DENSE, "tanh", READ_OUT], "record": {"log_spaced": 8}},
    "zeros": {"model": [{**DENSE, "kernel_init": "zeros"}, "tanh", {**READ_OUT, "kernel_init": "zeros"}]},
    "regression": {
        "data": {"type": "diabetes", "normalize": "standardize", "limit": 60},
        "model": [DENSE, "relu", {"type": "dense", "units": 1}],
        "loss": "squared_error",
        "optimizer": {"type": "sgd", "learning_rate": 0.001},
    },
    "addition": {
        "data": {"type": "modular_arithmetic", "modulus": 5, "split": {"train": 0.6, "validation": 0.4}},
        "model": [DENSE, "square", DENSE],
        "record": {"log_spaced": 8},
        "phenomena": OF_GROKKING,
    },
    "tokens": {
        "data": {"type": "modular_arithmetic", "modulus": 7, "encoding": "tokens", "batch_size": "full"},
        "model": [
            {"type": "embedding", "vocabulary": 9, "units": 4},
            {"type": "attention", "heads": 2, "read": -1},
            {"type": "dense", "units": 7},
        ],
        "phenomena": OF_GROKKING,
    },
}
SETS = [["sigmoid"], ["zeros"], ["regression"], ["sigmoid", "relu"], ["relu", "zeros", "regression"]]
ALONE_AND_TOGETHER = [
    (figure, names)
    for figure in FIGURES
    for names in SETS
    if (figure, names) != ("gradient_over_time", ["zeros"])  # it is refused
] + [
    (figure, names)
    for figure in FIGURES_OF_GROKKING
    for names in (["addition"], ["tokens"], ["addition", "tokens"])
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """name -> a finished run, trained at the first call."""
    home = tmp_path_factory.mktemp("runs")

    @functools.cache
    def one(name):
        tree = {
            "name": name,
            "data": {"type": "wine", "normalize": "standardize"},
            "optimizer": {"type": "sgd", "learning_rate": 0.1},
            "train": {"steps": 20},
            "record": {"every": {"steps": 5}},
            "phenomena": PHENOMENA,
            **RUNS[name],
        }
        outcome = run(build_experiment(check_tree(Document(tree, {}, {}, "test"))), RunDirectory(home / name))
        assert outcome.summary["status"] == "complete"
        return open_run(home / name)

    return one


def test_figures_are_those_of_the_phenomena(trained):
    assert list(figures.available([trained("sigmoid")])) == FIGURES
    assert list(figures.available([trained("sigmoid"), trained("regression")])) == FIGURES
    assert list(figures.available([trained("addition")])) == FIGURES_OF_GROKKING
    assert list(figures.available([trained("addition"), trained("sigmoid")])) == ["training_curves"]


@pytest.mark.parametrize(
    ("figure_name", "names"), ALONE_AND_TOGETHER, ids=lambda v: v if isinstance(v, str) else "+".join(v)
)
def test_every_figure_is_labelled(trained, figure_name, names):
    runs = [trained(name) for name in names]
    figure = figures.available(runs)[figure_name](runs)
    assert_labelled(figure, empty=names == ["zeros"])
    if figure_name != "activation_slope":  # a line there is an activation, whichever run has it
        assert_told_apart(figure, names)


@pytest.mark.parametrize("figure_name", dict.fromkeys(FIGURES + FIGURES_OF_GROKKING))
def test_the_same_figure_is_the_same_bytes(trained, figure_name, tmp_path):
    runs = [
        trained(name) for name in (["sigmoid", "relu"] if figure_name in FIGURES else ["addition", "tokens"])
    ]
    before = dict(mpl.rcParams)
    (first,) = figures.draw(runs, tmp_path / "first", [figure_name])
    (second,) = figures.draw(runs, tmp_path / "second", [figure_name])
    assert first == tmp_path / "first" / f"{figure_name}.png"
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes().startswith(b"\x89PNG")
    assert first.stat().st_size > 2000
    assert dict(mpl.rcParams) == before, "the style is left behind"


def assert_for_people(results, name, folder):
    """On the screen and on paper."""
    figure_for_people(results, name)
    (path,) = figures.draw(results, folder, [name], "svg")
    assert_vector(path)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("figure_name", dict.fromkeys(FIGURES + FIGURES_OF_GROKKING))
def test_every_figure_is_for_people(trained, figure_name, count, tmp_path):
    names = ["sigmoid", "relu"] if figure_name in FIGURES else ["addition", "tokens"]
    assert_for_people([trained(name) for name in names[:count]], figure_name, tmp_path)


@pytest.mark.parametrize(("form", "magic"), [("svg", b"<?xml"), ("pdf", b"%PDF")])
def test_svg_and_pdf_are_written_alike_twice(trained, form, magic, tmp_path):
    wanted = ["training_curves", "depth_profile"]
    first = figures.draw([trained("relu")], tmp_path / "first", wanted, form)
    second = figures.draw([trained("relu")], tmp_path / "second", wanted, form)
    assert [path.name for path in first] == [f"{name}.{form}" for name in wanted]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes().startswith(magic)
        assert_vector(one)
        assert one.read_bytes() == other.read_bytes()


def test_all_figures_are_drawn_unless_some_are_named(trained, tmp_path):
    """Of a net of zeros, the logs of gradients would be blank; they are left out, and said so."""
    said = []
    drawn = figures.draw([trained("zeros")], tmp_path, notify=said.append)
    expected = [name for name in FIGURES if name not in ("gradient_over_time", "depth_profile")]
    assert [path.stem for path in drawn] == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"{name}.png" for name in expected)
    assert (
        said[0]
        == f"{tmp_path / 'gradient_over_time.png'}: not drawn: every gradient is 0, frozen or not finite"
    )
    assert said[1].startswith(f"{tmp_path / 'depth_profile.png'}: not drawn: there is nothing in it")
    assert len(said) == 2


def test_training_curves_show_the_metrics(trained):
    one = trained("relu")
    metrics = one.tables["metrics"]
    loss, error = figures.training_curves([one]).axes
    by_label = {line.get_label(): line.get_ydata() for line in loss.get_lines()}
    assert set(by_label) == {"training", "validation", "test"}
    np.testing.assert_array_equal(by_label["validation"], metrics["validation_loss"])
    by_label = {line.get_label(): line.get_ydata() for line in error.get_lines()}
    np.testing.assert_allclose(by_label["test"], 100 * (1 - metrics["test_accuracy"]))
    assert f"{100 * (1 - metrics['test_accuracy'].iloc[-1]):.1f} %" in title_of(error)
    assert len(figures.training_curves([trained("regression")]).axes) == 1


def test_a_loss_without_arguments_is_named_on_the_axis(tmp_path):
    tree = {
        "name": "pairs",
        "data": {"type": "boolean", "operation": "and"},
        "model": [{"type": "dense", "units": 1}],
        "loss": "perceptron",
        "train": {"steps": 2},
    }
    run(build_experiment(check_tree(Document(tree, {}, {}, "test"))), RunDirectory(tmp_path / "run"))
    assert figures.training_curves([open_run(tmp_path / "run")]).axes[0].get_ylabel() == "mean perceptron"


def test_a_figure_that_is_not_there_is_refused(trained, tmp_path):
    with pytest.raises(UsageError, match="did you mean 'depth_profile'"):
        figures.draw([trained("relu")], tmp_path, ["depth_profil"])
    assert list(tmp_path.iterdir()) == []


def test_a_run_without_records_is_refused(trained, tmp_path):
    empty = replace(trained("relu"), tables={})
    with pytest.raises(UsageError, match="no records"):
        figures.draw([empty], tmp_path)


def test_runs_of_one_name_are_told_apart_by_their_directory(trained, tmp_path):
    one = trained("relu")
    again = replace(one, path=one.path.with_name("relu-again"))
    (drawn,) = figures.draw([one, again], tmp_path, ["depth_profile"], "svg")
    assert drawn.stat().st_size > 1000
    labels = [run.label for run in with_distinct_labels([one, again])]
    assert labels == ["relu", "relu-again"]


# --- sweeps ----------------------------------------------------------------------------------------------

POLYNOMIAL = """\
data: {{type: wave, examples: 8, test_examples: 60}}
model: [{{type: legendre, degree: 4}}, {{type: dense, units: 1, use_bias: false}}]
loss: squared_error
solver: {{type: least_squares, ridge: {ridge}}}
record: {{every: {{epochs: 1}}, predictions: true}}
phenomena:
  - {{type: double_descent, capacity: model.0.degree, statistic: median, epsilon: 1e-12}}
  - {{type: bias_variance, capacity: model.0.degree}}
sweep: {{axes: {{model.0.degree: [1, 3, 5, 8, 12, 40]}}, seeds: 6}}
"""
TRAINED = """\
data: {{type: xor, examples: 60}}
model: {{type: mlp, width: 2, depth: 1, outputs: 2}}
train: {{epochs: 16}}
record: {{log_spaced: 9, layers: false, predictions: true}}
phenomena: [{{type: double_descent, capacity: {capacity}}}]
sweep: {{axes: {{{axes}}}, seeds: 2}}
"""
ADDED = """\
data: {type: modular_arithmetic, modulus: 5, split: {train: 0.6, validation: 0.4}, batch_size: full}
model: [{type: dense, units: 16}, square, {type: dense, units: 5}]
optimizer: {type: adamw, learning_rate: 0.01}
train: {steps: 120}
record: {log_spaced: 30, layers: false}
phenomena: [grokking, {type: grokking_delay, along: optimizer.weight_decay}]
sweep: {axes: {optimizer.weight_decay: [0.0, 1.0, 3.0]}, seeds: 2}
"""
PATHS = """\
data: {type: ravine, condition: 10, batch_size: full}
model: [{type: dense, units: 1, use_bias: false}]
loss: squared_error
train: {steps: 20}
record: {every: {steps: 1}, layers: false}
phenomena: [trajectory, {type: trajectories, along: optimizer.learning_rate}]
sweep: {axes: {optimizer.learning_rate: [0.5, 1.8]}, seeds: 2}
"""
OPTIMIZERS = """\
data: {type: xor, examples: 60}
model: [{type: dense, units: 4}, tanh, {type: dense, units: 2}]
train: {steps: 40}
record: {every: {steps: 5}, layers: false}
phenomena:
  - {type: comparison, along: optimizer, tuned: optimizer.learning_rate, metric: train_loss, level: 0.6}
sweep:
  axes:
    optimizer: [{type: sgd, learning_rate: 1}, {type: adam, learning_rate: 1}]
    optimizer.learning_rate: [0.01, 0.1, 1.0]
  seeds: 2
"""
ACTIVATIONS = """\
data: {type: xor, examples: 60}
model: [{type: dense, units: 4}, tanh, {type: dense, units: 2}]
train: {steps: 40}
record: {every: {steps: 5}, layers: false}
phenomena: [{type: comparison, along: model.1, metric: best.train_accuracy, better: higher}]
sweep: {axes: {model.1: [tanh, {type: leaky_relu, negative_slope: 0.1}]}, seeds: 3}
"""
VOTES = """\
data: {type: digits, split: {train: 0.8, test: 0.2, seed: 0}}
model: [{type: dense, units: 10}]
train: {steps: 50}
record: {every: {steps: 50}, layers: false, predictions: true}
phenomena: [voting]
sweep: {seeds: 3}
"""
FOLDS = """\
data: {type: xor, examples: 60, split: {folds: 4, fold: 0}}
model: [{type: dense, units: 4}, tanh, {type: dense, units: 2}]
train: {epochs: 10}
record: {every: {epochs: 1}, layers: false}
phenomena: [cross_validation]
sweep: {axes: {data.split.fold: {range: [0, 4]}}}
"""
BATCHES = """\
data: {type: xor, examples: 60}
model: [{type: dense, units: 4}, tanh, {type: dense, units: 2}]
train: {steps: 60}
record: {every: {steps: 5}, layers: false}
phenomena: [gradient_noise, {type: critical_batch, level: 0.65}]
sweep: {axes: {optimizer.learning_rate: [0.1, 0.4], data.batch_size: [1, 4, 16]}, seeds: 2}
"""
ANSWERS = """\
data: {type: wine, split: {test: 0.3, seed: 0}}
model: {type: mlp, width: 2, depth: 1, outputs: 3}
train: {steps: 4}
record: {every: {steps: 4}, layers: false, predictions: true}
phenomena: [{type: zero_one_bias_variance, along: model.width}]
sweep: {axes: {model.width: [2, 4, 8]}, seeds: 2}
"""
SIZES = """\
data: {type: wave, examples: 30, frequency: 3.0, test_examples: 60}
model: [{type: legendre, degree: 4}, {type: dense, units: 1, use_bias: false}]
loss: squared_error
solver: least_squares
record: {every: {epochs: 1}}
phenomena: [{type: approximation, along: model.0.degree, level: 0.01}]
sweep: {axes: {model.0.degree: [2, 4, 6]}, seeds: 2}
"""
TWINS = """\
data: {type: wine, split: {test: 0.3, seed: 0}, order: {from_step: 0, seed: 0}}
model: {type: mlp, width: 4, depth: 1, outputs: 3}
train: {steps: 20}
record: {every: {steps: 10}, layers: false}
phenomena: [mode_connectivity]
sweep: {axes: {data.order.from_step: [0, 10], data.order.seed: [0, 1]}, seeds: 2}
"""
MATCHED = """\
data: {type: wine, normalize: standardize, split: {test: 0.3, seed: 0}}
model: {type: mlp, width: 4, depth: 1, outputs: 3}
optimizer: {type: sgd, learning_rate: 0.2}
train: {steps: 60}
record: {every: {steps: 10}, layers: false}
phenomena: [matched_units]
sweep: {seeds: 3}
"""
SWEEPS = {
    "decay": ADDED,
    "polynomial": POLYNOMIAL.format(ridge=0.0),
    "ridge": POLYNOMIAL.format(ridge=1.0),
    "examples": POLYNOMIAL.format(ridge=0.0).replace("model.0.degree", "data.examples"),
    "width": TRAINED.format(capacity="model.width", axes="model.width: [2, 4, 8]"),
    "epochs": TRAINED.format(capacity="epochs", axes=""),
    "paths": PATHS,
    "optimizers": OPTIMIZERS,
    "activations": ACTIVATIONS,
    "votes": VOTES,
    "folds": FOLDS,
    "batches": BATCHES,
    "sizes": SIZES,
    "answers": ANSWERS,
    "twins": TWINS,
    "matched": MATCHED,
}
# figure -> the sweeps that can be drawn in it, one by one or all together; one again is of the same numbers
DRAWN = {
    "grokking_delay": [["decay"], ["decay", "decay-again"]],
    "double_descent": [
        ["polynomial"],
        ["ridge"],
        ["examples"],
        ["width"],
        ["epochs"],
        ["polynomial", "ridge"],
    ],
    "fitted_functions": [["polynomial"], ["ridge"], ["examples"]],
    "epochs_by_capacity": [["width"]],
    "trajectories": [["paths"], ["paths", "paths-again"]],
    "bias_variance": [["polynomial"], ["ridge"], ["examples"], ["polynomial", "ridge"]],
    "comparison": [
        ["optimizers"],
        ["activations"],
        ["optimizers", "optimizers-again"],
    ],
    "zero_one_bias_variance": [["answers"], ["answers", "answers-again"]],
    "approximation": [["sizes"], ["sizes", "sizes-again"]],
    "critical_batch": [["batches"], ["batches", "batches-again"]],
    "voting": [["votes"], ["votes", "votes-again"]],
    "cross_validation": [["folds"], ["folds", "folds-again"]],
    "mode_connectivity": [["twins"], ["twins", "twins-again"]],
    "matched_units": [["matched"], ["matched", "matched-again"]],
}
ALONE = [
    pytest.param(figure, names, id=f"{figure}-{'+'.join(names)}")
    for figure in DRAWN
    for names in DRAWN[figure]
]


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """name -> a finished sweep, run at the first call."""
    home = tmp_path_factory.mktemp("sweeps")

    @functools.cache
    def one(name):
        if name.endswith("-again"):
            return replace(one(name.removesuffix("-again")), title=name)
        (home / f"{name}.yaml").write_text(f"name: {name}\n{SWEEPS[name]}")
        words = ("--jobs", 1, "--no-plots", "--quiet")
        result = run_nnlab("sweep", home / f"{name}.yaml", "--out", home / name, *words)
        assert result.exit_code == 0, result.stderr
        return open_sweep(home / name)

    return one


def test_every_figure_of_a_sweep_is_drawn_here():
    across = [phenomenon for phenomenon in SEEN.values() if phenomenon.spans_sweep]
    # each of these beside its phenomenon
    elsewhere = {"phase_diagram", "overlaps_by_density", "superposition_by_density", "laziness"}
    elsewhere |= {"chosen_by_folds", "memorisation", "variance_sources"}
    elsewhere |= {"lottery_ticket", "accuracy_by_weights_left"}
    assert {name for phenomenon in across for name in phenomenon.figures} == set(DRAWN) | elsewhere


@pytest.mark.parametrize(("figure_name", "names"), ALONE)
def test_every_figure_of_sweeps_is_labelled(swept, figure_name, names, tmp_path):
    sweeps = [swept(name) for name in names]
    figure = figures.available(sweeps)[figure_name](sweeps)
    assert_labelled(figure)
    assert_told_apart(figure, names)
    assert_for_people(sweeps, figure_name, tmp_path)


@pytest.mark.parametrize("name", SWEEPS)
def test_the_figures_that_a_sweep_has_what_it_takes_for(swept, name, tmp_path):
    """The same bytes twice; what cannot be drawn is left out, and says why where it is asked for by name."""
    sweep, wanted = swept(name), [figure for figure in DRAWN if [name] in DRAWN[figure]]
    first, second = (figures.draw([sweep], tmp_path / folder) for folder in ("first", "second"))
    assert {path.stem for path in first} == set(wanted)
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
        assert one.stat().st_size > 2000
    for figure in figures.available([sweep]):
        if figure not in wanted:
            with pytest.raises(UsageError, match=f"--figure {figure}: "):
                figures.draw([sweep], tmp_path, [figure])


def test_sweeps_of_different_capacities_do_not_come_on_one_axes(swept, tmp_path):
    with pytest.raises(UsageError, match=r"--figure bias_variance: 'model\.0\.degree' is no axis"):
        figures.draw([swept("polynomial"), swept("examples")], tmp_path, ["bias_variance"])


def test_a_run_and_a_sweep_do_not_come_on_one_axes(trained, swept, tmp_path):
    with pytest.raises(UsageError, match="runs and sweeps"):
        figures.draw([trained("relu"), swept("polynomial")], tmp_path)
