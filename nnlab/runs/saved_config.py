"""The config that a run or a sweep keeps in its directory."""

from __future__ import annotations

import contextlib
from pathlib import Path

from nnlab.config import Config, check_tree
from nnlab.config.document import read
from nnlab.errors import ConfigError, MissingPluginError, UsageError
from nnlab.registry import plugins
from nnlab.storage.results import read_json
from nnlab.text import one_line


def saved_config(file: Path) -> Config:
    """The checked config of a file. Raises UsageError where it is damaged, or a plug-in is missing."""
    if not file.is_file():  # a pipe, say, which would be waited for
        raise UsageError(f"{file}: is no plain file")
    try:
        return check_tree(read(file))
    except ConfigError as error:
        first, *others = str(error).splitlines()
        more = f" (and {len(others)} more)" if others else ""
        missing = _missing_plugins(file.parent)
        raise (MissingPluginError if missing else UsageError)(first + more + missing) from None


def _missing_plugins(directory: Path) -> str:
    """The plug-ins that a run was made with and that are not loaded, in words; empty for none."""
    made_with: list[str] = []
    for file in (directory / "environment.json", *sorted(directory.glob("trials/*/environment.json"))):
        with contextlib.suppress(UsageError):
            made_with = list(read_json(file).get("plugins", ()))
            break
    names = [name for name in made_with if name not in plugins()]
    return f"; it was made with {' '.join(f'--import {one_line(name)}' for name in names)}" if names else ""
