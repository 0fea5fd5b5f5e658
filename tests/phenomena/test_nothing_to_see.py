"""Phenomena where there is nothing to see: numbers are null with a reason, and figures are left out."""

import contextlib
import functools
import math

import numpy as np
import pandas
import pytest
from support import FakeRun, FakeSweep

from nnlab import plotting
from nnlab.config import check_tree
from nnlab.config.document import Document
from nnlab.errors import InvalidValue
from nnlab.registry import build, components
from nnlab.runs.results import open_run
from nnlab.runs.run import run
from nnlab.storage.results import json_text
from nnlab.storage.run_directory import RunDirectory
from nnlab.training.experiment import build_experiment

DENSE, ZEROS = {"type": "dense", "units": 4}, {"kernel_init": "zeros"}
WINE = {
    "data": {"type": "wine", "limit": 30},
    "model": [DENSE | ZEROS, "relu", {"type": "dense", "units": 3} | ZEROS],
    "phenomena": [
        "gradient_flow", "symmetry", "sparsity", "incoming_norms", "overfitting", "training_mode", "grokking",
        "confusion", "embeddings", "learning_rate_range", {"type": "loss_landscape", "points": 5},
        {"type": "training_path", "points": 5}, "filters", "augmentations", "translation", "neural_collapse",
        "gradient_noise",
        "edge_of_stability", "tangent_kernel",
        "update_ratios",
    ],
}  # fmt: skip
RUNS = {
    "wine": WINE,
    "time": {
        "data": {"type": "digits", "limit": 30},
        "model": [{"type": "simple_rnn", "units": 2}, {"type": "dense", "units": 10} | ZEROS],
        "phenomena": ["gradient_through_time"],
    },
    "addition": {
        "data": {"type": "modular_arithmetic", "modulus": 3, "split": {"train": 0.6, "validation": 0.4}},
        "model": [{"type": "dense", "units": 3} | ZEROS],
        "phenomena": ["answers", "progress_measures"],
    },
    "two weights": {
        "data": {"type": "ravine", "condition": 10, "batch_size": "full"},
        "model": [{"type": "dense", "units": 1, "use_bias": False}],
        "loss": "squared_error",
        "phenomena": ["trajectory"],
    },
    "features": {
        "data": {"type": "sparse_features", "examples": 30, "features": 4, "test_examples": 10},
        "model": [{"type": "tied_dense", "units": 2} | ZEROS],
        "loss": "importance_weighted_error",
        "phenomena": ["superposition"],
    },
    "machine": {
        "data": {"type": "digits", "limit": 30, "normalize": "binarize"},
        "model": [{"type": "rbm", "hidden": 2} | ZEROS],
        "loss": "layer_loss",
        "phenomena": ["density_estimation", {"type": "samples", "shown": 3}],
    },
    "signs": {
        "data": {"type": "sparse_parity", "features": 4, "examples": 30, "test_examples": 10},
        "model": [{"type": "dense", "units": 1} | ZEROS],
        "loss": "hinge",
        "phenomena": ["sparse_parity"],
    },
    "text": {
        "data": {"type": "text", "unit": "bytes", "length": 6, "limit": 9},
        "model": [
            {"type": "embedding", "vocabulary": 256, "units": 3, "embedding_init": "zeros"},
            {"type": "dense", "units": 256} | ZEROS,
        ],
        "phenomena": ["next_token"],
    },
    "adversaries": {
        "data": {"type": "ring_of_gaussians", "examples": 24, "test_examples": 8},
        "model": [
            {
                "type": "gan",
                "latent": 2,
                "generator": [{"type": "dense", "units": 2} | ZEROS],
                "discriminator": [{"type": "dense", "units": 1} | ZEROS],
            }
        ],
        "loss": "layer_loss",
        "phenomena": [{"type": "mode_collapse", "modes": 8}, {"type": "samples", "shown": 3}],
    },
    "codes": {
        "data": {"type": "digits", "limit": 30, "normalize": "binarize"},
        "model": [
            {
                "type": "vae",
                "code": 2,
                "encoder": [{"type": "dense", "units": 4} | ZEROS],
                "decoder": [{"type": "dense", "units": 64} | ZEROS],
            }
        ],
        "loss": "layer_loss",
        "phenomena": ["density_estimation", "posterior_collapse"],
    },
    "waves": {
        "data": {"type": "sines", "examples": 40, "batch_size": "full"},
        "model": [{"type": "dense", "units": 1} | ZEROS],
        "loss": "squared_error",
        "phenomena": ["spectral_bias"],
    },
    "tasks": {
        "data": {"type": "wine", "limit": 30, "tasks": {"type": "random_labels", "count": 2}},
        "model": [DENSE | ZEROS, "relu", {"type": "dense", "units": 3} | ZEROS],
        "phenomena": ["forgetting", "plasticity"],
    },
    "chain": {
        "data": {"type": "wine", "limit": 30},
        "model": [DENSE | ZEROS, "relu", {"type": "dense", "units": 3}],
        "phenomena": ["signal_propagation"],
    },
    "pictures": {
        "data": {"type": "digits", "limit": 30},
        "model": [
            {"type": "reshape", "shape": [8, 8]},
            {"type": "conv2d", "filters": 2, "size": 3},
            "flatten",
            {"type": "dense", "units": 10},
        ],
        "phenomena": ["feature_maps"],
    },
    "solved": {
        "data": {"type": "linear_teacher", "examples": 4, "features": 3, "noise": 0.0, "test_examples": 5},
        "model": [{"type": "dense", "units": 1, "use_bias": False}],
        "loss": "squared_error",
        "solver": "least_squares",
        "train": None,
        "record": {"every": {"epochs": 1}},
        "phenomena": ["peak_factors"],
    },
    "autoencoder": {
        "data": {"type": "digits", "limit": 30, "reconstruct": True},
        "model": [{"type": "dense", "units": 64} | ZEROS],
        "loss": "squared_error",
        "phenomena": ["reconstructions"],
    },
}  # fmt: skip
CASES = [
    pytest.param(name, dict(entry) if isinstance(entry, dict) else {"type": entry}, id=f"{name}-{entry}")
    for name, tree in RUNS.items()
    for entry in tree["phenomena"]
]


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """name -> a run of no step, of weights that are zero, with a single record."""
    home = tmp_path_factory.mktemp("untrained")

    @functools.cache
    def one(name):
        tree = {"name": "test", "train": {"steps": 0}, "record": {"every": {"steps": 1}}} | RUNS[name]
        run(build_experiment(check_tree(Document(tree, {}, {}, "test"))), RunDirectory(home / name))
        return open_run(home / name)

    return one


def assert_explained(found, phenomenon):
    assert tuple(name for name in found if name != "reason") == phenomenon.fields
    assert json_text(found)
    missing = [name for name in phenomenon.fields if found[name] is None]
    assert not missing or found["reason"], f"no reason why {missing} are null"
    assert not any(isinstance(value, float) and not math.isfinite(value) for value in found.values())


def draw_or_refuse(phenomenon, view):
    """Draw what can be, with warnings as errors; what raises else is a crash."""
    for draw in phenomenon.figures.values():
        with plotting.style(), contextlib.suppress(InvalidValue):
            figure = draw([view])
            plotting.refuse_blank(figure)
            figure.draw_without_rendering()


@pytest.mark.parametrize(("name", "entry"), CASES)
def test_of_one_record_and_weights_of_zero(untrained, name, entry):
    one, phenomenon = untrained(name), build("phenomenon", entry)
    assert_explained(one.summary[phenomenon.name], phenomenon)
    assert_explained(phenomenon.numbers_or_reason(one), phenomenon)
    draw_or_refuse(phenomenon, one)


@pytest.mark.parametrize(
    ("entry", "figure", "why"),
    [
        ("gradient_flow", "gradient_over_time", "every gradient is 0"),
        ("embeddings", "embeddings", "all examples are in one place"),
        ("filters", "filters", "all weights are 0"),
    ],
)
def test_a_figure_of_zeros_is_not_drawn(untrained, entry, figure, why):
    phenomenon = build("phenomenon", entry)
    with pytest.raises(InvalidValue, match=why):
        phenomenon.figures[figure]([untrained("wine")])


@pytest.mark.parametrize("value", [0.0, math.nan, math.inf])
@pytest.mark.parametrize(("name", "entry"), CASES)
def test_of_records_without_numbers(untrained, name, entry, value):
    one, phenomenon = untrained(name), build("phenomenon", entry)
    probed = {(probe.table, column) for probe in phenomenon.probes for column in probe.columns}
    tables = {}
    for table, rows in one.tables.items():
        measured = [c for c in rows if (table, c) in probed or (table == "metrics" and "_loss" in c)]
        shares = {c: min(value, 1.0) for c in measured if c.endswith("_fraction")}
        tables[table] = rows.assign(**dict.fromkeys(measured, value) | shares)
        if table in every_record(phenomenon):
            tables[table] = pandas.concat([tables[table], tables[table].assign(step=1)], ignore_index=True)
    view = FakeRun(tables, one.summary)
    assert_explained(phenomenon.numbers_or_reason(view), phenomenon)
    if math.isnan(value):
        draw_or_refuse(phenomenon, view)


def every_record(phenomenon):
    """The tables that have rows at each record."""
    return {"metrics", *(probe.table for probe in phenomenon.probes if probe.record_at == "every_record")}


# what those that are seen across a sweep are told, and the numbers of a trial
ACROSS = {
    "double_descent": {"capacity": "width"},
    "bias_variance": {"capacity": "width"},
    "memorisation": {"along": "width"},
    "variance_sources": {"capacity": "width", "sample": "data.split.fold"},
    "comparison": {"along": "width"},
    "grokking_delay": {"along": "width"},
    "zero_one_bias_variance": {"along": "width"},
    "approximation": {"along": "width", "level": 0.1},
    "critical_batch": {"level": 0.1, "tuned": "width"},
    "phase_diagram": {"weights": "width"},
    "superposition_by_density": {"along": "width"},
    "trajectories": {"along": "width"},
    "laziness": {"along": "width"},
    "lottery_ticket": {},
    "pruning": {},
    "cross_validation": {},
    "chosen_by_folds": {"along": "width"},
    "voting": {},
    "mode_connectivity": {},
    "matched_units": {},
}


def swept(value, points, seeds, status="complete"):
    """A sweep whose numbers are all one value."""
    numbers = ("final.train_loss", "final.test_loss", "final.validation_loss", "final.step")
    numbers += ("grokking.delay_ratio", "grokking.memorisation_step", "grokking.generalisation_step")
    numbers += ("tangent_kernel.weight_change", "tangent_kernel.kernel_change")
    numbers += ("trajectory.straightness", "trajectory.turns", "final.train_accuracy", "final.test_accuracy")
    propagated = (
        "variance_theory",
        "sigma_w_squared",
        "sigma_b_squared",
        "chi_theory",
        "chi_measured",
        "correlation_measured",
    )
    numbers += tuple(f"signal_propagation.{name}" for name in propagated)
    held = ("features", "dimensions", "dimensions_per_feature")
    numbers += tuple(f"superposition.{name}" for name in held)
    trials = pandas.DataFrame(
        [
            {"trial": f"t{point}-{seed}", "width": point + 1, "data.split.fold": point, "seed": seed}
            | {"data.batch_size": point + 1, "data.order.from_step": point, "data.order.seed": 0}
            | {"prune.last_round": ("ticket", "redrawn", "shuffled")[point % 3]}
            | {"prune.criterion": ("magnitude", "random")[point % 2]}
            | {"status": status, "reason": ""} | dict.fromkeys(numbers, value)
            for point in range(points)
            for seed in range(seeds)
        ]
    )  # fmt: skip
    names = trials["trial"]
    measured = [
        f"{split}_{what}" for split in ("train", "validation", "test") for what in ("loss", "accuracy")
    ]
    record = {"trial": names} | dict.fromkeys(measured, value)
    record |= {"round_step": 0, "weights_left": value}
    metrics = pandas.concat(
        [pandas.DataFrame(record | {"step": i, "epoch": i, "round": i}) for i in (0, 1, 2)]
    )
    rows = {"split": "test", "example": 0, "output": 0, "target": 1.0, "prediction": value}
    weights = pandas.DataFrame({"trial": names, "step": 0, "w_1": 1.0, "w_2": 1.0})
    surface = dict.fromkeys(
        ("loss", "slope_1", "slope_2", "curvature_11", "curvature_12", "curvature_22"), 0.0
    )
    ways = [
        pandas.DataFrame({"trial": names, "other": "t", "along": along, "matched": matched, "share": share})
        for along in ("seed", "data.order.seed")
        for matched in (0, 1)
        for share in (0.0, 0.5, 1.0)
    ]
    tables = {
        "metrics": metrics,
        "between": pandas.concat(ways).assign(train_accuracy=value),
        "predictions": pandas.DataFrame({"trial": names} | rows),
        "trajectory": weights,
        "surface": pandas.DataFrame({"trial": names, "step": 0} | surface),
        "feature_weights": weights.assign(feature=0, dimension=0, weight=value),
        "critical_line": weights.assign(variance=1.0, sigma_w_squared=value, sigma_b_squared=value),
    }
    axes = ["width", "data.split.fold", "data.batch_size", "prune.last_round", "prune.criterion"]
    axes += ["data.order.from_step", "data.order.seed"]
    return FakeSweep(trials, tables, axes)


@pytest.mark.parametrize("value", [0.0, math.nan])
@pytest.mark.parametrize(
    ("points", "seeds", "status"),
    [(1, 1, "complete"), (4, 1, "complete"), (4, 2, "complete"), (4, 2, "diverged")],
)
@pytest.mark.parametrize("name", ACROSS)
def test_of_trials_without_numbers(name, points, seeds, status, value):
    phenomenon = build("phenomenon", {"type": name} | ACROSS[name])
    sweep = swept(value, points, seeds, status)
    found = phenomenon.numbers_or_reason(sweep)
    assert_explained(found, phenomenon)
    if status == "diverged":
        assert set(found.values()) == {None, found["reason"]}
    draw_or_refuse(phenomenon, sweep)


def test_every_phenomenon_is_looked_for_here():
    seen = {entry["type"] for case in CASES for entry in case.values[1:]}
    assert seen | set(ACROSS) == set(components("phenomenon"))


@pytest.mark.parametrize(
    ("draw", "is_blank"),
    [
        (lambda ax: ax.plot([], []), True),
        (lambda ax: ax.plot([1.0], [1.0]), True),
        (lambda ax: ax.plot([1.0], [1.0], "o"), False),
        (lambda ax: ax.plot([1.0, 2.0], [1.0, np.nan]), True),
        (lambda ax: ax.plot([1.0, 2.0], [1.0, 2.0]), False),
        (lambda ax: (ax.plot([1.0, 2.0], [0.0, 0.0]), ax.set_yscale("log")), True),
        (lambda ax: ax.axvline(1.0), True),
        (lambda ax: ax.imshow([[np.nan]]), True),
        (lambda ax: ax.imshow([[0.0]]), False),
        (lambda ax: ax.scatter([np.nan], [1.0]), True),
        (lambda ax: ax.bar([0.0], [1.0]), False),
    ],
)
def test_what_cannot_be_seen_is_blank(draw, is_blank):
    figure, ((ax,),) = plotting.panels()
    with plotting.style():
        draw(ax)
    if is_blank:
        with pytest.raises(InvalidValue, match="nothing in it"):
            plotting.refuse_blank(figure)
    else:
        plotting.refuse_blank(figure)
