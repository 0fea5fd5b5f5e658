"""cross-validate: choose the number of epochs on folds, then train on all of them for so long."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from nnlab.cli import options
from nnlab.cli.options import CONFIG
from nnlab.cli.sweep_commands import Settings, run_all, verdict_code

if TYPE_CHECKING:
    from nnlab.config import Config

AXIS = "data.split.fold"


@click.command("cross-validate", short_help="Choose the number of epochs on folds, then refit on all.")
@click.argument("config", type=CONFIG)
@click.argument("overrides", nargs=-1, metavar="[a.b=c]...")
@click.option(
    "--folds",
    type=click.IntRange(2, 1000),
    default=10,
    show_default=True,
    help="Parts, each validated on once.",
)
@options.of_sweep
def cross_validate(config: Path, overrides: tuple[str, ...], folds: int, **settings: Any) -> None:
    """Train the experiment CONFIG once for each fold, and on all of them for the mean of the best epochs.

    What `data.split` gives to the test set stays out of the folds and chooses nothing. The trainings on folds
    are a sweep, with the figure `cross_validation`; the last one is the run refit/ in its directory. An
    experiment that sweeps over data.split.fold already keeps its folds.
    """
    from nnlab.cli.run_commands import run_once
    from nnlab.config import load
    from nnlab.experiment import bind

    chosen = Settings(**settings)
    checked = _over_folds(load(config, overrides), folds)
    place = run_all(checked, chosen)
    if chosen.dry_run:
        return
    if code := verdict_code(place):
        sys.exit(code)
    epochs = _chosen_epochs(place)
    if not chosen.quiet:
        click.echo(f"{place}: {epochs:.4g} epochs are best on average; training on all folds", err=True)
    refit = bind(_refitted(checked, epochs))
    run_once(refit, place / "refit", chosen.platform, chosen.keep, not chosen.no_plots, chosen.quiet)


def _over_folds(config: Config, folds: int) -> Config:
    """The experiment as a sweep over folds."""
    from nnlab.config import check_tree

    tree = config.tree
    if tree["train"] is None:
        raise config.error(("solver",), "takes no epochs, there are none to choose")
    if tree["sweep"] is not None:
        if list(tree["sweep"]["axes"]) != [AXIS]:
            raise config.error(("sweep",), f"varies something else than {AXIS}; leave it out")
        return config
    own = tree["data"]["split"] or {}
    kept = {key: own[key] for key in ("test", "stratify", "seed") if key in own}
    split = kept | {"folds": folds, "fold": 0}
    seen = [entry for entry in tree["phenomena"] if "cross_validation" not in (entry, _type(entry))]
    changed = {
        "data": tree["data"] | {"split": split},
        "phenomena": [*seen, "cross_validation"],
        "sweep": {"axes": {AXIS: list(range(folds))}},
    }
    return check_tree(config.document._replace(tree=tree | changed))


def _type(entry: Any) -> Any:
    return entry.get("type") if isinstance(entry, dict) else entry


def _chosen_epochs(place: Path) -> float:
    from nnlab.errors import NnlabError
    from nnlab.results import SweepResult

    found = SweepResult.of(place).summary.get("cross_validation", {})
    if "best_epoch" not in found:
        raise NnlabError(f"{place}: no epoch could be chosen: {found.get('not found', 'folds are missing')}")
    return float(found["best_epoch"])


def _refitted(config: Config, epochs: float) -> Config:
    """The experiment on all folds for so many epochs: nothing is left to stop it by."""
    from nnlab.config import check_tree
    from nnlab.sweep.trials import base_tree

    base = base_tree(config)
    changed = {
        "name": f"{base['name'][:74]}-refit",
        "data": base["data"] | {"split": base["data"]["split"] | {"fold": None}},
        "train": {"epochs": epochs},
    }
    return check_tree(config.document._replace(tree=base | changed))
