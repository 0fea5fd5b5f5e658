"""Weights of the classes, for data in which some are rare."""

from __future__ import annotations

import numpy as np

from nnlab.data.examples import Examples
from nnlab.errors import InvalidValue
from nnlab.optim.losses import ClassWeights
from nnlab.text import join_words, suggestion


def class_weights(given: ClassWeights, train: Examples) -> np.ndarray:
    """The weight of each class, `[C]` float32, with a mean of 1 over the training examples.

    Args:
        given: As the file has them: `balanced`, a list, or by class.
        train: The training examples.

    Raises:
        InvalidValue: They do not fit the classes.
    """
    if not train.classes:
        raise InvalidValue("weights classes, and the targets are values; leave it out")
    counts = np.bincount(train.targets.reshape(-1), minlength=train.classes)
    names = train.class_names or tuple(map(str, range(train.classes)))
    if given == "balanced":
        absent = np.flatnonzero(counts == 0)
        if absent.size:
            raise InvalidValue(
                f"class {names[absent[0]]} has no training example to balance; leave it out of the data with "
                "keep_classes, or give the weights"
            )
        weights = 1.0 / counts
    elif isinstance(given, list):
        if len(given) != train.classes:
            raise InvalidValue(f"has {len(given)} weights, and there are {train.classes} classes")
        weights = np.array(given)
    else:
        weights = _by_name(given or {}, names)
    share = weights / weights.max()  # of numbers that may be near the end of their range
    scaled = (share * (train.targets.size / (share * counts).sum())).astype(np.float32)
    if not (scaled >= np.finfo(np.float32).tiny).all() or not np.isfinite(scaled).all():
        raise InvalidValue("differ by more than float32 can hold; let them be closer to each other")
    return scaled


def _by_name(given: dict[str, float], names: tuple[str, ...]) -> np.ndarray:
    """The weights of classes that are named, 1 for the others."""
    weights = np.ones(len(names))
    for name, weight in given.items():
        if name not in names:
            near = suggestion(name, names) or ";"
            known = join_words([*names[:20], *(["..."] if len(names) > 20 else [])], "and")
            raise InvalidValue(f"there is no class '{name}'{near} there are {known}", (name,))
        weights[names.index(name)] = weight
    return weights
