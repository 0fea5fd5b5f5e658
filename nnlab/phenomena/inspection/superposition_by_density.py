"""Superposition over a sweep: the fewer features are there at once, the more of them share the dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from nnlab import plotting
from nnlab.errors import InvalidValue
from nnlab.phenomena.base import SweepPhenomenon, SweepView, phenomenon, refuse_non_numeric, sweep_column
from nnlab.phenomena.inspection import superposition
from nnlab.phenomena.inspection.superposition import draw_overlaps, weights_of
from nnlab.text import name_in_words

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

MINIMUM_POINTS = 3
SHOWN_DENSITIES = 4
SUPERPOSED_RATIO = 3.0  # features over dimensions
NUMBERS = ("features", "dimensions", "dimensions_per_feature")

Verdict = Literal["superposition", "some", "none"]


class SuperpositionByDensity(NamedTuple):
    """Medians over the seeds at each density.

    Attributes:
        dimensions: m, the width of the bottleneck.
        features_at_densest: Features represented at the highest density.
        features_at_sparsest: Features represented at the lowest density.
        features_per_dimension: The most features at any density, over m.
        distance_to_half: The least |D* - 1/2| of all densities, where D* is the dimensions per feature:
            pairs of opposite features.
        least_dimensions_per_feature: The least D* of all densities.
        verdict: See `superposition_by_density`.
    """

    dimensions: int
    features_at_densest: float
    features_at_sparsest: float
    features_per_dimension: float
    distance_to_half: float
    least_dimensions_per_feature: float
    verdict: Verdict


@phenomenon
def superposition_by_density(along: str = "data.density") -> SweepPhenomenon:
    """Do more features share the dimensions of a bottleneck, the fewer of them are there at once?

    The sweep must list `superposition` among its phenomena too.

    Verdicts:
        superposition: At the highest density a feature has a dimension of its own, and at some density three
            or more share one.
        some: There are more features than dimensions at some density.
        none: There are not.

    Args:
        along: The axis of the sweep, the density of the features.

    Reference:
        Elhage et al. 2022, Toy models of superposition (how features are represented over sparsity; the
        dimensionality of features, which stays at 1/2).
    """
    return SweepPhenomenon(
        result=SuperpositionByDensity,
        detect=lambda sweep: detect(medians(sweep, along)),
        figures={
            "superposition_by_density": lambda sweeps: features_by_density(sweeps, along),
            "overlaps_by_density": lambda sweeps: overlaps_by_density(sweeps, along),
        },
        axis=along,
        depends_on=("superposition",),
    )


def medians(sweep: SweepView, along: str) -> pandas.DataFrame:
    """The medians over seeds of NUMBERS by density, ascending. Raises InvalidValue where there are too few,
    or the dimensions differ."""
    axis = sweep_column(sweep, along)
    columns = [f"superposition.{name}" for name in NUMBERS]
    refuse_non_numeric(sweep.completed_trials, [axis, *columns])
    points = sweep.completed_trials.groupby(axis)[columns].median().set_axis(list(NUMBERS), axis=1).dropna()
    if len(points) < MINIMUM_POINTS:
        raise InvalidValue(f"a curve over '{along}' needs three points or more; there are {len(points)}")
    if points["dimensions"].nunique() > 1:
        raise InvalidValue("the width of the bottleneck varies")
    return points


def detect(points: pandas.DataFrame) -> SuperpositionByDensity:
    """The numbers of the medians by density."""
    dimensions, features = int(points["dimensions"].iloc[0]), points["features"]
    share = points["dimensions_per_feature"]
    verdict: Verdict = "some" if features.max() > dimensions else "none"
    if features.iloc[-1] == dimensions and features.max() >= SUPERPOSED_RATIO * dimensions:
        verdict = "superposition"
    return SuperpositionByDensity(
        dimensions=dimensions,
        features_at_densest=float(features.iloc[-1]),
        features_at_sparsest=float(features.iloc[0]),
        features_per_dimension=float(features.max() / dimensions),
        distance_to_half=float((share - 0.5).abs().min()),
        least_dimensions_per_feature=float(share.min()),
        verdict=verdict,
    )


def features_by_density(sweeps: Sequence[SweepView], along: str) -> Figure:
    """Represented features, and the dimensions that each has, over the density; all sweeps on one axes."""
    figure, axes = plotting.panels(1, 2, 3.6 + 0.15 * len(sweeps))
    results = []
    looks = zip(plotting.colours(len(sweeps)), plotting.markers(len(sweeps)), strict=True)
    for sweep, (colour, marker) in zip(sweeps, looks, strict=True):
        points = medians(sweep, along)
        results.append(detect(points))
        label = f"{sweep.label}: {_finding(results[-1])}"
        for ax, column in zip(axes[0], ("features", "dimensions_per_feature"), strict=True):
            ax.plot(points.index, points[column], marker=marker, markersize=4, color=colour, label=label)
    axes[0][0].set(
        title="Features represented; line: dimensions", ylabel="features, median over seeds", ylim=0
    )
    axes[0][1].set(title="Dimensions per feature; line: one half", ylabel="D*, median over seeds", ylim=0)
    plotting.integer_ticks(axes[0][0].yaxis)
    for ax in axes[0]:
        plotting.capacity_axis(ax, name_in_words(along))
        ax.invert_xaxis()
    for dimensions in sorted({result.dimensions for result in results}):
        axes[0][0].axhline(dimensions, color="#333333", linewidth=0.8)
    axes[0][1].axhline(0.5, color="#333333", linewidth=0.8)
    if len(sweeps) == 1:
        plotting.figure_title(figure, f"{sweeps[0].label}: {_finding(results[0])}")
    else:
        plotting.legend_below(figure, axes[0][0], columns=1)
    return figure


def overlaps_by_density(sweeps: Sequence[SweepView], along: str) -> Figure:
    """Heat maps of W W^T at some densities, of the first seed; a row of panels a sweep."""
    figure, axes = plotting.panels(len(sweeps), SHOWN_DENSITIES, 2.6 * len(sweeps), compressed=True)
    mesh, used = None, []
    for row, sweep in zip(axes, sweeps, strict=True):
        table, axis = sweep.joined("feature_weights"), sweep_column(sweep, along)
        refuse_non_numeric(table, (axis, "seed"))
        table = table[table["seed"] == table["seed"].min()]
        densities = np.unique(table[axis])[::-1]
        shown = densities[plotting.evenly_spaced_indices(len(densities), SHOWN_DENSITIES)]
        for ax, density in zip(row, shown, strict=False):
            weights = weights_of(table[table[axis] == density])
            mesh = draw_overlaps(ax, weights)
            words = f"{name_in_words(along)} {density:g}: {superposition.detect(weights).features} features"
            ax.set(title=plotting.title(words, SHOWN_DENSITIES), xlabel="feature")
        row[0].set_ylabel(f"{sweep.label}\nfeature")
        used += list(row[: len(shown)])
        for ax in row[len(shown) :]:
            ax.remove()
    if mesh is None:
        raise InvalidValue("no trial is complete")
    figure.colorbar(mesh, ax=used, label=superposition.OVERLAP)
    return figure


def _finding(result: SuperpositionByDensity) -> str:
    most = f"{result.features_per_dimension * result.dimensions:g}"
    first = f"{result.features_at_densest:g}"
    return f"{first if first == most else f'{first} to {most}'} features in {result.dimensions} dimensions"
