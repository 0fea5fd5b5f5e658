"""What a directory holds of an experiment already, so that a finished run is not trained again."""

from __future__ import annotations

from pathlib import Path

from nnlab.config import Config, check_tree
from nnlab.config.document import read
from nnlab.errors import UsageError
from nnlab.runs.expectations import FINISHED
from nnlab.runs.resume import ResumePolicy
from nnlab.storage.results import read_json
from nnlab.storage.run_directory import RunDirectory
from nnlab.training.experiment import Experiment


def is_finished(directory: RunDirectory, experiment: Experiment, policy: ResumePolicy) -> bool:
    """Whether a directory holds a finished run of an experiment, which need not be trained again.

    Raises:
        UsageError: The directory holds what is no run, or, unless it is to be replaced or continued all the
            same, a run of another config or a finished one of other data.
    """
    path = directory.path
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path}: is a file, no place for a run directory")
    if not directory.is_run:
        if path.is_dir() and any(not entry.name.startswith(".") for entry in path.iterdir()):
            raise UsageError(f"{path}: holds something that is no run; name another --out")
        return False
    if not policy.resume or not (path / "config.yaml").exists():  # a checkpoint says what it is of
        return False
    same_config = may_hold(path, experiment.config)
    if not same_config and not policy.allow_drift:
        raise UsageError(
            f"{path}: holds a run of another config; --allow-drift goes on with it, --force replaces it, "
            "--out names another place"
        )
    try:
        status = directory.summary().get("status")
    except UsageError:  # a damaged summary: the run has to be trained anew
        return False
    if not same_config or status not in FINISHED or not (path / "metrics.csv").is_file():
        return False
    if read_json(path / "environment.json").get("data_sha256") != experiment.data_hash:
        raise UsageError(
            f"{path}: its data have changed since; --force trains anew, --out names another place"
        )
    return True


def may_hold(path: Path, config: Config) -> bool:
    """Whether the run at a path, where there is one, is of this config."""
    file = path / "config.yaml"
    return not file.exists() or check_tree(read(file)).hash == config.hash
