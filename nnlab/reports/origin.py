"""What a run or a sweep was made with, and how to make it again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from nnlab.errors import UsageError
from nnlab.runs.results import Run, Sweep
from nnlab.storage.results import JsonObject, read_json
from nnlab.text import one_line


def environment_of(result: Run | Sweep) -> JsonObject:
    """What a run, or the first trial of a sweep, was made with; empty where that cannot be read."""
    try:
        environment = read_json(_environment_file(result))
    except UsageError:
        return {}
    versions = environment.pop("versions", {})
    if isinstance(versions, Mapping):
        return {f"{name} version": version for name, version in versions.items()} | environment
    return environment


def _environment_file(result: Run | Sweep) -> Path:
    """That of a run, or of the first trial of a sweep."""
    if isinstance(result, Run) or not len(result.trials):
        return result.path / "environment.json"
    return result.path / "trials" / str(result.trials["trial"].iloc[0]) / "environment.json"


def command_of(result: Run | Sweep, environment: JsonObject) -> str:
    """The command that makes a run or a sweep again, beside it, from the config that it keeps."""
    verb, config = ("sweep", "sweep.yaml") if isinstance(result, Sweep) else ("train", "config.yaml")
    words = ["nnlab", verb, str(result.path / config)]
    plugins, threads = environment.get("plugins"), environment.get("threads")
    for module in plugins if isinstance(plugins, Mapping) else ():
        words += ["--import", str(module)]
    if verb == "train" and isinstance(threads, int):
        words += ["--threads", str(threads)]
    return one_line(shlex.join([*words, "--out", f"{result.path}-again"]))
