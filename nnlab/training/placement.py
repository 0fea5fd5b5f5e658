"""Where a training lies when there are several devices: its lanes are spread over them, or each batch is.

Lanes need nothing of each other, so each device runs its share of them by itself. A single training, where
`train.devices` asks for it, has its weights, its optimizer state and all examples on every device; of each
batch every device takes its part, and gradients and statistics are summed over all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, ParamSpec, TypeVar

import numpy as np

from nnlab.system.imports import Array, PyTree, jax
from nnlab.training.checks import check_batch_devices
from nnlab.training.experiment import TrainedExperiment
from nnlab.training.processes import are_several

if TYPE_CHECKING:
    from jax.sharding import Mesh, NamedSharding

AXIS = "devices"  # of the mesh

Tree = TypeVar("Tree")
P = ParamSpec("P")
R = TypeVar("R")


class Placement(NamedTuple):
    """The devices of a training, or of several side by side.

    Attributes:
        mesh: The devices; None where it is the first one alone.
        spreads_lanes: Whether lanes are spread over them, not each batch.
    """

    mesh: Mesh | None = None
    spreads_lanes: bool = False

    @classmethod
    def of(cls, experiment: TrainedExperiment, lanes: int) -> Placement:
        """The placement of so many lanes, all like one experiment. Raises ConfigError."""
        devices = batch_devices(experiment)
        spreads_lanes = devices == 1 and lanes > 1
        if spreads_lanes:
            devices = min(lanes, jax.local_device_count())
        if devices == 1:
            return cls()
        return cls(_mesh(devices), spreads_lanes)

    @property
    def lane_multiple(self) -> int:
        """The number of lanes must be a multiple of this."""
        return self.mesh.size if self.mesh is not None and self.spreads_lanes else 1

    def put(self, tree: Tree, by_lane: bool = True) -> Tree:
        """Bring arrays of the host to the devices.

        Args:
            tree: The arrays.
            by_lane: Whether their first axis is that of the lanes, where there are several.
        """
        return jax.device_put(tree, self._sharding(by_lane and self.spreads_lanes))

    def put_early(self, array: np.ndarray) -> np.ndarray | Array:
        """Bring an array to the device before a program takes it, which then need not wait for that; where
        there are several devices, the program says how they share it."""
        return array if self.mesh is not None else jax.device_put(array)

    def spread(self, function: Callable[P, R], in_axes: tuple[PyTree, ...]) -> Callable[P, R]:
        """The function of all lanes, of which each device computes its share; within a program.

        Args:
            function: Of all lanes.
            in_axes: Which arguments have a lane axis, see `jax.vmap`.
        """
        if not self.spreads_lanes:
            return function
        by_lane, shared = jax.P(AXIS), jax.P()
        specs = jax.tree.map(
            lambda axis: shared if axis is None else by_lane, in_axes, is_leaf=lambda axis: axis is None
        )
        return jax.shard_map(function, mesh=self.mesh, in_specs=specs, out_specs=by_lane, check_vma=False)

    @property
    def of_results(self) -> NamedSharding | None:
        """Where the results of a program lie; None leaves that to JAX."""
        return None if self.spreads_lanes else self._sharding(False)

    def split_examples(self, tree: Tree) -> Tree:
        """Let each device compute its part of some examples, `[B, ...]`; within a program."""
        return self._constrained(tree, True)

    def join(self, tree: Tree) -> Tree:
        """Bring what was computed of such parts together again, on each device; within a program."""
        return self._constrained(tree, False)

    def _constrained(self, tree: Tree, split: bool) -> Tree:
        if self.mesh is None or self.spreads_lanes:
            return tree
        return jax.lax.with_sharding_constraint(tree, self._sharding(split))

    def _sharding(self, split: bool) -> NamedSharding | None:
        """That of arrays whose first axis is divided among the devices, or which each device has."""
        if self.mesh is None:
            return None
        return jax.sharding.NamedSharding(self.mesh, jax.P(AXIS) if split else jax.P())


ONE_DEVICE = Placement()


def batch_devices(experiment: TrainedExperiment) -> int:
    """The number of devices that a batch is divided among. Raises ConfigError where there are not as many."""
    asked, there_are = experiment.train.devices, jax.device_count()
    devices = there_are if asked == "all" else asked
    if devices < there_are and are_several():
        raise experiment.config.error(
            ("train", "devices"), f"is {devices}, and the processes have {there_are} together; let it be all"
        )
    if devices > there_are:
        raise experiment.config.error(
            ("train", "devices"),
            f"is {devices}, and this process sees {there_are}; let it be {there_are} or all, or, in a sweep, "
            "--jobs be smaller",
        )
    check_batch_devices(experiment.config, experiment.batch_size, devices)
    return devices


def _mesh(devices: int) -> Mesh:
    axis_types = (jax.sharding.AxisType.Auto,)
    return jax.make_mesh((devices,), (AXIS,), axis_types=axis_types, devices=jax.devices()[:devices])
