"""JAX, optax and Optuna, imported at their first use.

`nnlab list` and `nnlab validate` import the modules of components only for their signatures. So that they
take a fraction of a second, `from nnlab.system.imports import jax, jnp` binds names that import when used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, TypeAlias

__all__ = ["Array", "PyTree", "jax", "jnp", "optax", "optuna"]

PyTree: TypeAlias = Any
"""Arrays in nested containers, or one array, as `jax.tree` maps over them."""

if TYPE_CHECKING:
    import jax
    import jax.numpy as jnp
    import optax
    import optuna
    from jax import Array
else:
    Array = Any

    class _LazyModule:
        """A module that is imported at the first access to an attribute."""

        def __init__(self, name: str) -> None:
            self._name = name

        def __getattr__(self, attribute: str) -> Any:
            value = getattr(importlib.import_module(self._name), attribute)
            setattr(self, attribute, value)
            return value

    jax = _LazyModule("jax")
    jnp = _LazyModule("jax.numpy")
    optax = _LazyModule("optax")
    optuna = _LazyModule("optuna")
