"""Train and test metric of a sweep against the capacity of its models, the curve of double descent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from nnlab.config.split_roles import recorded_splits, reported_split
from nnlab.errors import InvalidValue
from nnlab.phenomena.base import SweepView, refuse_non_numeric, refuse_sparse_grid, sweep_column

if TYPE_CHECKING:
    import pandas

EPOCHS = "epochs"  # as a capacity: how long a model has been trained, which is no axis of a sweep
MINIMUM_POINTS = 3  # a curve of fewer capacities has no inner point

Metric = Literal["error", "loss"]
Statistic = Literal["mean", "median"]


class CapacityCurve(NamedTuple):
    """The metric of every seed at every capacity, for `S` seeds and `P` capacities.

    Attributes:
        capacities: `[P]`, ascending.
        train: `[S, P]`, the metric of the training set; NaN where a seed has no complete trial.
        test: `[S, P]`, the metric of the test set (else of the validation set), with the same gaps.
        metric: `error`, a share from 0 to 1, or `loss`, a mean per example.
        counts_examples: Whether the capacity is a number of examples, so that the data are fitted up to the
            threshold and not from it on.
        split: That of the test metric: `test`, or `validation` where there is no test set.
        capacity: The path that the capacities are values of, or `epochs`.
    """

    capacities: np.ndarray
    train: np.ndarray
    test: np.ndarray
    metric: Metric
    counts_examples: bool
    split: str = "test"
    capacity: str = ""

    def over_seeds(self, statistic: Statistic) -> tuple[np.ndarray, np.ndarray]:
        """The train and the test metric, `[P]` each: the mean or the median over seeds."""
        reduce = np.mean if statistic == "mean" else np.median
        return reduce_seeds(self.train, reduce), reduce_seeds(self.test, reduce)


def reduce_seeds(values: np.ndarray, reduce: Callable[[np.ndarray], float]) -> np.ndarray:
    """A statistic of `[S, P]` over the seeds with a finite value, `[P]`; NaN where no seed has one."""
    finite = [column[np.isfinite(column)] for column in values.T]
    return np.array([reduce(column) if column.size else np.nan for column in finite])


def read_capacity_curve(
    sweep: SweepView, capacity: str, metric: Metric | None, statistic: Statistic = "mean"
) -> CapacityCurve:
    """Read the train and test metric of a sweep along a capacity.

    Where the sweep varies something else too, such as a penalty, the curve is at each capacity that of the
    value with the lowest test metric over the seeds.

    Args:
        sweep: A sweep with complete trials.
        capacity: A path that the sweep varies, or `epochs`, where every record of a run is a capacity.
        metric: None stands for the error of a classification and the loss of everything else.
        statistic: Over the seeds, for that choice.

    Returns:
        The curve of all seeds; trials whose test metric is not finite are left out.

    Raises:
        InvalidValue: The sweep has fewer than three capacities, or lacks the metric.
    """
    if capacity == EPOCHS:
        rows, prefix, column = sweep.joined("metrics"), "", "epoch"
        refuse_non_numeric(rows, ["step"])
        rows = rows[rows["step"] > 0]
    else:
        rows, prefix, column = sweep.completed_trials, "final.", sweep_column(sweep, capacity)
    refuse_non_numeric(rows, (column, "seed"))
    split = reported_error_split(rows, prefix)
    measured = metric or default_metric(rows, f"{prefix}{split}")
    rows = rows[np.isfinite(metric_values(rows, f"{prefix}{split}", measured))]
    capacities, seeds = np.unique(rows[column].to_numpy(float)), np.unique(rows["seed"])
    if len(capacities) < MINIMUM_POINTS:
        raise InvalidValue(
            f"a curve over '{capacity}' needs three points or more; there are {len(capacities)}"
        )
    refuse_sparse_grid(rows, "seed", column)
    others = [axis for axis in sweep.axes if axis != column]
    settings = rows.groupby(others, dropna=False).ngroup().to_numpy() if others else np.zeros(len(rows), int)
    cells = (
        settings,
        np.searchsorted(seeds, rows["seed"]),
        np.searchsorted(capacities, rows[column].to_numpy(float)),
    )
    train, test = np.full((2, settings.max() + 1, len(seeds), len(capacities)), np.nan)
    train[cells] = metric_values(rows, f"{prefix}train", measured)
    test[cells] = metric_values(rows, f"{prefix}{split}", measured)
    reduce = np.mean if statistic == "mean" else np.median
    costs = np.array([reduce_seeds(values, reduce) for values in test])
    best, points = np.where(np.isnan(costs), np.inf, costs).argmin(0), np.arange(len(capacities))
    train, test = train[best, :, points].T, test[best, :, points].T
    return CapacityCurve(capacities, train, test, measured, capacity.startswith("data."), split, capacity)


def reported_error_split(rows: pandas.DataFrame, prefix: str = "") -> str:
    """The split of the test error: test, else validation.

    Args:
        rows: A table with metrics.
        prefix: What their columns begin with, such as `final.`.

    Raises:
        InvalidValue: There are metrics of the training set only.
    """
    columns = [str(name).removeprefix(prefix) for name in rows if str(name).startswith(prefix)]
    split = reported_split(recorded_splits(columns, "loss"))
    if split == "train":
        raise InvalidValue("it is a matter of the test error, and the data have no test split")
    return split


def default_metric(rows: pandas.DataFrame, split: str) -> Metric:
    """The error if the split has an accuracy, else the loss; split includes the prefix of the columns."""
    return "error" if f"{split}_accuracy" in rows else "loss"


def metric_values(rows: pandas.DataFrame, split: str, metric: Metric) -> np.ndarray:
    """The metric of a split in every row, `[rows]`. Raises InvalidValue if the table lacks it."""
    if metric == "loss":
        refuse_non_numeric(rows, [f"{split}_loss"])
        return rows[f"{split}_loss"].to_numpy(float)
    if f"{split}_accuracy" not in rows:
        raise InvalidValue("these data have no classes, so no error; read the metric 'loss'")
    refuse_non_numeric(rows, [f"{split}_accuracy"])
    return 1.0 - rows[f"{split}_accuracy"].to_numpy(float)
