"""Finished (or running) runs as tables, for figures, verdicts and comparisons. Reads directories only."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from nnlab.config import Config, check_tree
from nnlab.config.document import read
from nnlab.errors import ConfigError, UsageError
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


def open_run(path: Path) -> Run:
    """Read a run directory. Raises UsageError where it is none."""
    if not path.is_dir():
        what = "is a file, no run directory" if path.exists() else "no such run directory"
        raise UsageError(f"{path}: {what}; `nnlab runs` lists them")
    if not (path / "config.yaml").exists():
        raise UsageError(f"{path}: no run directory: it has no config.yaml")
    try:
        config = check_tree(read(path / "config.yaml"))
    except ConfigError as error:
        raise UsageError(str(error)) from None
    tables = {file.stem: read_table(file) for file in sorted(path.glob("*.csv"))}
    return Run(path, config, read_summary(path), tables)


def read_table(file: Path) -> pandas.DataFrame:
    """A table of a run. Raises UsageError where it is damaged."""
    import pandas

    try:
        return pandas.read_csv(file)
    except (OSError, ValueError, pandas.errors.ParserError) as error:
        raise UsageError(f"{file}: damaged: {error}") from None


def find_runs(folder: Path) -> list[Path]:
    """The run directories below a folder, by name."""
    return sorted(file.parent for file in folder.glob("*/config.yaml"))
