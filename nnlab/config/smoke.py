"""A smoke test of an experiment: its config, cut so short that a run takes seconds."""

from __future__ import annotations

from nnlab.config.experiment_keys import name_with
from nnlab.config.sweep_keys import split_path
from nnlab.registry import ConfigTree, ConfigValue

MAXIMUM_EXAMPLES = 256
LEAST_SHARE = 0.01


def smoked(tree: ConfigTree) -> ConfigTree:
    """The config cut to two short records on a slice of the data, expectations left out."""
    split = tree["data"]["split"] and _smoked_split(tree["data"]["split"])
    folds = split["folds"] or 0 if split else 0
    most = max(MAXIMUM_EXAMPLES, 2 * folds)  # so that every fold gets an example
    limit = min(most, tree["data"]["limit"] or most)
    cut = tree | {
        "name": name_with(tree["name"], "-smoke"),
        "data": tree["data"] | {"limit": limit, "split": split},
        "expect": {},
        "initialize": None,  # the run that it comes from may not be there
    }
    if tree["sweep"] is not None:
        cut |= _smoked_sweep(tree)
    if tree["train"] is not None:
        steps = 4 if tree["train"]["steps"] is None else min(4, tree["train"]["steps"])
        cut["train"] = tree["train"] | {"epochs": None, "steps": steps}
        cut["record"] = tree["record"] | {"every": {"steps": 2}, "log_spaced": None}
    if tree["prune"] is not None:
        rounds, rewind = tree["prune"]["rounds"], tree["prune"]["rewind"]
        shorter = {"rounds": min(1, rounds), "rewind": rewind and min(2, rewind)}
        cut["prune"] = tree["prune"] | shorter | {"mask": None}  # as with initialize
    return cut


def _smoked_split(split: ConfigTree) -> ConfigTree:
    """The split with at most a fifth of the examples held out each, and at least a hundredth: the slice may
    have too few for counts, for folds, or for a smaller share."""
    shares = [split[name] for name in ("train", "validation", "test") if split[name]]
    fits = all(isinstance(share, float) and share >= LEAST_SHARE for share in shares)
    if fits and split["folds"] is None:
        return split

    def cut(share: ConfigValue) -> ConfigValue:
        if isinstance(share, int):
            return min(share, MAXIMUM_EXAMPLES // 5)
        return share and min(max(share, LEAST_SHARE), 0.2)

    return (
        split | {"train": None, "sample": None} | {name: cut(split[name]) for name in ("validation", "test")}
    )


def _smoked_sweep(tree: ConfigTree) -> ConfigTree:
    """The sweep without the axes that would undo the cut, and without phenomena along those axes."""

    def is_cut(path: str) -> bool:
        return path != "data.split.fold" and path.startswith(
            (
                "train.",
                "prune.rounds",
                "prune.rewind",
                "prune.mask",
                "record.",
                "data.limit",
                "data.split",
                "initialize",
            )
        )

    def without_cut(axes: ConfigTree) -> ConfigTree:
        return {path: values for path, values in axes.items() if not any(map(is_cut, split_path(path)))}

    sweep = tree["sweep"] | {key: without_cut(tree["sweep"][key]) for key in ("axes", "zip")}
    if sweep["random"] is not None:
        axes = without_cut(sweep["random"]["axes"])
        sweep["random"] = sweep["random"] | {"axes": axes} if axes else None
    if sweep["random"] is None:
        sweep["method"] = None

    def goes_along(phenomenon: ConfigValue) -> bool:
        values = phenomenon.values() if isinstance(phenomenon, dict) else ()
        return any(isinstance(value, str) and is_cut(value) for value in values)

    return {"sweep": sweep, "phenomena": [p for p in tree["phenomena"] if not goes_along(p)]}
