"""The detector of the edge of stability, on planted tables: each verdict given and refused."""

import numpy as np
import pandas
import pytest
from support import FakeRun, assert_labelled, experiment_of

from nnlab import plotting
from nnlab.errors import ConfigError, InvalidValue
from nnlab.phenomena.optimization.edge_of_stability import detect, sharpness_and_loss
from nnlab.registry import build
from nnlab.training.cost import probe_costs

RISING = np.linspace(0.3, 1.1, 8)  # sharpness over threshold
FALLING_LOSS = tuple(np.geomspace(1.0, 0.01, 24))


def planted(ratios, losses=FALLING_LOSS, threshold=12.0, every=1, second=0.5):
    """A run whose sharpness is measured at one of `every` records, which are 10 steps apart."""
    ratios = np.asarray(ratios, float)
    steps = 10 * every * np.arange(len(ratios))
    thresholds = np.broadcast_to(threshold, ratios.shape)
    sharpness = ratios * np.nan_to_num(thresholds, nan=1.0)
    table = pandas.DataFrame(
        {
            "step": np.repeat(steps, 2),
            "rank": np.tile([1, 2], len(ratios)),
            "eigenvalue": np.stack([sharpness, second * sharpness], 1).ravel(),
            "threshold": np.repeat(thresholds, 2),
        }
    )
    metrics = pandas.DataFrame({"step": 10 * np.arange(len(losses)), "train_loss": losses})
    return FakeRun({"curvature": table, "metrics": metrics}, {}, loss="squared error")


@pytest.mark.parametrize(
    ("ratios", "verdict"),
    [
        ([*RISING, *[1.01, 0.99] * 8], "edge"),
        ([2.0, 1.5, *[1.02, 1.03] * 8], "edge"),  # from above, as after a first step that is too large
        ([*RISING, *[1.049] * 16], "edge"),
        ([*RISING, *[1.06] * 16], "above"),
        ([*RISING, *[0.96] * 16], "edge"),
        ([*RISING, *[0.94] * 16], "below"),
        ([0.3, 0.6, *[0.97] * 16], "below"),  # never at the threshold
        ([*RISING, *np.linspace(1.1, 0.2, 16)], "below"),  # cross-entropy: a peak, and down again
        (RISING, "below"),  # on the way
        ([1.6, *np.linspace(0.1, 0.98, 9), 1.0, 1.05], "below"),  # Adam, whose first step says nothing
        ([1.6, 0.1, *RISING, *[1.01, 0.99] * 8], "edge"),
        ([0.99] * 20, "below"),  # a quadratic loss, next to its threshold
        ([1.0] * 20, "above"),
        ([3.0] * 20, "above"),
    ],
)
def test_verdict(ratios, verdict):
    assert detect(planted(ratios)).verdict == verdict


def test_numbers():
    losses = [8, 7, 6, 5, 4, 3, 4, 3, 2]
    found = detect(planted([0.2, 0.5, 0.9, 1.2, 1.0, 0.98, 1.02, 1.01, 1.0], losses))
    peak, sharpness = pytest.approx(1.2), pytest.approx(14.4)
    assert found == (pytest.approx(1.01), pytest.approx(0.2), peak, 30, sharpness, 1 / 8, "edge", None)


def test_the_threshold_is_that_of_each_record():
    """A rate that falls raises it; what counts is the ratio."""
    ratios = np.array([*RISING, *[1.01, 0.99] * 8])
    found = detect(planted(ratios, threshold=np.linspace(10, 40, len(ratios))))
    assert found.verdict == "edge"
    assert found.ratio == pytest.approx(1.0, abs=0.011)


def test_records_between_measurements_count_for_nothing():
    losses = np.ones(24)
    losses[::3] = np.linspace(1, 0.1, 8)  # rises between the measurements alone
    found = detect(planted([*np.linspace(0.3, 0.9, 4), 1.1, 1, 1, 1], losses, every=3))
    assert found.loss_rises == 0
    assert found.crossing_step == 120


def test_what_is_not_known_is_null_and_says_why():
    unknown = detect(planted(RISING, threshold=np.nan))
    assert unknown.verdict is unknown.ratio is None
    assert unknown.peak_sharpness == pytest.approx(1.1)
    assert "no threshold of stability is known" in unknown.reason
    few = detect(planted([0.3, 0.5, 1.0, 1.0, 1.0]))
    assert few.verdict is None
    assert few.reason == "the sharpness is measured fewer than 6 times"
    below = detect(planted([0.3] * 8))
    assert below.crossing_step is None
    assert below.reason == "the sharpness never reaches the threshold"


def test_a_training_that_diverges_is_judged_up_to_where_it_does():
    found = detect(planted([0.5, 1.0, 1.5, 2, 3, 4, 5, 9, np.nan, np.nan]))
    assert found.verdict == "above"
    assert found.peak_ratio == pytest.approx(9)
    with pytest.raises(InvalidValue, match="no sharpness is finite"):
        detect(planted([np.nan] * 8))


def test_figure_says_what_is_found():
    edge = planted([*RISING, *[1.01, 0.99] * 8])
    for runs in ([edge], [edge, planted([0.1] * 9), planted(RISING, threshold=np.nan)]):
        with plotting.style():
            figure = sharpness_and_loss(runs)
        assert_labelled(figure)
        assert len(figure.axes) == 2 * len(runs)
        assert "at the edge of stability" in figure.axes[0].get_title(loc="left")
    assert "below the edge" in figure.axes[1].get_title(loc="left")
    assert "comes to 1.1" in "".join(ax.get_title(loc="left") for ax in figure.axes)


TREE = {
    "name": "edge",
    "data": {"type": "xor", "examples": 40, "split": {"train": 1.0}, "batch_size": "full"},
    "model": [{"type": "dense", "units": 2}],
    "optimizer": "sgd",
    "train": {"steps": 100},
    "record": {"every": {"steps": 10}},
}


def test_wrong_keys_cost_a_line():
    with pytest.raises(InvalidValue, match="3 eigenvalues take as many iterations"):
        build("phenomenon", {"type": "edge_of_stability", "eigenvalues": 3, "iterations": 2})
    with pytest.raises(ConfigError, match="there is no test split; leave 'split' out"):
        experiment_of(TREE | {"phenomena": [{"type": "edge_of_stability", "split": "test"}]})


def test_its_cost_is_told():
    entry = {"type": "edge_of_stability", "iterations": 10, "every": 5, "examples": 20}
    (cost,) = probe_costs(experiment_of(TREE | {"phenomena": [entry]}))
    assert cost.measurements == 3
    assert cost.flops == 3 * 20 * (3 + 6 * 10) * 2 * 2 * 2
