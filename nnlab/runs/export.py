"""Runs and sweeps for other programs: event files of TensorBoard, and joined tables as CSV or Parquet."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from nnlab.errors import InvalidValue, UsageError
from nnlab.runs.event_file import event, event_file, hyperparameters, scalar
from nnlab.runs.results import Run, Sweep
from nnlab.runs.sweep_points import check_axes
from nnlab.storage.tables import header_and_rows
from nnlab.system import files
from nnlab.text import in_words, one_line

if TYPE_CHECKING:
    import pandas

TableFormat = Literal["csv", "parquet"]
EVENTS = "events.out.tfevents.nnlab"  # TensorBoard looks for the word in the middle
MAXIMUM_NAME_CHARACTERS = 120


def export_tensorboard(result: Run | Sweep, folder: str | Path) -> list[Path]:
    """Write what a run recorded as event files of TensorBoard, which shows a folder of them.

    Every number of every table that has steps is a scalar, `metrics/train_loss` or
    `layers/dense_1/grad_norm`, in float32. At the last step stand the detectors' numbers and, under
    `expectations`, 1 for what holds and 0 for what does not. Of a sweep each trial is a folder; its axes are
    its hyperparameters.

    Args:
        result: The run or the sweep, finished or not.
        folder: Where to write; files of an earlier export are replaced.

    Returns:
        The files, one a run.
    """
    home = Path(folder)
    if isinstance(result, Run):
        return [_write_events(result, home, {})]
    check_axes(result)
    written = []
    columns = [name for name in ("trial", *result.axes, "seed") if name in result.trials]
    for number, row in enumerate(result.trials[columns].to_dict("records")):
        if (result.path / "trials" / str(row["trial"]) / "metrics.csv").exists():
            axes = {
                str(n): v if isinstance(v, (str, int, float)) else in_words(v)
                for n, v in row.items()
                if n != "trial"
            }
            name = " ".join([str(row["trial"]), *(f"{path}={value}" for path, value in axes.items())])
            place = home / re.sub(r"[^\w.=+-]+", "_", name)[:MAXIMUM_NAME_CHARACTERS]
            written.append(_write_events(result.runs[number], place, axes))
    if not written:
        raise UsageError(f"{result.path}: no trial has recorded anything yet")
    return written


def export_tables(result: Run | Sweep, folder: str | Path, form: TableFormat = "csv") -> list[Path]:
    """Write the tables of a run, or those of all complete trials of a sweep, joined, as CSV or Parquet.

    Args:
        result: The run or the sweep. Each row of a sweep's tables ends with the trial, its axes and its seed;
            the table `trials` is written as it is.
        folder: Where to write, a file for each table; those of an earlier export are replaced.
        form: The format.

    Returns:
        The files.

    Raises:
        UsageError: There is nothing to write, a file holds something else than an earlier export, or Parquet
            is asked for without PyArrow.
    """
    contents: dict[Path, bytes] = {}
    for name, table in _tables(result):
        file = Path(folder) / f"{name}.{form}"
        contents[file] = _csv(table) if form == "csv" else _parquet(table, result.path / f"{name}.csv")
        _check_replaceable(file, contents[file])
    if not contents:
        raise UsageError(f"{result.path}: has no tables yet")
    for file, content in contents.items():
        files.make_folder(file.parent)
        files.write_atomically(file, content)
    return list(contents)


def _check_replaceable(file: Path, content: bytes) -> None:
    """Refuse to replace what is no table of the same columns, or no Parquet. Raises UsageError."""
    start = b"PAR1" if file.suffix == ".parquet" else content.partition(b"\n")[0] + b"\n"
    try:
        held = files.read_regular_file(file)[: len(start)]
    except FileNotFoundError:
        return
    except OSError:
        held = b""
    if held != start:
        raise UsageError(f"{file}: is there already, and holds something else; --out names another folder")


def _write_events(run: Run, folder: Path, axes: Mapping[str, str | float]) -> Path:
    """Write the event file of a run into a folder."""
    steps: dict[int, list[bytes]] = {}
    for name, table in run.tables.items():
        for step, tag, value in _scalars(name, table):
            steps.setdefault(step, []).append(scalar(tag, value))
    numbers = {f"numbers/{name}": value for name, value in run.numbers.items()}
    verdicts = run.check()
    numbers |= {} if verdicts.pending else {f"expectations/{v.key}": v.holds for v in verdicts}
    steps.setdefault(max(steps, default=0), []).extend(
        scalar(tag, value)
        for tag, value in numbers.items()
        if isinstance(value, (bool, int, float)) and not math.isnan(value)
    )
    start, seconds = (run.path / "config.yaml").stat().st_mtime, _seconds(run, list(steps))
    events = [event(start + seconds[step], step, steps[step]) for step in sorted(steps)]
    if axes:
        events.insert(0, event(start, 0, [hyperparameters(axes)]))
    files.make_folder(folder)
    files.write_atomically(folder / EVENTS, event_file(start, events))
    return folder / EVENTS


def _seconds(run: Run, steps: Sequence[int]) -> Mapping[int, float]:
    """The seconds of training until each of these steps."""
    timing = run.tables.get("timing")
    if timing is None or not _has_steps(timing) or "seconds" not in timing.select_dtypes("number"):
        return dict.fromkeys(steps, 0.0)
    ends = timing["seconds"].cumsum()
    return dict(zip(steps, np.interp(steps, timing["step"], ends).tolist(), strict=True))


def _has_steps(table: pandas.DataFrame) -> bool:
    """Whether the rows of a table stand for steps, as those of a damaged one may not."""
    steps = table.get("step")
    return steps is not None and len(steps) > 0 and steps.dtype.kind in "iu" and steps.min() >= 0


def _scalars(name: str, table: pandas.DataFrame) -> Iterator[tuple[int, str, float]]:
    """Step, tag and value of every number of a table that has steps; empty cells are left out."""
    if not _has_steps(table):
        return
    numeric = [column for column in table if table[column].dtype.kind in "fiub" and column != "step"]
    labels = _labels(table) if name != "timing" else [""] * len(table)
    steps = table["step"].tolist()
    for column in numeric:
        for step, label, value in zip(steps, labels, table[column].tolist(), strict=True):
            if not math.isnan(value):
                yield step, "/".join(filter(None, (name, label, str(column)))), value


def _labels(table: pandas.DataFrame) -> list[str]:
    """What tells the rows of one step from one another: their words, or else their number."""
    position = table.groupby("step").cumcount()
    if not position.any():
        return [""] * len(table)
    texts = table.select_dtypes(exclude=["number", "bool"]).astype(str)
    words = texts.agg("/".join, axis="columns") if len(texts.columns) else table["step"].map(lambda _: "")
    if words.groupby(table["step"]).apply(lambda group: group.duplicated().any()).any():
        return [f"{word}/{number}".strip("/") for word, number in zip(words, position, strict=True)]
    return words.tolist()


def _tables(result: Run | Sweep) -> Iterator[tuple[str, pandas.DataFrame]]:
    """The tables of a run, or the joined ones of a sweep and that of its trials."""
    if isinstance(result, Run):
        yield from result.tables.items()
        return
    complete = result.completed_trials
    if len(complete):
        check_axes(result)
        first = result.path / "trials" / str(complete["trial"].iloc[0])
        for file in sorted(first.glob("*.csv")):
            try:
                yield file.stem, result.joined(file.stem)
            except InvalidValue as error:
                raise UsageError(f"{result.path}: {error}") from None
    if len(result.trials):
        yield "trials", result.trials


def _csv(table: pandas.DataFrame) -> bytes:
    header, rows = header_and_rows({str(name): table[name].to_numpy() for name in table})
    return (header + rows).encode()


def _parquet(table: pandas.DataFrame, source: Path) -> bytes:
    try:
        import pyarrow
    except ImportError:
        raise UsageError("parquet needs PyArrow: pip install 'nnlab[parquet]'") from None
    content = io.BytesIO()
    try:
        table.to_parquet(content, engine="pyarrow", index=False)
    except pyarrow.ArrowException as error:  # a column of a damaged table holds words and numbers
        raise UsageError(f"{source}: cannot be written as Parquet: {one_line(str(error))}") from None
    return content.getvalue()
