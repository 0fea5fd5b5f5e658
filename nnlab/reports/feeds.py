"""The curves of a run or of a sweep's trials while they grow, read from their tables again and again."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from nnlab import plotting
from nnlab.reports.contents import MAXIMUM_CURVE_VALUES, MAXIMUM_LAYER_VALUES, Contents
from nnlab.reports.curves import Source, curves_of
from nnlab.reports.growing import GrowingTable
from nnlab.reports.layers import LayerSource, layers_of
from nnlab.reports.trial_curves import MAXIMUM_TRIALS, of_splits, trial_labels
from nnlab.runs.results import Run, Sweep


class RunFeed:
    """The metrics and layers of one run."""

    def __init__(self, run: Run) -> None:
        self.label = run.config.name
        self.metrics = GrowingTable(run.path / "metrics.csv")
        self.layers = GrowingTable(run.path / "layers.csv")

    def renew(self, result: Run | Sweep) -> None:
        """Its directory was opened anew; that changes no table."""

    def grow(self) -> bool:
        """Read what has been added; whether there is anything."""
        return any([self.metrics.grow(), self.layers.grow()])

    def put_into(self, contents: Contents) -> Contents:
        """The contents of the page with the curves as they are now."""
        columns = self.metrics.columns
        if not len(columns.get("step", ())):
            return contents
        curves = curves_of([Source(self.label, columns)], MAXIMUM_CURVE_VALUES)
        layers = layers_of([LayerSource(self.label, self.layers.columns)], MAXIMUM_LAYER_VALUES)
        return contents._replace(curves=curves, layers=layers if layers.quantities else None)

    @property
    def progress(self) -> str:
        """How far it is, in words."""
        steps = self.metrics.columns.get("step", np.zeros(0))
        return f"step {int(steps[-1]):,}" if len(steps) else "no record yet"


class SweepFeed:
    """The metrics of a sweep's trials."""

    def __init__(self, sweep: Sweep) -> None:
        self.sweep = sweep
        self.tables: dict[str, GrowingTable] = {}

    def renew(self, result: Run | Sweep) -> None:
        """The sweep was opened anew, with more trials perhaps."""
        if isinstance(result, Sweep):
            self.sweep = result

    def grow(self) -> bool:
        """Read what has been added; whether there is anything."""
        names = self._names()
        for name in names:
            if name not in self.tables:
                self.tables[name] = GrowingTable(self.sweep.path / "trials" / name / "metrics.csv")
        return sum(self.tables[name].grow() for name in names) > 0  # each of them

    def _names(self) -> list[str]:
        """The trials whose curves are drawn, in the order of trials.csv, or by name before there is one."""
        names = [str(name) for name in self.sweep.trials["trial"]] or _folders(self.sweep.path / "trials")
        return [names[number] for number in plotting.evenly_spaced_indices(len(names), MAXIMUM_TRIALS)]

    def put_into(self, contents: Contents) -> Contents:
        """The contents of the page with the curves as they are now."""
        labels = dict(zip(map(str, self.sweep.trials["trial"]), trial_labels(self.sweep), strict=True))
        sources = [
            Source(labels.get(name, name), of_splits(self.tables[name].columns))
            for name in self._names()
            if len(self.tables[name].columns.get("step", ()))
        ]
        part = contents.parts[0]
        if part.sweep is None or not sources:
            return contents
        curves = curves_of(sources, MAXIMUM_CURVE_VALUES)
        return contents._replace(parts=[part._replace(sweep=part.sweep._replace(curves=curves))])

    @property
    def progress(self) -> str:
        """How far it is, in words."""
        trials = self.sweep.trials
        ended = int(trials["status"].notna().sum())
        begun = sum(len(table.columns.get("step", ())) > 0 for table in self.tables.values())
        return f"{ended} of {len(trials)} trials have ended" if len(trials) else f"{begun} trials have begun"


def _folders(path: Path) -> list[str]:
    """The names of the folders in a folder; none where it is not there."""
    try:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []
