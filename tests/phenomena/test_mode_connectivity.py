"""Barriers between twins, and between nets whose units are matched: verdicts on planted lines."""

import numpy as np
import pandas
import pytest
from support import FakeSweep, title_of

from nnlab.errors import InvalidValue
from nnlab.phenomena.optimization import matched_units, mode_connectivity
from nnlab.registry import build

STEP, ORDER = "data.order.from_step", "data.order.seed"
SHARES = np.linspace(0, 1, 5)


def line(trial, other, along, height, ends=(0.1, 0.1), matched=0):
    """A line whose training error rises by `height` above that of its ends, in the middle."""
    error = ends[0] + (ends[1] - ends[0]) * SHARES + height * (1 - abs(2 * SHARES - 1))
    named = {"along": along, "trial": trial, "other": other, "matched": matched}
    return pandas.DataFrame(named | {"share": SHARES, "train_accuracy": 1 - error, "train_loss": error})


def twins(heights, ends=(0.1, 0.1)):
    """A sweep of pairs of twins; heights: step -> the barrier of each pair, a seed each."""
    rows, lines = [], []
    for step, barriers in heights.items():
        for seed, height in enumerate(barriers):
            for order in (0, 1):
                rows.append(
                    {"trial": f"{step}-{seed}-{order}", STEP: step, ORDER: order, "seed": seed, "classes": 10}
                )
            lines.append(line(f"{step}-{seed}-0", f"{step}-{seed}-1", ORDER, height, ends))
    return FakeSweep(pandas.DataFrame(rows), {"between": pandas.concat(lines)}, [STEP, ORDER])


def pairs(heights, ends=(0.1, 0.1)):
    """A sweep of seeds; heights: the barriers of a pair as it is and matched."""
    rows = [{"trial": f"t{seed}", "seed": seed, "classes": 10} for seed in range(len(heights) + 1)]
    lines = [
        line("t0", f"t{number}", "seed", height, ends, matched)
        for number, both in enumerate(heights, 1)
        for matched, height in enumerate(both)
    ]
    return FakeSweep(pandas.DataFrame(rows), {"between": pandas.concat(lines)})


def test_the_numbers_of_twins():
    found, _, _ = mode_connectivity.detect(twins({400: (0.01, 0.0), 0: (0.3, 0.5), 20: (0.1, 0.01)}))
    assert found.barrier_at_start == pytest.approx(0.4)
    assert found.barrier_at_end == pytest.approx(0.005)
    assert found.greatest_at_end == pytest.approx(0.01)
    assert (found.stable_from, found.verdict, found.reason) == (400, "becomes stable", None)
    assert found.end_error == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("heights", "verdict", "stable_from"),
    [
        ({0: [0.151], 9: [0.019]}, "becomes stable", 9),
        ({0: [0.149], 9: [0.019]}, "none", 9),
        ({0: [0.151], 9: [0.021]}, "none", None),
        ({0: [0.019], 9: [0.0]}, "stable", 0),
        ({0: [0.021], 9: [0.0]}, "none", 9),
        ({0: [0.3], 5: [0.01], 7: [0.2], 9: [0.01]}, "becomes stable", 9),  # it counts from where it stays
        ({0: [0.3, 0.3], 5: [0.0, 0.03], 9: [0.0, 0.0]}, "becomes stable", 9),  # no pair may have one
    ],
)
def test_the_verdict_on_both_sides_of_each_bound(heights, verdict, stable_from):
    found, _, _ = mode_connectivity.detect(twins(heights))
    assert (found.verdict, found.stable_from) == (verdict, stable_from)
    assert (found.reason is None) == (stable_from is not None)


def test_a_barrier_is_above_the_straight_line_between_the_ends():
    found, _, _ = mode_connectivity.detect(twins({0: [0.2], 9: [0.0]}, ends=(0.0, 0.4)))
    assert (found.barrier_at_start, found.barrier_at_end) == pytest.approx((0.2, 0.0))


@pytest.mark.parametrize(("wrong", "learnt"), [(0.44, True), (0.46, False), (0.9, False)])
def test_there_is_no_verdict_on_nets_that_learnt_too_little(wrong, learnt):
    """A guess has 90 % wrong, and half of that is the bound."""
    stable, _, _ = mode_connectivity.detect(twins({0: [0.01], 9: [0.0]}, ends=(wrong, wrong)))
    matched = matched_units.detect(pairs([(0.01, 0.0)], ends=(wrong, wrong)))
    assert stable.end_error == pytest.approx(wrong)
    assert (stable.verdict, matched.verdict) == (("stable", "no barrier") if learnt else (None, None))
    for found in (stable, matched):
        words = f"and end with {wrong:.0%} of their training examples wrong (a guess: 90%)"
        assert (words in (found.reason or "")) != learnt
    unstable, _, _ = mode_connectivity.detect(twins({0: [0.2], 9: [0.03]}, ends=(wrong, wrong)))
    assert unstable.verdict == ("none" if learnt else None)
    assert "twins that part at step 9 have a barrier" in unstable.reason


def test_figures_say_nothing_of_nets_that_learnt_too_little():
    sweep, seeds = twins({0: [0.0], 9: [0.0]}, ends=(0.9, 0.9)), pairs([(0.0, 0.0)], ends=(0.9, 0.9))
    for name, shown in (("mode_connectivity", sweep), ("matched_units", seeds)):
        ax = build("phenomenon", name).figures[name]([shown]).axes[0]
        assert "the nets learnt too little to tell" in title_of(ax)


def test_what_twins_do_not_have_is_said():
    with pytest.raises(InvalidValue, match=r"compares two values of 'data.order.from_step' or more"):
        mode_connectivity.detect(twins({0: [0.2]}))
    values = twins({0: [0.2], 9: [0.0]})
    values.tables["between"] = values.tables["between"].drop(columns="train_accuracy")
    with pytest.raises(InvalidValue, match="these data have no classes"):
        mode_connectivity.detect(values)
    with pytest.raises(InvalidValue, match="no two complete trials that differ in seed alone"):
        matched_units.detect(twins({0: [0.2], 9: [0.0]}))


@pytest.mark.parametrize(
    ("heights", "verdict"),
    [
        ([(0.3, 0.099), (0.3, 0.099)], "same up to order"),
        ([(0.3, 0.101), (0.3, 0.101)], "apart"),
        ([(0.4, 0.19), (0.2, 0.0)], "same up to order"),  # of the means
        ([(0.149, 0.0)], "no barrier"),
        ([(0.0, 0.0)], "no barrier"),
    ],
)
def test_the_verdict_on_matched_units(heights, verdict):
    found = matched_units.detect(pairs(heights))
    assert (found.verdict, found.pairs) == (verdict, len(heights))
    barrier, matched = np.mean(heights, 0)
    assert (found.barrier, found.matched_barrier) == pytest.approx((barrier, matched))
    assert found.remaining == (pytest.approx(matched / barrier) if barrier else None)


def test_their_figures_say_what_was_found():
    sweep, seeds = twins({0: (0.3, 0.5), 20: (0.1, 0.01), 400: (0.01, 0.0)}), pairs([(0.4, 0.1), (0.4, 0.0)])
    ways, by_step = build("phenomenon", "mode_connectivity").figures["mode_connectivity"]([sweep]).axes
    assert "no barrier between twins that part at step 400 or later" in title_of(ways)
    assert len(ways.get_lines()) == 3
    np.testing.assert_allclose(by_step.get_lines()[1].get_ydata(), [40, 5.5, 0.5])
    (ax,) = build("phenomenon", "matched_units").figures["matched_units"]([seeds]).axes
    assert "12 % of the barrier remains once units are matched" in title_of(ax)
    assert len(ax.get_lines()) == 4 + 2
