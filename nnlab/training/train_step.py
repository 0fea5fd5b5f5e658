"""One step of training: augment, loss, gradient, update, constraints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from nnlab.data.augment import Augmented, apply_augmentations
from nnlab.nn.layer import Output, TrainUnlessFrozen, Tree
from nnlab.optim.losses import Loss
from nnlab.optim.parameter_groups import layer_of
from nnlab.optim.schedules import Time
from nnlab.phenomena.probe import Batch, Updates
from nnlab.system.imports import Array, PyTree, jax, jnp, optax
from nnlab.training.masks import masked
from nnlab.training.placement import Placement
from nnlab.training.program import Components
from nnlab.training.state import State

AUGMENTATION_KEY = 2**31  # of a step's keys, that of the augmentations; those of the layers count from 0


class StepTrace(NamedTuple):
    """What a step computes before it changes anything.

    Attributes:
        gradients: Of the loss with its penalties, a tree like the weights, None for frozen layers.
        layer_state: What the layers carry along after the step.
        intermediates: Those of the layers, see `Output`.
        loss: The batch's mean loss in training mode, with penalties.
        batch_loss: The same without penalties.
        slope: The length of the gradient at the present weights, where the step goes by that of others.
    """

    gradients: Tree
    layer_state: Tree
    intermediates: Mapping[str, Mapping[str, Array]]
    loss: Array
    batch_loss: Array
    slope: Array | float = 1.0


class TrainStep:
    """A step of training in two parts: `trace` computes it, `advance` takes it."""

    def __init__(
        self,
        components: Components,
        seed: Array,
        total_steps: int,
        steps_per_epoch: int,
        placement: Placement,
    ) -> None:
        self.components, self.seed, self.placement = components, seed, placement
        self.total_steps, self.steps_per_epoch = total_steps, steps_per_epoch
        self.optimizer = components.optimizer

    def trace(self, state: State, batch: Batch) -> StepTrace:
        """The forward and backward pass of a step."""
        batch = self.placement.split_examples(batch)
        trained, compute = (
            self.optimizer.trained(state.params),
            jax.value_and_grad(self.objective(state, batch), has_aux=True),
        )
        (loss, (output, batch_loss)), gradients = compute(trained)
        slope: Array | float = 1.0
        if self.optimizer.ascent is not None:
            slope = optax.tree.norm(gradients)
            _, gradients = compute(self.optimizer.ascent(trained, gradients))
        layer_state = {**state.layer_state, **output.state}  # a frozen prefix has no output state
        return StepTrace(gradients, layer_state, output.intermediates, loss, batch_loss, slope)

    def objective(self, state: State, batch: Batch) -> Callable[[PyTree], tuple[Array, tuple[Output, Array]]]:
        """What a state's step minimizes on some examples: weights that are trained -> the loss with its
        penalties, and the model's output and the loss without them."""
        key = jax.random.fold_in(jax.random.key(self.seed), state.step)
        train = TrainUnlessFrozen(self.optimizer.frozen) if self.optimizer.groups else True
        augmentation_key = jax.random.fold_in(key, AUGMENTATION_KEY)
        augmented = apply_augmentations(self.components.augment, augmentation_key, batch.inputs)

        def objective(trained: PyTree) -> tuple[Array, tuple[Output, Array]]:
            params = masked(merge_frozen(trained, state.params), state.mask)
            output = self.components.model.apply(
                params, state.layer_state, augmented.inputs, key=key, train=train
            )
            loss = mixed_loss(self.components.loss, output.value, batch.targets, augmented).mean()
            return loss + sum(penalty(params) for penalty in self.components.regularizers), (output, loss)

        return objective

    def advance(self, state: State, trace: StepTrace) -> State:
        """The state after a step; the step does not count where its loss is not finite."""
        trained = self.optimizer.trained(state.params)
        direction, optimizer_state = self.direction(state, trace)
        updated, _ = self.apply_updates(state, trained, direction)
        finite = jnp.isfinite(trace.loss)
        params = merge_frozen(updated, state.params)
        after = state._replace(
            params=params,
            average=self.average(state, params, optimizer_state),
            layer_state=trace.layer_state,
            optimizer_state=optimizer_state,
            step=state.step + finite.astype(jnp.int32),
            finite=finite,
        )
        return self.placement.join(after)

    def average(self, state: State, params: Tree, optimizer_state: PyTree) -> Tree | tuple[()]:
        """The average of the weights after a step, where there is one."""
        if self.optimizer.average is None:
            return ()
        trained, so_far = map(self.optimizer.trained, (params, state.average))
        average = self.optimizer.average(so_far, state.step, trained, optimizer_state)
        return masked(merge_frozen(average, params), state.mask)

    def direction(self, state: State, trace: StepTrace) -> tuple[PyTree, PyTree]:
        """What the optimizer makes of the gradients, a tree like them, and its state after the step."""
        known = self.optimizer.trained(state.params), state.monitors.schedules, self.time(state)
        direction, after = self.optimizer.direction(trace.gradients, state.optimizer_state, *known)
        return masked(direction, state.mask), after

    def updates(self, state: State, trace: StepTrace) -> Updates:
        """What a step adds to the weights; see `apply_updates`."""
        direction, _ = self.direction(state, trace)
        nothing = jax.tree.map(jnp.zeros_like, state.params)
        if self.components.constraints:  # what they take away again is known by array only
            _, updates = self.apply_updates(state, self.optimizer.trained(state.params), direction)
            return Updates(merge_frozen(updates, nothing), lambda path: 1.0)
        rate = self.optimizer.rates(state.monitors.schedules, self.time(state))

        def factor(path: str) -> Array | float:
            return 0.0 if self.optimizer.frozen(path) else -rate(path)

        return Updates(merge_frozen(direction, nothing), factor)

    def apply_updates(self, state: State, trained: PyTree, direction: PyTree) -> tuple[PyTree, PyTree]:
        """Step in a direction, each layer at its own rate, and apply the constraints.

        Args:
            state: Its step and monitors give the rates.
            trained: The weights, None in place of frozen ones.
            direction: What the optimizer makes of the gradient, a tree like `trained`.

        Returns:
            The weights after the step, and what the step adds to them.
        """
        rate = self.optimizer.rates(state.monitors.schedules, self.time(state))

        def update(path: Sequence[Any], towards: Array) -> Array:
            return -rate(layer_of(path)) * towards

        updates = jax.tree_util.tree_map_with_path(update, direction)
        updated = jax.tree.map(jnp.add, trained, updates)
        if self.components.constraints:
            updated = jax.tree_util.tree_map_with_path(self.constrain, updated)
            updates = jax.tree.map(jnp.subtract, updated, trained)
        return updated, updates

    def constrain(self, path: Sequence[Any], weights: Array) -> Array:
        """An array of weights as the constraints leave it; they act on kernels alone."""
        if path[-1].key == "kernel":
            for constraint in self.components.constraints:
                weights = constraint(weights)
        return weights

    def time(self, state: State) -> Time:
        """The moment of a state's step."""
        return Time(state.step, self.total_steps, self.steps_per_epoch)


def mixed_loss(loss: Loss, outputs: Array, targets: Array, augmented: Augmented) -> Array:
    """The loss of each example, `[B]`; where another is mixed into it, the weighted loss of both.

    Args:
        loss: The loss.
        outputs: `[B, K]`, for the augmented inputs.
        targets: Of the examples themselves, `[B]` or `[B, K]`.
        augmented: Says which example is mixed into each, and its share.
    """
    losses = loss.per_example(outputs, targets)
    if augmented.partner is None or augmented.share is None:
        return losses
    others = loss.per_example(outputs, targets[augmented.partner])
    return (1.0 - augmented.share) * losses + augmented.share * others


def merge_frozen(trained: PyTree, rest: PyTree) -> PyTree:
    """A tree by layers: `trained`, with the leaves of `rest` where it has None."""

    def merged(leaf: Array | None, other: Array) -> Array:
        return other if leaf is None else leaf

    return jax.tree.map(merged, trained, rest, is_leaf=lambda leaf: leaf is None)
