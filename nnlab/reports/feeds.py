"""The curves of a run or of a sweep's trials while they grow, read from their tables again and again."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from nnlab import plotting
from nnlab.reports.contents import MAXIMUM_CURVE_VALUES, MAXIMUM_LAYER_VALUES, Contents
from nnlab.reports.curves import Known, Source, curves_of
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
        self.tables: dict[str, GrowingTable] = {}
        self.known: dict[tuple[str, str], Known] = {}
        self.renew(sweep)

    def renew(self, result: Run | Sweep) -> None:
        """The sweep was opened anew, with more trials perhaps."""
        if isinstance(result, Sweep):
            self.path, trials = result.path, result.trials
            self.labels = dict(zip(map(str, trials["trial"]), trial_labels(result), strict=True))
            self.ended = {str(name) for name in trials.loc[trials["status"].notna(), "trial"]}
            self.read_to_the_end: set[str] = set()

    def grow(self) -> bool:
        """Read what has been added; whether there is anything."""
        grown = 0
        for name in self._names():
            if name not in self.tables:
                self.tables[name] = GrowingTable(self.path / "trials" / name / "metrics.csv")
            if name not in self.read_to_the_end:
                grown += self.tables[name].grow()
        self.read_to_the_end = self.ended
        return grown > 0

    def _names(self) -> list[str]:
        """The trials whose curves are drawn, in the order of trials.csv, or by name before there is one."""
        names = list(self.labels) or _folders(self.path / "trials")
        return [names[number] for number in plotting.evenly_spaced_indices(len(names), MAXIMUM_TRIALS)]

    def put_into(self, contents: Contents) -> Contents:
        """The contents of the page with the curves as they are now."""
        sources = [
            Source(self.labels.get(name, name), of_splits(self.tables[name].columns), name)
            for name in self._names()
            if len(self.tables[name].columns.get("step", ()))
        ]
        part = contents.parts[0]
        if part.sweep is None or not sources:
            return contents
        curves = curves_of(sources, MAXIMUM_CURVE_VALUES, self.known)
        return contents._replace(parts=[part._replace(sweep=part.sweep._replace(curves=curves))])

    @property
    def progress(self) -> str:
        """How far it is, in words."""
        if self.labels:
            return f"{len(self.ended)} of {len(self.labels)} trials have ended"
        return f"{len(self.tables)} trials have begun"


def _folders(path: Path) -> list[str]:
    """The names of the folders in a folder; none where it is not there."""
    try:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []
