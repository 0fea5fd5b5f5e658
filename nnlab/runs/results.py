"""Finished (or running) runs as tables, for figures, verdicts and comparisons. Reads directories only."""

from __future__ import annotations

import functools
import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from nnlab.config import Config, check_tree
from nnlab.config.document import read
from nnlab.errors import ConfigError, InvalidValue, UsageError
from nnlab.storage.run_directory import read_summary
from nnlab.system import files
from nnlab.text import one_line

if TYPE_CHECKING:
    import pandas

LARGEST_TABLE = 2**32  # bytes
LONGEST_CELL = 1_000  # characters, of a table of names and numbers
LARGEST_STEP = 2**53


class Run(NamedTuple):
    """One run directory. tables: by name, each with a row a record or more. title: overrides the name."""

    path: Path
    config: Config
    summary: dict[str, Any]
    tables: dict[str, pandas.DataFrame]
    title: str = ""

    @property
    def label(self) -> str:
        return self.title or self.config.name

    def titled(self, title: str) -> Run:
        return self._replace(title=title)


class SweepResult:
    """One sweep directory. table: trials.csv; trials: the rows of it that are complete. title: overrides the
    name."""

    def __init__(self, path: Path, config: Config, summary: dict[str, Any], title: str = "") -> None:
        self.path, self.config, self.summary, self.title = path, config, summary, title
        self.table = _trials(path / "trials.csv")
        self.trials = self.table[self.table["status"] == "complete"].reset_index(drop=True)

    @classmethod
    def of(cls, path: Path) -> SweepResult:
        """Read a sweep directory. Raises UsageError where it is damaged."""
        return cls(path, _config(path / "sweep.yaml"), read_summary(path))

    @property
    def label(self) -> str:
        return self.title or self.config.name

    def titled(self, title: str) -> SweepResult:
        return SweepResult(self.path, self.config, self.summary, title)

    @property
    def axes(self) -> list[str]:
        sweep = self.config.build().sweep
        return sweep.paths if sweep else []

    @functools.lru_cache(maxsize=4)  # noqa: B019 - a sweep is read by a command that ends soon
    def joined(self, table: str) -> pandas.DataFrame:
        """One table of every complete trial, below each other, beside its trial, axes and seed."""
        import pandas

        parts = []
        for row in self.trials[["trial", *self.axes, "seed"]].to_dict("records"):
            file = self.path / "trials" / row["trial"] / f"{table}.csv"
            if not file.exists():
                raise InvalidValue(f"the trials have no table '{table}'")
            parts.append(read_table(file).assign(**{str(n): value for n, value in row.items()}))
        if not parts:
            raise InvalidValue("no trial is complete")
        return pandas.concat(parts, ignore_index=True)


def open_any(path: Path) -> Run | SweepResult:
    """Read a run or a sweep directory. Raises UsageError where it is neither."""
    if (path / "sweep.yaml").exists():
        return SweepResult.of(path)
    return open_run(path)


def open_run(path: Path) -> Run:
    """Read a run directory. Raises UsageError where it is none."""
    if not path.is_dir():
        what = "is a file, no run directory" if path.exists() else "no such run directory"
        raise UsageError(f"{path}: {what}; `nnlab runs` lists them")
    if not (path / "config.yaml").exists():
        raise UsageError(f"{path}: no run directory: it has no config.yaml")
    config = _config(path / "config.yaml")
    tables = {file.stem: read_table(file) for file in sorted(path.glob("*.csv"))}
    return Run(path, config, read_summary(path), tables)


def _trials(file: Path) -> pandas.DataFrame:
    """trials.csv; without rows where a sweep has only just begun. Raises UsageError where it is none."""
    import pandas

    columns = ["trial", "seed", "status", "reason"]
    if not file.exists():
        return pandas.DataFrame(columns=columns)
    table = _parsed(file)
    missing = [column for column in columns if column not in table]
    if missing:
        raise UsageError(f"{file}: damaged: has no column '{missing[0]}'")
    measured = [name for name in table if str(name).startswith(("final.", "best.")) or name == "seed"]
    wordy = [one_line(str(name)) for name in measured if len(table) and table[name].dtype.kind not in "fiu"]
    if wordy:
        raise UsageError(f"{file}: damaged: '{wordy[0]}' holds what is no number")
    named = all(isinstance(name, str) and Path(name).name == name != ".." for name in table["trial"])
    if not named or table["trial"].duplicated().any():
        raise UsageError(f"{file}: damaged: 'trial' holds what is no name of a folder, or one twice")
    return table


def _config(file: Path) -> Config:
    if not file.is_file():  # a pipe, say, which would be waited for
        raise UsageError(f"{file}: is no plain file")
    try:
        return check_tree(read(file))
    except ConfigError as error:
        first, *others = str(error).splitlines()
        raise UsageError(first + (f" (and {len(others)} more)" if others else "")) from None


def read_table(file: Path) -> pandas.DataFrame:
    """A table of a run, but for a last line that is still being written. Raises UsageError where it is
    damaged: where a column has numbers and words in it, or where the steps do not rise, with as many rows
    each; of the last one some may be yet to come."""
    table = _parsed(file)
    if len(table):
        problem = _wrong_columns(table, file.stem == "metrics")
        if not problem and "step" in table and file.stem != "timing":  # which is of chunks, not of records
            problem = _wrong_steps(table["step"].to_numpy())
        if problem:
            raise UsageError(f"{file}: damaged: {one_line(problem)}")
    return table


def _parsed(file: Path) -> pandas.DataFrame:
    """What a CSV file holds, up to its last line break. Raises UsageError."""
    import pandas
    from pandas.errors import ParserError, ParserWarning

    try:
        if file.stat().st_size > LARGEST_TABLE:
            raise ValueError(f"is larger than {LARGEST_TABLE // 2**30} GiB")
        content = files.read_regular_file(file)
        whole = io.BytesIO(content[: content.rfind(b"\n") + 1])
        with warnings.catch_warnings():
            warnings.simplefilter("error", ParserWarning)  # rows that are longer than the head
            return pandas.read_csv(whole, index_col=False, low_memory=False)
    except (OSError, ValueError, OverflowError, ParserError, ParserWarning) as error:
        raise UsageError(f"{file}: damaged: {one_line(str(error))}") from None


def _wrong_columns(table: pandas.DataFrame, numbers_only: bool) -> str:
    """What is wrong with the columns: one that holds words holds no numbers. Empty where nothing is."""
    for name, column in table.items():
        if column.dtype.kind in "fiu":
            continue
        if numbers_only or _has_numbers(column):
            return f"'{name}' holds what is no number"
        if column.astype(str).str.len().max() > LONGEST_CELL:
            return f"'{name}' holds more than {LONGEST_CELL:,} characters in a cell"
    return ""


def _has_numbers(words: pandas.Series) -> bool:
    import pandas

    try:
        return bool(pandas.to_numeric(words, errors="coerce").notna().any())
    except OverflowError:  # of hundreds of digits
        return True


def _wrong_steps(steps: np.ndarray) -> str:
    """What is wrong with the steps of a table's rows. Empty where nothing is."""
    if steps.dtype.kind not in "iu" or steps.min() < 0 or steps.max() > LARGEST_STEP:
        return "'step' holds what is no step"
    gaps = np.diff(steps.astype(np.int64), prepend=-1, append=-1)
    if (gaps[:-1] < 0).any():
        return "its steps do not rise"
    rows = np.diff(np.flatnonzero(gaps))
    return "has not as many rows at each step" if (rows[:-1] != rows[:1]).any() or rows[-1] > rows[0] else ""


def find_runs(folder: Path) -> list[Path]:
    """The run directories below a folder, by name."""
    return sorted(file.parent for name in ("config.yaml", "sweep.yaml") for file in folder.glob(f"*/{name}"))
