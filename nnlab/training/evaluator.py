"""Losses, accuracies, other metrics and outputs of all splits, in evaluation mode."""

from __future__ import annotations

from nnlab.nn.layer import Output, Tree
from nnlab.optim.metrics import added_metrics
from nnlab.system.imports import Array, PyTree, jax, jnp
from nnlab.training.arguments import DeviceData
from nnlab.training.blocks import EvalBlocks
from nnlab.training.program import Components
from nnlab.training.state import State


class Evaluator:
    """Evaluates a state on the examples of all splits, block by block."""

    def __init__(
        self,
        components: Components,
        seed: Array,
        data: DeviceData,
        blocks: EvalBlocks,
        classes: int,
        tasks: int = 0,
    ) -> None:
        self.model, self.loss = components.model, components.loss
        self.seed, self.data, self.blocks, self.classes, self.tasks = seed, data, blocks, classes, tasks
        self.added = added_metrics(components.metrics, classes)

    def metrics(self, state: State, sums: Array | tuple[()] = ()) -> dict[str, Array]:
        """The mean loss of each split, weighted if the loss is; for a classification, its accuracy; and the
        metrics that the file asks for. In a sequence of tasks also the columns of `task_metrics`.

        Args:
            state: The state.
            sums: Those of `block_sums` of all blocks, where examples are streamed; else they are computed.
        """
        outputs: PyTree = None
        if isinstance(sums, tuple):
            sums, outputs = self.block_sums(state, self.blocks.by_block(self.data))
        examples = self.blocks.examples(self.data) if self.added else {}
        metrics: dict[str, Array] = {}
        for split, (first, blocks, count) in self.blocks.spans.items():
            of_split = sums[first : first + blocks].sum(0)
            if self.tasks:
                of_tasks = of_split.reshape(-1, self.tasks)
                metrics |= self.task_metrics(split, of_tasks)
                of_split = of_tasks.sum(-1)
            loss, correct, *weight = of_split
            metrics[f"{split}_loss"] = loss / (weight[0] if weight else count)
            if self.classes:  # XLA would multiply by 1 / count, and n of n would not be 1
                metrics[f"{split}_accuracy"] = correct / jax.lax.optimization_barrier(jnp.float32(count))
            for metric in self.added:
                values = metric.of(self.loss, self.blocks.unblocked(outputs, split), examples[split].targets)
                metrics[f"{split}_{metric.title}"] = values
        return metrics

    def task_metrics(self, split: str, sums: Array) -> dict[str, Array]:
        """The mean loss of each task, weighted if the loss is, and for a classification its accuracy, `[T]`.

        Args:
            split: The split.
            sums: Those of `block_sums` over its blocks, `[3, T]` or `[4, T]`.
        """
        loss, correct, weight, *_ = sums
        accuracy = {task_column(split, "accuracy"): correct / sums[-1]} if self.classes else {}
        return {task_column(split, "loss"): loss / weight} | accuracy

    def streamed_sums(self, state: State, inputs: Array, first: Array) -> Array:
        """`block_sums` of the blocks from `first` on whose inputs are given, `[k, size, ...]`."""

        def part(values: Array) -> Array:
            return jax.lax.dynamic_slice_in_dim(values, first, inputs.shape[0])

        blocks = jax.tree.map(part, self.blocks.by_block(self.data))
        return self.block_sums(state, blocks._replace(inputs=inputs))[0]

    def block_sums(self, state: State, blocks: DeviceData) -> tuple[Array, Array | None]:
        """For each block, the sums of losses, of correct answers and, where there are some, of weights,
        `[k, 2]` or `[k, 3]`; and the outputs, where a metric asks for them. In a sequence of T tasks each is
        T sums, and last come the numbers of examples, `[k, 3 T]` or `[k, 4 T]`."""

        def evaluate(block: DeviceData) -> tuple[Array, Array | None]:
            outputs = self.apply(state.evaluated, state.layer_state, self.data.numbers(block.inputs)).value
            losses = self.loss.per_example(outputs, block.targets)
            correct = self.loss.correct(outputs, block.targets) if self.classes else losses
            weights = [] if self.loss.weight_of is None else [self.loss.weight_of(block.targets)]
            if isinstance(block.tasks, tuple):
                values = jnp.stack([losses, correct, *weights])
                return jnp.where(block.real, values, 0.0).sum(-1), outputs if self.added else None
            is_of_task = block.real[None] & (block.tasks[None] == jnp.arange(self.tasks)[:, None])
            values = jnp.stack([losses, correct, *weights, jnp.ones_like(losses)])
            sums = jnp.where(is_of_task[None], values[:, None], 0.0).sum(-1)
            return sums.reshape(-1), outputs if self.added else None

        return jax.lax.map(evaluate, blocks)

    def outputs(self, state: State) -> dict[str, Array]:
        """The model's outputs `[N, K]` for every example of each split."""

        def block_outputs(block: DeviceData) -> Array:
            return self.apply(state.evaluated, state.layer_state, self.data.numbers(block.inputs)).value

        outputs = jax.lax.map(block_outputs, self.blocks.by_block(self.data))
        return {split: self.blocks.unblocked(outputs, split) for split in self.blocks.spans}

    def apply(self, params: Tree, layer_state: Tree, inputs: Array) -> Output:
        """The model in evaluation mode.

        Args:
            params: Its weights.
            layer_state: What its layers carry along.
            inputs: `[B, ...]`.
        """
        return self.model.apply(params, layer_state, inputs, key=jax.random.key(self.seed), train=False)


def task_column(split: str, measure: str) -> str:
    """The column in which a record has a loss or an accuracy of each task."""
    return f"{split}_{measure}_of_tasks"
