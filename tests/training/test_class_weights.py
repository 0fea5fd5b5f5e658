"""Weights of the classes against scikit-learn and PyTorch."""

import numpy as np
import pytest

from nnlab.config.document import Document
from nnlab.config.load import check_tree
from nnlab.data.examples import classification_examples
from nnlab.errors import ConfigError
from nnlab.training.class_weights import class_weights
from nnlab.training.experiment import build_experiment
from nnlab.training.lanes import Lanes
from nnlab.training.loop import train, train_together

RATE = 0.3


def experiment(loss, outputs=3, **keys):
    tree = {
        "name": "rare",
        "seed": 0,
        "data": {"type": "npz", "path": f"rare{max(outputs, 2)}.npz", "batch_size": "full"},
        "model": [{"type": "dense", "units": outputs}],
        "loss": loss,
        "optimizer": {"type": "sgd", "learning_rate": RATE},
        "train": {"steps": 3},
        "record": {"every": {"steps": 1}},
    }
    data = tree["data"] | keys.pop("data", {})
    return build_experiment(check_tree(Document(tree | keys | {"data": data}, {}, {}, "test")))


@pytest.fixture
def rare(folder):
    """Data of two and three classes, of which the last is rare."""
    random = np.random.default_rng(0)
    for shares in ([0.9, 0.1], [0.6, 0.32, 0.08]):
        labels = random.choice(len(shares), 200, p=shares)
        np.savez(
            folder / f"rare{len(shares)}.npz", x=random.standard_normal((200, 4)) + labels[:, None], y=labels
        )


def examples(labels, names=()):
    labels = np.array(labels)
    return classification_examples(np.zeros((len(labels), 1)), labels, class_names=names)


def test_balanced_is_scikit_learn_s():
    sk = pytest.importorskip("sklearn.utils.class_weight")
    labels = np.random.default_rng(1).choice(4, 500, p=[0.7, 0.2, 0.07, 0.03])
    expected = sk.compute_class_weight("balanced", classes=np.arange(4), y=labels)
    np.testing.assert_allclose(class_weights("balanced", examples(labels)), expected, rtol=1e-6)


def test_given_ones_are_scaled_to_a_mean_of_one():
    few = examples([0, 0, 0, 1, 2, 2], ("cat", "cow", "dog"))
    expected = np.array([1, 5, 2]) / ((3 * 1 + 5 + 2 * 2) / 6)
    for given in ([1, 5, 2], [2e307, 1e308, 4e307], {"cow": 5, "dog": 2}):
        np.testing.assert_allclose(class_weights(given, few), expected, rtol=1e-6)
    by_number = class_weights({"1": 5, "2": 2}, examples([0, 0, 0, 1, 2, 2]))
    np.testing.assert_allclose(by_number, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, 2], "loss.class_weights: has 2 weights, and there are 3 classes"),
        ({"0": 1, "4": 2}, "there is no class '4'.* there are 0, 1 and 2"),
        ({"0": 0}, "is not allowed; class_weights takes balanced"),
        ("balance", "did you mean 'balanced'"),
        ([1, 1, 1e300], "differ by more than float32 can hold"),
    ],
)
def test_what_does_not_fit_is_refused(rare, weights, message):
    with pytest.raises(ConfigError, match=message):
        experiment({"type": "cross_entropy", "class_weights": weights})


def test_a_class_without_an_example_cannot_be_balanced(folder):
    np.savez(folder / "rare3.npz", x=np.zeros((3, 1)), y=np.array([0, 1, 2]))
    with pytest.raises(ConfigError, match=r"class 0 has no training example to balance; .* keep_classes"):
        experiment({"type": "cross_entropy", "class_weights": "balanced"}, data={"limit": 3, "split": SPLIT})


SPLIT = {"train": 2, "validation": 1, "seed": 3}
WEIGHTS = {"cross_entropy": 3, "binary_cross_entropy": 1, "hinge": 3}


@pytest.mark.parametrize("given", ["balanced", [1.0, 7.0, 3.0]])
@pytest.mark.parametrize("name", WEIGHTS)
def test_steps_and_recorded_losses_are_pytorch_s(rare, name, given):
    """Of full batches; the weights of its losses as they are given, its mean over their sum."""
    torch = pytest.importorskip("torch")
    outputs = WEIGHTS[name]
    given = given if given == "balanced" else given[: max(outputs, 2)]
    task = experiment({"type": name, "class_weights": given}, outputs)
    params = task.first_weights()[0]["dense_1"]
    w, b = (torch.tensor(params[key], requires_grad=True) for key in ("kernel", "bias"))
    labels = {split: torch.tensor(part.targets).long() for split, part in task.data.splits.items()}
    counts = torch.bincount(labels["train"])
    weight = len(labels["train"]) / (len(counts) * counts) if given == "balanced" else torch.tensor(given)

    def loss(split):
        z = torch.tensor(task.data.splits[split].inputs) @ w + b
        of = labels[split]
        if name == "cross_entropy":
            return torch.nn.functional.cross_entropy(z, of, weight=weight)
        if name == "hinge":  # PyTorch divides by the number, not by the weights
            summed = torch.nn.functional.multi_margin_loss(z, of, weight=weight, reduction="sum")
            return summed / weight[of].sum()
        each = torch.nn.functional.binary_cross_entropy_with_logits(
            z[:, 0], of.float(), weight=weight[of], reduction="sum"
        )
        return each / weight[of].sum()

    expected = {split: [] for split in labels}
    for _ in range(4):
        for split, losses in expected.items():
            losses.append(float(loss(split).detach()))
        value = loss("train")
        value.backward()
        with torch.no_grad():
            for parameter in (w, b):
                parameter -= RATE * parameter.grad
                parameter.grad = None
    rows = [chunk.tables["metrics"] for chunk in train(task)]
    for split, losses in expected.items():
        found = np.concatenate([table[f"{split}_loss"] for table in rows])
        np.testing.assert_allclose(found, losses, rtol=2e-6)


def test_trainings_side_by_side_have_their_own_weights(rare):
    """Seeds split the data differently, and wrong labels count: one program takes the weights of each."""
    loss = {"type": "cross_entropy", "class_weights": "balanced"}
    tasks = [experiment(loss, seed=seed, data={"label_noise": 0.3 * seed}) for seed in (0, 1)]
    assert tasks[0].program_key == tasks[1].program_key
    weights = Lanes(tasks).arguments.class_weights
    for task, found in zip(tasks, weights, strict=True):
        counts = np.bincount(task.data.train.targets)
        np.testing.assert_allclose(found, len(task.data.train) / (3 * counts), rtol=1e-6)
    assert not np.allclose(*weights)
    together = {0: [], 1: []}
    for chunks in train_together(tasks):
        for lane, chunk in chunks.items():
            together[lane] += chunk.tables["metrics"]["validation_loss"].tolist()
    for task, found in zip(tasks, together.values(), strict=True):
        alone = [value for chunk in train(task) for value in chunk.tables["metrics"]["validation_loss"]]
        np.testing.assert_allclose(found, alone, rtol=1e-5)
