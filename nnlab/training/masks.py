"""Masks on weights, as large as their kernels and by the kernels' paths: true where a weight is left, all
others are 0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from nnlab.config.training_keys import Prune
from nnlab.errors import InvalidValue
from nnlab.nn.layer import Shape
from nnlab.optim.parameter_groups import layer_of
from nnlab.storage.checkpoints import Arrays
from nnlab.system.imports import Array, PyTree, jax, jnp
from nnlab.text import join_words
from nnlab.training.pretrained import read_arrays
from nnlab.training.state import Mask


def masked(tree: PyTree, mask: Mask) -> PyTree:
    """A tree like the weights, with 0 in place of those that are pruned; of arrays of the host, or traced."""
    if not mask:
        return tree

    def where_left(path: Sequence[Any], leaf: Array) -> Array:
        left = mask.get(f"{layer_of(path)}/{path[-1].key}")
        where = np.where if isinstance(leaf, np.ndarray) else jnp.where
        return leaf if left is None else where(left, leaf, leaf.dtype.type(0))

    return jax.tree_util.tree_map_with_path(where_left, tree)


def share_left(mask: Mask) -> Array:
    """The share of weights that are left, among those of all masks."""
    total = sum(left.size for left in mask.values())
    return jnp.stack([left.sum() for left in mask.values()]).sum() / total


def given_mask(prune: Prune | None, layers: Mapping[str, Shape]) -> Arrays:
    """The mask that a training begins with; empty where none is given.

    Args:
        prune: The section of the file.
        layers: The shapes of the kernels that are trained, by the paths of their layers.

    Raises:
        InvalidValue: The run or the file has none, or one of another model.
    """
    if prune is None or prune.mask is None:
        return {}
    source, kernels = prune.mask, {f"{path}/kernel": shape for path, shape in layers.items()}
    mask = read_arrays(source, "mask")
    for name in sorted(mask.keys() - kernels.keys()):
        known = join_words(list(kernels), "and")
        raise InvalidValue(f"'{source}': '{name}' is no kernel that is trained; there are {known}")
    for name, shape in kernels.items():
        if name not in mask:
            raise InvalidValue(f"'{source}': has no mask of '{name}'")
        if mask[name].dtype != bool or mask[name].shape != shape:
            found = f"{mask[name].dtype} {list(mask[name].shape)}"
            raise InvalidValue(f"'{source}': '{name}' is {found}; it takes bool {list(shape)}")
        if not mask[name].any():
            raise InvalidValue(f"'{source}': leaves no weight of '{name}'")
    return mask
