"""Constraints against PyTorch and their closed forms in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nnlab.config import check_tree
from nnlab.config.document import Document
from nnlab.config.resolve import resolve
from nnlab.optim.constraints import max_norm
from nnlab.registry import build, components
from nnlab.training import loop as training
from nnlab.training import segments
from nnlab.training.experiment import build_experiment

SHAPES = [(1, 1), (7,), (5, 4), (784, 30), (3, 3, 8, 16), (100_000, 2)]
SIZES = [1e-44, 1e-30, 1e-19, 1e-3, 0.1, 1.0, 30.0, 1e19, 1e30, 1e38]
LIMITS = [1e-30, 1e-3, 0.3, 1.0, 5.0, 1e6, 1e30]

constrained = jax.jit(lambda kernel, limit: max_norm(kernel, limit=limit))


def drawn(shape, seed=0, size=1.0):
    """Uniform in [-size, size]."""
    random = np.random.default_rng(seed)
    return (size * random.uniform(-1, 1, shape)).astype(np.float32)


def lengths(kernel):
    """Of the units' incoming vectors, in float64."""
    return np.linalg.norm(np.asarray(kernel, np.float64).reshape(-1, kernel.shape[-1]), axis=0)


def test_every_constraint_is_tested_here():
    assert set(components("constraint")) == {"max_norm"}


def test_as_it_stands_in_a_file():
    problems = []
    assert resolve("constraint", "max_norm", (), problems) == {"type": "max_norm", "limit": 1.0}
    resolve("constraint", {"type": "max_norm", "limit": 0.0}, (), problems)
    (problem,) = problems
    assert (problem.path, problem.message) == (("limit",), "0.0 is not allowed; limit takes a number > 0")
    built = build("constraint", {"type": "max_norm", "limit": 5.0})
    np.testing.assert_allclose(built(jnp.array([[6.0, 1.0], [8.0, 2.0]])), [[3, 1], [4, 2]], rtol=2e-6)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_no_vector_is_longer_than_the_limit_and_none_shorter_than_it_must_be(shape):
    shortened = 0
    for seed, size in enumerate(SIZES):
        kernel = drawn(shape, seed, size)
        for limit in LIMITS:
            found = np.asarray(constrained(kernel, np.float32(limit)), np.float64)
            before, after = lengths(kernel), lengths(found)
            assert (after <= limit).all()
            factor = np.minimum(1.0, limit / np.maximum(before, 1e-300))
            expected = kernel * factor
            # products below float32's normal range are rounded to 0
            np.testing.assert_allclose(found, expected, rtol=2e-6, atol=2e-38)
            same = before <= limit * (1 - 3e-6)
            np.testing.assert_array_equal(found[..., same], kernel[..., same])
            shortened += (~same).sum()
    assert shortened > 10 * shape[-1]


@pytest.mark.parametrize("value", [0.1, 1 / 3, 0.7])
@pytest.mark.parametrize("inputs", [3, 1000, 4097, 300_000])
def test_roundings_that_all_go_one_way_leave_nothing_above_the_limit(inputs, value):
    kernel = np.full((inputs, 3), value, np.float32)
    length = lengths(kernel)[0]
    for limit in (length / 2, length * (1 - 1e-6), length, length * (1 + 5e-7)):
        after = lengths(constrained(kernel, np.float32(limit)))
        assert (after <= np.float64(limit)).all()
        np.testing.assert_allclose(after, min(limit, length), rtol=2e-6)


def test_short_and_empty_vectors_are_left_as_they_are():
    kernel = np.array([[0, 3e-44, 0.6, 3.0, 3e38], [0, 0, -0.8, 4.0, 3e38]], np.float32)
    found = np.asarray(constrained(kernel, np.float32(2.0)))
    np.testing.assert_array_equal(found[:, :3], kernel[:, :3])
    np.testing.assert_allclose(found[:, 3:], [[1.2, 2**0.5], [1.6, 2**0.5]], rtol=2e-6)
    zeros = np.zeros((4, 3), np.float32)
    np.testing.assert_array_equal(constrained(zeros, np.float32(1.0)), zeros)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_second_time_changes_no_more_than_rounding(shape):
    once = constrained(drawn(shape, size=30.0), np.float32(0.5))
    np.testing.assert_allclose(constrained(once, np.float32(0.5)), once, rtol=3e-7, atol=0)


@pytest.mark.parametrize("limit", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("shape", [(5, 4), (784, 30), (3, 3, 8, 16)], ids=str)
def test_max_norm_equals_pytorch(shape, limit):
    torch = pytest.importorskip("torch")
    kernel = drawn(shape) * np.linspace(0.01, 3.0, shape[-1], dtype=np.float32)
    longer = lengths(kernel) > limit
    assert 0 < longer.sum() < len(longer) or shape == (5, 4)
    expected = torch.renorm(torch.tensor(kernel), p=2, dim=-1, maxnorm=limit)
    np.testing.assert_allclose(constrained(kernel, np.float32(limit)), expected, rtol=3e-6, atol=1e-9)


def test_what_is_not_finite_stays_to_be_seen():
    kernel = np.array([[np.inf, np.nan, 3.0], [1.0, 1.0, 4.0]], np.float32)
    finite = np.isfinite(np.asarray(constrained(kernel, np.float32(1.0)))).all(0)
    assert finite.tolist() == [False, False, True]


def test_kernels_side_by_side_are_constrained_one_by_one():
    kernels, limits = drawn((3, 5, 4), size=2.0), np.array([0.1, 1.0, 9.0], np.float32)
    together = jax.vmap(constrained)(kernels, limits)
    alone = [constrained(kernel, limit) for kernel, limit in zip(kernels, limits, strict=True)]
    np.testing.assert_allclose(together, np.stack(alone), rtol=3e-7)


def test_the_bound_holds_after_every_step_of_a_training(monkeypatch):
    """A rate that would carry the weights far beyond it at once; without the constraint it does."""
    tree = {
        "name": "bound",
        "data": {"type": "wine", "normalize": "standardize", "batch_size": 16},
        "model": {"type": "mlp", "width": 8, "depth": 2, "outputs": 3},
        "optimizer": {"type": "sgd", "momentum": 0.9, "learning_rate": 0.3},
        "train": {"steps": 25},
    }
    monkeypatch.setattr(segments, "MAXIMUM_FIRST_STEPS", 1)
    monkeypatch.setattr(segments, "CHUNK_SECONDS", 0.0)
    longest = {}
    for limit in (0.7, None):
        constraints = [{"type": "max_norm", "limit": limit}] if limit else []
        experiment = build_experiment(
            check_tree(Document(tree | {"constraints": constraints}, {}, {}, "test"))
        )
        longest[limit] = []
        for chunk in training.train(experiment):
            kernels = [layer["kernel"] for layer in chunk.state().params.values()]
            norms = [np.linalg.norm(np.asarray(kernel, np.float64), axis=0).max() for kernel in kernels]
            longest[limit].append(max(norms))
    assert len(longest[0.7]) >= 25
    assert max(longest[0.7]) <= 0.7
    assert min(longest[None]) > 0.7
