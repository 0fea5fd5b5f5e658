"""The critical batch size: up to it a batch of twice the size takes half the steps, beyond it hardly fewer.

For `S(B)` steps to a level of the loss with batches of B examples, each at its best learning rate, McCandlish
et al. find

    S(B) = S_min (1 + B_crit / B),        E(B) = B S(B) = E_min (1 + B / B_crit)

with at least S_min steps however large the batch, and at least E_min = B_crit S_min examples however small.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.config.sweep_keys import SweepDefinition
from nnlab.errors import InvalidValue
from nnlab.phenomena.base import SweepPhenomenon, SweepView, phenomenon, sweep_column
from nnlab.phenomena.optimization.compared_values import ComparisonSettings, find_contenders
from nnlab.registry import Positive
from nnlab.text import join_words, name_in_words

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BATCH_SIZE = "data.batch_size"
NOISE_SCALE = "gradient_noise.noise_scale"
MINIMUM_SIZES = 3
FITTED_DECADES, FITTED_PER_DECADE = 2, 100  # critical sizes that are tried, beyond each end of the axis
FLAT_RATIO = 2.0  # of a size's examples to the least: what the law has at the critical size


class CriticalBatch(NamedTuple):
    """Batch sizes in examples. Steps are medians over the seeds, at each size's best rate.

    Attributes:
        critical_batch: B_crit of the law that fits best; null where it lies beyond either end of the axis.
        flat_to: The largest size up to which all take less than twice the least examples.
        steps_ratio: Steps of the smallest size over those of the largest; 1 where they take as many.
        examples_ratio: Examples of the largest size, steps times size, over the least of any; 1 or more.
        fit_error: Mean distance of the steps from the law, as a factor; 1 where they follow it.
        noise_scale: Median over these trials of `gradient_noise.noise_scale`; null without that phenomenon.
        reached: How many sizes come to the level.
        at_edge: How many of these do so best at an end of the tuned axis, so that more of it should be tried.
        reason: Why numbers are null.
    """

    critical_batch: float | None
    flat_to: float
    steps_ratio: float
    examples_ratio: float
    fit_error: float
    noise_scale: float | None
    reached: int
    at_edge: int
    reason: str | None = None


class StepsBySize(NamedTuple):
    """Steps to the level, each size at its best rate; the sizes that come to it.

    Attributes:
        sizes: `[P]`, ascending.
        steps: `[P]`, medians over the seeds.
        seeds: Of each size, the steps of every seed, infinite where it does not come to the level.
        noise_scales: `[trials]`, of these trials.
        at_edge: How many sizes do best at an end of the tuned axis.
        never: The sizes that do not come to the level.
    """

    sizes: np.ndarray
    steps: np.ndarray
    seeds: list[np.ndarray]
    noise_scales: np.ndarray
    at_edge: int
    never: list[float]

    @property
    def examples(self) -> np.ndarray:
        return self.sizes * self.steps


@phenomenon
def critical_batch(
    level: Positive, metric: str = "train_loss", tuned: str = "optimizer.learning_rate"
) -> SweepPhenomenon:
    """How large may a batch be before more examples save no more steps?

    The sweep runs along `data.batch_size`, with numbers as its values, and along learning rates for each. Its
    trainings must be long enough for the smallest batch; `zip` lets train.steps and record.every go with the
    size. Beside `gradient_noise`, its noise scale is a prediction of the critical size.

    Args:
        level: The score is the first recorded step at which the metric is so low.
        metric: A column of metrics.csv, such as train_loss.
        tuned: The axis of numbers, of which each size has its best.

    Reference:
        McCandlish et al. 2018, equation 2.11 and section 4; lecture 002 (one example, a minibatch or all).
    """
    if not metric.startswith(("train_", "validation_")):
        raise InvalidValue(f"'{tuned}' is chosen by it; take a metric of training or validation", ("metric",))
    settings = ComparisonSettings(BATCH_SIZE, metric, "lower", level, tuned, None)
    return SweepPhenomenon(
        result=CriticalBatch,
        detect=lambda sweep: detect(read_steps(sweep, settings)),
        figures={"critical_batch": lambda sweeps: steps_by_size(sweeps, settings)},
        axis=BATCH_SIZE,
        other_axes=(tuned,),
        validate_sweep=_check_sizes,
    )


def _check_sizes(sweep: SweepDefinition) -> None:
    if BATCH_SIZE not in (*sweep.axes, *sweep.zip):
        raise InvalidValue(
            f"critical_batch compares sizes; list those of {BATCH_SIZE} under sweep.axes or zip"
        )


def read_steps(sweep: SweepView, settings: ComparisonSettings) -> StepsBySize:
    """The steps of each batch size. Raises InvalidValue where fewer than three come to the level."""
    cells = sweep.trials[sweep_column(sweep, BATCH_SIZE)].unique()
    contenders = find_contenders(sweep, settings)
    sized = sorted(zip(map(float, cells), contenders, strict=True), key=lambda pair: pair[0])
    scored = [(size, one) for size, one in sized if one.has_score]
    if len(scored) < MINIMUM_SIZES:
        raise InvalidValue(
            f"{len(scored)} batch sizes come to {settings.score_name}; a curve needs {MINIMUM_SIZES} or more"
        )
    steps = [np.maximum(one.chosen["cost"].to_numpy(float), 1.0) for _, one in scored]
    chosen = sweep.trials["trial"].isin([trial for _, one in scored for trial in one.chosen["trial"]])
    noise = sweep.trials.loc[chosen].get(NOISE_SCALE, np.nan)
    return StepsBySize(
        sizes=np.array([size for size, _ in scored]),
        steps=np.array([max(1.0, one.cost) for _, one in scored]),
        seeds=steps,
        noise_scales=np.atleast_1d(np.asarray(noise, float)),
        at_edge=sum(one.at_edge for _, one in scored),
        never=[size for size, one in sized if not one.has_score],
    )


def fit_law(sizes: np.ndarray, steps: np.ndarray) -> tuple[float, float, float]:
    """S_min, B_crit and the mean factor of error of the law that fits the logarithms of the steps best."""
    low, high = (np.log10(end) for end in (sizes[0], sizes[-1]))
    count = round((high - low + 2 * FITTED_DECADES) * FITTED_PER_DECADE) + 1
    critical = np.logspace(low - FITTED_DECADES, high + FITTED_DECADES, count)
    least = np.log(steps) - np.log1p(critical[:, None] / sizes)  # of each size alone
    errors = np.sqrt(((least - least.mean(1, keepdims=True)) ** 2).mean(1))
    best = int(errors.argmin())
    return float(np.exp(least[best].mean())), float(critical[best]), float(np.exp(errors[best]))


def detect(curve: StepsBySize) -> CriticalBatch:
    """The numbers of the steps by batch size."""
    _, critical, error = fit_law(curve.sizes, curve.steps)
    within = curve.sizes[0] < critical < curve.sizes[-1]
    reasons = [] if within else [_beyond(critical >= curve.sizes[-1])]
    noise = curve.noise_scales[np.isfinite(curve.noise_scales)]
    if not noise.size:
        reasons.append("there is no gradient_noise beside it")
    if curve.never:
        sizes = join_words([f"{size:g}" for size in curve.never], "and")
        reasons.append(f"the median trial of batch size {sizes} never comes to the level")
    ratios = curve.examples / curve.examples.min()
    beyond = np.flatnonzero(ratios >= FLAT_RATIO)
    beyond = beyond[beyond > curve.examples.argmin()]
    return CriticalBatch(
        critical_batch=critical if within else None,
        flat_to=float(curve.sizes[beyond[0] - 1 if beyond.size else -1]),
        steps_ratio=float(curve.steps[0] / curve.steps[-1]),
        examples_ratio=float(ratios[-1]),
        fit_error=error,
        noise_scale=float(np.median(noise)) if noise.size else None,
        reached=len(curve.sizes),
        at_edge=curve.at_edge,
        reason="; ".join(reasons) or None,
    )


def _beyond(is_above: bool) -> str:
    if is_above:
        return "up to the largest batch, one of twice the size takes half the steps"
    return "from the smallest batch on, a larger one takes as many steps"


def steps_by_size(sweeps: Sequence[SweepView], settings: ComparisonSettings) -> Figure:
    """Steps and examples to the level, by batch size; a row of these two panels a sweep."""
    figure, axes = plotting.panels(len(sweeps), 2, 3.6 * len(sweeps))
    for row, sweep in zip(axes, sweeps, strict=True):
        curve = read_steps(sweep, settings)
        numbers = detect(curve)
        _draw(row[0], curve, numbers, np.ones(len(curve.sizes)))
        row[0].set_ylabel(f"steps to {settings.score_name}\n(log scale)")
        row[0].set_title(plotting.title(f"{sweep.label}: {_finding(numbers)}", across=2))
        _draw(row[1], curve, numbers, curve.sizes)
        row[1].set_ylabel("steps times size (log scale)")
        row[1].set_title(plotting.title(_cost(curve, numbers), across=2))
    plotting.legend_below(figure, axes[0, 0])
    return figure


def _draw(ax: Axes, curve: StepsBySize, numbers: CriticalBatch, factor: np.ndarray) -> None:
    """The steps, times a factor for each size, with the law that fits them."""
    for size, times, steps in zip(curve.sizes, factor, curve.seeds, strict=True):
        finite = times * steps[np.isfinite(steps)]
        ax.plot([size] * len(finite), finite, "o", markersize=3, color=plotting.COLOURS[0])
    ax.plot(curve.sizes, factor * curve.steps, color=plotting.COLOURS[0], label="at the best rate, median")
    least, critical, _ = fit_law(curve.sizes, curve.steps)
    law = factor * least * (1 + critical / curve.sizes)
    ax.plot(curve.sizes, law, "--", color=plotting.COLOURS[1], label="S (1 + C / size)")
    if numbers.critical_batch is not None:
        ax.axvline(critical, color="#555555", linestyle=":", linewidth=1.2, label="critical size C")
    if numbers.noise_scale is not None:
        ax.axvline(
            numbers.noise_scale, color=plotting.COLOURS[2], linestyle="-.", linewidth=1.2, label="noise scale"
        )
    plotting.log_axis(ax)
    plotting.capacity_axis(ax, name_in_words(BATCH_SIZE))


def _cost(curve: StepsBySize, numbers: CriticalBatch) -> str:
    times = plotting.scientific(numbers.examples_ratio)
    return f"a batch of {curve.sizes[-1]:g} takes {times} times the least examples"


def _finding(numbers: CriticalBatch) -> str:
    if numbers.critical_batch is None:
        return numbers.reason.partition(";")[0] if numbers.reason else ""
    words = f"the critical batch has {plotting.scientific(numbers.critical_batch)} examples"
    if numbers.noise_scale is not None:
        words += f", the noise scale is {plotting.scientific(numbers.noise_scale)}"
    return words
