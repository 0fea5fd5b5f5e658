"""Lazy or rich training across a sweep: how the way of the weights shrinks as a width or a scale grows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.errors import InvalidValue
from nnlab.phenomena.base import (
    SweepPhenomenon,
    SweepView,
    loss_label,
    phenomenon,
    refuse_non_numeric,
    sweep_column,
)
from nnlab.text import name_in_words

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WEIGHTS, KERNEL, TEST_LOSS = "tangent_kernel.weight_change", "tangent_kernel.kernel_change", "final.test_loss"
MINIMUM_POINTS = 3
LAZY_SLOPE, RICH_SLOPE = -0.4, -0.1  # the weights' change goes by the axis to the power -1/2, or 0
MINIMUM_R_SQUARED = 0.9  # of a slope below the first

Verdict = Literal["lazy", "rich", "between"]


class Laziness(NamedTuple):
    """Changes of weights and tangent kernel along an axis, medians over the seeds at each value.

    Attributes:
        slope: Of the logarithm of the weights' relative change over that of the axis, by least squares.
        r_squared: Share of the variance that this line explains; 0 to 1, null where nothing varies.
        kernel_slope: The slope of the kernel's relative change; null where a change is 0.
        least_change: Relative change of the weights at the laziest value, the one at which it is least.
        greatest_change: The same at the richest value, the one at which it is greatest.
        lazy_test_loss: Test loss at the laziest value; null where there are no test examples.
        rich_test_loss: Test loss at the richest value; null likewise.
        test_loss_ratio: lazy_test_loss / rich_test_loss; above 1 where features help; null likewise.
        verdict: `lazy`, `rich` or `between`, see `laziness`.
        reason: Why numbers are null.
    """

    slope: float
    r_squared: float | None
    kernel_slope: float | None
    least_change: float
    greatest_change: float
    lazy_test_loss: float | None
    rich_test_loss: float | None
    test_loss_ratio: float | None
    verdict: Verdict
    reason: str | None = None


@phenomenon
def laziness(along: str) -> SweepPhenomenon:
    """Do the weights move less and less as a net is made wider, or its outputs are scaled up?

    Each trial must be examined for `tangent_kernel`. Under the NTK parametrization the relative change of the
    weights goes by width^-1/2, under mean field not at all; by the scale alpha of centred outputs, from some
    value on, by 1 / alpha.

    Verdicts:
        lazy: The change falls along the axis, by a slope of -0.4 or less on logarithmic scales, and that line
            explains at least 0.9 of the variance.
        rich: The slope is -0.1 or more: the weights move as far, or farther.
        between: Anything else.

    Args:
        along: The axis of the sweep, of numbers above 0, such as a width.

    Reference:
        Jacot, Gabriel & Hongler 2018; Chizat, Oyallon & Bach 2019, "On lazy training in differentiable
        programming".
    """
    return SweepPhenomenon(
        result=Laziness,
        detect=lambda sweep: detect(sweep, along),
        figures={"laziness": lambda sweeps: changes_along(sweeps, along)},
        axis=along,
        depends_on=("tangent_kernel",),
    )


def detect(sweep: SweepView, along: str) -> Laziness:
    """The numbers of a sweep. Raises InvalidValue."""
    points = changes_by_value(sweep, along)
    changes, losses = points[WEIGHTS].to_numpy(), points[TEST_LOSS].to_numpy()
    slope, r_squared = _fit(points, WEIGHTS)
    kernel_slope = _fit(points, KERNEL)[0] if (points[KERNEL] > 0).all() else None
    lazy, rich = changes.argmin(), changes.argmax()
    tested = bool(np.isfinite(losses).all() and losses[rich] > 0)
    falls = slope <= LAZY_SLOPE and r_squared is not None and r_squared >= MINIMUM_R_SQUARED
    return Laziness(
        slope=slope,
        r_squared=r_squared,
        kernel_slope=kernel_slope,
        least_change=float(changes[lazy]),
        greatest_change=float(changes[rich]),
        lazy_test_loss=float(losses[lazy]) if tested else None,
        rich_test_loss=float(losses[rich]) if tested else None,
        test_loss_ratio=float(losses[lazy] / losses[rich]) if tested else None,
        verdict="lazy" if falls else "rich" if slope >= RICH_SLOPE else "between",
        reason="; ".join(
            ["the change is the same all along"] * (r_squared is None)
            + ["a kernel does not change"] * (kernel_slope is None)
            + ["there is no test loss, or none above 0"] * (not tested)
        )
        or None,
    )


def changes_by_value(sweep: SweepView, along: str) -> pandas.DataFrame:
    """Medians over the seeds at each value of the axis, which is the index. Raises InvalidValue."""
    trials, column = sweep.completed_trials, sweep_column(sweep, along)
    refuse_non_numeric(trials, (column, WEIGHTS, KERNEL))
    measured = trials if TEST_LOSS in trials else trials.assign(**{TEST_LOSS: np.nan})
    points = measured.groupby(column)[[WEIGHTS, KERNEL, TEST_LOSS]].median().sort_index()
    points = points[(points.index > 0) & (points[WEIGHTS] > 0) & np.isfinite(points[WEIGHTS])]
    if len(points) < MINIMUM_POINTS:
        raise InvalidValue(f"a slope takes {MINIMUM_POINTS} values above 0 at which the weights move")
    return points


def _fit(points: pandas.DataFrame, column: str) -> tuple[float, float | None]:
    """Slope of the logarithm of a column over that of the index, and the share of variance explained."""
    x, y = np.log(points.index.to_numpy(float)), np.log(points[column].to_numpy(float))
    slope, intercept = np.polyfit(x, y, 1)
    total = float(np.square(y - y.mean()).sum())
    return float(slope), 1 - float(np.square(y - slope * x - intercept).sum()) / total if total else None


# --- the figure ------------------------------------------------------------------------------------------


def changes_along(sweeps: Sequence[SweepView], along: str) -> Figure:
    """Changes of weights and kernel along the axis with the line of the slope, and the test loss; a row a
    sweep."""
    figure, axes = plotting.panels(len(sweeps), 2, 3.6 * len(sweeps))
    for (left, right), sweep in zip(axes, sweeps, strict=True):
        points, result = changes_by_value(sweep, along), detect(sweep, along)
        _draw_points(left, points, result.slope)
        words = f"{sweep.label}: {result.verdict}, the weights' change goes by the power {result.slope:.2f}"
        left.set_title(plotting.title(words, across=2))
        plotting.capacity_axis(left, name_in_words(along))
        if result.test_loss_ratio is None:
            right.remove()
            continue
        right.plot(points.index, points[TEST_LOSS], "o-", color=plotting.SPLIT_COLOURS["test"])
        ratio = plotting.scientific(result.test_loss_ratio)
        right.set_title(
            plotting.title(f"Test loss at the least change: {ratio} times that at the greatest", 2)
        )
        right.set_ylabel(loss_label([sweep], "test"))
        plotting.log_if_wide(right, points[TEST_LOSS].tolist())
        plotting.capacity_axis(right, name_in_words(along))
    return figure


def _draw_points(ax: Axes, points: pandas.DataFrame, slope: float) -> None:
    x = points.index.to_numpy(float)
    for column, label, marker in ((WEIGHTS, "weights", "o"), (KERNEL, "tangent kernel", "s")):
        ax.plot(x, points[column], f"{marker}-", markersize=4, label=label)
    middle = np.exp(np.log(points[WEIGHTS]).mean() - slope * np.log(x).mean())
    ax.plot(x, middle * x**slope, "--", color="#000000", linewidth=1.0, label=f"power {slope:.2f}")
    ax.set_ylabel("relative change (log scale)")
    plotting.log_axis(ax)
    plotting.legend(ax)
