"""Losses, accuracies and outputs of all splits, in evaluation mode."""

from __future__ import annotations

from nnlab.nn.layer import Output, Tree
from nnlab.system.imports import Array, jax, jnp
from nnlab.training.arguments import DeviceData
from nnlab.training.blocks import EvalBlocks
from nnlab.training.program import Components
from nnlab.training.state import State


class Evaluator:
    """Evaluates a state on the examples of all splits, block by block."""

    def __init__(
        self, components: Components, seed: Array, data: DeviceData, blocks: EvalBlocks, classes: int
    ) -> None:
        self.model, self.loss = components.model, components.loss
        self.seed, self.data, self.blocks, self.classes = seed, data, blocks, classes

    def metrics(self, state: State) -> dict[str, Array]:
        """The mean loss of each split and, for a classification, its accuracy."""

        def sums(block: DeviceData) -> tuple[Array, ...]:
            outputs = self.apply(state.params, state.layer_state, block.inputs).value
            losses = self.loss.per_example(outputs, block.targets)
            correct = self.loss.correct(outputs, block.targets) if self.classes else losses
            return tuple(jnp.where(block.real, values, 0.0).sum() for values in (losses, correct))

        loss, correct = jax.lax.map(sums, self.blocks.by_block(self.data))
        metrics = {}
        for split, (first, blocks, count) in self.blocks.spans.items():
            metrics[f"{split}_loss"] = loss[first : first + blocks].sum() / count
            if self.classes:  # XLA would multiply by 1 / count, and n of n would not be 1
                total = jax.lax.optimization_barrier(jnp.float32(count))
                metrics[f"{split}_accuracy"] = correct[first : first + blocks].sum() / total
        return metrics

    def outputs(self, state: State) -> dict[str, Array]:
        """The model's outputs `[N, K]` for every example of each split."""

        def block_outputs(block: DeviceData) -> Array:
            return self.apply(state.params, state.layer_state, block.inputs).value

        outputs = jax.lax.map(block_outputs, self.blocks.by_block(self.data))
        return {
            split: outputs[first : first + blocks].reshape(-1, outputs.shape[-1])[:count]
            for split, (first, blocks, count) in self.blocks.spans.items()
        }

    def apply(self, params: Tree, layer_state: Tree, inputs: Array) -> Output:
        """The model in evaluation mode.

        Args:
            params: Its weights.
            layer_state: What its layers carry along.
            inputs: `[B, ...]`.
        """
        return self.model.apply(params, layer_state, inputs, key=jax.random.key(self.seed), train=False)
