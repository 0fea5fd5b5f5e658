"""Spectral bias: a net learns the slow waves of a function before the fast ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.data.prepare import Data
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Setup
from nnlab.phenomena.base import (
    RunPhenomenon,
    RunView,
    phenomenon,
    refuse_non_numeric,
    refuse_sparse_grid,
    refuse_too_many_lines,
)
from nnlab.phenomena.prediction_table import prediction_probe

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.figure import Figure

UNLEARNT_SHARE = 0.1  # greatest distance of a learnt share from 1: a net that diverges has more than all
STRONG_AMPLITUDE = 0.2  # of the largest: weaker waves of the target are not looked at
MINIMUM_FREQUENCIES = 3
UNEVEN_GAP = 0.01  # relative difference of two steps of the grid
MINIMUM_LEARNT = 2  # waves, for an order beside those never learnt
MINIMUM_RATIO, MINIMUM_RANK_CORRELATION = 10.0, 0.9

Verdict = Literal["spectral bias", "none"]


class SpectralBias(NamedTuple):
    """When the waves of the target are learnt.

    Attributes:
        frequencies: How many waves the target has, those with at least a fifth of the largest amplitude.
        learnt_frequencies: How many of them are learnt in the end, in the sense of lowest_step.
        lowest_frequency: Periods of the slowest wave over the whole grid.
        highest_frequency: Periods of the fastest.
        lowest_step: The first recorded step, at least 1, at which the slowest wave is learnt within 10 %, and
            from which to twice that step the median share is so, too; null where there is none.
        highest_step: The same of the fastest.
        ratio: highest_step / lowest_step; at least this, where the fastest wave is never learnt and the last
            recorded step stands for its own.
        rank_correlation: Spearman's, of frequency and step, -1 to 1. Waves never learnt come last, and among
            each other in no order: they have one frequency, their mean rank. Null where all are learnt at one
            step, and where fewer than two are learnt.
        verdict: See `spectral_bias`.
        reason: Why numbers are null.
    """

    frequencies: int
    learnt_frequencies: int
    lowest_frequency: int
    highest_frequency: int
    lowest_step: int | None
    highest_step: int | None
    ratio: float | None
    rank_correlation: float | None
    verdict: Verdict | None
    reason: str | None = None


class LearntShares(NamedTuple):
    """How much of each wave of the target the net has; K waves, R records.

    Attributes:
        frequencies: Ascending, in periods over the whole grid, `[K]`.
        steps: `[R]`, ascending.
        shares: `[R, K]`, 1 where a wave is learnt with its amplitude and phase, 0 where nothing is.
    """

    frequencies: np.ndarray
    steps: np.ndarray
    shares: np.ndarray

    @property
    def learnt_steps(self) -> np.ndarray:
        """The first recorded step, 1 or later, at which a wave is learnt for good, `[K]`; infinite where none
        is."""
        return np.array([self._learnt_step(shares) for shares in self.shares.T])

    def _learnt_step(self, shares: np.ndarray) -> float:
        """A net swings past many a function early on, and jumps later: the median of as long again counts."""
        for place in np.flatnonzero(_is_learnt(shares)):
            step = max(1, self.steps[place])
            until = np.searchsorted(self.steps, 2 * step, side="right")
            if _is_learnt(np.median(shares[place:until])):
                return float(step)
        return math.inf


def _is_learnt(shares: np.ndarray) -> np.ndarray:
    return np.abs(shares - 1.0) <= UNLEARNT_SHARE


@phenomenon
def spectral_bias() -> RunPhenomenon:
    """Are the slow waves of a function learnt before the fast ones?

    For a regression of one output on an even grid of one feature, such as `sines`. The share of a wave that
    is learnt is Re(F conj(T)) / |T|^2, where T and F are the Fourier coefficients of targets and predictions
    on the grid. Record at steps that are `log_spaced`.

    Verdicts:
        spectral bias: The fastest wave is learnt at least ten times later than the slowest, and frequency and
            step have a rank correlation of at least 0.9.
        none: They do not. Null where the slowest wave is never learnt, and where the training ends before it
            tells: one wave is learnt, or the fastest is not, in less than ten times the slowest one's steps.

    Reference:
        Rahaman et al. 2019, On the spectral bias of neural networks; Tancik et al. 2020, Fourier features let
        networks learn high frequency functions in low dimensional domains (what removes it).
    """
    return RunPhenomenon(
        probes=(prediction_probe("train"),),
        result=SpectralBias,
        detect=lambda run: detect(read_shares(run)),
        figures={"spectral_bias": shares_over_training},
        validate=_check_grid,
    )


def _check_grid(setup: Setup, data: Data) -> None:
    """Refuse data that are no function on an even grid. Raises InvalidValue."""
    train = data.train
    if train.classes or math.prod(train.inputs.shape[1:]) != 1 or train.targets.shape[1] != 1:
        raise InvalidValue("spectral_bias needs a regression of one output on one feature, such as sines")
    _refuse_uneven(np.sort(np.asarray(train.inputs, float).reshape(-1)))


def _refuse_uneven(grid: np.ndarray) -> None:
    """Refuse an ascending grid whose steps differ. Raises InvalidValue."""
    gaps = np.diff(grid)
    if len(gaps) < 2 * MINIMUM_FREQUENCIES or np.ptp(gaps) > UNEVEN_GAP * gaps.mean():
        raise InvalidValue("spectral_bias needs inputs on an even grid, such as those of sines")


def read_shares(run: RunView) -> LearntShares:
    """The learnt shares of a run. Raises InvalidValue where the target is not a sum of waves on a grid."""
    table = run.tables["predictions_over_training"]
    refuse_non_numeric(table, ("step", "input", "target", "prediction"))
    refuse_sparse_grid(table, "step", "input")
    targets = table.drop_duplicates("input").sort_values("input")
    _refuse_uneven(targets["input"].to_numpy(float))
    by_step = table.pivot(index="step", columns="input", values="prediction")
    wanted = np.fft.rfft(targets["target"].to_numpy(float))
    amplitudes = np.abs(wanted)
    amplitudes[0] = 0.0  # the mean is no wave
    strong = np.flatnonzero(amplitudes >= max(STRONG_AMPLITUDE * amplitudes.max(), 1e-6 * len(targets)))
    if len(strong) < MINIMUM_FREQUENCIES:
        raise InvalidValue(
            f"the target has {len(strong)} strong waves, and an order needs {MINIMUM_FREQUENCIES} or more"
        )
    found = np.fft.rfft(by_step.to_numpy(float), axis=1)[:, strong]
    shares = (found * wanted[strong].conj()).real / amplitudes[strong] ** 2
    return LearntShares(strong, by_step.index.to_numpy(), shares)


def detect(learnt: LearntShares) -> SpectralBias:
    """Compare the steps at which the waves are learnt."""
    steps, last = learnt.learnt_steps, float(learnt.steps[-1])
    lowest, highest = (float(steps[end]) for end in (0, -1))
    ratio = min(highest, last) / lowest if math.isfinite(lowest) else None
    correlation = _rank_correlation(steps)
    return SpectralBias(
        frequencies=len(steps),
        learnt_frequencies=int(np.isfinite(steps).sum()),
        lowest_frequency=int(learnt.frequencies[0]),
        highest_frequency=int(learnt.frequencies[-1]),
        lowest_step=int(lowest) if math.isfinite(lowest) else None,
        highest_step=int(highest) if math.isfinite(highest) else None,
        ratio=ratio,
        rank_correlation=correlation,
        verdict=_verdict(ratio, correlation, steps),
        reason=_reason(learnt.frequencies, steps, correlation),
    )


def _verdict(ratio: float | None, correlation: float | None, steps: np.ndarray) -> Verdict | None:
    learnt = np.isfinite(steps)
    if ratio is None or learnt.sum() < MINIMUM_LEARNT or (not learnt[-1] and ratio < MINIMUM_RATIO):
        return None
    in_order = correlation is not None and correlation >= MINIMUM_RANK_CORRELATION
    return "spectral bias" if ratio >= MINIMUM_RATIO and in_order else "none"


def _reason(frequencies: np.ndarray, steps: np.ndarray, correlation: float | None) -> str | None:
    """Why there are numbers that are null; None where there are none."""
    never = [str(frequencies[end]) for end in (0, -1) if not math.isfinite(steps[end])]
    reasons = [f"frequency {frequency} is never learnt" for frequency in never]
    if correlation is None:
        few = np.isfinite(steps).sum() < MINIMUM_LEARNT
        reasons.append("fewer than two are learnt" if few else "all frequencies are learnt at one step")
    return "; ".join(reasons) or None


def _rank_correlation(steps: np.ndarray) -> float | None:
    """Spearman's, of steps and their places; None where all steps are the same or fewer than two finite."""
    never = np.isinf(steps)
    if (steps == steps[0]).all() or (~never).sum() < MINIMUM_LEARNT:
        return None
    _, inverse, counts = np.unique(steps, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]  # the mean rank of those that are the same
    places = np.arange(len(steps), dtype=float)
    if never.any():
        places[never] = places[never].mean()
    return float(np.corrcoef(ranks, places)[0, 1])


def shares_over_training(runs: Sequence[RunView]) -> Figure:
    """Heat map: the learnt share by frequency and step, with the step of 90 %; a panel a run."""
    meshes = []

    def draw(ax: Axes, run: RunView) -> str:
        learnt = read_shares(run)
        meshes.append(_draw_shares(ax, learnt))
        return f"{run.label}: {_finding(detect(learnt))}"

    figure, axes = plotting.panel_per_result(runs, draw, height=3.6)
    figure.colorbar(meshes[-1], ax=axes, label="learnt share of a wave")
    return figure


def _draw_shares(ax: Axes, learnt: LearntShares) -> QuadMesh:
    """Draw the shares from step 1 on; the cells in their colours."""
    later = learnt.steps > 0
    if later.sum() < 2:
        raise InvalidValue("there is no training to be seen")
    count = len(learnt.frequencies)
    refuse_too_many_lines(count, "frequencies")
    borders = plotting.log_cell_edges(learnt.steps[later].astype(float)), np.arange(count + 1) - 0.5
    shares = learnt.shares[later].T
    mesh = ax.pcolormesh(*borders, shares, cmap="viridis", vmin=0.0, vmax=1.0, rasterized=True)
    steps = learnt.learnt_steps
    learnt_at = np.where(np.isfinite(steps), steps, np.nan)
    ax.plot(learnt_at, np.arange(count), "o", color="white", mec="black", markersize=5, label="90 % learnt")
    named = plotting.evenly_spaced_indices(count, 12)
    ax.set_yticks(named, [str(learnt.frequencies[place]) for place in named])
    ax.set(ylabel="frequency, periods on the grid")
    ax.grid(visible=False)
    plotting.log_step_axis(ax)
    ax.legend(loc="lower right", frameon=True)
    return mesh


def _finding(result: SpectralBias) -> str:
    """The ratio in words."""
    if result.ratio is None or result.verdict is None:
        return str(result.reason)
    at_least = "at least " if result.highest_step is None else ""
    times = f"{at_least}{result.ratio:.3g} times"
    return f"frequency {result.highest_frequency} takes {times} as long as {result.lowest_frequency}"
