"""Voting: several networks, alike but for their seed, decide together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.errors import InvalidValue
from nnlab.phenomena.base import SweepPhenomenon, SweepView, phenomenon
from nnlab.phenomena.examples import read_test_predictions

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SINGLE_COLOUR = "#777777"
RULE_LABELS = ("majority", "mean probability")
MAXIMUM_TICKS = 8
MAXIMUM_STARTS = 30  # of an ensemble in the circle of seeds


class Voting(NamedTuple):
    """Errors of the networks alone and together, shares of the test examples from 0 to 1.

    Attributes:
        members: Number of networks, 2 or more.
        median_error: Median over the single networks.
        best_error: Of the best single network.
        worst_error: Of the worst single network.
        majority_error: Of the class that most networks choose; ties go to the highest mean probability.
        averaged_error: Of the class with the highest mean probability.
        majority_gain: median_error - majority_error, -1 to 1.
        averaging_gain: median_error - averaged_error, -1 to 1.
    """

    members: int
    median_error: float
    best_error: float
    worst_error: float
    majority_error: float
    averaged_error: float
    majority_gain: float
    averaging_gain: float


class Ballot(NamedTuple):
    """What `S` members say of `N` test examples of `K` classes, in the order of their seeds.

    Attributes:
        probabilities: `[S, N, K]`, the softmax of the outputs; for a single output, 1 - p and p, where p is
            its sigmoid.
        labels: `[N]`, the right classes.
    """

    probabilities: np.ndarray
    labels: np.ndarray

    def single_errors(self) -> np.ndarray:
        """The error of each member alone, `[S]`."""
        return (self.probabilities.argmax(-1) != self.labels).mean(-1)

    def joint_errors(self, order: np.ndarray) -> np.ndarray:
        """The errors of the first 1, 2, ..., S members in an order, deciding together.

        Returns:
            `[S, 2]`, by majority and by mean probability.
        """
        probabilities = self.probabilities[order]
        votes = (probabilities.argmax(-1)[..., None] == np.arange(probabilities.shape[-1])).cumsum(0)
        mean = probabilities.cumsum(0) / np.arange(1, len(probabilities) + 1)[:, None, None]
        majority = votes + mean / 2  # less than one vote, so that it only breaks ties
        return np.stack([(scores.argmax(-1) != self.labels).mean(-1) for scores in (majority, mean)], axis=-1)


@phenomenon
def voting() -> SweepPhenomenon:
    """Do several networks that differ in their seed err less together than one of them alone?

    The sweep varies seeds and nothing else. It needs a classification, `record.predictions`, and a test set
    that does not depend on the run's seed: split: {seed: 0}, or data that come with a test set, such as
    mnist1d.

    Reference:
        Hansen & Salamon 1990; lecture 002 (several trials with different first weights).
    """
    return SweepPhenomenon(
        result=Voting,
        detect=lambda sweep: detect(read_ballot(sweep)),
        figures={"voting": error_by_members},
        needs_predictions=True,
    )


def detect(ballot: Ballot) -> Voting:
    """The detector's numbers, see Voting."""
    single = ballot.single_errors()
    majority, averaged = ballot.joint_errors(np.arange(len(single)))[-1].tolist()
    median = float(np.median(single))
    return Voting(
        members=len(single),
        median_error=median,
        best_error=float(single.min()),
        worst_error=float(single.max()),
        majority_error=majority,
        averaged_error=averaged,
        majority_gain=median - majority,
        averaging_gain=median - averaged,
    )


def read_ballot(sweep: SweepView) -> Ballot:
    """What the complete trials say of the test examples.

    Raises:
        InvalidValue: There are fewer than two trials, no test examples or no classes, or the test set changes
            with the seed.
    """
    table = read_test_predictions(sweep, "voting")
    members = table["seed"].nunique()
    if members < 2:
        raise InvalidValue("voting needs two complete trials or more; give sweep.seeds")
    by_output = table.groupby(["example", "output"])
    shape = members, table["example"].nunique(), table["output"].nunique()
    is_complete = (by_output.size() == members).all() and by_output.ngroups == shape[1] * shape[2]
    if not is_complete or (by_output["target"].nunique() > 1).any():
        raise InvalidValue(
            "voting needs one test set for all seeds, and here it changes with the seed; give data.split a "
            "seed of its own"
        )
    ordered = table.sort_values(["seed", "example", "output"])
    outputs, targets = (ordered[name].to_numpy(float).reshape(shape) for name in ("prediction", "target"))
    if shape[2] == 1:  # the logit of the second class; that of the first is 0
        outputs = np.concatenate([np.zeros_like(outputs), outputs], axis=-1)
        targets = np.concatenate([1 - targets, targets], axis=-1)
    if not (np.isin(targets, (0, 1)).all() and (targets.sum(-1) == 1).all()):
        raise InvalidValue("voting is one of classes; these data have values to regress")
    powers = np.exp(outputs - outputs.max(-1, keepdims=True))
    return Ballot(powers / powers.sum(-1, keepdims=True), targets[0].argmax(-1))


def error_by_members(sweeps: Sequence[SweepView]) -> Figure:
    """Error against the number of members that decide together; one panel per sweep.

    An ensemble's members follow each other in the circle of seeds; the curve is the mean over all starting
    points. Dots are the single networks, the dotted line is their median.
    """
    figure, axes = plotting.panel_per_result(sweeps, _draw_errors, sharey=True)
    plotting.legend_below(figure, axes[0])
    return figure


def _draw_errors(ax: Axes, sweep: SweepView) -> str:
    """Draw the errors of a sweep; returns the panel's title."""
    ballot = read_ballot(sweep)
    single = 100 * ballot.single_errors()
    members = len(single)
    order, starts = np.arange(members), plotting.evenly_spaced_indices(members, MAXIMUM_STARTS)
    joint = 100 * np.mean([ballot.joint_errors(np.roll(order, -start)) for start in starts], axis=0)
    ax.plot(np.ones(members), single, "o", markersize=3, color=SINGLE_COLOUR, label="each alone")
    ax.axhline(np.median(single), color=SINGLE_COLOUR, linestyle=":", label="their median")
    for errors, colour, label in zip(joint.T, plotting.COLOURS, RULE_LABELS, strict=False):
        ax.plot(order + 1, errors, marker="o", markersize=3, color=colour, label=label)
    ax.set(xlabel="networks that decide together", ylabel="error, % of test examples")
    ax.set_xticks([1 + index for index in plotting.evenly_spaced_indices(members, MAXIMUM_TICKS)])
    return f"{sweep.label}: {_finding(detect(ballot))}"


def _finding(numbers: Voting) -> str:
    errors = [100 * e for e in (numbers.median_error, numbers.majority_error, numbers.averaged_error)]
    return "alone {:.3g} %, by majority {:.3g} %, by mean {:.3g} %".format(*errors)
