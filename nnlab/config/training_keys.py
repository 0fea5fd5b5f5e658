"""The sections of an experiment file that say how a training goes: train, record and others."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from nnlab.errors import InvalidValue
from nnlab.registry import BelowOne, Built, ComponentOf, Count, section

MAXIMUM_RECORDS = 1_000_000
Epochs = Annotated[float, Gt(0.0), Le(1e9)]


@section()
@dataclass(frozen=True)
class Train:
    """How long to train: `epochs` or `steps`, one of the two, unless one of `stop` ends it before.

    An epoch is n // batch_size steps over a fresh order of the n training examples; what the division
    leaves over sits out that epoch.

    Args:
        epochs: How many passes over the training examples, fractions among them.
        steps: How many updates of the weights.
        stop: Criteria, each of which ends the training early.
        cache_frozen: Compute the first layers, as far as optimizer.groups freeze them, once for every
            example, and train on their outputs; layers.csv then has the layers after them only.
        devices: How many GPUs or TPU cores share each batch, `all` for those that there are. They must divide
            the batch size. Losses, metrics and statistics are those of the whole batch; to rounding, the
            numbers are those of one device. What is recorded, each device computes by itself.
    """

    epochs: Epochs | None = None
    steps: Annotated[int, Ge(0), Lt(2**31 - 1)] | None = None
    stop: Sequence[Annotated[Built, ComponentOf("stop")]] = ()
    cache_frozen: bool = False
    devices: Count | Literal["all"] = 1

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.steps is None):
            raise InvalidValue("give one of 'epochs' and 'steps' (`train={steps: 10}` replaces both)")


@section()
@dataclass(frozen=True)
class Prune:
    """Train in rounds, after each of which some weights are pruned: they are 0 from then on.

    After a round, which lasts as long as `train` says, some weights of every kernel are masked; all others go
    back to an earlier step, the optimizer starts anew, and the next round trains what is left, in the same
    order of examples and at the same learning rates. A pruning counts as a step of the training.

    Args:
        rounds: How many times to prune, and to train once more after it; 0 is the plain training.
        fraction: How many of a kernel's weights go each time, of those that are left.
        layers: Other fractions for some layers, by a path or pattern: {dense_3: 0.15}. The first that matches
            counts; 0 leaves a layer whole.
        rewind: The step of the first round whose weights the others go back to: 0 for the first weights. Null
            leaves them as they were trained, and only the learning rate begins anew.
        criterion: Which weights go: the smallest in `magnitude`; in `one_shot` those that were smallest after
            the first round, so that each round is as if all were pruned at once; or some at `random`.
        last_round: What the last round trains: the `ticket`, as all rounds before it; the same mask with
            weights that are `redrawn`; or that ticket's mask `shuffled` within each kernel.
        mask: Which weights are there from the first step on, in place of all of them: the last mask of a
            pruned run, named by its directory, or a safetensors file with an array of true and false for each
            kernel; relative paths start at the working directory.

    Reference:
        Frankle & Carbin 2019, "The lottery ticket hypothesis"; Frankle et al. 2020 for rewinding to a later
        step; Renda et al. 2020 for rewinding the learning rate alone.
    """

    rounds: Annotated[int, Ge(0), Le(1000)]
    fraction: Annotated[float, Gt(0.0), Lt(1.0)] = 0.2
    layers: Mapping[str, BelowOne] = field(default_factory=dict)
    rewind: Annotated[int, Ge(0), Lt(2**31 - 1)] | None = 0
    criterion: Literal["magnitude", "one_shot", "random"] = "magnitude"
    last_round: Literal["ticket", "redrawn", "shuffled"] = "ticket"
    mask: str | None = None


@section()
@dataclass(frozen=True)
class Precision:
    """The floating-point numbers that a training computes with.

    Args:
        compute: The type in which the model computes: its weights and inputs are cast to it where they are
            used. Weights, optimizer state, loss, the statistics of normalizations and what probes measure are
            float32 in any case. bfloat16 has 8 significant bits; it is faster on GPUs and TPUs, not on CPU.
        matmul: How exactly GPUs and TPUs multiply float32 matrices and convolve. `highest` is float32;
            `default` may round factors to TF32, 10 significant bits, or on TPUs to bfloat16; `high` lies
            between. A CPU always takes float32.
    """

    compute: Literal["float32", "bfloat16"] = "float32"
    matmul: Literal["highest", "high", "default"] = "highest"


FULL_PRECISION = Precision()


@section()
@dataclass(frozen=True)
class Every:
    """A fixed distance between records: `steps` or `epochs`, one of the two.

    Args:
        steps: So many updates of the weights.
        epochs: So many passes over the training examples, fractions among them.
    """

    steps: Count | None = None
    epochs: Epochs | None = None

    def __post_init__(self) -> None:
        if (self.epochs is None) == (self.steps is None):
            raise InvalidValue("give one of 'epochs' and 'steps'")


@section()
@dataclass(frozen=True)
class Record:
    """When to record: `every` {steps: N} or {epochs: N}, or `log_spaced` moments; one of the two.

    Step 0 and the last step are always recorded.

    Args:
        every: A fixed distance between records.
        log_spaced: N moments t_i = (1 + T)^(i/(N-1)) - 1, rounded to whole steps: every one of the first
            steps, and the last ones in long strides.
        layers: False leaves out layers.csv, the inside view, which halves the time to compile.
        predictions: Keep the outputs for every training and test example, of the weights that come out, as
            predictions.csv: a row for each output of each example, with the row of the source (from 0; of a
            folder of images the file) and, where classes have names, that of the output's class.
    """

    every: Every | None = None
    log_spaced: Annotated[int, Ge(2), Le(MAXIMUM_RECORDS)] | None = None
    layers: bool = True
    predictions: bool = False

    def __post_init__(self) -> None:
        if (self.every is None) == (self.log_spaced is None):
            raise InvalidValue("give one of 'every' and 'log_spaced'")

    def steps(self, last: int, steps_per_epoch: int) -> list[int]:
        """The steps to record at, ascending, step 0 and the last always among them.

        Raises:
            InvalidValue: There are more than MAXIMUM_RECORDS.
        """
        if self.log_spaced is not None:
            count = min(self.log_spaced, last + 1)
            spread = [round(math.expm1(math.log1p(last) * i / max(1, count - 1))) for i in range(count)]
            return sorted({0, last, *spread})
        assert self.every is not None  # noqa: S101 - __post_init__ sees to it
        gap = self.every.steps or max(1, round((self.every.epochs or 1) * steps_per_epoch))
        if last // gap >= MAXIMUM_RECORDS:
            raise InvalidValue(
                f"asks for more than {MAXIMUM_RECORDS:,} records in {last:,} steps", ("every",)
            )
        return sorted({*range(0, last, gap), last})


RECORD_EACH_EPOCH = Record(every=Every(epochs=1))


@section()
@dataclass(frozen=True)
class Initialize:
    """First weights that were trained before, in place of drawn ones.

    A file that PyTorch saved is known by its names (features.0.weight): kernels are turned to nnlab's layout,
    also those of a dense layer that follows flatten, and the two biases of a recurrent layer are added up. Of
    a bidirectional one, forward and backward have the same name there; of a stack (num_layers) the first one
    is taken. Its batch_norm has epsilon 1e-5, nnlab's 1e-3.

    Args:
        from_: `from` in the file. A run directory, whose selected weights are taken, or a safetensors file;
            relative paths start at the working directory.
        layers: Which layers get them: a path such as dense_1 as `nnlab summary` prints it, a pattern such as
            conv2d_*, or several; null is all of them. The others are drawn as ever.
        names: What a layer is called in the file, where that is not its name here: {conv2d_1: features.0}.
    """

    from_: str
    layers: str | Sequence[str] | None = None
    names: Mapping[str, str | int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.layers and self.layers is not None:
            raise InvalidValue("name at least one layer, or null for all", ("layers",))

    @property
    def patterns(self) -> Sequence[str] | None:
        """The patterns of the layers that get weights; None stands for all."""
        return [self.layers] if isinstance(self.layers, str) else self.layers

    @property
    def names_in_file(self) -> dict[str, str]:
        """The name of a layer's module in the file, by the layer's path; PyTorch's are often numbers."""
        return {layer: str(name) for layer, name in self.names.items()}
