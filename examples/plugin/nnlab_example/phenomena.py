"""Calibration: does a net know how sure it may be?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.errors import InvalidValue
from nnlab.phenomena.base import RunPhenomenon, RunView, phenomenon

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from nnlab.data.prepare import Data
    from nnlab.nn.layer import Setup

BINS = 10
TOLERATED_GAP = 0.05


class Calibration(NamedTuple):
    """What the test examples say of a net's confidence, the probability of the class that it names.

    Attributes:
        expected_calibration_error: |accuracy - confidence| over ten bins of confidence, weighted by their
            examples; in [0, 1].
        mean_confidence: In (0, 1].
        accuracy: In [0, 1].
        verdict: `calibrated` where the error is at most 0.05, else `overconfident` or `underconfident`.
    """

    expected_calibration_error: float
    mean_confidence: float
    accuracy: float
    verdict: str


@phenomenon
def calibration() -> RunPhenomenon:
    """Is a net right as often as it claims to be?

    Of two classes or more with one output each; record.predictions keeps the outputs that it reads.

    Reference:
        Guo et al. 2017, "On calibration of modern neural networks".
    """
    return RunPhenomenon(
        result=Calibration,
        detect=detect,
        figures={"reliability": reliability},
        needs_predictions=True,
        validate=validate,
    )


def validate(setup: Setup, data: Data) -> None:
    """Refuse, before anything is trained, what has no calibration. Raises InvalidValue."""
    if data.test is None or not data.test.classes or setup.output_shape[-1] < 2:
        raise InvalidValue("calibration is seen on test examples of a net with an output for each class")


def detect(run: RunView) -> Calibration:
    """The numbers of a run that came to its end."""
    confidence, correct = confidences(run)
    shares, gaps = bins(confidence, correct)
    error = float(np.sum(shares * np.abs(gaps)))
    verdict = "overconfident" if confidence.mean() > correct.mean() else "underconfident"
    if error <= TOLERATED_GAP:
        verdict = "calibrated"
    return Calibration(error, float(confidence.mean()), float(correct.mean()), verdict)


def confidences(run: RunView) -> tuple[np.ndarray, np.ndarray]:
    """How sure the net is of each test example's class, `[N]`, and whether it is right, `[N]`."""
    table = run.tables["predictions"]
    table = table[table["split"] == "test"].sort_values(["example", "output"])
    classes = table["output"].nunique()
    logits, targets = (table[name].to_numpy(float).reshape(-1, classes) for name in ("prediction", "target"))
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    probabilities = powers / powers.sum(-1, keepdims=True)
    return probabilities.max(-1), probabilities.argmax(-1) == targets.argmax(-1)


def bins(confidence: np.ndarray, correct: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each bin's share of the examples, and the accuracy minus the confidence in it, 0 where it is empty."""
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)
    count = np.bincount(place, minlength=BINS)
    gap = np.bincount(place, correct - confidence, minlength=BINS) / np.maximum(count, 1)
    return count / len(confidence), gap


def reliability(runs: Sequence[RunView]) -> Figure:
    """Accuracy against confidence, a line a run, on the diagonal of a net that knows itself."""
    figure, axes = plotting.panels(1, 1, 4.2)
    ax, centres = axes[0][0], (np.arange(BINS) + 0.5) / BINS
    ax.plot([0, 1], [0, 1], ":", color="#777777", label="calibrated")
    for run, colour in zip(runs, plotting.colours(len(runs)), strict=True):
        confidence, correct = confidences(run)
        shares, gaps = bins(confidence, correct)
        error = detect(run).expected_calibration_error
        label = f"{run.label}: error {error:.3f}"
        ax.plot(centres[shares > 0], (centres + gaps)[shares > 0], "o-", color=colour, label=label)
    ax.set(
        xlabel="confidence",
        ylabel="accuracy",
        title="Reliability on test examples",
        xlim=(0, 1),
        ylim=(0, 1.02),
    )
    plotting.legend(ax)
    return figure
