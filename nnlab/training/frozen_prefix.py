"""Which layers, the first ones of a chain, are frozen and computed once."""

from __future__ import annotations

from nnlab.config import Config
from nnlab.config.experiment_keys import ExperimentPlan
from nnlab.nn.model import Model


def frozen_prefix(config: Config, plan: ExperimentPlan, model: Model) -> int:
    """How many layers, the first ones of the chain, are computed once. Raises ConfigError."""
    if not (plan.train and plan.train.cache_frozen):
        return 0
    at, frozen = ("train", "cache_frozen"), plan.optimizer.frozen
    for key, given in (("augment", plan.augment), ("data.fresh", plan.data.fresh)):
        if given:
            raise config.error(at, f"needs inputs that stay as they are; leave out '{key}'")
    for phenomenon in plan.run_phenomena:
        if phenomenon.looks_at_examples:
            message = f"leaves no inputs for {phenomenon.name} to look at; leave one of the two out"
            raise config.error(at, message)
    last = 0
    for place, (name, child) in enumerate(model.setup.children.items(), 1):
        leaves = [(f"{name}/{path}" if path else name, leaf) for path, leaf in child.leaves()]
        if any((leaf.params or leaf.random) and not frozen(path) for path, leaf in leaves):
            break
        last = place if any(leaf.params for _, leaf in leaves) else last
    if not last:
        first = next(path for path, leaf in model.setup.leaves() if leaf.params or leaf.random)
        raise config.error(at, f"has nothing to compute once: '{first}' is not frozen by optimizer.groups")
    return last
