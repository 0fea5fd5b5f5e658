"""Train a smoke run of every shipped experiment; of a sweep, its first and its last trial."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nnlab.config import Config, load
from nnlab.runs.run import Outcome, run
from nnlab.storage.run_directory import RunDirectory
from nnlab.storage.tables import read_table
from nnlab.sweeps.trials import trials_of
from nnlab.training.experiment import Experiment, build_experiment
from torture import Report

SHIPPED = sorted((Path(__file__).parents[2] / "experiments").glob("*.yaml"))


def smoked(path: Path, overrides: Sequence[str] = ()) -> list[Config]:
    """What a smoke run of a file trains; of a sweep its first and its last trial."""
    config = load(path, overrides, smoke=True)
    if config.tree["sweep"] is None:
        return [config]
    trials = trials_of(config)
    assert len(trials) > 1
    return [trials[0].config, trials[-1].config]


def assert_sound(experiment: Experiment, outcome: Outcome, place: Path) -> None:
    """It came to its end, with finite metrics and the numbers of every phenomenon, or a reason for none."""
    assert outcome.summary["status"] == "complete"
    metrics = read_table(place / "metrics.csv")
    assert metrics["step"].iloc[-1] == experiment.total_steps
    assert np.isfinite(metrics.to_numpy(float)).all()
    for phenomenon in experiment.plan.phenomena:
        numbers = outcome.summary[phenomenon.name]
        assert numbers.keys() - {"reason"} == set(phenomenon.fields)
        assert "reason" not in numbers or None in numbers.values()


def smoke(folder: Path) -> Report:
    """All of them; what went wrong is told by experiment."""
    bad = []
    for path in SHIPPED:
        for number, config in enumerate(smoked(path)):
            place = folder / f"{path.stem}-{number}"
            try:
                experiment = build_experiment(config)
                assert_sound(experiment, run(experiment, RunDirectory(place)), place)
            except Exception as error:
                bad.append(f"{path.stem}: {type(error).__name__}: {error}")
    return Report(len(SHIPPED), bad)
