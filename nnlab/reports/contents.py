"""What a report shows, collected from runs and sweeps as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from nnlab.reports.curves import Columns, Curves, Source, curves_of
from nnlab.reports.figures import Drawing, drawings_of
from nnlab.reports.layers import Layers, LayerSource, layers_of
from nnlab.reports.parts import Part, Share, part_of
from nnlab.reports.settings import Difference, differences_of
from nnlab.runs.results import Run, Sweep

MAXIMUM_CURVE_VALUES, MAXIMUM_LAYER_VALUES = 14_000, 10_000  # numbers on a page, of 7 bytes or so each
MAXIMUM_TRIAL_ROWS = 400


class Contents(NamedTuple):
    """What a page shows.

    Attributes:
        title: What it is of.
        parts: Each run and sweep, in the order in which they were named.
        differences: The keys in which their configs differ, where there are several.
        curves: Those of all runs; None where there is no run with any.
        layers: Those of all runs; None likewise.
        drawings: The figures that several runs, or several sweeps, have in common.
    """

    title: str
    parts: list[Part]
    differences: list[Difference]
    curves: Curves | None
    layers: Layers | None
    drawings: list[Drawing]


def contents_of(
    results: Sequence[Run | Sweep], with_figures: bool = True, with_curves: bool = True
) -> Contents:
    """Collect what a page shows.

    Args:
        results: Runs and sweeps, one or more.
        with_figures: Whether to draw their figures.
        with_curves: Whether to read their curves and layers.

    Raises:
        UsageError: What a directory holds is damaged.
    """
    labels = _labels(results)
    runs = [(label, result) for label, result in zip(labels, results, strict=True) if isinstance(result, Run)]
    sweeps = [result for result in results if isinstance(result, Sweep)]
    groups = len(sweeps) + bool(runs)
    share = Share(MAXIMUM_CURVE_VALUES // groups, MAXIMUM_TRIAL_ROWS // max(1, len(sweeps)), with_figures)
    differences = differences_of([result.config.tree for result in results]) if len(results) > 1 else []
    differing = frozenset(difference.path for difference in differences)
    parts = [
        part_of(result, label, f"figure{number}", differing, share)
        for number, (result, label) in enumerate(zip(results, labels, strict=True))
    ]
    shared = [kind for kind in ([run for _, run in runs], sweeps) if len(kind) > 1 and with_figures]
    return Contents(
        ", ".join(dict.fromkeys(result.config.name for result in results)),
        parts,
        differences,
        _curves([Source(label, _columns(run, "metrics")) for label, run in runs], share.curve_values),
        _layers([LayerSource(label, _columns(run, "layers")) for label, run in runs if with_curves]),
        [drawing for number, kind in enumerate(shared) for drawing in drawings_of(kind, f"shared{number}")],
    )


def _labels(results: Sequence[Run | Sweep]) -> list[str]:
    """The experiments' names; those of the directories where several have one name, or else their paths."""
    names = [result.config.name for result in results]
    labels = [r.config.name if names.count(r.config.name) == 1 else r.path.name for r in results]
    return [
        label if labels.count(label) == 1 else str(result.path)
        for label, result in zip(labels, results, strict=True)
    ]


def _columns(run: Run, table: str) -> Columns:
    """A table of a run as columns; empty where it has none."""
    if table not in run.tables:
        return {}
    return {str(name): values.to_numpy() for name, values in run.tables[table].items()}


def _curves(sources: Sequence[Source], most_values: int) -> Curves | None:
    with_records = [source for source in sources if len(source.metrics.get("step", ()))]
    curves = curves_of(with_records, most_values) if with_records and most_values else None
    return curves if curves is not None and curves.charts else None


def _layers(sources: Sequence[LayerSource]) -> Layers | None:
    with_table = [source for source in sources if source.table]
    layers = layers_of(with_table, MAXIMUM_LAYER_VALUES) if with_table else None
    return layers if layers is not None and layers.quantities else None
