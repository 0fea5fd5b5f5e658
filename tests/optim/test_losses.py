"""Losses against PyTorch, NumPy and closed forms."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nnlab.nn.combinators import sequential
from nnlab.nn.dense import dense
from nnlab.nn.model import build_model
from nnlab.optim.losses import (
    absolute_error,
    binary_cross_entropy,
    cross_entropy,
    hinge,
    huber,
    importance_weighted_error,
    layer_loss,
    perceptron,
    squared_error,
)
from nnlab.registry import components

RANDOM = np.random.default_rng(0)
OUTPUTS = (3 * RANDOM.standard_normal((40, 7))).astype(np.float32)
LABELS = RANDOM.integers(0, 7, 40).astype(np.int32)
LOGITS = (3 * RANDOM.standard_normal((40, 1))).astype(np.float32)
BITS = RANDOM.integers(0, 2, 40).astype(np.int32)
VALUES = RANDOM.standard_normal((40, 7)).astype(np.float32)
ONE_HOT = np.eye(7, dtype=np.float32)[LABELS]
SIGNS = 2 * ONE_HOT - 1
MANY_LABELS = RANDOM.integers(0, 2, (40, 7)).astype(np.float32)
SHARES = RANDOM.random((40, 7)).astype(np.float32)


def smoothed(smoothing):
    def theirs(torch, z):
        labels = torch.tensor(LABELS).long()
        return torch.nn.functional.cross_entropy(z, labels, label_smoothing=smoothing)

    return cross_entropy(label_smoothing=smoothing), OUTPUTS, LABELS, theirs


def log_loss(torch, z):
    return torch.nn.functional.binary_cross_entropy_with_logits(z[:, 0], torch.tensor(BITS).float())


def distance_to_the_right_side(torch, z):
    return torch.relu((1 - 2 * torch.tensor(BITS)) * z[:, 0]).mean()


def log_losses(targets):
    return lambda torch, z: torch.nn.functional.binary_cross_entropy_with_logits(z, torch.tensor(targets))


def weighted_squares(torch, z):
    """With weights 0.7^k; PyTorch has no such loss, but its gradient."""
    weights = torch.tensor([0.7**k for k in range(7)])
    return ((z - torch.tensor(VALUES)) ** 2 * weights).sum(1).mean()


def margin(torch, z):
    return torch.relu(1 - (2 * torch.tensor(BITS) - 1) * z[:, 0]).mean()


def margins(torch, z):
    return torch.nn.functional.multi_margin_loss(z, torch.tensor(LABELS).long())


def squares_from(targets, factor):
    return lambda torch, z: factor * torch.nn.functional.mse_loss(z, torch.tensor(targets))


# loss -> [(loss, outputs, targets, the mean of PyTorch's: (torch, outputs) -> tensor)]
CASES = {
    "cross_entropy": [smoothed(smoothing) for smoothing in (0.0, 0.1, 0.99)],
    "binary_cross_entropy": [
        (binary_cross_entropy(), LOGITS, BITS, log_loss),
        (binary_cross_entropy(), OUTPUTS, MANY_LABELS, log_losses(MANY_LABELS)),
        (binary_cross_entropy(), OUTPUTS, SHARES, log_losses(SHARES)),
    ],
    "hinge": [(hinge(), LOGITS, BITS, margin), (hinge(), OUTPUTS, LABELS, margins)],
    "absolute_error": [
        (
            absolute_error(),
            OUTPUTS,
            VALUES,
            lambda torch, z: torch.nn.functional.l1_loss(z, torch.tensor(VALUES)),
        )
    ],
    "huber": [
        (
            huber(delta),
            OUTPUTS,
            VALUES,
            lambda torch, z, d=delta: torch.nn.functional.huber_loss(z, torch.tensor(VALUES), delta=d),
        )
        for delta in (0.5, 1.0, 3.0)
    ],
    "perceptron": [(perceptron(), LOGITS, BITS, distance_to_the_right_side)],
    "squared_error": [
        (squared_error(), OUTPUTS, VALUES, squares_from(VALUES, 1.0)),
        (squared_error(outputs="sum"), OUTPUTS, VALUES, squares_from(VALUES, 7.0)),
        (squared_error(), OUTPUTS, LABELS, squares_from(ONE_HOT, 1.0)),
        (squared_error(outputs="sum"), OUTPUTS, LABELS, squares_from(ONE_HOT, 7.0)),
        (squared_error(low=-1.0), OUTPUTS, LABELS, squares_from(SIGNS, 1.0)),
        (squared_error(), LOGITS, VALUES[:, :1], squares_from(VALUES[:, :1], 1.0)),
    ],
    "layer_loss": [(layer_loss(), LOGITS, VALUES[:, :1], lambda torch, z: z.mean())],
    "importance_weighted_error": [(importance_weighted_error(0.7), OUTPUTS, VALUES, weighted_squares)],
}


def per_example(loss, outputs, targets):
    found = jax.jit(loss.per_example)(jnp.asarray(outputs, jnp.float32), jnp.asarray(targets))
    assert found.shape == (len(targets),)
    assert found.dtype == jnp.float32
    return np.asarray(found, np.float64)


def slope(loss, outputs, targets):
    mean = jax.jit(jax.grad(lambda z: loss.per_example(z, jnp.asarray(targets)).mean()))
    return np.asarray(mean(jnp.asarray(outputs, jnp.float32)))


@pytest.mark.parametrize("name", components("loss"))
def test_every_loss_is_compared_here(name):
    assert name in CASES, f"give the loss '{name}' a case in CASES"


@pytest.mark.parametrize(
    ("loss", "outputs", "targets", "theirs"), [case for cs in CASES.values() for case in cs]
)
def test_mean_and_gradient_equal_pytorch(loss, outputs, targets, theirs):
    torch = pytest.importorskip("torch")
    z = torch.tensor(outputs, requires_grad=True)
    value = theirs(torch, z)
    value.backward()
    assert per_example(loss, outputs, targets).mean() == pytest.approx(float(value.detach()), rel=1e-6)
    np.testing.assert_allclose(slope(loss, outputs, targets), z.grad.numpy(), rtol=1e-5, atol=1e-7)


def test_cross_entropy_equals_its_formula():
    exact = OUTPUTS.astype(np.float64)
    expected = np.log(np.exp(exact).sum(1)) - exact[np.arange(40), LABELS]
    np.testing.assert_allclose(per_example(cross_entropy(), OUTPUTS, LABELS), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.1, 0.9])
def test_smoothed_cross_entropy_is_that_with_the_smoothed_target(smoothing):
    exact = OUTPUTS.astype(np.float64)
    log_p = exact - np.log(np.exp(exact).sum(1, keepdims=True))
    target = (1 - smoothing) * ONE_HOT + smoothing / 7
    loss = cross_entropy(label_smoothing=smoothing)
    found = per_example(loss, OUTPUTS, LABELS)
    np.testing.assert_allclose(found, -(target * log_p).sum(1), rtol=1e-5, atol=1e-6)
    by_hand = (np.exp(log_p) - target) / 40
    np.testing.assert_allclose(slope(loss, OUTPUTS, LABELS), by_hand, rtol=1e-5, atol=1e-7)
    entropy = -(target[0] * np.log(target[0])).sum()  # what outputs that hit the target cost
    np.testing.assert_allclose(per_example(loss, np.log(target), LABELS), entropy, rtol=1e-5)


def test_without_smoothing_nothing_more_is_computed():
    def plain(outputs, labels):
        log_p = jax.nn.log_softmax(outputs)
        is_label = jnp.arange(outputs.shape[-1])[None] == labels[:, None]
        return -jnp.where(is_label, log_p, 0.0).sum(-1)

    expected = str(jax.make_jaxpr(plain)(OUTPUTS, LABELS))
    for loss in (cross_entropy(), cross_entropy(label_smoothing=0.0)):
        assert str(jax.make_jaxpr(loss.per_example)(OUTPUTS, LABELS)) == expected
    smoothed = cross_entropy(label_smoothing=0.1).per_example
    assert str(jax.make_jaxpr(smoothed)(OUTPUTS, LABELS)) != expected


def test_binary_cross_entropy_equals_its_formula():
    p = 1 / (1 + np.exp(-LOGITS[:, 0].astype(np.float64)))
    expected = np.where(BITS == 1, -np.log(p), -np.log(1 - p))
    found = per_example(binary_cross_entropy(), LOGITS, BITS)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_squared_error_equals_its_formula():
    squares = (OUTPUTS.astype(np.float64) - ONE_HOT) ** 2
    np.testing.assert_allclose(per_example(squared_error(), OUTPUTS, LABELS), squares.mean(1), rtol=1e-5)
    summed = per_example(squared_error(outputs="sum"), OUTPUTS, LABELS)
    np.testing.assert_allclose(summed, squares.sum(1), rtol=1e-5)


@pytest.mark.parametrize("classes", [2, 10, 31])
def test_a_uniform_guess_costs_log_of_the_classes(classes):
    labels = np.arange(classes, dtype=np.int32)
    found = per_example(cross_entropy(), np.full((classes, classes), 3.7), labels)
    np.testing.assert_allclose(found, math.log(classes), rtol=1e-6)


def test_an_even_guess_costs_log_two():
    found = per_example(binary_cross_entropy(), np.zeros((2, 1)), np.array([0, 1], np.int32))
    np.testing.assert_allclose(found, 0.693147, rtol=1e-6)


@pytest.mark.parametrize("y", [0, 1])
def test_log_loss_of_a_sigmoid_unit_is_minus_log_sigmoid(y):
    """Lecture 002, up to z = 100, where a sigmoid of float32 has long been 1 and its complement 0."""
    z = np.array([-100.0, -30.0, -1.0, 0.0, 1.0, 30.0, 100.0])
    towards = z if y else -z  # 1 - sigmoid(z) = sigmoid(-z)
    found = per_example(binary_cross_entropy(), z[:, None], np.full(7, y, np.int32))
    np.testing.assert_allclose(found, np.logaddexp(0, -towards), rtol=1e-6, atol=1e-13)
    found = 7 * slope(binary_cross_entropy(), z[:, None], np.full(7, y, np.int32))[:, 0]
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-z)) - y, rtol=1e-6, atol=1e-13)


@pytest.mark.parametrize("size", [100.0, 1e4])
def test_finite_at_large_logits(size):
    """Sure and right costs nothing, sure and wrong the logit; gradients are those of a step."""
    logits, bits = np.array([[size], [-size], [size], [-size]]), np.array([1, 0, 0, 1], np.int32)
    np.testing.assert_allclose(
        per_example(binary_cross_entropy(), logits, bits), [0, 0, size, size], rtol=1e-6
    )
    np.testing.assert_allclose(
        4 * slope(binary_cross_entropy(), logits, bits)[:, 0], [0, 0, 1, -1], rtol=1e-6, atol=1e-12
    )

    outputs, labels = np.array([[size, -size]] * 2), np.array([0, 1], np.int32)
    np.testing.assert_allclose(per_example(cross_entropy(), outputs, labels), [0, 2 * size], rtol=1e-6)
    np.testing.assert_allclose(
        2 * slope(cross_entropy(), outputs, labels), [[0, 0], [1, -1]], rtol=1e-6, atol=1e-12
    )


def accuracy(loss, outputs, targets):
    found = np.asarray(loss.correct(jnp.asarray(outputs), jnp.asarray(targets)))
    assert set(np.unique(found)) <= {0.0, 1.0}
    return found


def test_accuracy_equals_numpy():
    right = OUTPUTS.argmax(1) == LABELS
    assert 0 < right.mean() < 1
    for loss in (cross_entropy(), cross_entropy(0.5), hinge(), squared_error(), squared_error(outputs="sum")):
        np.testing.assert_array_equal(accuracy(loss, OUTPUTS, LABELS), right)
    right = (LOGITS[:, 0] > 0) == BITS
    for loss in (binary_cross_entropy(), hinge(), perceptron()):
        np.testing.assert_array_equal(accuracy(loss, LOGITS, BITS), right)


@pytest.mark.parametrize(
    ("loss", "classes", "outputs"),
    [
        (cross_entropy(), 10, 10),
        (cross_entropy(), 0, None),
        (binary_cross_entropy(), 2, 1),
        (binary_cross_entropy(), 3, None),
        (binary_cross_entropy(), 0, 0),
        (hinge(), 2, 1),
        (hinge(), 3, 3),
        (hinge(), 0, None),
        (absolute_error(), 0, 0),
        (huber(), 3, None),
        (perceptron(), 2, 1),
        (perceptron(), 3, None),
        (perceptron(), 0, None),
        (squared_error(), 10, 10),
        (squared_error(), 0, 0),
    ],
)
def test_outputs_that_a_task_needs(loss, classes, outputs):
    assert loss.outputs_for(classes) == outputs


# --- the perceptron --------------------------------------------------------------------------------------

CORNERS = np.array([[-1, -1, 1], [-1, 1, 1], [1, -1, 1], [1, 1, 1]], np.float32)  # a constant appended
AND, XOR = (np.array(bits, np.int32) for bits in ([0, 0, 0, 1], [0, 1, 1, 0]))


def rosenblatt(labels, rate, epochs):
    """The weights after each epoch, one example a step, from zeros, by his rule; and how many are right."""
    w, seen, right = np.zeros(3), [], []
    for _ in range(epochs):
        for x, y in zip(CORNERS.astype(np.float64), labels, strict=True):
            w = w - rate * (int(w @ x > 0) - y) * x
        seen.append(w)
        right.append(int(((CORNERS @ w > 0) == labels).sum()))
    return np.array(seen), right


def descended(labels, rate, epochs):
    """The same by gradient descent on the loss."""
    loss = perceptron()

    def mean(w, x, y):
        return loss.per_example(x @ w, y).mean()

    def epoch(w, _):
        for i in range(4):
            x, y = jnp.asarray(CORNERS[i : i + 1]), jnp.asarray(labels[i : i + 1])
            w = w - rate * jax.grad(mean)(w, x, y)
        return w, (w[:, 0], loss.correct(jnp.asarray(CORNERS) @ w, jnp.asarray(labels)).sum())

    _, (seen, right) = jax.lax.scan(epoch, jnp.zeros((3, 1)), None, epochs)
    return np.asarray(seen), np.asarray(right).astype(int).tolist()


@pytest.mark.parametrize("rate", [1.0, 0.25])
@pytest.mark.parametrize("labels", [AND, XOR], ids=["and", "xor"])
def test_descent_on_its_loss_is_the_perceptron_s_rule(labels, rate):
    weights, right = descended(labels, rate, 100)
    expected, expected_right = rosenblatt(labels, rate, 100)
    np.testing.assert_array_equal(weights, expected)
    assert right == expected_right
    if labels is AND:
        assert right[0] < 4
        assert right[-1] == 4
        first = right.index(4)
        np.testing.assert_array_equal(weights[first:], np.tile(weights[first], (100 - first, 1)))
    else:
        assert max(right) < 4


@pytest.mark.parametrize(
    ("z", "y", "by_z"), [(0.0, 0, 0), (0.0, 1, -1), (2.0, 0, 1), (2.0, 1, 0), (-2.0, 1, -1)]
)
def test_gradient_of_the_perceptron_is_output_minus_label(z, y, by_z):
    assert float(slope(perceptron(), [[z]], np.array([y]))[0, 0]) == by_z


# --- backpropagation by hand -----------------------------------------------------------------------------


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def test_backpropagation_by_hand_through_two_two_one():
    """Lecture 002: sigmoid units throughout, L = 1/2 (y - y*)^2, the chain rule from the output back."""
    net = build_model(sequential([dense(2), "sigmoid", dense(1), "sigmoid"]), (2,))
    draw = np.random.default_rng(2)
    params = {
        "dense_1": {"kernel": draw.standard_normal((2, 2)), "bias": draw.standard_normal(2)},
        "dense_2": {"kernel": draw.standard_normal((2, 1)), "bias": draw.standard_normal(1)},
    }
    x, target = np.array([0.8, -1.3]), 1.0
    hidden, out = params["dense_1"], params["dense_2"]
    z = sigmoid(x @ hidden["kernel"] + hidden["bias"])
    y = sigmoid(z @ out["kernel"] + out["bias"])
    by_out = (y - target) * y * (1 - y)  # dL/ds of the output unit
    by_hidden = by_out * out["kernel"][:, 0] * z * (1 - z)
    expected = {
        "dense_1": {"kernel": np.outer(x, by_hidden), "bias": by_hidden},
        "dense_2": {"kernel": np.outer(z, by_out), "bias": by_out},
    }

    def loss(params):
        output = net.apply(params, {}, jnp.asarray(x[None], jnp.float32), key=jax.random.key(0), train=True)
        return 0.5 * squared_error().per_example(output.value, jnp.full((1, 1), target)).mean()

    value, found = jax.value_and_grad(loss)(jax.tree.map(jnp.float32, params))
    assert float(value) == pytest.approx(0.5 * (y[0] - target) ** 2, rel=1e-6)
    jax.tree.map(lambda f, e: np.testing.assert_allclose(f, e, rtol=1e-6, atol=1e-6), found, expected)
    assert min(np.abs(leaf).min() for leaf in jax.tree.leaves(expected)) > 1e-4, "it must be able to fail"
