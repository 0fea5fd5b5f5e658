"""Phenomena that show examples, weights and maps: yes where it should be, no to a control."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pandas
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics import confusion_matrix
from support import FakeRun, assert_told_apart, figure_for_people

from nnlab.config import check_tree
from nnlab.config.document import Document
from nnlab.config.split_roles import reported_split
from nnlab.data.examples import Examples
from nnlab.data.prepare import Data
from nnlab.errors import ConfigError, InvalidValue
from nnlab.nn.layer import Output
from nnlab.nn.model import build_model
from nnlab.phenomena import examples
from nnlab.phenomena.inspection import confusion, embeddings, feature_maps, filters, neural_collapse
from nnlab.phenomena.probe import Batch, Snapshot
from nnlab.registry import build
from nnlab.runs import figures
from nnlab.runs.results import open_run
from nnlab.runs.run import run
from nnlab.storage.run_directory import RunDirectory
from nnlab.training.experiment import build_experiment


def probed(name, setup, splits, evaluated=None, params=None, initial=None, loss="cross_entropy", **arguments):
    """The phenomenon, and the tables of its probes for these examples; splits: name -> (inputs, targets)."""
    phenomenon = build("phenomenon", {"type": name} | arguments)
    classes = int(splits["train"][1].max()) + 1 if splits["train"][1].ndim == 1 else 0
    data = Data(
        *(
            Examples(*splits[n], classes, np.arange(len(splits[n][0]))) if n in splits else None
            for n in Data._fields
        )
    )
    snapshot = Snapshot(
        params=params,
        initial_params=initial,
        gradients=None,
        updates=None,
        intermediates=None,
        batch_loss=None,
        examples={n: Batch(*map(jnp.asarray, part)) for n, part in splits.items()},
        evaluate=evaluated,
        augment=lambda key, inputs: inputs,
        loss=build("loss", loss),
        key=jax.random.key(0),
    )
    phenomenon.validate(setup, data)
    tables = {}
    for probe in phenomenon.probes:
        measured = jax.jit(lambda measure=probe.measure: measure(setup, snapshot))()
        columns = dict(zip(probe.columns, measured, strict=True))
        assert all(column.ndim == 1 for column in columns.values())
        tables[probe.table] = pandas.DataFrame(probe.rows(setup, data) | jax.device_get(columns))
    return phenomenon, tables


def setup_of(layers, shape):
    """The setup of a model."""
    return build_model(build("layer", {"type": "sequential", "layers": layers}), shape).setup


def values(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def labels(count, classes, seed=0):
    return np.random.default_rng(seed).integers(0, classes, count).astype(np.int32)


def linear(kernel):
    """The outputs of inputs times a kernel."""
    return lambda params, inputs: Output(inputs.reshape(inputs.shape[0], -1) @ kernel)


READ_OUT = setup_of(["flatten", {"type": "dense", "units": 4}], (3, 5))


# --- what they share -------------------------------------------------------------------------------------


def test_blocks_give_what_all_at_once_gives():
    inputs = jnp.asarray(values(2 * examples.BLOCK_EXAMPLES + 3, 2, 3))
    np.testing.assert_array_equal(
        examples.map_in_blocks(lambda block: 2 * block[:, 0], inputs), 2 * inputs[:, 0]
    )
    np.testing.assert_array_equal(examples.map_in_blocks(lambda block: -block, inputs[:2]), -inputs[:2])


def test_pictures_come_back_from_a_table_as_they_were():
    shown = values(4, 3, 5, 2)
    table = pandas.DataFrame(examples.pixel_rows((3, 5, 2), example=range(4)) | {"value": shown.ravel()})
    np.testing.assert_array_equal(examples.images_in(table, "value"), shown)
    with pytest.raises(InvalidValue, match="show fewer"):
        examples.pixel_rows((1000, 1000, 1), example=range(2))


@pytest.mark.parametrize("channels", [(), (3,)])
def test_a_mosaic_has_its_tiles_in_their_places(channels):
    tiles = values(5, 2, 4, *channels)
    image = examples.mosaic(tiles, 3)
    assert image.shape == (5, 14, *channels)
    np.testing.assert_array_equal(image[3:5, 5:9], tiles[4])
    assert np.isnan(image[2]).all() or (image[2] == 1).all()


def test_the_test_examples_are_reported_else_others():
    assert reported_split(["train", "validation", "test"]) == "test"
    assert reported_split(["train", "validation"]) == "validation"
    assert reported_split(["train"]) == "train"
    assert examples.recorded_split(pandas.DataFrame({"split": ["train", "test"]})) == "test"
    with pytest.raises(InvalidValue, match="names no split"):
        examples.recorded_split(pandas.DataFrame({"split": ["tes\x1bt"]}))


# --- confusion -------------------------------------------------------------------------------------------


def confusion_table(counts):
    rows = examples.product_rows(split=["test"], true=range(len(counts)), predicted=range(len(counts)))
    return pandas.DataFrame(rows | {"count": np.ravel(counts)})


def test_the_numbers_of_a_confusion():
    numbers = confusion.detect(confusion_table([[90, 10, 0], [0, 4, 6], [0, 0, 0]]))
    assert numbers == confusion.Confusion(
        pytest.approx(16 / 110), 1, pytest.approx(0.6), 1, 2, pytest.approx(0.6)
    )
    numbers = confusion.detect(confusion_table([[80, 20], [1, 9]]))
    assert (numbers.worst_class, numbers.most_confused_rate) == (0, pytest.approx(0.2)), "shares, not counts"


def test_where_nothing_is_wrong_nothing_is_confused():
    assert confusion.detect(confusion_table([[3, 0], [0, 7]])) == confusion.Confusion(
        0, None, 0, None, None, 0, "no example is wrong"
    )


def test_counts_and_the_worst_examples_are_those_of_the_outputs():
    inputs, true, kernel = values(300, 3, 5), labels(300, 4), values(15, 4, seed=1)
    splits = {"train": (inputs[:9], true[:9]), "test": (inputs, true)}
    phenomenon, tables = probed("confusion", READ_OUT, splits, linear(kernel), examples=7)
    logits = inputs.reshape(300, 15) @ kernel
    predicted = logits.argmax(1)
    np.testing.assert_array_equal(
        confusion.confusion_matrix(tables["confusion"]), confusion_matrix(true, predicted)
    )
    assert phenomenon.summarize(FakeRun(tables, {}))["error"] == pytest.approx((predicted != true).mean())
    probability = np.exp(logits).max(1) / np.exp(logits).sum(1)
    order = np.argsort(np.where(predicted != true, -probability, 1))[:7]
    shown = tables["misclassified"].drop_duplicates("rank")
    assert shown["example"].tolist() == order.tolist()
    assert shown["true"].tolist() == true[order].tolist()
    assert shown["predicted"].tolist() == predicted[order].tolist()
    np.testing.assert_allclose(shown["probability"], probability[order], rtol=1e-5)
    np.testing.assert_array_equal(examples.images_in(tables["misclassified"], "value")[..., 0], inputs[order])


def test_one_output_is_the_logit_of_the_second_class():
    inputs = np.array([[-2.0], [1.0], [3.0], [-1.0]], np.float32)
    splits = {"train": (inputs, np.array([0, 1, 0, 0], np.int32))}
    setup = setup_of([{"type": "dense", "units": 1}], (1,))
    _, tables = probed("confusion", setup, splits, linear(np.ones((1, 1), np.float32)), loss="perceptron")
    assert confusion.confusion_matrix(tables["confusion"]).tolist() == [[2, 1], [0, 1]]
    shown = tables["misclassified"]
    assert shown["example"].tolist()[0] == 2
    assert shown["probability"].iloc[0] == pytest.approx(1 / (1 + np.exp(-3)))
    assert shown.iloc[1:][["example", "true", "predicted", "probability", "value"]].isna().all(axis=None)


# --- filters ---------------------------------------------------------------------------------------------


def test_smoothness_in_closed_form():
    place = np.arange(32.0)
    wave = np.cos(2 * np.pi * 4 * place / 32)[None, None, :, None]
    flat, chequered = np.full((2, 4, 4, 1), -3.0), (-1.0) ** np.add.outer(np.arange(4), np.arange(4))
    assert filters.smoothness(flat) == pytest.approx(1)
    assert filters.smoothness(chequered[None, :, :, None]) == pytest.approx(-1)
    first, second = wave.ravel()[:-1], wave.ravel()[1:]
    expected = (first * second).sum() / np.sqrt((first**2).sum() * (second**2).sum())
    assert filters.smoothness(wave) == pytest.approx(expected)
    assert expected == pytest.approx(np.cos(np.pi / 4), abs=0.03)
    assert filters.smoothness(np.concatenate([flat, 0 * flat])) == pytest.approx(1), "of those that are not 0"
    assert filters.smoothness(0 * flat) is None


def test_random_filters_are_not_smooth():
    """Of 200 filters of 24 pairs, the mean's standard deviation is 1 / sqrt(4800)."""
    assert abs(filters.smoothness(values(200, 4, 4, 1))) < 5 / np.sqrt(4800)


@pytest.mark.parametrize(
    ("layers", "shape", "picture", "count"),
    [
        (["flatten", {"type": "dense", "units": 6}], (4, 5), (4, 5, 1), 6),
        (["flatten", {"type": "dense", "units": 6}], (4, 5, 3), (4, 5, 3), 6),
        ([{"type": "dense", "units": 2}], (40,), (1, 40, 1), 2),
        ([{"type": "conv2d", "filters": 7, "size": 3}], (6, 6), (3, 3, 1), 7),
        (["batch_norm", {"type": "conv2d", "filters": 7, "size": 3}], (6, 6, 3), (3, 3, 3), 7),
        ([{"type": "conv2d", "filters": 2, "size": 3, "connections": [[0], [0]]}], (6, 6), (3, 3, 1), 2),
        ([{"type": "conv1d", "filters": 7, "size": 3}], (9,), (1, 3, 1), 7),
    ],
)
def test_filters_lie_over_the_inputs(layers, shape, picture, count):
    net = build_model(build("layer", {"type": "sequential", "layers": layers}), shape)
    assert filters.first_kernel(net.setup, shape)[1:] == (picture, count)
    splits = {"train": (values(2, *shape), labels(2, 2))}
    (initial, _), (final, _) = net.init(0), net.init(1)
    phenomenon, tables = probed("filters", net.setup, splits, params=final, initial=initial, shown=5)
    path = filters.first_kernel(net.setup, shape).path
    for column, params in (("initial", initial), ("final", final)):
        expected = np.moveaxis(params[path]["kernel"], -1, 0)[:5].reshape(-1, *picture)
        np.testing.assert_array_equal(examples.images_in(tables["filters"], column), expected)
    assert set(phenomenon.summarize(FakeRun(tables, {}))) == set(phenomenon.fields)


@pytest.mark.parametrize(
    ("layers", "shape"),
    [([{"type": "dense", "units": 6}], (4, 5)), ([{"type": "conv2d", "filters": 2, "size": 1}], (4, 5))],
)
def test_kernels_that_are_no_pictures_are_refused(layers, shape):
    with pytest.raises(InvalidValue, match=r"leave .* out"):
        filters.first_kernel(setup_of(layers, shape), shape)


# --- feature maps ----------------------------------------------------------------------------------------

CONVOLUTIONS = [
    {"type": "conv2d", "filters": 3, "size": 3},
    "batch_norm",
    "relu",
    {"type": "max_pool", "size": 2},
    {"type": "conv2d", "filters": 5, "size": 2},
    {"type": "conv2d", "filters": 2, "size": 1},
    "relu",
    "flatten",
    {"type": "dense", "units": 2},
]


@pytest.mark.parametrize(
    ("layer", "paths"),
    [
        (None, ["relu_1", "conv2d_2"]),
        ("conv2d_*", ["conv2d_1", "conv2d_2", "conv2d_3"]),
        ("max_pool_1", ["max_pool_1"]),
    ],
)
def test_the_layers_whose_maps_are_shown(layer, paths):
    setup = setup_of(CONVOLUTIONS, (8, 8))
    assert list(feature_maps.mapped_layers(setup, layer)) == paths


@pytest.mark.parametrize("layer", ["conv2d_9", "flatten_1"])
def test_a_layer_without_maps_is_refused(layer):
    with pytest.raises(InvalidValue, match=layer):
        feature_maps.mapped_layers(setup_of(CONVOLUTIONS, (8, 8)), layer)
    with pytest.raises(InvalidValue, match="the model has none"):
        feature_maps.mapped_layers(READ_OUT, None)


@pytest.mark.parametrize("shape", [(6, 6), (6, 6, 2)])
def test_maps_are_the_outputs_and_those_of_one_value_are_dead(shape):
    layers = [{"type": "conv2d", "filters": 4, "size": 3}, "relu", "flatten", {"type": "dense", "units": 2}]
    inputs, maps = values(5, *shape), np.maximum(values(5, 4, 4, 4, seed=1), 0)
    maps[..., 1] = 0.0
    maps[..., 3] = 1.0

    def evaluated(params, inputs):
        return Output(inputs, intermediates={"outputs": {"relu_1": jnp.asarray(maps[: inputs.shape[0]])}})

    splits = {"train": (inputs, labels(5, 2))}
    arguments = {"examples": 3, "maps": 3}
    phenomenon, tables = probed("feature_maps", setup_of(layers, shape), splits, evaluated, **arguments)
    table = tables["feature_maps"]
    shown = table[table["layer"] == "relu_1"]["value"].to_numpy().reshape(3, 3, 4, 4)
    np.testing.assert_array_equal(shown, np.moveaxis(maps[:3, ..., :3], -1, 1))
    first = table[table["layer"] == "inputs"]["value"].to_numpy()
    np.testing.assert_array_equal(first, np.moveaxis(inputs[:3].reshape(3, 6, 6, -1), -1, 1).ravel())
    numbers = phenomenon.summarize(FakeRun(tables, {}))
    assert numbers == {"maps": 3, "near_zero": pytest.approx((shown == 0).mean()), "dead_maps": 1}


# --- embeddings ------------------------------------------------------------------------------------------


def embedded(points, classes, **arguments):
    """embeddings of a net whose hidden layer gives what it gets."""
    setup = setup_of(["relu", {"type": "dense", "units": 3}], points.shape[1:])

    def evaluated(params, inputs):
        return Output(inputs, intermediates={"outputs": {"relu_1": inputs}})

    splits = {"train": (points[:1], classes.max(keepdims=True)), "test": (points, classes)}
    phenomenon, tables = probed("embeddings", setup, splits, evaluated, **arguments)
    return tables["embeddings"], phenomenon.summarize(FakeRun(tables, {}))


@pytest.mark.parametrize("shape", [(40, 7), (12, 30), (20, 3, 3)])
def test_components_and_separation_are_those_of_other_ways(shape):
    points, classes = 2 + values(*shape) * np.arange(1, shape[-1] + 1, dtype=np.float32), labels(shape[0], 3)
    table, numbers = embedded(points, classes)
    flat = points.reshape(len(points), -1)
    pca = PCA(2, svd_solver="full").fit(flat)
    largest = np.take_along_axis(pca.components_, np.abs(pca.components_).argmax(1)[:, None], 1)[:, 0]
    expected = pca.transform(flat) * np.sign(largest)
    np.testing.assert_allclose(table[["pc1", "pc2"]], expected, atol=1e-3)
    assert numbers["explained_by_two"] == pytest.approx(pca.explained_variance_ratio_.sum(), rel=1e-4)
    means = np.stack([flat[classes == c].mean(0) for c in classes])
    between = np.square(means - flat.mean(0)).sum() / np.square(flat - flat.mean(0)).sum()
    assert numbers["separation"] == numbers["initial_separation"] == pytest.approx(between, rel=1e-4)


def test_classes_of_one_place_each_are_separate_and_drawn_labels_are_not():
    classes = labels(200, 4)
    assert embedded(values(4, 6)[classes], classes)[1]["separation"] == pytest.approx(1, abs=1e-5)
    assert embedded(values(200, 6), classes)[1]["separation"] < 5 * 3 / 199
    assert embedded(np.ones((5, 6), np.float32), classes[:5])[1]["separation"] is None
    assert embedded(values(9, 1), classes[:9])[0]["pc2"].tolist() == [0] * 9
    assert len(embedded(values(200, 6), classes, examples=50)[0]) == 50


def test_the_layer_before_the_read_out_is_used():
    assert embeddings.feature_layer(setup_of(CONVOLUTIONS, (8, 8)), None) == "flatten_1"
    assert embeddings.feature_layer(setup_of([{"type": "dense", "units": 2}, "tanh"], (3,)), None) is None
    block = {"type": "residual", "layers": [{"type": "dense", "units": 3}, "relu"]}
    setup = setup_of([block, {"type": "dense", "units": 2}], (3,))
    assert embeddings.feature_layer(setup, None) == "residual_1"
    assert embeddings.feature_layer(setup, "residual_1/relu_1") == "residual_1/relu_1"
    with pytest.raises(InvalidValue, match="did you mean 'residual_1'"):
        embeddings.feature_layer(setup, "residul_1")
    three = setup_of([{"type": "dense", "units": 2}] * 3, (3,))
    with pytest.raises(InvalidValue, match="did you mean 'dense_1'"):  # the first of equally near ones
        embeddings.feature_layer(three, "dense_9")


# --- neural collapse -------------------------------------------------------------------------------------

CLASSES = 4


def collapsed(points, targets, kernel, layer=None):
    """The columns of neural_collapse for these features of relu_1, in a net that ends in this kernel."""
    first = {"type": "dense", "units": points.shape[1]}
    net = setup_of([first, "relu", {"type": "dense", "units": CLASSES}], (points.shape[1],))

    def evaluated(params, inputs):
        outputs = {"dense_1": 2 * inputs, "relu_1": inputs}
        return Output(inputs @ kernel, intermediates={"outputs": outputs})

    params = {"dense_2": {"kernel": jnp.asarray(kernel)}}
    splits = {"train": (points, targets)}
    _, tables = probed("neural_collapse", net, splits, evaluated, params, layer=layer)
    return tables["neural_collapse"].iloc[0]


@pytest.mark.parametrize(("count", "features"), [(60, 9), (40, 3), (25, 2), (200, 30)])
def test_neural_collapse_is_that_of_numpy_in_double_precision(count, features):
    targets = np.concatenate([np.arange(CLASSES), labels(count - CLASSES, CLASSES)]).astype(np.int32)
    points = 3 * values(CLASSES, features)[targets] + values(count, features, seed=1) + 5
    kernel = values(features, CLASSES, seed=2)
    found = collapsed(points, targets, kernel)
    h = points.astype(np.float64)
    means = np.stack([h[targets == c].mean(0) for c in range(CLASSES)])
    centred = means - means.mean(0)
    within = sum(np.outer(d, d) for d in h - means[targets]) / count
    between = sum(np.outer(m, m) for m in centred) / CLASSES
    nc1 = np.trace(within @ np.linalg.pinv(between, rcond=1e-9)) / CLASSES
    assert found["within_class_variability"] == pytest.approx(nc1, rel=1e-3)
    norms = np.linalg.norm(centred, axis=1)
    assert found["norm_spread"] == pytest.approx(norms.std() / norms.mean(), rel=1e-4)
    cosines = centred @ centred.T / np.outer(norms, norms)
    apart = cosines[~np.eye(CLASSES, dtype=bool)]
    assert found["angle_spread"] == pytest.approx(apart.std(), rel=1e-4)
    gap = np.linalg.norm(kernel.T / np.linalg.norm(kernel) - centred / np.linalg.norm(centred))
    assert found["duality_gap"] == pytest.approx(gap, rel=1e-4)
    nearest = np.linalg.norm(h[:, None] - means[None], axis=2).argmin(1)
    assert found["nearest_mean_mismatch"] == pytest.approx((nearest != (h @ kernel).argmax(1)).mean())


def test_a_simplex_of_points_has_collapsed():
    corners = np.eye(CLASSES, 6, dtype=np.float32)
    targets = np.arange(20, dtype=np.int32) % CLASSES
    found = collapsed(corners[targets], targets, corners.T - corners.mean(0)[:, None])
    np.testing.assert_allclose(found[list(neural_collapse.COLUMNS)].astype(float), 0, atol=1e-5)
    assert (found["layer"], found["classes"]) == ("relu_1", CLASSES)


def test_the_duality_is_of_the_layer_that_the_classifier_reads():
    targets = np.arange(20, dtype=np.int32) % CLASSES
    points, kernel = values(20, 5), values(5, CLASSES)
    read, other = (collapsed(points, targets, kernel, layer) for layer in ("relu_1", "dense_1"))
    assert read["duality_gap"] > 0
    assert np.isnan(other["duality_gap"])
    assert other["within_class_variability"] == pytest.approx(read["within_class_variability"], rel=1e-4)


STEPS, ACCURACIES = [0, 50, 100, 150], [0.1, 0.99, 1.0, 1.0]
COLLAPSED = {
    "within_class_variability": [2.0, 0.3, 0.2, 0.01],
    "norm_spread": [0.2, 0.1, 0.1, 0.04],
    "angle_spread": [0.2, 0.2, 0.1, 0.06],
    "duality_gap": [1.4, 0.7, 0.6, 0.35],
    "nearest_mean_mismatch": [0.9, 0.0, 0.0, 0.0],
}


def collapse_of(accuracies=ACCURACIES, **columns):
    """A run with these columns in place of those of one that has collapsed."""
    table = pandas.DataFrame({"step": STEPS, **COLLAPSED, **columns})
    metrics = pandas.DataFrame({"step": STEPS, "train_accuracy": accuracies})
    return FakeRun({"metrics": metrics, "neural_collapse": table}, {}, "planted")


def test_the_numbers_of_a_collapse():
    found = neural_collapse.detect(collapse_of())
    assert (found.verdict, found.interpolation_step, found.reason) == ("neural collapse", 100, None)
    assert found.variability_at_interpolation == 0.2
    assert found.variability_fall == pytest.approx(20)


@pytest.mark.parametrize(
    "columns",
    [
        {"within_class_variability": [2.0, 0.3, 0.2, 0.011]},  # 18 times; 200 times from the first record on
        {"norm_spread": [0.2, 0.1, 0.1, 0.05]},
        {"angle_spread": [0.2, 0.2, 0.1, 0.07]},
        {"duality_gap": [1.4, 0.7, 0.6, 0.36]},
        {"angle_spread": [0.2, 0.2, 0.1, np.nan]},
        {"accuracies": [0.1, 0.99, 0.99, 1.0]},  # it fits only at the end
    ],
)
def test_one_part_that_is_missing_is_no_collapse(columns):
    assert neural_collapse.detect(collapse_of(**columns)).verdict == "none"


def test_a_training_set_that_is_never_fitted_has_no_verdict():
    found = neural_collapse.detect(collapse_of(accuracies=[0.1, 0.9, 0.99, 0.998]))
    assert (found.verdict, found.interpolation_step, found.variability_fall) == (None, None, None)
    assert "never reaches 100 %" in found.reason
    assert found.within_class_variability == 0.01


def test_a_layer_without_a_classifier_behind_it_is_judged_by_the_others():
    found = neural_collapse.detect(collapse_of(duality_gap=[np.nan] * 4))
    assert (found.verdict, found.duality_gap) == ("neural collapse", None)
    assert "does not read this layer" in found.reason


def test_classes_in_one_place_are_the_reason_for_all_that_is_null():
    nothing = dict.fromkeys(neural_collapse.COLUMNS[:4], [np.nan] * 4)
    found = neural_collapse.detect(collapse_of(accuracies=[0.1] * 4, **nothing))
    assert found.reason == "the class means are in one place; the training accuracy never reaches 100 %"


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"data": "breast_cancer", "model": {"type": "dense", "units": 2}}, "3 classes or more.* have 2"),
        (
            {"data": "diabetes", "model": {"type": "dense", "units": 1}, "loss": "squared_error"},
            "the data have none",
        ),
        ({"data": {"type": "wine", "limit": 2, "split": {}}, "model": {"type": "dense", "units": 3}}, "none"),
        (
            {
                "data": {"type": "wine", "split": {"train": 3, "test": 10, "stratify": True}},
                "model": {"type": "dense", "units": 3},
            },
            "each has a single one",
        ),
    ],
)
def test_classes_that_cannot_collapse_are_refused(tree, message):
    tree = {"name": "t", "train": {"steps": 1}, "phenomena": ["neural_collapse"]} | tree
    with pytest.raises(ConfigError, match=message):
        build_experiment(check_tree(Document(tree, {}, {}, "test")))


def test_the_curves_of_a_collapse_and_of_a_control():
    control = collapse_of(within_class_variability=[2.0, 0.3, 0.2, 0.15])._replace(label="control")
    draw = build("phenomenon", "neural_collapse").figures["neural_collapse"]
    single = draw([collapse_of()])
    assert "neural collapse, NC1 falls 20 times after 100 % at step 100" in single.get_suptitle()
    both = draw([collapse_of(), control])
    assert_told_apart(both, ["planted: neural collapse", "control: no neural collapse"])
    assert [len(ax.get_lines()) for ax in both.axes] == [4, 6, 4, 4]


# --- reconstructions -------------------------------------------------------------------------------------


def rebuilt(kernel, units, noise=0.0):
    """reconstructions of a linear net with this kernel, its narrowest layer having so many units."""
    inputs = values(60, 3, 4) * np.arange(1, 5, dtype=np.float32)
    splits = {"train": inputs[:40], "test": inputs[40:]}
    splits = {name: (part, part.reshape(len(part), -1)) for name, part in splits.items()}
    setup = setup_of(["flatten", {"type": "dense", "units": units}, {"type": "dense", "units": 12}], (3, 4))
    arguments = {"noise": noise, "examples": 5, "loss": "squared_error"}
    phenomenon, tables = probed("reconstructions", setup, splits, linear(kernel), **arguments)
    return phenomenon.summarize(FakeRun(tables, {})), tables, splits


def test_errors_are_those_of_sklearns_principal_components():
    kernel = values(12, 12, seed=3)
    numbers, tables, splits = rebuilt(kernel, 3)
    pca = PCA(3, svd_solver="full").fit(splits["train"][1])
    for split, prefix in (("train", "train_"), ("test", "")):
        flat = splits[split][1]
        error = np.square(flat @ kernel - flat).mean()
        projected = pca.inverse_transform(pca.transform(flat))
        assert numbers[f"{prefix}error"] == pytest.approx(error, rel=1e-4)
        assert numbers[f"{prefix}pca_error"] == pytest.approx(np.square(projected - flat).mean(), rel=1e-4)
        assert numbers[f"{prefix}over_pca"] == pytest.approx(
            numbers[f"{prefix}error"] / numbers[f"{prefix}pca_error"]
        )
    shown = examples.images_in(tables["reconstructions"], "pca")
    np.testing.assert_allclose(shown.reshape(5, 12), projected[:5], atol=1e-4)
    assert numbers["noisy_error"] is numbers["denoised_error"] is numbers["noise_removed"] is None


def test_principal_components_are_the_best_linear_net_and_another_is_worse():
    _, _, splits = rebuilt(np.eye(12, dtype=np.float32), 3)
    train = splits["train"][1]
    _, directions = np.linalg.eigh(train.T @ train)  # without a bias: about 0
    best = (directions[:, -3:] @ directions[:, -3:].T).astype(np.float32)
    assert rebuilt(best, 3)[0]["train_over_pca"] == pytest.approx(1, abs=0.05)
    assert rebuilt(0.5 * best, 3)[0]["train_over_pca"] > 1.2


def test_noise_is_measured_before_and_after():
    identity = rebuilt(np.eye(12, dtype=np.float32), 12, noise=0.5)[0]
    assert identity["error"] == 0
    assert identity["noisy_error"] == pytest.approx(0.25, rel=5 * np.sqrt(2 / 240))
    assert identity["noise_removed"] == pytest.approx(0, abs=1e-5), "what gives back all gives back the noise"
    assert identity["pca_error"] is identity["over_pca"] is None, "no layer is narrower"
    halved = rebuilt(0.9 * np.eye(12, dtype=np.float32), 12, noise=5.0)[0]
    assert 0.1 < halved["noise_removed"] < 0.2, "1 - 0.9^2 but for what is lost of the inputs"


# --- translation -----------------------------------------------------------------------------------------


def shifted(inputs, axis, by, fill):
    result = np.full_like(inputs, fill)
    size = inputs.shape[axis]
    to, of = (slice(by, size), slice(0, size - by)) if by > 0 else (slice(0, size + by), slice(-by, size))
    place = [slice(None)] * inputs.ndim
    result[(*place[:axis], to, *place[axis + 1 :])] = inputs[(*place[:axis], of, *place[axis + 1 :])]
    return result


@pytest.mark.parametrize("shape", [(12,), (5, 6), (5, 6, 2)])
def test_accuracy_of_shifted_inputs_is_that_of_numpy(shape):
    inputs, kernel = values(90, *shape), values(int(np.prod(shape)), 3, seed=1)
    true = (inputs.reshape(90, -1) @ kernel).argmax(1).astype(np.int32)
    splits = {"train": (inputs[:30], true[:30]), "test": (inputs[30:], true[30:])}
    setup = setup_of(["flatten", {"type": "dense", "units": 3}], shape)
    arguments = {"pixels": 2, "examples": 50}
    phenomenon, tables = probed("translation", setup, splits, linear(kernel), **arguments)
    fill, expected = inputs[:30].min(), [1.0]
    for by in (1, 2):
        moved = [
            shifted(inputs[30:80], axis, sign * by, fill)
            for axis in range(1, 1 + min(2, len(shape)))
            for sign in (1, -1)
        ]
        expected.append(
            np.mean([((one.reshape(50, -1) @ kernel).argmax(1) == true[30:80]).mean() for one in moved])
        )
    np.testing.assert_allclose(tables["translation"]["accuracy"], expected, atol=1e-6)
    numbers = phenomenon.summarize(FakeRun(tables, {}))
    assert numbers["kept"] == pytest.approx(expected[-1])
    assert numbers["kept"] < 0.9


def test_a_net_that_ignores_places_keeps_its_accuracy():
    inputs = np.zeros((20, 8, 8), np.float32)
    inputs[np.arange(20), 4, 4] = np.arange(20) % 2 + 1
    splits = {"train": (inputs, (np.arange(20) % 2).astype(np.int32))}

    def evaluated(params, inputs):
        greatest = inputs.max((1, 2))
        return Output(jnp.stack([1.5 - greatest, greatest - 1.5], -1))

    phenomenon, tables = probed("translation", READ_OUT, splits, evaluated, pixels=3)
    assert phenomenon.summarize(FakeRun(tables, {})) == {
        "accuracy_unshifted": 1,
        "accuracy_shifted": 1,
        "kept": 1,
    }


# --- refusals --------------------------------------------------------------------------------------------


def experiment(tree, home=None):
    bound = build_experiment(check_tree(Document({"train": {"steps": 4}} | tree, {}, {}, "test")))
    return run(bound, RunDirectory(home)) if home else bound


@pytest.mark.parametrize(
    ("phenomenon", "data", "message"),
    [
        ("confusion", "diabetes", "of classes, and the targets are values"),
        ("embeddings", "diabetes", "colours classes"),
        ("translation", "diabetes", "looks at accuracy"),
        ({"type": "translation", "pixels": 13}, "wine", "must be below 13"),
        ("feature_maps", "wine", "the model has none"),
        ("reconstructions", "wine", "reconstruct: true"),
        ("reconstructions", "diabetes", "reconstruct: true"),
        ({"type": "embeddings", "layer": "dens_1"}, "wine", "did you mean 'dense_1'"),
    ],
)
def test_what_does_not_fit_is_refused_in_words(phenomenon, data, message):
    units = {"diabetes": 1, "wine": 3}[data]
    tree = {"data": data, "model": [{"type": "dense", "units": units}], "phenomena": [phenomenon]}
    loss = {"loss": "squared_error"} if data == "diabetes" else {}
    with pytest.raises(ConfigError, match=message):
        experiment({"name": "t"} | tree | loss)


# --- runs and figures ------------------------------------------------------------------------------------

IMAGES = [{"type": "conv2d", "filters": 3, "size": 3}, "relu", "flatten", {"type": "dense", "units": 3}]
DENSE = ["flatten", {"type": "dense", "units": 5}, "relu", {"type": "dense", "units": 3}]
OF_CLASSES = [{"type": "confusion", "examples": 6}, "filters", "embeddings", "translation"]
CODE = ["flatten", {"type": "dense", "units": 2}, {"type": "dense", "units": 36}]
NOISY = {"type": "reconstructions", "noise": 0.3, "examples": 3}
RUNS = {
    "convolutional": {"model": IMAGES, "phenomena": [*OF_CLASSES, {"type": "feature_maps", "examples": 2}]},
    "dense": {"model": DENSE, "phenomena": [*OF_CLASSES]},
    "code": {"model": CODE, "loss": "squared_error", "phenomena": [NOISY]},
}
DRAWN = {
    "confusion_matrix": ["convolutional", "dense"],
    "misclassified": ["convolutional", "dense"],
    "filters": ["convolutional", "dense"],
    "feature_maps": ["convolutional"],
    "embeddings": ["convolutional", "dense"],
    "translation": ["convolutional", "dense"],
    "reconstructions": ["code"],
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """name -> a finished run, trained at the first call."""
    home = tmp_path_factory.mktemp("runs")
    np.savez(home / "images.npz", x=values(60, 6, 6), y=labels(60, 3))

    @functools.cache
    def one(name):
        data = {"type": "npz", "path": str(home / "images.npz"), "reconstruct": name == "code"}
        experiment(
            {"name": name, "data": data, "record": {"log_spaced": 3, "layers": False}} | RUNS[name],
            home / name,
        )
        return open_run(home / name)

    return one


def test_every_figure_is_drawn_here():
    owned = {
        name
        for tree in RUNS.values()
        for entry in tree["phenomena"]
        for name in build("phenomenon", entry).figures
    }
    assert owned == set(DRAWN)


@pytest.mark.parametrize("name", DRAWN)
def test_figures_say_what_they_show_and_are_the_same_bytes_twice(trained, name, tmp_path):
    runs = [trained(run) for run in DRAWN[name]]
    for some in [runs[:1], runs] if len(runs) > 1 else [runs]:
        figure = figure_for_people(some, name)
        words = " ".join(
            [figure.get_suptitle(), *(ax.get_title(loc="left") + ax.get_title() for ax in figure.axes)]
        )
        assert all(run.label in words for run in some) or name == "translation"
        assert any(character.isdigit() for character in words) or len(some) > 1
        assert all(ax.has_data() for ax in figure.axes if ax.axison)
    first, second = (figures.draw(runs, tmp_path / folder, [name])[0] for folder in ("one", "two"))
    assert first.read_bytes() == second.read_bytes()
    if name == "translation":
        assert_told_apart(figure, DRAWN[name])


def test_numbers_of_a_run_are_those_of_its_metrics(trained):
    one = trained("dense")
    final = one.tables["metrics"].iloc[-1]
    assert one.summary["confusion"]["error"] == pytest.approx(1 - final["test_accuracy"], abs=1e-6)
    assert one.summary["translation"]["accuracy_unshifted"] == pytest.approx(final["test_accuracy"], abs=1e-6)
    code = trained("code")
    errors = code.tables["metrics"].iloc[-1]
    assert code.summary["reconstructions"]["error"] == pytest.approx(errors["test_loss"], rel=1e-5)
    assert code.summary["reconstructions"]["train_error"] == pytest.approx(errors["train_loss"], rel=1e-5)
    kernel = build_experiment(one.config).model.init(0)[0]["dense_1"]["kernel"]
    table = one.tables["filters"]
    np.testing.assert_allclose(
        examples.images_in(table, "initial")[..., 0], kernel.T.reshape(5, 6, 6), atol=1e-6
    )
    assert (table["initial"] != table["final"]).any()


@pytest.mark.parametrize(
    ("true", "message"), [([0, 1], "no example is wrong"), ([1, 0], "examples of 2 values are no pictures")]
)
def test_what_is_no_picture_is_not_drawn(true, message):
    inputs = np.array([[1, 0], [0, 1]], np.float32)
    setup = setup_of([{"type": "dense", "units": 2}], (2,))
    splits = {"train": (inputs, np.array(true, np.int32))}
    phenomenon, tables = probed("confusion", setup, splits, linear(np.eye(2, dtype=np.float32)))
    assert phenomenon.figures["confusion_matrix"]([FakeRun(tables, {})]).axes
    with pytest.raises(InvalidValue, match=message):
        phenomenon.figures["misclassified"]([FakeRun(tables, {})])
