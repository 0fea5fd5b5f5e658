"""The variance of trained nets by its sources: tables whose parts are put in, verdicts given and refused."""

import itertools

import numpy as np
import pandas
import pytest
from support import FakeSweep, title_of

from nnlab.errors import InvalidValue
from nnlab.phenomena.generalization.variance_sources import decompose, detect
from nnlab.registry import build

WIDTH, SAMPLE = "model.0.units", "data.split.sample"


def sweep_of(bias, of_sample, of_weights, samples=30, seeds=20, targets=(0.0, 0.0, 1.0, 1.0)):
    """A sweep of predictions: target, bias, normal numbers of the sample, and others of the first weights.

    Each of these is scaled by width.
    """
    random, rows, parts = np.random.default_rng(0), [], []
    target = np.array(targets)
    for width, sample in itertools.product(bias, range(samples)):
        shared = of_sample[width] * random.standard_normal(len(target))
        for seed in range(seeds):
            values = target + bias[width] + shared + of_weights[width] * random.standard_normal(len(target))
            row = {"trial": f"{width}-{sample}-{seed}", WIDTH: width, SAMPLE: sample, "seed": seed}
            table = pandas.DataFrame({"example": np.arange(len(target)), "output": 0, "target": target})
            parts.append(table.assign(trial=row["trial"], split="test", prediction=values))
            rows.append(row | {"status": "complete", "final.test_loss": np.square(values - target).mean()})
    return FakeSweep(pandas.DataFrame(rows), {"predictions": pandas.concat(parts)}, [WIDTH, SAMPLE])


def test_the_parts_are_those_that_were_put_in():
    sweep = sweep_of({2: 0.5, 8: 0.0, 32: 0.0}, {2: 0.0, 8: 0.3, 32: 0.4}, {2: 0.2, 8: 0.6, 32: 0.0})
    curves = decompose(sweep, WIDTH, SAMPLE)
    assert curves.index.tolist() == [2, 8, 32]
    np.testing.assert_allclose(curves["first_weights"], [0.04, 0.36, 0.0], rtol=0.1, atol=1e-9)
    np.testing.assert_allclose(curves["sample"], [0.0, 0.09, 0.16], rtol=0.35, atol=2e-3)
    np.testing.assert_allclose(curves["bias_squared"], [0.25, 0.0, 0.0], rtol=0.05, atol=0.01)
    np.testing.assert_allclose(curves["first_weights"] + curves["sample"], curves["variance"])
    np.testing.assert_allclose(curves["bias_squared"] + curves["variance"], curves["risk"])


def test_a_few_first_weights_do_not_count_as_the_sample():
    """Without the correction three of them would leave a third of their variance to the sample."""
    width = dict.fromkeys((2, 8, 32), 0.5)
    curves = decompose(sweep_of(width, dict.fromkeys(width, 0.0), width, samples=60, seeds=3), WIDTH, SAMPLE)
    assert (curves["sample"] < 0.1 * curves["variance"]).all()


def curves_of(variance, bias):
    table = pandas.DataFrame({"variance": variance, "bias_squared": bias}, [2, 8, 32, 128])
    return table.assign(first_weights=table["variance"] / 4, risk=table["variance"] + table["bias_squared"])


@pytest.mark.parametrize(
    ("variance", "bias", "verdict"),
    [
        ([0.3, 0.8, 0.5, 0.48], [1.0, 0.5, 0.4, 0.4], "rises and falls"),
        ([0.3, 0.8, 0.5, 0.49], [1.0, 0.5, 0.4, 0.4], "none"),  # it stays above 0.6 of the peak
        ([0.3, 0.8, 0.5, 0.48], [1.0, 0.5, 0.41, 0.45], "none"),  # the bias stays
        ([0.3, 0.4, 0.5, 0.8], [1.0, 0.5, 0.4, 0.4], "none"),  # it only rises
        ([0.8, 0.5, 0.4, 0.3], [1.0, 0.5, 0.4, 0.4], "none"),  # it only falls
    ],
)
def test_the_verdict_on_both_sides_of_each_bound(variance, bias, verdict):
    found = detect(curves_of(variance, bias))
    assert found.verdict == verdict
    assert found.variance_peak == 0.8
    assert found.variance_at_largest == pytest.approx(variance[-1] / 0.8)
    assert (found.first_weights_share, found.first_weights_share_at_peak) == (0.25, 0.25)


def test_what_cannot_be_taken_apart_is_refused():
    width = dict.fromkeys((2, 8, 32), 0.5)
    with pytest.raises(InvalidValue, match="two seeds of each"):
        decompose(sweep_of(width, width, width, samples=3, seeds=1), WIDTH, SAMPLE)
    with pytest.raises(InvalidValue, match="two samples"):
        decompose(sweep_of(width, width, width, samples=1, seeds=3), WIDTH, SAMPLE)
    sweep = sweep_of(width, width, width, samples=2, seeds=2)
    table = sweep.tables["predictions"]
    sweep.tables["predictions"] = table.assign(target=np.arange(len(table)))
    with pytest.raises(InvalidValue, match=r"one test set.*data\.split\.seed"):
        decompose(sweep, WIDTH, SAMPLE)
    with pytest.raises(InvalidValue, match="no variance"):
        detect(curves_of([0.0] * 4, [1.0] * 4))


def test_its_figure_and_numbers():
    built = build("phenomenon", {"type": "variance_sources", "capacity": WIDTH})
    assert (built.axis, built.other_axes) == (WIDTH, (SAMPLE,))
    width = dict.fromkeys((2, 8, 32), 0.5)
    sweep = sweep_of(width, width, width, samples=4, seeds=4)
    assert tuple(built.summarize(sweep)) == built.fields
    (ax,) = built.figures["variance_sources"]([sweep]).axes
    assert "of it is of the first weights" in title_of(ax)
    assert len(ax.get_lines()) == 5
