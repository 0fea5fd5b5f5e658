"""What a report shows, collected from runs and sweeps as plain data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from nnlab.reports.curves import Columns, Curves, Source, curves_of
from nnlab.reports.figures import Drawing, drawings_of
from nnlab.reports.layers import Layers, LayerSource, layers_of
from nnlab.reports.outcomes import Detector, detectors_of
from nnlab.reports.parts import Part, Share, part_of
from nnlab.reports.settings import Difference, differences_of, said_once
from nnlab.runs.labels import with_distinct_labels
from nnlab.runs.results import Run, Sweep

MAXIMUM_CURVE_VALUES, MAXIMUM_LAYER_VALUES = 12_000, 8_000  # numbers on a page, of 7 bytes or so each
MAXIMUM_TRIAL_ROWS = 400


class Comparison(NamedTuple):
    """What several runs, or several sweeps, have in common and where they differ.

    Attributes:
        labels: Their names on the page.
        differences: The keys in which their configs differ.
        drawings: The figures that they share.
    """

    labels: list[str]
    differences: list[Difference]
    drawings: list[Drawing]


class Contents(NamedTuple):
    """What a page shows.

    Attributes:
        title: What it is of.
        parts: Each run and sweep, in the order in which they were named.
        detectors: What the phenomena came to in all of them.
        comparisons: Those of the runs and of the sweeps, where there are several.
        curves: Those of all runs; None where there is no run with any.
        layers: Those of all runs; None likewise.
    """

    title: str
    parts: list[Part]
    detectors: list[Detector]
    comparisons: list[Comparison]
    curves: Curves | None
    layers: Layers | None


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
    labelled = dict(zip(_labels(results), results, strict=True))
    runs = {label: result for label, result in labelled.items() if isinstance(result, Run)}
    sweeps = {label: result for label, result in labelled.items() if isinstance(result, Sweep)}
    groups = len(sweeps) + bool(runs)
    share = Share(
        MAXIMUM_CURVE_VALUES // groups if with_curves else 0, MAXIMUM_TRIAL_ROWS // max(1, len(sweeps))
    )
    kinds: list[Mapping[str, Run | Sweep]] = [runs, sweeps]
    comparisons = [
        _comparison(kind, f"shared{number}", with_figures)
        for number, kind in enumerate(kinds)
        if len(kind) > 1
    ]
    parts = []
    for number, (label, result) in enumerate(labelled.items()):
        shared = next((comparison for comparison in comparisons if label in comparison.labels), None)
        without = [drawing.name for drawing in shared.drawings] if shared else []
        drawings = drawings_of([result], f"figure{number}", without) if with_figures else []
        differing = frozenset(row.path for row in shared.differences) if shared else frozenset[str]()
        parts.append(part_of(result, label, drawings, differing, share))
    return Contents(
        ", ".join(dict.fromkeys(result.config.name for result in results)),
        [
            part._replace(settings=lines)
            for part, lines in zip(parts, said_once([part.settings for part in parts]), strict=True)
        ],
        detectors_of(labelled),
        comparisons,
        _curves([Source(label, _columns(run, "metrics")) for label, run in runs.items()], share.curve_values),
        _layers([LayerSource(label, _columns(run, "layers")) for label, run in runs.items() if with_curves]),
    )


def _comparison(results: Mapping[str, Run | Sweep], prefix: str, with_figures: bool) -> Comparison:
    differences = differences_of([result.config.tree for result in results.values()])
    drawings = drawings_of(list(results.values()), prefix) if with_figures else []
    return Comparison(list(results), differences, drawings)


def _labels(results: Sequence[Run | Sweep]) -> list[str]:
    """What tells results apart: runs by where their experiments differ, and sweeps; else by their paths."""
    labels: dict[Path, str] = {}
    for kind in (Run, Sweep):
        labelled = with_distinct_labels([result for result in results if isinstance(result, kind)])
        labels |= {result.path: result.label.replace("\\$", "$") for result in labelled}
    names = [labels[result.path] for result in results]
    return [n if names.count(n) == 1 else str(r.path) for n, r in zip(names, results, strict=True)]


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
