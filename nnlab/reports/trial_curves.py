"""The curves of a sweep's trials."""

from __future__ import annotations

from collections.abc import Sequence

from nnlab import plotting
from nnlab.config.split_roles import recorded_splits, reported_split
from nnlab.errors import UsageError
from nnlab.reports.curves import Columns, Curves, Source, curves_of
from nnlab.runs.results import Sweep
from nnlab.runs.sweep_points import labels_of
from nnlab.storage.tables import read_table
from nnlab.text import names_in_words, setting_in_words

MAXIMUM_TRIALS = 60  # whose curves are drawn: more cannot be told apart


def trial_curves_of(sweep: Sweep, most_values: int) -> Curves | None:
    """The curves of the trials, of the training split and of the one that is reported; None without records.

    Args:
        sweep: The sweep; of more than MAXIMUM_TRIALS trials, some are drawn, evenly spaced among them.
        most_values: How many numbers all curves may have together.
    """
    labels = trial_labels(sweep)
    shown = plotting.evenly_spaced_indices(len(labels), MAXIMUM_TRIALS)
    names = sweep.trials["trial"].tolist()
    sources = []
    for number in shown:
        columns = _metrics(sweep, str(names[number]))
        if columns:
            sources.append(Source(labels[number], columns))
    return curves_of(sources, most_values) if sources else None


def trial_labels(sweep: Sweep) -> list[str]:
    """Each trial in a few words: its values, and its seed where there are several."""
    trials = sweep.trials
    axes = [axis for axis in sweep.axes if axis in trials]
    words = [labels_of(trials[axis].tolist()) for axis in axes]
    names = names_in_words(axes)
    if not axes or trials["seed"].nunique() > 1:
        names, words = [*names, "seed"], [*words, [str(seed) for seed in trials["seed"]]]
    return [", ".join(map(setting_in_words, names, row)) for row in zip(*words, strict=True)]


def of_splits(metrics: Columns) -> Columns:
    """The step, and the columns of the training split and of the one that is reported."""
    splits: Sequence[str] = ("train", reported_split(recorded_splits(metrics, "loss")))
    chosen = [name for name in metrics if name.startswith(tuple(f"{split}_" for split in splits))]
    return {name: metrics[name] for name in ("step", *chosen) if name in metrics}


def _metrics(sweep: Sweep, trial: str) -> Columns:
    """The metrics of a trial; empty where it has no records, or damaged ones."""
    file = sweep.path / "trials" / trial / "metrics.csv"
    try:
        table = read_table(file)
    except UsageError:
        return {}
    columns = {str(name): values.to_numpy() for name, values in table.items()}
    return of_splits(columns) if len(table) and "step" in columns else {}
