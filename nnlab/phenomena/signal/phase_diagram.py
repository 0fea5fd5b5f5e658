"""The phase diagram of random nets: ordered or chaotic, by the variances of weights and biases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.errors import InvalidValue
from nnlab.phenomena.base import SweepPhenomenon, SweepView, phenomenon, refuse_non_numeric, sweep_column
from nnlab.phenomena.signal.signal_propagation import Phase, phase

if TYPE_CHECKING:
    import pandas
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAXIMUM_CHI_ERROR = 0.03  # of the mean over seeds, relative
SAME_VARIANCE = 0.1  # relative spread of sigma_b^2, up to which the points lie on one line
MEASURED = ("sigma_w_squared", "sigma_b_squared", "chi_theory", "chi_measured", "correlation_measured")
PHASES: dict[Phase | None, tuple[str, str, str]] = {  # its words, marker and colour
    "ordered": ("ordered", "o", plotting.COLOURS[0]),
    "chaotic": ("chaotic", "^", plotting.COLOURS[3]),
    None: ("neither clearly", "s", "#999999"),
}


class PhaseDiagram(NamedTuple):
    """Theory and measurement at the points of a sweep, as means over the seeds.

    Attributes:
        points: Number of points at which chi was measured.
        ordered_points: How many of them are ordered, as `signal_propagation` has it.
        chaotic_points: How many are chaotic.
        greatest_chi_error: Largest |chi_measured / chi_theory - 1| of the points; 0 or more.
        phases_agree: Whether every point that is ordered or chaotic is so in theory.
        agrees: Whether greatest_chi_error is at most 0.03, and phases_agree.
        critical_theory: sigma_w^2 at which chi is 1, for the sweep's sigma_b^2; null where that is not one,
            and where there is none.
        critical_measured: The same, between the two points where the logarithm of the measured chi changes
            its sign; null where it does not do so once.
        reason: Why numbers are null.
    """

    points: int
    ordered_points: int
    chaotic_points: int
    greatest_chi_error: float
    phases_agree: bool
    agrees: bool
    critical_theory: float | None
    critical_measured: float | None
    reason: str | None = None


@phenomenon
def phase_diagram(weights: str, biases: str | None = None) -> SweepPhenomenon:
    """Where does order turn into chaos, and do gradients behave as theory says?

    The sweep must list `signal_propagation` among its phenomena too, which measures sigma_w^2 and sigma_b^2
    on the weights themselves: the axes may be gains, standard deviations, or what else changes them.

    Args:
        weights: The axis that changes sigma_w^2, such as model.0.layers.0.kernel_init.gain.
        biases: The axis that changes sigma_b^2, where there is one; null where sigma_b^2 stays.

    Reference:
        Schoenholz et al. 2017 (figure 1: the diagram of tanh); Poole et al. 2016.
    """
    paths = tuple(path for path in (weights, biases) if path is not None)
    return SweepPhenomenon(
        result=PhaseDiagram,
        detect=lambda sweep: detect(sweep, paths),
        figures={"phase_diagram": lambda sweeps: diagram(sweeps, paths)},
        axis=weights,
        other_axes=paths[1:],
        depends_on=("signal_propagation",),
    )


def measured_points(sweep: SweepView, paths: Sequence[str]) -> pandas.DataFrame:
    """Means over the seeds at each point at which chi was measured, ascending by sigma_w^2.

    Returns:
        The columns MEASURED, and chi_ratio and phase.

    Raises:
        InvalidValue: There is none, or a number is missing.
    """
    trials = sweep.completed_trials
    columns = [f"signal_propagation.{name}" for name in MEASURED]
    refuse_non_numeric(trials, [*columns, "signal_propagation.variance_theory"])
    trials = trials.dropna(subset=columns)
    if trials.empty:
        raise InvalidValue("no trial has a measured chi")
    axes = [sweep_column(sweep, path) for path in paths]
    points = trials.groupby(axes)[columns].mean().set_axis(list(MEASURED), axis=1)
    points = points[(points["chi_measured"] > 0) & (points["chi_theory"] > 0)].copy()
    if points.empty:
        raise InvalidValue("at no point is chi above 0")
    points["chi_ratio"] = points["chi_measured"] / points["chi_theory"]
    settles = trials.groupby(axes)["signal_propagation.variance_theory"].count().loc[points.index] > 0
    numbers = zip(points["chi_measured"], points["correlation_measured"], settles, strict=True)
    points["phase"] = [
        phase(chi, correlation) if has_phase else None for chi, correlation, has_phase in numbers
    ]
    return points.sort_values("sigma_w_squared")


def detect(sweep: SweepView, paths: Sequence[str]) -> PhaseDiagram:
    """The detector's numbers. Raises InvalidValue, see `measured_points`."""
    points = measured_points(sweep, paths)
    error = float((points["chi_ratio"] - 1).abs().max())
    phases = points["phase"].tolist()
    theory = np.where(points["chi_theory"] < 1, "ordered", "chaotic")
    agree = all(found in (None, expected) for found, expected in zip(phases, theory, strict=True))
    sigma_b_squared = points["sigma_b_squared"]
    on_one_line = sigma_b_squared.max() <= (1 + SAME_VARIANCE) * sigma_b_squared.min()
    critical = _critical(sweep, float(sigma_b_squared.mean())) if on_one_line else None
    crossing = _crossing(points) if on_one_line else None
    return PhaseDiagram(
        points=len(points),
        ordered_points=phases.count("ordered"),
        chaotic_points=phases.count("chaotic"),
        greatest_chi_error=error,
        phases_agree=agree,
        agrees=agree and error <= MAXIMUM_CHI_ERROR,
        critical_theory=critical,
        critical_measured=crossing,
        reason=_reason(on_one_line, critical, crossing),
    )


def _reason(on_one_line: bool, critical: float | None, crossing: float | None) -> str | None:
    """Why there are numbers that are null; None where there are none."""
    if not on_one_line:
        return "sigma_b² varies, and with it the critical sigma_w²"
    reasons = []
    if critical is None:
        reasons.append("theory has no critical sigma_w² for this sigma_b²")
    if crossing is None:
        reasons.append("chi does not rise through 1 once along sigma_w²")
    return "; ".join(reasons) or None


def critical_points(sweep: SweepView) -> tuple[np.ndarray, np.ndarray]:
    """sigma_w^2 and sigma_b^2 along the critical line, where both are possible and finite."""
    table = sweep.joined("critical_line")
    refuse_non_numeric(table, ["variance", "sigma_w_squared", "sigma_b_squared"])
    line = table.drop_duplicates("variance").sort_values("variance")
    x, y = (line[name].to_numpy(float) for name in ("sigma_w_squared", "sigma_b_squared"))
    possible = np.isfinite(x) & np.isfinite(y) & (y >= -1e-6)  # which float32 makes of 0
    return x[possible], np.maximum(y[possible], 0.0)


def _critical(sweep: SweepView, sigma_b_squared: float) -> float | None:
    """sigma_w^2 on the critical line; None where the line does not come to this sigma_b^2."""
    x, y = critical_points(sweep)
    if not y.size or not y.min() <= sigma_b_squared <= y.max():
        return None
    order = np.argsort(y, kind="stable")
    return float(np.interp(sigma_b_squared, y[order], x[order]))


def _crossing(points: pandas.DataFrame) -> float | None:
    """Where the logarithm of the measured chi, between two points a line, rises through 0."""
    x, chi = points["sigma_w_squared"].to_numpy(), np.log(points["chi_measured"].to_numpy())
    rises = np.flatnonzero((chi[:-1] < 0) & (chi[1:] >= 0))
    if len(rises) != 1 or (np.diff(np.sign(chi)) < 0).any():
        return None
    left = rises[0]
    return float(np.interp(0.0, chi[left : left + 2], x[left : left + 2]))


def diagram(sweeps: Sequence[SweepView], paths: Sequence[str]) -> Figure:
    """The critical line with the measured points, and chi beside theory; a row of two panels a sweep."""
    figure, axes = plotting.panels(len(sweeps), 2, 3.6 * len(sweeps))
    for row, sweep in zip(axes, sweeps, strict=True):
        points, result = measured_points(sweep, paths), detect(sweep, paths)
        _draw_diagram(row[0], sweep, points)
        _draw_chi(row[1], points)
        row[0].set_title(plotting.title(f"{sweep.label}: {_finding(result)}", across=2))
        row[1].set_title("Squared gradient, a layer back")
    plotting.legend_below(figure, axes[0][0], columns=2)
    return figure


def _finding(result: PhaseDiagram) -> str:
    error = f"χ within {result.greatest_chi_error:.1%} of theory"
    if result.critical_measured is None:
        return f"{result.ordered_points} points ordered, {result.chaotic_points} chaotic; {error}"
    theory = "none" if result.critical_theory is None else f"{result.critical_theory:.2f}"
    return f"gradients explode from σw² {result.critical_measured:.2f} on, theory {theory}; {error}"


def _draw_diagram(ax: Axes, sweep: SweepView, points: pandas.DataFrame) -> None:
    x, y = critical_points(sweep)
    right, top = 1.15 * points["sigma_w_squared"].max(), 3.0 * points["sigma_b_squared"].max() or 0.1
    shown = y <= 1.5 * top
    marker = "" if shown.any() and np.ptp(y[shown]) > 0.01 * top else "*"  # the line of relu is a point
    ax.plot(x[shown], y[shown], color="#333333", marker=marker, markersize=9, label="edge of chaos, theory")
    for kind, (words, marker, colour) in PHASES.items():
        rows = points[points["phase"].isna() if kind is None else points["phase"] == kind]
        place = rows["sigma_w_squared"], rows["sigma_b_squared"]
        if len(rows):
            ax.plot(*place, marker, color=colour, markersize=6, label=f"measured: {words}")
    ax.set(xlabel="σw², variance of weights times inputs", ylabel="σb², variance of biases")
    ax.set(xlim=(0, right), ylim=(-0.03 * top, top))


def _draw_chi(ax: Axes, points: pandas.DataFrame) -> None:
    x = points["sigma_w_squared"]
    ax.axhline(1.0, color="#333333", linewidth=0.8)
    ax.plot(x, points["chi_theory"], "_", color=plotting.COLOURS[1], markersize=14, label="theory")
    ax.plot(x, points["chi_measured"], "o", color=plotting.COLOURS[0], markersize=4, label="measured")
    ax.set(xlabel="σw², variance of weights times inputs", ylabel="factor χ, mean over seeds")
    plotting.legend(ax, loc="upper left")
