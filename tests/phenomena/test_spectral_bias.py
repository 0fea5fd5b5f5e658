"""Spectral bias: learnt shares of planted waves, verdicts given and refused, and the probe of predictions."""

import numpy as np
import pandas
import pytest
from support import FakeRun, assert_labelled, assert_readable, experiment_of, title_of, trained

from nnlab import plotting
from nnlab.errors import InvalidValue, NnlabError
from nnlab.phenomena.generalization import spectral_bias as waves

GRID = np.arange(64) / 64
STEPS = np.unique(np.geomspace(1, 1000, 40).round())


def wave(frequency, phase=0.3):
    return np.sin(2 * np.pi * frequency * GRID + phase)


def run_of(predictions, target, grid=GRID):
    """A run whose predictions at each step are those of a function of the step."""
    rows = [
        pandas.DataFrame({"step": step, "input": grid, "target": target, "prediction": predictions(step)})
        for step in [0, *STEPS]
    ]
    return FakeRun({"predictions_over_training": pandas.concat(rows)}, {})


def run_of_steps(steps):
    """A run whose waves, frequency -> step, are learnt at these steps, from 0 at once to 1."""
    target = 0.7 + sum(map(wave, steps))
    return run_of(lambda now: sum(wave(k) for k in steps if now >= steps[k]) + 0 * GRID, target)


def detected(run):
    return waves.detect(waves.read_shares(run))


def test_shares_are_the_amplitudes_in_phase():
    target = 2 * wave(3) + wave(7) + wave(9) + 0.1 * wave(20)  # the last one is too weak to count
    found = waves.read_shares(run_of(lambda step: wave(3) + wave(7, 0.3 + np.pi / 2) - wave(9), target))
    np.testing.assert_array_equal(found.frequencies, [3, 7, 9])
    np.testing.assert_allclose(found.shares[-1], [0.5, 0.0, -1.0], atol=1e-9)


def test_slow_waves_first_is_a_bias():
    found = detected(run_of_steps({1: 5, 3: 20, 6: 60, 10: 300}))
    assert (found.frequencies, found.learnt_frequencies) == (4, 4)
    assert (found.lowest_frequency, found.highest_frequency) == (1, 10)
    assert 5 <= found.lowest_step < 10
    assert found.ratio == found.highest_step / found.lowest_step
    assert found.rank_correlation == pytest.approx(1)
    assert found.verdict == "spectral bias"


@pytest.mark.parametrize(
    "steps",
    [
        {1: 20, 3: 25, 6: 40, 10: 100},  # in order, and hardly later: as with Fourier features
        {1: 5, 3: 300, 6: 60, 10: 100, 12: 90},  # much later, and not in order
        {1: 300, 3: 60, 6: 20, 10: 5},
    ],
)
def test_a_bias_is_refused(steps):
    assert detected(run_of_steps(steps)).verdict == "none"


def test_what_is_never_learnt_counts_as_last():
    found = detected(run_of_steps({1: 5, 3: 20, 6: 60, 10: 5000}))
    assert (found.highest_step, found.learnt_frequencies) == (None, 3)
    assert found.ratio == pytest.approx(1000 / found.lowest_step)
    assert (found.verdict, found.reason) == ("spectral bias", "frequency 10 is never learnt")
    found = detected(run_of_steps({1: 5000, 3: 20, 6: 60, 10: 70}))
    assert (found.ratio, found.verdict, found.lowest_step) == (None, None, None)


def test_an_order_is_seen_before_all_waves_are_learnt():
    found = detected(run_of_steps({1: 5, 2: 40, 3: 60, 5: 2000, 6: 2000, 8: 2000, 9: 2000, 10: 2000}))
    assert (found.rank_correlation, found.verdict) == (pytest.approx(1), "spectral bias")
    found = detected(run_of_steps({1: 5, 3: 2000, 4: 2000, 6: 60, 10: 40, 12: 2000}))
    assert found.rank_correlation < 0.9
    assert found.verdict == "none"


@pytest.mark.parametrize("steps", [{1: 5, 3: 2000, 10: 2000}, {1: 200, 3: 300, 10: 2000}])
def test_a_training_that_ends_too_early_has_no_verdict(steps):
    found = detected(run_of_steps(steps))
    assert found.verdict is None
    assert "frequency 10 is never learnt" in found.reason


def test_a_net_that_diverges_has_learnt_nothing():
    target = wave(1) + wave(2) + wave(3)
    found = detected(run_of(lambda step: step * 10.0 * target, target))
    assert (found.learnt_frequencies, found.verdict) == (0, None)


def test_a_swing_past_the_target_is_not_learning():
    """At one record a wave is there by chance; later it is there but for one record."""
    target = wave(1) + wave(2) + wave(3)

    def predictions(step):
        shares = {1: step == STEPS[2] or (step >= 100 and step != STEPS[-4]), 2: step >= 100, 3: step >= 100}
        return sum(share * wave(k) for k, share in shares.items())

    assert detected(run_of(predictions, target)).lowest_step >= 100


def test_waves_learnt_at_one_step_have_no_order():
    found = detected(run_of_steps({1: 50, 3: 50, 6: 50}))
    assert (found.ratio, found.rank_correlation, found.verdict) == (1.0, None, "none")
    assert "at one step" in found.reason


def test_there_must_be_waves_on_a_grid():
    with pytest.raises(InvalidValue, match="2 strong waves"):
        detected(run_of_steps({1: 5, 3: 50}))
    with pytest.raises(InvalidValue, match="even grid"):
        waves.read_shares(run_of(lambda step: GRID, wave(1), grid=GRID**2))
    with pytest.raises(InvalidValue, match="0 strong waves"):
        waves.read_shares(run_of(lambda step: GRID, 0 * GRID))


def tree(**keys):
    return {
        "name": "test",
        "data": {"type": "sines", "examples": 30, "frequencies": [1, 2, 4], "batch_size": "full"},
        "model": {"type": "mlp", "width": 5, "depth": 1, "outputs": 1},
        "loss": "squared_error",
        "train": {"steps": 2},
        "record": {"every": {"steps": 1}, "layers": False},
        "phenomena": ["spectral_bias"],
    } | keys


def test_predictions_are_those_of_the_net_at_each_record():
    exp = experiment_of(tree())
    table = pandas.DataFrame(trained(exp)[0]["predictions_over_training"])
    params, _ = exp.model.init(0)
    assert sorted(set(table["step"])) == [0, 1, 2]
    first = table[table["step"] == 0]
    hidden = exp.data.train.inputs @ params["dense_1"]["kernel"] + params["dense_1"]["bias"]
    expected = np.maximum(hidden, 0) @ params["dense_2"]["kernel"] + params["dense_2"]["bias"]
    np.testing.assert_allclose(first["prediction"], expected[:, 0], rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(first["target"], exp.data.train.targets[:, 0])
    np.testing.assert_array_equal(first["input"], exp.data.train.inputs[:, 0])
    assert (table[table["step"] == 2]["prediction"].to_numpy() != first["prediction"].to_numpy()).any()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"type": "wave", "batch_size": "full"}, "even grid"),
        ({"type": "linear_teacher", "features": 3, "batch_size": "full"}, "one feature"),
    ],
)
def test_other_data_are_refused(data, words):
    with pytest.raises(NnlabError, match=words):
        experiment_of(tree(data=data))


def test_the_figure_says_how_much_later():
    with plotting.style():
        run = run_of_steps({1: 5, 3: 20, 6: 60, 10: 5000})
        figure = waves.shares_over_training([run, run_of_steps({1: 5, 3: 5, 6: 5})])
        assert_readable(figure)
    assert_labelled(figure)
    assert "frequency 10 takes at least 200 times as long as 1" in title_of(figure.axes[0])
