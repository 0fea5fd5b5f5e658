"""The noise of the gradient against its definition, and the critical batch size on planted tables."""

import numpy as np
import pandas
import pytest
from support import FakeRun, FakeSweep, experiment_of, trained

from nnlab.config import check_tree
from nnlab.config.document import parse
from nnlab.errors import ConfigError, InvalidValue
from nnlab.phenomena.optimization import critical_batch, gradient_noise
from nnlab.phenomena.optimization.compared_values import ComparisonSettings
from nnlab.registry import build

RATE = "optimizer.learning_rate"
SETTINGS = ComparisonSettings(critical_batch.BATCH_SIZE, "train_loss", "lower", 0.1, RATE, None)
SIZES = [1, 4, 16, 64, 256, 1024]

# --- the noise -------------------------------------------------------------------------------------------


def wine(examples, frozen=False, test=0.0):
    """A softmax regression from weights of 0, and its numbers at step 0."""
    zeros = {"kernel_init": "zeros"}
    model = [{"type": "dense", "units": 4} | zeros, {"type": "dense", "units": 3} | zeros]
    tree = {
        "name": "test",
        "data": {"type": "wine", "normalize": "standardize", "limit": 40},
        "model": model if frozen else model[1:],
        "train": {"steps": 0},
        "phenomena": [{"type": "gradient_noise", "examples": examples}],
        "optimizer": {"type": "sgd", "groups": [{"layers": "dense_1", "learning_rate": 0}] if frozen else []},
    }
    experiment = experiment_of(tree)
    table = trained(experiment)[0]["gradient_noise"]
    return experiment, float(table["gradient_square"][0]), float(table["noise"][0])


def gradients_at_zero(train):
    """`[N, D K + K]`: of the kernel and the bias, where each class has the same probability."""
    wrong = 1 / 3 - np.eye(3)[np.asarray(train.targets)]
    inputs = np.asarray(train.inputs, float)
    return np.concatenate([(inputs[:, :, None] * wrong[:, None]).reshape(len(wrong), -1), wrong], axis=1)


def test_it_is_the_spread_of_the_examples_gradients():
    experiment, square, noise = wine(examples=1000)
    gradients = gradients_at_zero(experiment.data.train)
    mean = gradients.mean(0)
    assert square == pytest.approx((mean**2).sum(), rel=1e-5)
    assert noise == pytest.approx(((gradients - mean) ** 2).sum(1).mean(), rel=1e-5)


def test_a_sample_estimates_it_without_bias():
    experiment, square, noise = wine(examples=12)
    gradients = gradients_at_zero(experiment.data.train)
    total = len(gradients)
    assert total > 12
    sample = gradients[:12]
    spread = sample.var(0, ddof=1).sum()
    assert noise == pytest.approx(spread * (total - 1) / total, rel=1e-4)
    assert square == pytest.approx((sample.mean(0) ** 2).sum() - spread * (1 / 12 - 1 / total), abs=1e-4)
    draws = np.random.default_rng(0)
    samples = [gradients[draws.permutation(total)[:12]] for _ in range(4000)]
    corrected = [(s.mean(0) ** 2).sum() - s.var(0, ddof=1).sum() * (1 / 12 - 1 / total) for s in samples]
    assert np.mean(corrected) == pytest.approx((gradients.mean(0) ** 2).sum(), rel=0.05)


def test_frozen_layers_do_not_count():
    _, square, noise = wine(examples=1000, frozen=True)
    # behind a frozen layer of zeros there is the bias alone, of which each example moves one value
    experiment, _, _ = wine(examples=2)
    wrong = gradients_at_zero(experiment.data.train)[:, -3:]
    assert square == pytest.approx((wrong.mean(0) ** 2).sum(), rel=1e-4)
    assert noise == pytest.approx(wrong.var(0).sum(), rel=1e-4)


def noise_table(squares, noises):
    steps = range(len(squares))
    return pandas.DataFrame({"step": steps, "split": "train", "gradient_square": squares, "noise": noises})


def test_the_noise_scale_is_their_ratio():
    found = gradient_noise.detect(noise_table([2.0, 1.0, 0.1], [8.0, 10.0, 6.0]))
    assert found == gradient_noise.GradientNoise(10.0, 4.0, pytest.approx(60.0), pytest.approx(15.0))


def test_without_a_gradient_there_is_no_scale():
    found = gradient_noise.detect(noise_table([2.0, 0.0], [8.0, 0.0]))
    assert (found.noise_scale, found.last_noise_scale, found.growth) == (4.0, None, None)
    assert found.reason == f"at the last record {gradient_noise.NO_GRADIENT}"
    alike = gradient_noise.detect(noise_table([2.0, 1.0], [0.0, 0.0]))
    assert (alike.noise_scale, alike.growth) == (0.0, None)
    assert alike.reason == "at step 0 all examples have the same gradient"
    with pytest.raises(InvalidValue, match="at every record the gradient is 0"):
        gradient_noise.detect(noise_table([0.0, -1.0], [1.0, 2.0]))


def test_records_with_noise_alone_count_as_infinite():
    found = gradient_noise.detect(noise_table([4.0, 2.0, 1.0, -0.1, -0.1], [4.0, 4.0, 4.0, 4.0, 4.0]))
    assert found.noise_scale == 4.0
    half = gradient_noise.detect(noise_table([4.0, 2.0, -0.1, -0.1], [4.0, 4.0, 4.0, 4.0]))
    assert (half.noise_scale, half.first_noise_scale, half.last_noise_scale) == (None, 1.0, None)
    assert "at half of the records" in half.reason


# --- the critical size -----------------------------------------------------------------------------------


def sweep_of(steps_by_size, rates=(0.1, 0.2, 0.4), best=0.2, seeds=3, noise=None):
    """A sweep in which each size comes to the level after so many steps at its best rate, later at others."""
    rows, metrics = [], []
    for size, steps in steps_by_size.items():
        for rate in rates:
            for seed in range(seeds):
                trial = f"t{len(rows)}"
                needed = steps * (1 if rate == best else 3) * (1 + 0.02 * (seed - 1))
                row = {"trial": trial, "status": "complete", critical_batch.BATCH_SIZE: size, RATE: rate}
                rows.append(
                    row | {"seed": seed} | ({} if noise is None else {critical_batch.NOISE_SCALE: noise})
                )
                metrics += [(trial, 0, 2.0), (trial, needed, 0.1 if np.isfinite(steps) else 2.0)]
    table = pandas.DataFrame(metrics, columns=["trial", "step", "train_loss"])
    return FakeSweep(pandas.DataFrame(rows), {"metrics": table}, [critical_batch.BATCH_SIZE, RATE])


def detected(steps, **arguments):
    return critical_batch.detect(critical_batch.read_steps(sweep_of(steps, **arguments), SETTINGS))


@pytest.mark.parametrize(("least", "critical"), [(10.0, 5.0), (200.0, 60.0), (3.0, 400.0)])
def test_the_law_is_found_where_it_holds(least, critical):
    found = detected({size: least * (1 + critical / size) for size in SIZES}, noise=77.0)
    assert found.critical_batch == pytest.approx(critical, rel=0.02)
    assert found.fit_error == pytest.approx(1.0, abs=0.01)
    assert found.flat_to == max(size for size in SIZES if size < critical)
    assert found.examples_ratio == pytest.approx((1 + 1024 / critical) / (1 + 1 / critical))
    assert found.steps_ratio == pytest.approx((1 + critical) / (1 + critical / 1024))
    assert (found.reached, found.at_edge, found.noise_scale, found.reason) == (6, 0, 77.0, None)


def test_small_batches_have_no_critical_size_among_them():
    found = detected({size: 4096 / size for size in SIZES})
    assert (found.critical_batch, found.examples_ratio, found.flat_to) == (None, pytest.approx(1.0), 1024)
    assert "one of twice the size takes half the steps" in found.reason
    assert "there is no gradient_noise beside it" in found.reason


def test_large_batches_have_none_either():
    found = detected(dict.fromkeys(SIZES, 40.0))
    assert (found.critical_batch, found.steps_ratio, found.flat_to) == (None, 1.0, 1)
    assert "a larger one takes as many steps" in found.reason


def test_sizes_that_never_get_there_are_named():
    found = detected({1: np.inf, 4: 20.0, 16: 10.0, 64: 8.0}, noise=1.0)
    assert (found.reached, found.reason) == (3, "the median trial of batch size 1 never comes to the level")
    with pytest.raises(InvalidValue, match="2 batch sizes come to training loss"):
        detected({1: np.inf, 4: 20.0, 16: 10.0})


def test_the_best_rate_may_lie_at_an_end():
    assert detected({1: 80.0, 4: 20.0, 16: 10.0}, best=0.4).at_edge == 3


@pytest.mark.parametrize(
    ("phenomenon", "axes", "message"),
    [
        (
            "level: 0.1",
            "data.batch_size: [8, full]",
            "reads along numbers, and 'data.batch_size' has the value",
        ),
        ("level: 0.1", "model.0.units: [2, 3]", "'data.batch_size' is no axis of the sweep"),
        ("level: 0.1, metric: test_loss", "data.batch_size: [8, 16]", "a metric of training or validation"),
        ("level: 0", "data.batch_size: [8, 16]", "level takes a number > 0"),
    ],
)
def test_what_cannot_be_compared_is_refused(phenomenon, axes, message):
    text = (
        "name: test\ndata: {type: xor}\nmodel: [{type: dense, units: 2}]\ntrain: {steps: 4}\n"
        f"phenomena: [{{type: critical_batch, {phenomenon}}}]\n"
        f"sweep: {{axes: {{optimizer.learning_rate: [0.1, 1.0], {axes}}}}}\n"
    )
    with pytest.raises(ConfigError, match=message):
        check_tree(parse(text, "test.yaml"))


def test_one_example_has_nothing_to_differ_from():
    built = build("phenomenon", "gradient_noise")
    assert built.summarize(FakeRun({"gradient_noise": noise_table([1.0], [2.0])}, {}))["noise_scale"] == 2.0
    data = wine(examples=2)[0].data
    with pytest.raises(InvalidValue, match="there is one alone"):
        built.validate(None, data._replace(train=data.train.take(np.array([0]))))
