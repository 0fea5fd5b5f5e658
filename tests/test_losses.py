"""Losses against PyTorch, NumPy and closed forms."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nnlab.losses import binary_cross_entropy, cross_entropy, squared_error
from nnlab.registry import components

RANDOM = np.random.default_rng(0)
OUTPUTS = (3 * RANDOM.standard_normal((40, 7))).astype(np.float32)
LABELS = RANDOM.integers(0, 7, 40).astype(np.int32)
LOGITS = (3 * RANDOM.standard_normal((40, 1))).astype(np.float32)
BITS = RANDOM.integers(0, 2, 40).astype(np.int32)
VALUES = RANDOM.standard_normal((40, 7)).astype(np.float32)
ONE_HOT = np.eye(7, dtype=np.float32)[LABELS]

# loss -> [(loss, outputs, targets, PyTorch's (function, targets, arguments, factor))]
CASES = {
    "cross_entropy": [(cross_entropy(), OUTPUTS, LABELS, ("cross_entropy", LABELS.astype(np.int64), 1.0))],
    "binary_cross_entropy": [
        (
            binary_cross_entropy(),
            LOGITS,
            BITS,
            ("binary_cross_entropy_with_logits", BITS[:, None].astype(np.float32), 1.0),
        )
    ],
    "squared_error": [
        (squared_error(), OUTPUTS, VALUES, ("mse_loss", VALUES, 1.0)),
        (squared_error(outputs="sum"), OUTPUTS, VALUES, ("mse_loss", VALUES, 7.0)),
        (squared_error(), OUTPUTS, LABELS, ("mse_loss", ONE_HOT, 1.0)),
        (squared_error(outputs="sum"), OUTPUTS, LABELS, ("mse_loss", ONE_HOT, 7.0)),
        (squared_error(), LOGITS, VALUES[:, :1], ("mse_loss", VALUES[:, :1], 1.0)),
    ],
}


def per_example(loss, outputs, targets):
    found = loss.per_example(jnp.asarray(outputs, jnp.float32), jnp.asarray(targets))
    assert found.shape == (len(targets),)
    assert found.dtype == jnp.float32
    return np.asarray(found, np.float64)


def slope(loss, outputs, targets):
    mean = jax.grad(lambda z: loss.per_example(z, jnp.asarray(targets)).mean())
    return np.asarray(mean(jnp.asarray(outputs, jnp.float32)))


@pytest.mark.parametrize("name", components("loss"))
def test_every_loss_is_compared_here(name):
    assert name in CASES, f"give the loss '{name}' a case in CASES"


@pytest.mark.parametrize(
    ("loss", "outputs", "targets", "theirs"), [case for cs in CASES.values() for case in cs]
)
def test_mean_and_gradient_equal_pytorch(loss, outputs, targets, theirs):
    torch = pytest.importorskip("torch")
    name, their_targets, factor = theirs
    z = torch.tensor(outputs, requires_grad=True)
    value = factor * getattr(torch.nn.functional, name)(z, torch.tensor(their_targets))
    value.backward()
    assert per_example(loss, outputs, targets).mean() == pytest.approx(float(value.detach()), rel=1e-6)
    np.testing.assert_allclose(slope(loss, outputs, targets), z.grad.numpy(), rtol=1e-5, atol=1e-7)


def test_cross_entropy_equals_its_formula():
    exact = OUTPUTS.astype(np.float64)
    expected = np.log(np.exp(exact).sum(1)) - exact[np.arange(40), LABELS]
    np.testing.assert_allclose(per_example(cross_entropy(), OUTPUTS, LABELS), expected, rtol=1e-5, atol=1e-6)


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
    for loss in (cross_entropy(), squared_error(), squared_error(outputs="sum")):
        np.testing.assert_array_equal(accuracy(loss, OUTPUTS, LABELS), right)
    right = (LOGITS[:, 0] > 0) == BITS
    np.testing.assert_array_equal(accuracy(binary_cross_entropy(), LOGITS, BITS), right)


@pytest.mark.parametrize(
    ("loss", "classes", "outputs"),
    [
        (cross_entropy(), 10, 10),
        (cross_entropy(), 0, None),
        (binary_cross_entropy(), 2, 1),
        (binary_cross_entropy(), 3, None),
        (binary_cross_entropy(), 0, None),
        (squared_error(), 10, 10),
        (squared_error(), 0, 0),
    ],
)
def test_outputs_that_a_task_needs(loss, classes, outputs):
    assert loss.outputs_for(classes) == outputs
