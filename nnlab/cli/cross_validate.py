"""cross-validate: choose the number of epochs on folds, then train on all of them for so long."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nnlab.cli import options
from nnlab.cli.options import CONFIG
from nnlab.cli.sweep import Settings, run_all, verdict_code

if TYPE_CHECKING:
    from nnlab.config import Config
    from nnlab.training.experiment import Experiment

AXIS, SEEN = "data.split.fold", "cross_validation"
FOLDS, TEST = 10, 0.15  # where the file says nothing of them


@click.command("cross-validate", short_help="Choose the number of epochs on folds, then refit on all.")
@click.argument("config", type=CONFIG)
@click.argument("overrides", nargs=-1, metavar="[a.b=c]...")
@click.option(
    "--folds", type=click.IntRange(2, 1000), help="Parts, each validated on once; default the file's, or 10."
)
@options.of_sweep
def cross_validate(config: Path, overrides: tuple[str, ...], folds: int | None, **settings: Any) -> None:
    """Train the experiment CONFIG once for each fold, and on all of them for the mean of the best epochs.

    What `data.split` gives to the test set (15 % where there is no split, and the data have none of their
    own) stays out of the folds and chooses nothing. The trainings on folds are a sweep, with the figure
    `cross_validation`; where its expectations hold, the last one follows as the run refit/ in its directory,
    without what looks at a validation set. An experiment that sweeps over data.split.fold keeps its folds.
    """
    from nnlab.cli.train import train_and_report
    from nnlab.config import load
    from nnlab.runs.reuse import may_hold

    chosen = Settings(**settings)
    checked = _over_folds(load(config, overrides), folds)
    _refitted(checked, 1.0)  # whether it can be had, before anything is trained
    place = run_all(checked, chosen)
    if chosen.dry_run:
        return
    if code := verdict_code(place):
        sys.exit(code)
    epochs = _chosen_epochs(place)
    if not chosen.quiet:
        click.echo(f"{place}: {epochs:.4g} epochs are best on average; training on all folds", err=True)
    refit, keep = _refitted(checked, epochs), chosen.keep
    if not may_hold(place / "refit", refit.config):  # of another number of epochs
        keep = keep._replace(resume=False)
    train_and_report(refit.config, place / "refit", chosen.platform, keep, not chosen.no_plots, chosen.quiet)


def _over_folds(config: Config, folds: int | None) -> Config:
    """The experiment as a sweep over folds. Raises ConfigError."""
    from nnlab.config import check_tree

    tree, parts = config.tree, config.build()
    if tree["train"] is None:
        raise config.error(("solver",), "takes no epochs, there are none to choose")
    _check_schedules(config)
    seen = tree["phenomena"] + ([] if SEEN in [p.name for p in parts.phenomena] else [SEEN])
    changed: dict[str, Any] = {"phenomena": seen}
    if parts.sweep is None:
        split = _folded(config, folds)
        axis = {AXIS: list(range(split["folds"]))}
        changed |= {"data": tree["data"] | {"split": split}, "sweep": {"axes": axis}}
    elif parts.sweep.paths != [AXIS]:
        raise config.error(("sweep",), f"varies something else than {AXIS}; leave it out")
    return check_tree(config.document._replace(tree=tree | changed))


def _folded(config: Config, folds: int | None) -> dict[str, Any]:
    """The experiment's split with folds in the place of training and validation."""
    from nnlab.training.experiment import build_experiment

    own = config.tree["data"]["split"]
    if own is None:
        drawn = build_experiment(config).data.validation is not None  # else the data come divided
        own = {"test": TEST if drawn else None, "folds": None}
    kept = {key: own[key] for key in ("test", "stratify", "seed") if key in own}
    return kept | {"folds": folds or own["folds"] or FOLDS, "fold": 0}


def _check_schedules(config: Config) -> None:
    """A rate that goes by the length of the training is another one where it is trained for less. Raises
    ConfigError."""
    from nnlab.optim.schedules import Time
    from nnlab.system.imports import jnp

    for schedule in config.build().optimizer.schedules:
        rates = [
            [float(schedule.rate(schedule.init(), Time(jnp.int32(step), total, 10))) for step in (0, 40, 90)]
            for total in (100, 200)
        ]
        if rates[0] != rates[1]:
            raise config.error(
                ("optimizer",),
                "has a rate that goes by the length of the training, which the folds are to choose; take one "
                "that is constant or has `steps` or `epochs` of its own",
            )


def _chosen_epochs(place: Path) -> float:
    from nnlab.errors import NnlabError
    from nnlab.runs.results import open_sweep

    found = open_sweep(place).summary[SEEN]
    if "best_epoch" not in found:
        raise NnlabError(f"{place}: no epoch could be chosen: {found['not found']}")
    return float(found["best_epoch"])


def _refitted(config: Config, epochs: float) -> Experiment:
    """The experiment on all folds for so many epochs, without what looks at a validation set: nothing is
    held back. Raises ConfigError."""
    from nnlab.config import check_tree
    from nnlab.errors import InvalidValue
    from nnlab.sweeps.trials import single_run_tree
    from nnlab.training.experiment import build_experiment

    base = single_run_tree(config)
    changed = {
        "name": f"{base['name'][:74]}-refit",
        "data": base["data"] | {"split": base["data"]["split"] | {"fold": None}},
        "train": {"epochs": epochs} if epochs else {"steps": 0},
        "phenomena": [],
    }
    plain = build_experiment(check_tree(config.document._replace(tree=base | changed)))
    fitting = []
    for entry, phenomenon in zip(config.tree["phenomena"], config.build().phenomena, strict=True):
        if phenomenon.spans_sweep:
            continue
        with contextlib.suppress(InvalidValue):
            phenomenon.validate(plain.model.setup, plain.data)
            fitting.append(entry)
    return build_experiment(
        check_tree(config.document._replace(tree=base | changed | {"phenomena": fitting}))
    )
