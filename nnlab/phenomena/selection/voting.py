"""Voting: several networks, alike but for their seed, decide together (lecture 002: several trials with
different first weights, by majority or voting; Hansen & Salamon 1990)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.errors import InvalidValue
from nnlab.phenomena.base import SweepPhenomenon, SweepView, phenomenon, refuse_non_numeric

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ALONE = "#777777"
WAYS = ("majority", "mean probability")
TICKS = 8
MOST_STARTS = 30  # in the circle of seeds, from which the members are counted


class Voting(NamedTuple):
    """Errors are shares of the test examples. members: how many networks there are. median_error,
    best_error, worst_error: of the single ones. majority_error: of the class that most of them name, of
    equally many that with the highest mean probability. averaged_error: of the class with the highest mean
    probability. majority_gain, averaging_gain: median_error minus that.
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

    probabilities: `[S, N, K]`, the softmax of the outputs; of one output its sigmoid, and 1 minus that first.
    labels: `[N]`, the right classes.
    """

    probabilities: np.ndarray
    labels: np.ndarray

    def single_errors(self) -> np.ndarray:
        """Of each member alone, `[S]`."""
        return (self.probabilities.argmax(-1) != self.labels).mean(-1)

    def joint_errors(self, order: np.ndarray) -> np.ndarray:
        """Of the first one, two, ... members in an order together, `[S, 2]`: by majority, and by mean
        probability."""
        chosen = self.probabilities[order]
        votes = (chosen.argmax(-1)[..., None] == np.arange(chosen.shape[-1])).cumsum(0)
        mean = chosen.cumsum(0) / np.arange(1, len(chosen) + 1)[:, None, None]
        named = votes + mean / 2  # less than a vote, so that it decides among equals only
        return np.stack([(said.argmax(-1) != self.labels).mean(-1) for said in (named, mean)], axis=-1)


@phenomenon
def voting() -> SweepPhenomenon:
    """Do several networks that differ in their seed err less together than one of them alone?

    Over a sweep of seeds and nothing else: a classification, record.predictions, and a test set that is no
    matter of the run's seed: split: {seed: 0}, or data with one of its own, such as mnist1d.
    """
    return SweepPhenomenon(
        result=Voting,
        detect=lambda sweep: detect(ballot(sweep)),
        figures={"voting": error_by_members},
        needs_predictions=True,
    )


def detect(found: Ballot) -> Voting:
    """The detector's numbers, see Voting."""
    alone = found.single_errors()
    majority, averaged = found.joint_errors(np.arange(len(alone)))[-1].tolist()
    median = float(np.median(alone))
    return Voting(
        members=len(alone),
        median_error=median,
        best_error=float(alone.min()),
        worst_error=float(alone.max()),
        majority_error=majority,
        averaged_error=averaged,
        majority_gain=median - majority,
        averaging_gain=median - averaged,
    )


def ballot(sweep: SweepView) -> Ballot:
    """What the complete trials say of the test examples. Raises InvalidValue."""
    table = sweep.joined("predictions")
    refuse_non_numeric(table, ("example", "output", "target", "prediction"))
    table = table[table["split"] == "test"]
    if table.empty:
        raise InvalidValue("voting needs test examples, and the data have none")
    members = table["seed"].nunique()
    if members < 2:
        raise InvalidValue("voting needs two complete trials or more; give sweep.seeds")
    points = table.groupby(["example", "output"])
    shape = members, table["example"].nunique(), table["output"].nunique()
    whole = (points.size() == members).all() and points.ngroups == shape[1] * shape[2]
    if not whole or (points["target"].nunique() > 1).any():
        raise InvalidValue(
            "voting needs one test set for all seeds, and here it changes with the seed; give data.split a "
            "seed of its own"
        )
    ordered = table.sort_values(["seed", "example", "output"])
    outputs, targets = (ordered[name].to_numpy(float).reshape(shape) for name in ("prediction", "target"))
    if shape[2] == 1:  # the logit of the second class, that of the first is 0
        outputs = np.concatenate([np.zeros_like(outputs), outputs], axis=-1)
        targets = np.concatenate([1 - targets, targets], axis=-1)
    if not (np.isin(targets, (0, 1)).all() and (targets.sum(-1) == 1).all()):
        raise InvalidValue("voting is one of classes; these data have values to regress")
    powers = np.exp(outputs - outputs.max(-1, keepdims=True))
    return Ballot(powers / powers.sum(-1, keepdims=True), targets[0].argmax(-1))


# --- the figure ------------------------------------------------------------------------------------------


def error_by_members(sweeps: Sequence[SweepView]) -> Figure:
    """Error against the number of members that decide together, the mean over those that follow each other in
    the circle of seeds; the single ones as dots, their median as a line. One panel a sweep."""
    figure, axes = plotting.panels(1, len(sweeps), width=max(5.2, 4.2 * len(sweeps)), sharey=True)
    for ax, sweep in zip(axes[0], sweeps, strict=True):
        found = ballot(sweep)
        alone = 100 * found.single_errors()
        order = np.arange(len(alone))
        starts = plotting.evenly_spaced_indices(len(alone), MOST_STARTS)
        joint = 100 * np.mean([found.joint_errors(np.roll(order, -first)) for first in starts], axis=0)
        ax.plot(np.ones(len(alone)), alone, "o", markersize=3, color=ALONE, label="each alone")
        ax.axhline(np.median(alone), color=ALONE, linestyle=":", label="their median")
        for curve, colour, label in zip(joint.T, plotting.COLOURS, WAYS, strict=False):
            ax.plot(order + 1, curve, marker="o", markersize=3, color=colour, label=label)
        ax.set(title=f"{sweep.label}\n{_finding(detect(found))}", xlabel="networks that decide together")
        ax.set_xticks([1 + place for place in plotting.evenly_spaced_indices(len(alone), TICKS)])
    axes[0][0].set_ylabel("error, % of test examples")
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def _finding(found: Voting) -> str:
    errors = [100 * e for e in (found.median_error, found.majority_error, found.averaged_error)]
    return "alone {:.3g} %, by majority {:.3g} %, by mean {:.3g} %".format(*errors)
