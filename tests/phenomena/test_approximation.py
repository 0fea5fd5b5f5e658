"""Approximation on planted tables: a power is found, a floor and a line are none, and what has no curve."""

import numpy as np
import pandas
import pytest
from support import FakeSweep

from nnlab.config import check_tree
from nnlab.config.document import parse
from nnlab.errors import ConfigError, InvalidValue
from nnlab.phenomena.generalization import approximation

AXIS, METRIC = "model.0.units", "final.test_loss"
SIZES = [1, 2, 4, 8, 16, 32]


def sweep_of(errors, seeds=3, sizes=SIZES):
    """A sweep in which the middle seed has these errors."""
    rows = [
        {"trial": f"t{size}-{seed}", "seed": seed, "status": "complete", AXIS: size}
        | {METRIC: error * [1, 0.5, 4][seed]}
        for size, error in zip(sizes, errors, strict=True)
        for seed in range(seeds)
    ]
    return FakeSweep(pandas.DataFrame(rows), axes=[AXIS])


def detected(errors, level=0.01, **arguments):
    sweep = sweep_of(errors, **arguments)
    return approximation.detect(approximation.read_errors(sweep, AXIS, METRIC), level)


@pytest.mark.parametrize(("factor", "exponent"), [(0.5, -2.0), (3.0, -1.0), (1.0, -4.0)])
def test_a_power_is_found_to_the_last_digit(factor, exponent):
    found = detected([factor * size**exponent for size in SIZES])
    assert found.exponent == pytest.approx(exponent)
    assert found.falls
    below = [size for size in SIZES if factor * size**exponent <= 0.01]
    assert found.reached_at == (below[0] if below else None)
    assert (found.first_error, found.last_error) == pytest.approx((factor, factor * 32.0**exponent))


def test_a_line_does_not_fall():
    found = detected([0.47] * 6)
    assert (found.falls, found.reached_at, found.exponent) == (False, None, pytest.approx(0.0, abs=1e-9))
    assert found.reason == "the error does not come to 0.01"


@pytest.mark.parametrize(
    ("errors", "falls"),
    [
        ([1.0, 0.6, 0.4, 0.3, 0.2, 0.11], False),  # not tenfold
        ([1.0, 0.6, 0.4, 0.3, 0.2, 0.09], True),
        ([1.0, 0.1, 0.01, 0.5, 1e-3, 1e-4], False),  # a peak between
        ([1.0, 0.1, 0.01, 0.02, 1e-3, 1e-4], True),  # seeds scatter
    ],
)
def test_both_sides_of_falling(errors, falls):
    assert detected(errors).falls is falls


def test_the_level_must_be_kept_from_there_on():
    assert detected([1.0, 0.009, 0.011, 0.008, 0.004, 0.001]).reached_at == 8
    assert detected([0.009] * 6).reached_at == 1


def test_an_error_of_zero_is_reached_without_a_power():
    found = detected([1.0, 0.1, 0.01, 0.0, 0.0, 0.0])
    assert (found.exponent, found.falls, found.reached_at) == (None, True, 4.0)
    assert found.reason == "an error of 0 has no logarithm"


@pytest.mark.parametrize(
    ("errors", "sizes", "why"),
    [
        ([1.0, 0.1], [1, 2], "needs 3 sizes or more"),
        ([1.0, 0.1, 0.01], [0, 1, 2], "all above 0"),
        ([1.0, np.inf, 0.01], [1, 2, 4], "at model.0.units = 2 the median trial diverges"),
        ([1.0, -1.0, 0.01], [1, 2, 4], "is below 0, and no error"),
    ],
)
def test_what_makes_no_curve_has_a_reason(errors, sizes, why):
    with pytest.raises(InvalidValue, match=why):
        detected(errors, sizes=sizes)
    with pytest.raises(InvalidValue, match="did you mean"):
        approximation.read_errors(sweep_of([1.0] * 6), AXIS, "final.test_los")


def test_epochs_are_no_size():
    text = (
        "name: test\ndata: {type: xor}\nmodel: [{type: dense, units: 2}]\ntrain: {steps: 4}\n"
        "phenomena: [{type: approximation, along: epochs, level: 0.1}]\nsweep: {seeds: 2}\n"
    )
    with pytest.raises(ConfigError, match="'epochs' is no axis of a sweep"):
        check_tree(parse(text, "test.yaml"))
