"""Metrics against scikit-learn, on random problems and in runs."""

import jax
import numpy as np
import pytest

sk = pytest.importorskip("sklearn.metrics")

from nnlab.config.document import parse  # noqa: E402
from nnlab.config.load import check_tree  # noqa: E402
from nnlab.errors import ConfigError  # noqa: E402
from nnlab.optim.losses import binary_cross_entropy, squared_error  # noqa: E402
from nnlab.optim.metrics import Metric, task_of  # noqa: E402
from nnlab.registry import build, components, register  # noqa: E402
from nnlab.registry.components import _CATALOGUE  # noqa: E402
from nnlab.training.experiment import build_experiment  # noqa: E402
from nnlab.training.loop import train  # noqa: E402

EXAMPLES, PROBLEMS = 150, 50  # of each of four tasks
CLOSE = {"rel": 1e-6, "abs": 1e-6}
AVERAGED = {"precision": sk.precision_score, "recall": sk.recall_score, "f1": sk.f1_score}
EVERY_AVERAGE = [
    {"type": name, **({"average": a} if a else {})} for name in AVERAGED for a in ("", "macro", "micro")
]
OF_CLASSES = ["accuracy", "balanced_accuracy", "auc", "perplexity", *EVERY_AVERAGE]
OF_LABELS = ["accuracy", "auc", *EVERY_AVERAGE]
OF_VALUES = {
    "mean_absolute_error": sk.mean_absolute_error,
    "rmse": sk.root_mean_squared_error,
    "r2": sk.r2_score,
}


def computing(metrics):
    """(outputs, targets) -> the metrics by title, compiled for a shape once."""
    built = [build("metric", metric) for metric in metrics]
    return jax.jit(lambda outputs, targets: {m.title: m.compute(outputs, targets) for m in built})


def softmax(outputs):
    raised = np.exp(outputs.astype(np.float64) - outputs.max(1, keepdims=True))
    return raised / raised.sum(1, keepdims=True)


def averages(truths, answers, usual):
    """scikit-learn's, by title."""
    found = {}
    for name, score in AVERAGED.items():
        for average in (None, "macro", "micro"):
            title = f"{name}_{average}" if average else name
            found[title] = score(truths, answers, average=average or usual, zero_division=0)
    return found


@pytest.mark.parametrize("outputs", [1, 2, 5])
def test_of_classes_equal_scikit_learn(outputs):
    """Skewed classes, one of them never an answer now and then; ties where outputs are rounded."""
    random, classes = np.random.default_rng(outputs), max(outputs, 2)
    compute = computing([*OF_CLASSES, *([{"type": "top_k", "k": 3}] if outputs == 5 else [])])
    for problem in range(PROBLEMS):
        z = (2 * random.standard_normal((EXAMPLES, outputs))).astype(np.float32)
        if outputs < 3 and problem % 2:
            z = np.round(2 * z) / 2
        if problem % 5 == 0:
            z[:, -1] -= 20  # never an answer
        labels = random.choice(classes, EXAMPLES, p=random.dirichlet(np.ones(classes))).astype(np.int32)
        labels[:classes] = np.arange(classes)
        answers = (z[:, 0] > 0).astype(int) if outputs == 1 else z.argmax(1)
        expected = {
            "accuracy": sk.accuracy_score(labels, answers),
            "balanced_accuracy": sk.balanced_accuracy_score(labels, answers),
            "perplexity": np.exp(sk.log_loss(labels, softmax(np.pad(z, ((0, 0), (outputs == 1, 0)))))),
            **averages(labels, answers, "binary" if classes == 2 else "macro"),
        }
        if outputs == 5:
            expected["auc"] = sk.roc_auc_score(labels, softmax(z), multi_class="ovr")
            expected["top_3_accuracy"] = sk.top_k_accuracy_score(labels, z, k=3)
        else:
            expected["auc"] = sk.roc_auc_score(labels, z[:, -1] - (z[:, 0] if outputs == 2 else 0))
        assert {name: float(v) for name, v in compute(z, labels).items()} == pytest.approx(expected, **CLOSE)


def test_of_many_labels_and_of_values_equal_scikit_learn():
    random = np.random.default_rng(9)
    of_labels, of_values = computing(OF_LABELS), computing(list(OF_VALUES))
    for _ in range(PROBLEMS):
        z = random.standard_normal((EXAMPLES, 3)).astype(np.float32)
        labels = (random.random((EXAMPLES, 3)) < random.uniform(0.02, 0.98, 3)).astype(np.float32)
        labels[:2] = [[0.0] * 3, [1.0] * 3]
        expected = {
            "accuracy": 1 - sk.hamming_loss(labels, z > 0),
            "auc": sk.roc_auc_score(labels, z),
            **averages(labels, z > 0, "macro"),
        }
        assert {name: float(v) for name, v in of_labels(z, labels).items()} == pytest.approx(
            expected, **CLOSE
        )
        scale, offset, error = 10.0 ** random.uniform([-3, 0, -3], [3, 3, 2])
        targets = (offset + scale * random.standard_normal((EXAMPLES, 3))).astype(np.float32)
        values = (targets + error * random.standard_normal((EXAMPLES, 3))).astype(np.float32)
        exact = [array.astype(np.float64) for array in (targets, values)]
        expected = {name: score(*exact) for name, score in OF_VALUES.items()}
        found = {name: float(v) for name, v in of_values(values, targets).items()}
        assert found == pytest.approx(expected, **CLOSE)


def test_of_many_examples_rounding_does_not_add_up():
    random = np.random.default_rng(3)
    z = random.standard_normal((100_000, 1)).astype(np.float32)
    labels = (random.random(len(z)) < 1 / (1 + np.exp(-z[:, 0]))).astype(np.int32)
    found = computing(["auc"])(z, labels)["auc"]
    assert float(found) == pytest.approx(sk.roc_auc_score(labels, z[:, 0]), abs=1e-6)
    values = (3.0 + z + 0.1 * random.standard_normal(z.shape)).astype(np.float32)
    found = computing(list(OF_VALUES))(values, z + 3)
    for name, score in OF_VALUES.items():
        assert float(found[name]) == pytest.approx(
            score((z + 3).astype(float), values.astype(float)), rel=1e-6
        )


@pytest.mark.parametrize("classes", [2, 3, 41])
def test_what_is_perfect_is_exactly_one(classes):
    labels = np.arange(10 * classes, dtype=np.int32) % classes
    metrics = ["accuracy", "balanced_accuracy", "auc", "precision", "recall", "f1", {"type": "top_k", "k": 1}]
    found = computing(metrics)(1e4 * np.eye(classes, dtype=np.float32)[labels], labels)
    assert {name: float(value) for name, value in found.items()} == dict.fromkeys(found, 1.0)


def test_a_dead_net_is_right_by_chance_only():
    """All outputs alike: the first class is the answer, as for accuracy, and no pair is told apart."""
    labels = np.arange(50, dtype=np.int32) % 5
    metrics = ["accuracy", "balanced_accuracy", "auc", {"type": "top_k", "k": 2}]
    found = computing(metrics)(np.zeros((50, 5), np.float32), labels)
    expected = {"accuracy": 0.2, "balanced_accuracy": 0.2, "auc": 0.5, "top_2_accuracy": 0.4}
    assert {name: float(value) for name, value in found.items()} == pytest.approx(expected)


def test_the_task_is_that_of_loss_and_targets():
    whole, shares = np.array([[0.0, 1.0]]), np.array([[0.0, 0.5]])
    assert task_of(binary_cross_entropy(), 2, []) == "classes"
    assert task_of(binary_cross_entropy(), 0, [whole, whole]) == "labels"
    assert task_of(binary_cross_entropy(), 0, [whole, shares]) == "values"
    assert task_of(squared_error(), 0, [whole]) == "values"


def test_a_metric_says_which_values_are_better():
    plan = check_tree(parse(BASE.replace("auc]", "auc, rmse]"), "test.yaml")).build()
    for column in ("validation_accuracy", "test_balanced_accuracy", "train_auc"):
        assert plan.direction_of(column) == "maximize"
    for column in ("validation_loss", "train_rmse", "weight_norm"):
        assert plan.direction_of(column) == "minimize"


# --- in a run ---------------------------------------------------------------------------------------------

BASE = """\
name: base
data: {type: gaussian, examples: 120, features: 3, classes: 3, split: {train: 60, validation: 30, test: 30}}
model: [{type: dense, units: 3}]
metrics: [balanced_accuracy, auc]
train: {epochs: 2}
"""
VALUES = """\
name: base
data: {type: linear_teacher, examples: 60, split: {train: 30, test: 30}}
model: [{type: dense, units: 1}]
loss: squared_error
metrics: [r2]
train: {epochs: 2}
"""


@pytest.mark.parametrize(
    ("text", "old", "new", "message"),
    [
        (BASE, "auc]", "auc, auc]", r"metrics\[2\]: there would be two columns train_auc; one is enough"),
        (
            BASE,
            "auc]",
            "r2]",
            r"metrics\[1\]: r2 is of .* values .*; here are classes, of which .* accuracy, top_k",
        ),
        (BASE, "auc]", "{type: top_k, k: 3}]", "top_k of the train split is 1 whatever .* give a smaller k"),
        (BASE, "validation: 30", "validation: 1", "auc of the validation split needs .* none of class"),
        (VALUES, "r2]", "f1]", "f1 is of classes or labels .*; here are targets that are values"),
        (
            VALUES,
            "test: 30",
            "test: 1",
            "r2 of the test split needs targets that vary, and target 0 is always",
        ),
        (VALUES, "squared_error", "binary_cross_entropy", "loss: takes targets from 0 to 1, .* let loss be"),
    ],
)
def test_what_has_no_number_is_refused(text, old, new, message):
    assert text.count(old) == 1
    build_experiment(check_tree(parse(text, "test.yaml")))
    with pytest.raises(ConfigError, match=message):
        build_experiment(check_tree(parse(text.replace(old, new), "test.yaml")))


RUN = """\
name: run
data: {type: gaussian, examples: 300, features: 2, classes: 3,
  split: {train: 100, validation: 100, test: 100}}
model: [{type: dense, units: 3}]
metrics: [{type: f1, average: macro}, auc, {type: top_k, k: 2}, accuracy]
optimizer: {type: sgd,
  learning_rate: {type: performance, start: 2.0, metric: validation_f1_macro, patience: 2}}
train: {epochs: 40, stop: [{type: early_stopping, metric: validation_auc, patience: 6}]}
record: {every: {epochs: 1}, predictions: true}
expect: {best.test_top_2_accuracy: {min: 0.5}, selected.validation_auc: {min: 0.5}}
"""


def test_a_run_is_steered_by_metrics_and_returns_the_best(tmp_path):
    import pandas

    from nnlab.runs.run import run
    from nnlab.storage.run_directory import RunDirectory

    task = build_experiment(check_tree(parse(RUN, "test.yaml")))
    summary = run(task, RunDirectory(tmp_path / "run")).summary
    rows = pandas.read_csv(tmp_path / "run" / "metrics.csv")
    titles = ["loss", "accuracy", "f1_macro", "auc", "top_2_accuracy"]
    columns = [f"{split}_{title}" for split in ("train", "validation", "test") for title in titles]
    assert [name for name in rows if name in columns] == columns
    best = int(rows["validation_auc"].argmax())
    assert summary["stopped_by"] == "early_stopping"
    assert len(rows) - 1 == best + 6
    assert summary["selected"] == {name: rows[name][best] for name in rows}
    assert summary["best"] == {
        name: rows[name].min() if name.endswith("_loss") else rows[name].max() for name in columns
    }
    cuts = np.log2(2.0 / rows["learning_rate"].to_numpy())
    assert cuts[-1] == waits(rows["validation_f1_macro"], patience=2)[-1] > 0

    table = pandas.read_csv(tmp_path / "run" / "predictions.csv")
    test = table[table["split"] == "test"].sort_values(["example", "output"], kind="stable")
    z, truths = (test[name].to_numpy().reshape(-1, 3) for name in ("prediction", "target"))
    labels = truths.argmax(1)
    selected = summary["selected"]
    assert selected["test_f1_macro"] == pytest.approx(
        sk.f1_score(labels, z.argmax(1), average="macro"), abs=1e-6
    )
    of_test = sk.roc_auc_score(labels, softmax(z), multi_class="ovr")
    assert selected["test_auc"] == pytest.approx(of_test, abs=1e-3)  # predictions.csv is rounded


def test_a_record_at_which_a_run_diverges_is_not_the_best(tmp_path):
    """Outputs that are no numbers are taken for class 0: here that is right more often than at the start."""
    from nnlab.runs.run import run
    from nnlab.storage.run_directory import RunDirectory

    changes = {
        "start: 2.0": "start: 1.0e+30",
        "validation_auc": "validation_accuracy",
        "[{type: dense, units: 3}]": "[{type: dense, units: 4}, relu, {type: dense, units: 3}]",
        "{epochs: 1}": "{steps: 1}",
    }
    text = RUN
    for old, new in changes.items():
        text = text.replace(old, new)
    better_at_the_end = False
    for seed in range(8):  # whether class 0 is right more often is chance
        experiment = build_experiment(check_tree(parse(f"{text}seed: {seed}\n", "test.yaml")))
        summary = run(experiment, RunDirectory(tmp_path / f"run{seed}")).summary
        final, selected = summary["final"], summary["selected"]
        assert (summary["status"], final["validation_loss"]) == ("diverged", None)
        assert selected["step"] == 0
        better_at_the_end |= final["validation_accuracy"] > selected["validation_accuracy"]
    assert better_at_the_end


def waits(values, patience):
    """How often a rate was cut by each record, the values being better the higher they are."""
    best, waited, cuts, found = -np.inf, 0, 0, []
    for value in values:
        waited, best = (0, value) if value > best else (waited + 1, best)
        if waited >= patience:
            waited, cuts = 0, cuts + 1
        found.append(cuts)
    return found


def test_a_solver_has_metrics_too(tmp_path):
    from nnlab.training.closed_form import fit

    text = VALUES.replace("{type: dense, units: 1}", "{type: dense, units: 1, use_bias: false}")
    text = text.replace("train: {epochs: 2}", "optimizer: null\nsolver: least_squares")
    [chunk] = fit(build_experiment(check_tree(parse(text.replace("[r2]", "[r2, rmse]"), "test.yaml"))))
    row = chunk.tables["metrics"]
    for split in ("train", "test"):
        assert row[f"{split}_rmse"] == pytest.approx(np.sqrt(row[f"{split}_loss"]), rel=1e-12)
        assert row[f"{split}_r2"].dtype == np.float64
    assert 0.5 < row["train_r2"][0] <= 1


def test_a_registered_one_is_a_column(monkeypatch):
    monkeypatch.setitem(_CATALOGUE["metric"], "mean_output", None)  # the test over, there is none

    @register("metric")
    def mean_output(of: int = 0):
        """The mean output of a class.

        Args:
            of: The class.
        """
        return Metric(lambda outputs, labels: outputs[:, of].mean(), ("classes",))

    text = BASE.replace("[balanced_accuracy, auc]", "[auc, {type: mean_output, of: 1}]")
    text += "record: {every: {epochs: 1}, predictions: true}\nexpect: {final.test_mean_output: {min: -9}}\n"
    *_, last = train(build_experiment(check_tree(parse(text, "test.yaml"))))
    rows = last.tables["predictions"]
    of_class = (rows["split"] == "test") & (rows["output"] == 1)
    assert last.tables["metrics"]["test_mean_output"][-1] == pytest.approx(
        rows["prediction"][of_class].mean(), abs=1e-6
    )


@pytest.mark.parametrize("name", components("metric"))
def test_every_metric_is_compared_here(name):
    compared = {m if isinstance(m, str) else m["type"] for m in [*OF_CLASSES, *OF_LABELS, *OF_VALUES]}
    assert name in compared | {"top_k"}, f"compare the metric '{name}' with scikit-learn's"
