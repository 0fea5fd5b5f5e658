"""Lottery tickets and pruning: their numbers and verdicts on planted rounds, given and refused."""

import pandas
import pytest
from support import FakeSweep, assert_labelled, title_of

from nnlab import plotting
from nnlab.errors import InvalidValue
from nnlab.phenomena.optimization import lottery_ticket, pruning
from nnlab.registry import build

SHARES = (1.0, 0.3, 0.1, 0.03)
STEPS = (0, 100, 200, 400)


def sweep_of(axis, ends, curves=None):
    """Two seeds for each kind, whose accuracies are 0.01 apart; each round has four records.

    ends: kind -> accuracy after each round. curves: kind -> accuracies of the last round's first records.
    """
    rows, parts = [], []
    for kind, accuracies in ends.items():
        for seed in range(2):
            trial = f"{kind}-{seed}"
            rows.append({"trial": trial, axis: kind, "seed": seed, "status": "complete"})
            records = []
            for number, end in enumerate(accuracies):
                start = (0.1, 0.5, 0.7)
                if curves and number == len(accuracies) - 1:
                    start = curves[kind]
                for step, accuracy in zip(STEPS, (*start, end), strict=True):
                    place = {"round": number, "round_step": step, "weights_left": SHARES[number]}
                    measured = {"test_accuracy": accuracy + 0.01 * seed - 0.005, "test_loss": 1.0}
                    records.append({"step": 401 * number + step, **place, **measured})
            parts.append(pandas.DataFrame(records).assign(trial=trial))
    return FakeSweep(pandas.DataFrame(rows), {"metrics": pandas.concat(parts)}, [axis])


DENSE = (0.97, 0.97, 0.97)


def twins(ticket=0.96, redrawn=0.95, shuffled=0.9, early=(0.9, 0.8)):
    ends = {"ticket": (*DENSE, ticket), "redrawn": (*DENSE, redrawn), "shuffled": (*DENSE, shuffled)}
    curves = {"ticket": (0.6, 0.8, early[0]), "redrawn": (0.1, 0.5, early[1]), "shuffled": (0.1, 0.3, 0.5)}
    return sweep_of(lottery_ticket.LAST_ROUND, ends, curves)


def test_the_numbers_of_a_ticket():
    found = lottery_ticket.detect(twins(), 200)
    assert found[:5] == pytest.approx((0.03, 0.97, 0.96, 0.95, 0.9))
    assert (found.untrained_accuracy, found.early_step) == (pytest.approx(0.6), 200)
    assert (found.early_advantage, found.advantage) == (pytest.approx(0.1), pytest.approx(0.06))
    assert found.verdict == "ticket"
    assert lottery_ticket.detect(twins(), 150).early_advantage == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("keys", "verdict"),
    [
        ({"ticket": 0.956}, "ticket"),
        ({"ticket": 0.954}, "none"),  # worse than the dense net
        ({"early": (0.9, 0.849)}, "ticket"),
        ({"early": (0.9, 0.851)}, "none"),  # new weights learn as fast
        ({"shuffled": 0.929}, "ticket"),
        ({"shuffled": 0.931}, "none"),  # any mask will do
    ],
)
def test_the_verdict_on_both_sides_of_each_bound(keys, verdict):
    assert lottery_ticket.detect(twins(**keys), 200).verdict == verdict


def test_what_makes_no_comparison_is_refused():
    axis = lottery_ticket.LAST_ROUND
    with pytest.raises(InvalidValue, match=r"no complete trial has prune\.last_round shuffled"):
        lottery_ticket.detect(sweep_of(axis, {"ticket": DENSE, "redrawn": DENSE}), 200)
    with pytest.raises(InvalidValue, match="no record of the last round up to its step 50"):
        lottery_ticket.detect(twins(), 50)
    one = sweep_of(axis, dict.fromkeys(lottery_ticket.KINDS, (0.9,)))
    with pytest.raises(InvalidValue, match=r"let prune\.rounds be 1 or more"):
        lottery_ticket.detect(one, 200)
    plain = twins()
    plain.tables["metrics"] = plain.tables["metrics"].drop(columns=["round"])
    with pytest.raises(InvalidValue, match="nothing is pruned"):
        lottery_ticket.detect(plain, 200)


def criteria(
    magnitude=(0.97, 0.98, 0.97, 0.96), one_shot=(0.97, 0.97, 0.96, 0.9), random=(0.97, 0.96, 0.9, 0.8)
):
    ends = {"magnitude": magnitude, "one_shot": one_shot, "random": random}
    return sweep_of(pruning.CRITERION, {kind: values for kind, values in ends.items() if values})


def test_the_smallest_shares():
    found = pruning.detect(criteria(), 0.015)
    assert found.dense_accuracy == pytest.approx(0.97)
    assert found.share_by_magnitude == pytest.approx(0.03)
    assert found.share_in_one_shot == pytest.approx(0.1 * 0.3 ** (0.005 / 0.06))
    assert found.share_at_random == pytest.approx(0.3 * (1 / 3) ** (0.005 / 0.06))
    assert found.ratio == pytest.approx(found.share_at_random / found.share_by_magnitude)
    assert (found.verdict, found.reason) == ("magnitude", None)


@pytest.mark.parametrize(
    ("magnitude", "share"),
    [
        ((0.97, 0.94, 0.97, 0.97), 0.3**0.5),  # what comes after a failure is luck
        ((0.97, 0.96, 0.95, 0.97), (0.3 * 0.1) ** 0.5),
        ((0.97, 0.97, 0.97, 0.956), 0.03),
    ],
)
def test_the_share_is_where_the_margin_is_left_first(magnitude, share):
    assert pruning.detect(criteria(magnitude), 0.015).share_by_magnitude == pytest.approx(share)


@pytest.mark.parametrize(("end", "ratio", "verdict"), [(0.948, 1.64, "magnitude"), (0.951, 1.41, "none")])
def test_the_verdict_on_pruning_on_both_sides_of_its_bound(end, ratio, verdict):
    found = pruning.detect(criteria(random=(0.97, 0.97, 0.965, end)), 0.015)
    assert found.ratio == pytest.approx(ratio, abs=0.01)
    assert found.verdict == verdict


def test_criteria_that_are_alike_or_missing():
    alike = pruning.detect(criteria(random=(0.97, 0.97, 0.97, 0.97)), 0.015)
    assert (alike.ratio, alike.verdict) == (1, "none")
    missing = pruning.detect(criteria(random=None), 0.015)
    assert (missing.share_at_random, missing.ratio, missing.verdict) == (None, None, None)
    assert missing.reason == "no complete trial has prune.criterion random"


@pytest.mark.parametrize(
    ("name", "figure", "sweep", "says", "lines"),
    [
        ("lottery_ticket", "lottery_ticket", twins(), "a winning ticket in 3 % of the weights", 4),
        ("lottery_ticket", "lottery_ticket", twins(shuffled=0.95), "no winning ticket", 4),
        (
            "pruning",
            "accuracy_by_weights_left",
            criteria(),
            "weights needed, 3 % by magnitude, 27 % at random",
            4,
        ),
    ],
)
def test_figures_say_what_is_found(name, figure, sweep, says, lines):
    built = build("phenomenon", name)
    assert tuple(field for field in built.summarize(sweep) if field != "reason") == built.fields
    with plotting.style():
        drawn = built.figures[figure]([sweep])
        assert_labelled(drawn)
    first = drawn.axes[0]
    assert says in title_of(first)
    assert len(first.get_lines()) == lines
