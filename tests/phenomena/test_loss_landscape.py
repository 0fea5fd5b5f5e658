"""The loss around weights and along their path, against NumPy; the detector on bowls and what is none."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas
import pytest
from support import run_nnlab

from nnlab.errors import InvalidValue
from nnlab.phenomena.optimization import loss_landscape, training_path
from nnlab.phenomena.probe import Snapshot, WeightPath
from nnlab.runs.results import open_run
from nnlab.training.state import WeightHistory

FILE = """\
name: around
data: {type: diabetes, normalize: standardize, limit: 80}
model: [{type: dense, units: 1}]
loss: squared_error
optimizer: {type: sgd, learning_rate: 0.01}
train: {steps: 12}
record: {every: {steps: 2}}
phenomena: [{type: loss_landscape, points: 5, examples: 7}, {type: training_path, points: 6}]
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    home = tmp_path_factory.mktemp("landscape")
    (home / "around.yaml").write_text(FILE)
    result = run_nnlab("train", home / "around.yaml", "--out", home / "run", "--quiet")
    assert result.exit_code == 0, result.stderr
    return open_run(home / "run")


def snapshot(params, **others):
    empty = dict.fromkeys(Snapshot._fields)
    return Snapshot(**empty | {"params": params, "key": jax.random.key(3)} | others)


def test_each_filter_s_direction_is_as_long_as_the_filter():
    random = np.random.default_rng(0)
    kernel = jnp.asarray(random.standard_normal((3, 3, 2, 5)), jnp.float32) * 7
    params = {"conv2d_1": {"kernel": kernel, "bias": jnp.ones(5)}, "batch_norm_1": {"scale": jnp.ones(5)}}
    found = [loss_landscape.random_direction(snapshot(params), number) for number in (0, 1)]
    for one in found:
        lengths = [
            np.linalg.norm(np.asarray(k).reshape(-1, 5), axis=0) for k in (one["conv2d_1"]["kernel"], kernel)
        ]
        np.testing.assert_allclose(*lengths, rtol=1e-5)
        assert not one["conv2d_1"]["bias"].any()
        assert not one["batch_norm_1"]["scale"].any()
    assert not np.allclose(found[0]["conv2d_1"]["kernel"], found[1]["conv2d_1"]["kernel"])


def test_a_linear_unit_s_losses_are_a_parabola_through_the_recorded_one(seen):
    table = seen.tables["loss_landscape"]
    assert set(table["step"]) == {12}
    x, y, grid = loss_landscape.pivot_losses(table, "along", "across")
    np.testing.assert_allclose(x, [-1, -0.5, 0, 0.5, 1])
    np.testing.assert_allclose(y, x)
    for line in (*grid, *grid.T):  # the squared error of a linear unit has no third differences
        assert np.abs(np.diff(line, 3)).max() < 1e-3 * line.max()
        assert (np.diff(line, 2) > 0).all()


def test_with_all_examples_the_middle_is_the_last_record_s_loss(folder):
    (folder / "all.yaml").write_text(FILE.replace("examples: 7", "examples: 80, dimensions: 1"))
    assert run_nnlab("train", "all.yaml", "--out", "run", "--quiet").exit_code == 0
    run = open_run(folder / "run")
    final = run.tables["metrics"]["train_loss"].iloc[-1]
    assert run.summary["loss_landscape"]["minimum"] == pytest.approx(final, rel=1e-5)
    assert set(run.tables["loss_landscape"]["across"]) == {0.0}
    # the last point of the path is the trained weights too
    path = run.tables["training_path"].dropna()
    assert path["at_step"].tolist() == [0, 2, 4, 6, 8, 10, 12, 12]
    assert path[["first", "second", "off"]].iloc[-1].abs().max() < 1e-3
    assert (folder / "run" / "plots" / "loss_landscape.png").exists()
    assert not (folder / "run" / "plots" / "loss_surface.png").exists()


def test_the_plane_of_a_path_is_that_of_its_principal_components():
    random = np.random.default_rng(1)
    weights = np.cumsum(random.standard_normal((9, 40)), axis=0).astype(np.float32)
    filled = (np.arange(9) < 6) | (np.arange(9) == 8)
    path = WeightPath(jnp.asarray(weights), np.arange(9), filled, lambda row: {"kernel": row})
    found = training_path.principal_plane(snapshot(None, weight_path=path))
    moved = weights[filled] - weights[8]
    _, singular, axes = np.linalg.svd(moved, full_matrices=False)
    places = np.asarray(found.places)
    np.testing.assert_allclose(np.abs(places[filled]), np.abs(moved @ axes[:2].T), atol=1e-3)
    np.testing.assert_allclose(places[6:], 0, atol=1e-5)
    explained = (singular[:2] ** 2).sum() / (singular**2).sum()
    off = np.asarray(found.off)[filled]
    assert 1 - (off**2).sum() / (moved**2).sum() == pytest.approx(explained, abs=1e-4)
    assert [float(jnp.linalg.norm(axis["kernel"])) for axis in found.axes] == pytest.approx([1, 1], abs=1e-4)
    np.testing.assert_allclose(found.centre["kernel"], weights[8])


def table(height, reach=1.0, points=21):
    steps = np.linspace(-reach, reach, points)
    a, b = (values.reshape(-1) for values in np.meshgrid(steps, steps, indexing="ij"))
    return pandas.DataFrame({"along": a, "across": b, "loss": height(a, b), "guess": np.log(10)})


@pytest.mark.parametrize(
    ("height", "low", "down"),
    [
        (lambda a, b: 0.01 + 4 * (a**2 + b**2), True, 0),  # a bowl
        (lambda a, b: 0.01 + 400 * (a**2 + b**2), False, 0),  # a narrow one
        (lambda a, b: 0.5 + a**2 + 0.2 * np.cos(9 * a) * np.cos(9 * b), True, 0.3),  # an egg carton
        (lambda a, b: 3 + a**2 - b**2, False, 1.0),  # a saddle
    ],
)
def test_low_ground_and_what_curves_down(height, low, down):
    found = loss_landscape.detect(table(height))
    assert (found.low_share > 0.1) == low
    assert found.curved_down >= down
    assert found.curved_down == pytest.approx(0, abs=1e-9) or down
    assert found.minimum == pytest.approx(height(np.zeros(1), np.zeros(1))[0])


def test_infinite_losses_are_high_ground():
    found = loss_landscape.detect(table(lambda a, b: np.where(a > 0.5, np.nan, a**2)))
    assert 0 < found.low_share < 0.8


def test_a_path_of_one_point_has_no_figure():
    empty = pandas.DataFrame({name: [0.0, np.nan] for name in training_path.PATH_COLUMNS})
    with pytest.raises(InvalidValue, match="two records"):
        training_path.path_points(type("Run", (), {"tables": {"training_path": empty}}))


@pytest.mark.parametrize("records", [1, 5, 8, 9, 30])
def test_the_records_kept_are_evenly_spread_however_long_the_training(records):
    history = jax.tree.map(jnp.asarray, WeightHistory.empty(8, 2))
    for number in range(records):
        history = history.append(jnp.full(2, number, jnp.float32), jnp.int32(10 * number), jnp.array(True))
    kept, stride = int(history.count), int(history.stride)
    assert np.asarray(history.steps)[:kept].tolist() == list(range(0, 10 * records, 10 * stride))
    assert min(records, 4) <= kept < 8
    np.testing.assert_allclose(history.weights[:kept, 0], np.asarray(history.steps)[:kept] / 10)


def test_an_even_number_of_points_misses_the_weights():
    with pytest.raises(InvalidValue, match="6 points pass the trained weights over; take 7"):
        loss_landscape.loss_landscape(points=6)


def test_where_outputs_of_zero_cost_nothing_there_is_no_share_of_it():
    found = loss_landscape.detect(table(lambda a, b: a**2 + b**2).assign(guess=0.0))
    assert (found.low_share, found.rise) == (None, None)
