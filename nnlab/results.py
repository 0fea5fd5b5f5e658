"""Finished (or running) runs as tables, for figures, verdicts and comparisons. Reads directories only."""

from __future__ import annotations

import functools
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nnlab import disk
from nnlab.config import Config, check_tree
from nnlab.config.document import read
from nnlab.errors import ConfigError, UsageError, ValueDoesNotFit
from nnlab.store import read_summary

if TYPE_CHECKING:
    import pandas


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
            file = self.path / "trials" / str(row["trial"]) / f"{table}.csv"
            if not file.exists():
                raise ValueDoesNotFit(f"the trials have no table '{table}'")
            parts.append(read_table(file).assign(**{str(n): value for n, value in row.items()}))
        if not parts:
            raise ValueDoesNotFit("no trial is complete")
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
    """trials.csv; without rows where a sweep has only just begun."""
    import pandas

    if not file.exists():
        return pandas.DataFrame(columns=["trial", "seed", "status", "reason"])
    return read_table(file)


def _config(file: Path) -> Config:
    if not file.is_file():  # a pipe, say, which would be waited for
        raise UsageError(f"{file}: is no plain file")
    try:
        return check_tree(read(file))
    except ConfigError as error:
        raise UsageError(str(error)) from None


def read_table(file: Path) -> pandas.DataFrame:
    """A table of a run, but for a last line that is still being written. Raises UsageError where it is
    damaged."""
    import pandas

    try:
        content = disk.read_whole(file)
        return pandas.read_csv(io.BytesIO(content[: content.rfind(b"\n") + 1]))
    except (OSError, ValueError, pandas.errors.ParserError) as error:
        raise UsageError(f"{file}: damaged: {error}") from None


def find_runs(folder: Path) -> list[Path]:
    """The run directories below a folder, by name."""
    return sorted(file.parent for name in ("config.yaml", "sweep.yaml") for file in folder.glob(f"*/{name}"))
