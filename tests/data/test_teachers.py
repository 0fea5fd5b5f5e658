"""Data sets with a known function, against their formulas."""

import numpy as np
import pytest

from nnlab.config.resolve import resolve
from nnlab.registry import build

CONFIGS = {
    "wave": {"type": "wave", "examples": 40, "noise": 0.3},
    "linear_teacher": {"type": "linear_teacher", "examples": 40, "features": 6, "noise": 0.3},
    "relu_teacher": {"type": "relu_teacher", "examples": 40, "features": 6, "noise": 0.3},
}


def load(config, seed=0):
    problems = []
    resolved = resolve("dataset", config, (), problems)
    assert problems == []
    return build("dataset", resolved).load(seed)


def problems_of(config):
    problems = []
    resolve("dataset", config, (), problems)
    return [(problem.path, problem.message) for problem in problems]


@pytest.mark.parametrize("name", CONFIGS)
def test_the_seed_draws_the_training_set_alone(name):
    first, again, other = (load(CONFIGS[name], seed) for seed in (0, 0, 1))
    assert first.hash == again.hash
    np.testing.assert_array_equal(first.test.inputs, other.test.inputs)
    np.testing.assert_array_equal(first.test.targets, other.test.targets)
    assert not np.isin(first.train.inputs, other.train.inputs).any()
    assert first.validation is None
    assert len(first.train) == 40
    for part in (first.train, first.test):
        assert (part.inputs.dtype, part.targets.dtype, part.classes) == (np.float32, np.float32, 0)
        assert part.targets.shape == (len(part), 1)


# --- sines -----------------------------------------------------------------------------------------------


def test_sines_have_their_frequencies_alone():
    data = load({"type": "sines", "examples": 64, "frequencies": [2, 7]})
    np.testing.assert_allclose(data.train.inputs[:, 0], np.arange(64) / 64, rtol=1e-6)
    amplitudes = np.abs(np.fft.rfft(data.train.targets[:, 0].astype(float))) / 32
    np.testing.assert_allclose(np.flatnonzero(amplitudes > 1e-5), [2, 7])
    np.testing.assert_allclose(amplitudes[[2, 7]], 1.0, rtol=1e-5)
    np.testing.assert_allclose(data.test.inputs[:, 0], (np.arange(64) + 0.5) / 64, rtol=1e-6)
    again = load({"type": "sines", "examples": 64, "frequencies": [2, 7]}, seed=1)
    np.testing.assert_array_equal(data.train.targets, again.train.targets)


@pytest.mark.parametrize("frequencies", [[], [1, 32]])
def test_a_grid_has_no_higher_frequencies(frequencies):
    (path, message), *others = problems_of({"type": "sines", "examples": 64, "frequencies": frequencies})
    assert not others
    assert path == ("frequencies",)
    assert "from 1 to 31" in message


# --- wave ------------------------------------------------------------------------------------------------


def test_a_wave_is_its_formula():
    data = load({"type": "wave", "examples": 500, "slope": -1.5, "frequency": 7.0, "test_examples": 11})
    np.testing.assert_allclose(data.test.inputs[:, 0], np.linspace(-1, 1, 11), rtol=1e-6)
    for part in (data.train, data.test):
        x = part.inputs.astype(float)
        np.testing.assert_allclose(part.targets, -1.5 * x + np.cos(7 * x), atol=1e-7, rtol=1e-6)
    x = data.train.inputs
    assert -1 <= x.min() < -0.95 < 0.95 < x.max() <= 1
    assert abs(x.mean()) < 3 / np.sqrt(3 * 500)


def test_the_defaults_are_schaeffers():
    data = load("wave")
    assert (len(data.train), len(data.test)) == (15, 500)
    x = data.train.inputs.astype(float)
    np.testing.assert_allclose(data.train.targets, 2 * x + np.cos(25 * x), atol=1e-6)


def test_noise_is_added_to_training_targets_alone():
    clean, noisy = (load({"type": "wave", "examples": 2000, "noise": noise}) for noise in (0.0, 0.4))
    np.testing.assert_array_equal(clean.train.inputs, noisy.train.inputs)
    np.testing.assert_array_equal(clean.test.targets, noisy.test.targets)
    assert (noisy.train.targets - clean.train.targets).std() == pytest.approx(0.4, rel=0.05)


# --- linear teacher --------------------------------------------------------------------------------------


def teacher_of(**changes):
    return load({"type": "linear_teacher", "examples": 4000, "features": 12, **changes})


def weights_of(part):
    """The teacher, found out from its examples."""
    return np.linalg.lstsq(part.inputs.astype(float), part.targets.astype(float))[0][:, 0]


def test_the_teacher_is_linear_and_the_same_for_all():
    data = teacher_of(noise=0.5)
    w = weights_of(data.test)
    np.testing.assert_allclose(data.test.targets[:, 0], data.test.inputs.astype(float) @ w, atol=1e-5)
    errors = data.train.targets[:, 0] - data.train.inputs @ w
    assert errors.std() == pytest.approx(0.5, rel=0.05)
    np.testing.assert_allclose(np.cov(data.train.inputs.T), np.eye(12), atol=0.1)
    np.testing.assert_allclose(weights_of(teacher_of(examples=50).test), w, atol=1e-5)
    other = teacher_of(seed=1)
    assert not np.allclose(weights_of(other.test), w, atol=0.1)
    assert np.isin(other.test.inputs, data.test.inputs).mean() < 0.01  # numbers of float32 may coincide


def test_a_longer_training_set_begins_with_the_shorter():
    short, long = teacher_of(examples=5, noise=0.2), teacher_of(examples=9, noise=0.2)
    np.testing.assert_array_equal(long.train.inputs[:5], short.train.inputs)
    np.testing.assert_array_equal(long.train.targets[:5], short.train.targets)


def test_what_the_student_does_not_see_is_residual():
    whole, seen, free = teacher_of(), teacher_of(seen=8), teacher_of(seen=8, residual=False)
    np.testing.assert_array_equal(seen.train.inputs, whole.train.inputs[:, :8])
    np.testing.assert_array_equal(seen.train.targets, whole.train.targets)
    w = weights_of(whole.test)
    unexplained = seen.test.targets[:, 0] - seen.test.inputs @ w[:8]
    assert unexplained.var() == pytest.approx((w[8:] ** 2).sum(), rel=0.15)
    np.testing.assert_allclose(free.test.targets[:, 0], free.test.inputs.astype(float) @ w[:8], atol=1e-5)


def test_slow_features_come_divided():
    plain, slowed = teacher_of(seen=10), teacher_of(seen=10, slow=3, condition=20.0)
    np.testing.assert_array_equal(slowed.train.inputs[:, :7], plain.train.inputs[:, :7])
    np.testing.assert_allclose(slowed.train.inputs[:, 7:], plain.train.inputs[:, 7:] / 20, rtol=1e-6)
    np.testing.assert_allclose(slowed.test.inputs[:, 7:], plain.test.inputs[:, 7:] / 20, rtol=1e-6)
    np.testing.assert_array_equal(slowed.train.targets, plain.train.targets)


def test_the_weights_can_be_given_a_length():
    drawn, scaled = weights_of(teacher_of().test), weights_of(teacher_of(weight_norm=0.5).test)
    assert np.linalg.norm(scaled) == pytest.approx(0.5, rel=1e-5)
    np.testing.assert_allclose(scaled / 0.5, drawn / np.linalg.norm(drawn), atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ({"seen": 13}, ("seen",), "more than the 12 features"),
        ({"seen": 4, "slow": 5}, ("slow",), "more than the 4 inputs"),
        ({"condition": 0.5}, ("condition",), "not allowed"),
        ({"weight_norm": 0}, ("weight_norm",), "not allowed"),
    ],
)
def test_what_does_not_fit_is_refused(changes, path, words):
    ((at, message),) = problems_of({"type": "linear_teacher", "features": 12, **changes})
    assert at == path
    assert words in message


def test_slow_features_make_gradient_descent_descend_twice():
    """ATLAS §2, Epoch-wise: the test loss has a minimum near step 5, a peak near 75, and ends low.

    Gradient descent at the rate 0.3 on half the mean squared error, from zero, in the eigenbasis of X'X.
    """
    rises, falls = [], []
    for seed in range(5):
        config = {"type": "linear_teacher", "examples": 130, "features": 100, "slow": 30, "condition": 20.0}
        data = load(config | {"noise": 0.2, "weight_norm": 1.0}, seed)
        x, y = data.train.inputs.astype(float), data.train.targets[:, 0].astype(float)
        rates, basis = np.linalg.eigh(x.T @ x / 130)
        steps = np.unique(np.geomspace(1, 12_800, 60).astype(int))
        learnt = (1 - (1 - 0.3 * rates) ** steps[:, None]) / rates  # [steps, D]
        outputs = data.test.inputs @ basis @ (learnt * (basis.T @ x.T @ y / 130)).T
        loss = ((outputs - data.test.targets) ** 2).mean(0)
        low = int(np.argmax(np.diff(loss) > 0))
        high = low + int(loss[low:].argmax())
        assert 2 <= steps[low] <= 15
        assert 40 <= steps[high] <= 250
        rises.append(loss[high] / loss[low])
        falls.append(loss[-1] / loss[low])
    assert np.mean(rises) > 1.2
    assert max(falls) < 0.6


# --- relu_teacher ----------------------------------------------------------------------------------------


def test_a_relu_teacher_sees_as_many_directions_as_it_has_units():
    """Two units, of opposite signs: the least squares of ReLUs along the directions leave nothing."""
    data = load({"type": "relu_teacher", "examples": 4000, "features": 5, "units": 2})
    x, y = data.train.inputs.astype(float), data.train.targets[:, 0].astype(float)
    assert x.std() == pytest.approx(1, rel=0.03)
    # E[x y] = a w / 2 for each unit, and E[(x x - 1) y] = a w w / sqrt(2 pi) spans the same plane
    second = np.einsum("ni,nj,n->ij", x, x, y) / len(y) - np.eye(5) * y.mean()
    values = np.linalg.eigvalsh(second)
    strong = np.sort(np.abs(values))[::-1]
    assert strong[1] > 4 * strong[2]
    assert values[0] < 0 < values[-1]
    assert y.mean() == pytest.approx(0, abs=0.05)


def test_a_relu_teachers_noise_is_on_training_targets_alone():
    clean, noisy = (load({"type": "relu_teacher", "examples": 3000, "noise": n}) for n in (0.0, 0.5))
    np.testing.assert_array_equal(clean.train.inputs, noisy.train.inputs)
    assert (noisy.train.targets - clean.train.targets).std() == pytest.approx(0.5, rel=0.05)
    np.testing.assert_array_equal(clean.test.targets, noisy.test.targets)
