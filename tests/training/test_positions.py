"""Trainings on a target at every position, against NumPy, and what they refuse."""

import numpy as np
import pytest
from support import experiment_of, tables_of

import nnlab
from nnlab.config.document import Document
from nnlab.config.load import check_tree
from nnlab.errors import ConfigError
from nnlab.optim.losses import cross_entropy, hinge, squared_error
from nnlab.optim.metrics import perplexity, top_k
from nnlab.training.loop import train, train_together

RANDOM = np.random.default_rng(0)
OUTPUTS = (2 * RANDOM.standard_normal((6, 5, 4))).astype(np.float32)
LABELS = RANDOM.integers(0, 4, (6, 5)).astype(np.int32)


def losses_by_numpy(outputs, labels):
    """-log softmax of each label, `[...]`, in float64."""
    z = outputs.astype(np.float64)
    log_p = z - np.log(np.exp(z).sum(-1, keepdims=True))
    return -np.take_along_axis(log_p, labels[..., None], -1)[..., 0]


def tree(**keys):
    return {
        "name": "next",
        "seed": 0,
        "data": {"type": "text", "unit": "bytes", "length": 12, "limit": 70, "batch_size": 8},
        "model": [
            {"type": "embedding", "vocabulary": 256, "units": 6},
            {"type": "simple_rnn", "units": 7, "read": None},
            {"type": "dense", "units": 256},
        ],
        "loss": "cross_entropy",
        "metrics": ["perplexity"],
        "optimizer": {"type": "sgd", "learning_rate": 0.5},
        "train": {"steps": 12},
        "record": {"every": {"steps": 4}},
    } | keys


@pytest.mark.parametrize("loss", [cross_entropy(), cross_entropy(0.2), hinge(), squared_error()])
def test_a_loss_over_positions_is_the_mean_of_that_of_each(loss):
    flat = loss.per_example(OUTPUTS.reshape(-1, 4), LABELS.reshape(-1)).reshape(6, 5)
    over = loss.over_positions()
    np.testing.assert_allclose(over.per_example(OUTPUTS, LABELS), flat.mean(1), rtol=1e-6)
    right = (OUTPUTS.argmax(-1) == LABELS).mean(1)
    np.testing.assert_allclose(over.correct(OUTPUTS, LABELS), right, rtol=1e-6)


def test_cross_entropy_and_perplexity_equal_numpy():
    expected = losses_by_numpy(OUTPUTS, LABELS)
    over = cross_entropy().over_positions()
    np.testing.assert_allclose(over.per_example(OUTPUTS, LABELS), expected.mean(1), rtol=1e-6)
    found = perplexity().of(over, OUTPUTS, LABELS)
    np.testing.assert_allclose(found, np.exp(expected.mean()), rtol=1e-6)


@pytest.mark.parametrize("length", [3, 49, 63])
def test_all_right_is_one_exactly(length):
    labels = np.zeros((2, length), np.int32)
    outputs = np.tile(np.float32([1, 0]), (2, length, 1))
    assert (np.asarray(cross_entropy().over_positions().correct(outputs, labels)) == 1).all()


def test_a_loss_that_weights_classes_does_so_at_each_position():
    weights = np.float32([1, 2, 3, 4])
    loss = cross_entropy().weighted(weights).over_positions()
    expected = weights[LABELS] * losses_by_numpy(OUTPUTS, LABELS)
    np.testing.assert_allclose(loss.per_example(OUTPUTS, LABELS), expected.mean(1), rtol=1e-6)
    np.testing.assert_allclose(loss.weight_of(LABELS), weights[LABELS].mean(1), rtol=1e-6)


def test_a_metric_of_classes_counts_each_position():
    loss = cross_entropy().over_positions()
    found = top_k(2).of(loss, OUTPUTS, LABELS)
    expected = (np.argsort(-OUTPUTS, -1)[..., :2] == LABELS[..., None]).any(-1).mean()
    assert float(found) == pytest.approx(expected)


def test_a_run_records_what_numpy_computes_of_its_outputs(tmp_path):
    run = nnlab.train(check_tree(Document(tree(), {}, {}, "test")), out=tmp_path / "run", plots=False)
    last = run.metrics.iloc[-1]
    for split, part in experiment_of(tree()).data.splits.items():
        outputs = run.predict(part.inputs)
        assert outputs.shape == (*part.targets.shape, 256)
        loss = losses_by_numpy(outputs, part.targets).mean()
        expected = {
            "loss": loss,
            "perplexity": np.exp(loss),
            "accuracy": (outputs.argmax(-1) == part.targets).mean(),
        }
        assert {name: last[f"{split}_{name}"] for name in expected} == pytest.approx(expected, rel=1e-5)
    assert last["train_loss"] < run.metrics["train_loss"][0]


def test_lanes_of_two_seeds_are_two_runs():
    together = [[], []]
    for chunks in train_together([experiment_of(tree(seed=seed)) for seed in (0, 1)]):
        for number, chunk in chunks.items():
            together[number].append(chunk)
    for seed in (0, 1):
        alone = tables_of(train(experiment_of(tree(seed=seed))))["metrics"]
        for column, values in tables_of(together[seed])["metrics"].items():
            np.testing.assert_allclose(values, alone[column], rtol=1e-5)


@pytest.mark.parametrize(
    "keys",
    [
        {"loss": {"type": "cross_entropy", "class_weights": {"e": 2.0}}},
        {"data": {"label_noise": 0.2}},
        {"augment": [{"type": "typos", "rate": 0.1}]},
        {"loss": {"type": "cross_entropy", "label_smoothing": 0.1}, "metrics": ["balanced_accuracy"]},
        {"phenomena": ["overfitting", "gradient_noise", "loss_landscape"]},
    ],
)
def test_what_works_of_one_class_an_example_works_of_one_at_each_position(keys):
    config = tree()
    data = config["data"] | keys.get("data", {})
    metrics = tables_of(train(experiment_of(config | keys | {"data": data})))["metrics"]
    assert np.isfinite(list(metrics.values())).all()


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (
            {
                "model": [
                    {"type": "embedding", "vocabulary": 256, "units": 6},
                    {"type": "lstm", "units": 7},
                    {"type": "dense", "units": 256},
                ]
            },
            "cross_entropy on data with 256 classes at each of 12 positions needs [12, 256]; let the last "
            "layer be {type: dense, units: 256}, or mlp's outputs 256, after layers that keep the positions",
        ),
        (
            {
                "model": [
                    {"type": "embedding", "vocabulary": 256, "units": 6},
                    {"type": "dense", "units": 255},
                ]
            },
            "ends in outputs of shape [12, 255]",
        ),
        (
            {"record": {"every": {"steps": 4}, "predictions": True}},
            "record.predictions: takes one target an example, and here is one at every position",
        ),
        ({"phenomena": ["confusion"]}, "confusion is of one class an example"),
        ({"phenomena": ["embeddings"]}, "embeddings colours one class an example"),
        (
            {"phenomena": ["neural_collapse"]},
            "neural_collapse needs a net with a kernel and one output a class",
        ),
        ({"metrics": ["rmse"]}, "rmse is of targets that are values"),
        ({"loss": "absolute_error"}, "absolute_error does not fit data with 256 classes"),
        (
            {"augment": ["noise"]},
            "noise changes numbers, and embedding_1 takes tokens; leave it out",
        ),
    ],
)
def test_what_takes_one_target_an_example_is_refused_in_a_line(keys, words):
    with pytest.raises(ConfigError) as error:
        experiment_of(tree(**keys))
    assert words in str(error.value)
    assert "\n" not in str(error.value)
