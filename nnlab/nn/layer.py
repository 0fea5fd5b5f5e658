"""What a layer is.

A layer is a pair of pure functions and knows nothing of its neighbours:

    setup(input_shape) -> Setup                              shapes only; costs nothing, needs no JAX
    apply(params, state, x, *, key, train) -> Output         traced and compiled

Shapes leave out the batch axis: an input `[B, D]` has the shape `(D,)`. `setup` says which arrays the layer
needs (Variables: a shape and an initializer), so that sizes are known, printed and refused before anything
is allocated. `params` are trained; `state`, such as running averages, is carried along. Both are dicts by
name. `key` is the layer's own random key, `train` whether the layer is in training mode.

A layer's values have the type of its inputs: float32 or, where `precision.compute` says so, bfloat16, which
its `params` then have too. Its `state` is float32 in any case.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np

from nnlab.registry import Built, ComponentOf, register
from nnlab.system.imports import Array

NEGATIVE_LOG_LIKELIHOOD = "negative log-likelihood, nats"  # of an example; a loss that some layers compute
BOUND_OF_LIKELIHOOD = f"bound of the {NEGATIVE_LOG_LIKELIHOOD}"

Shape = tuple[int, ...]
Tree = Mapping[str, Any]
"""Arrays, or Variables, in dicts nested as the layers are."""

InputValues = Literal["any", "0 or 1", "from 0 to 1"]
VariableCollection = Literal["params", "state"]
Activation = Callable[[Array], Array]
Initializer = Callable[[np.random.Generator, Shape], np.ndarray]

# parameters of these types have a component's name as default, in whose place the built component arrives
ActivationLike = Annotated[Built, ComponentOf("activation")]
InitializerLike = Annotated[Built, ComponentOf("initializer")]


class Variable(NamedTuple):
    """An array that a layer needs.

    Attributes:
        shape: Its shape.
        initializer: (random generator, shape) -> its first values, on the host.
    """

    shape: Shape
    initializer: Initializer

    @property
    def size(self) -> int:
        """The number of values."""
        return math.prod(self.shape)


class Setup(NamedTuple):
    """A layer's variables and output shape for one input shape; a container has children instead of those.

    Attributes:
        output_shape: Shape of an example's output, without the batch axis.
        params: Trained variables by name.
        state: Variables that are carried along, not trained, by name.
        children: Setups of the layers inside, by name, in the order of the data.
        type: The layer's name in the registry.
        activation: The function f of a layer that applies one elementwise, else None.
        state_activation: A function in whose range the outputs of a recurrent layer lie, else None.
        vocabulary: The number of tokens, where the layer's inputs are token numbers, else None.
        random: Whether the outputs are random in training.
        workspace_values: Values per example that the layer computes besides its outputs.
        own_loss: What the outputs `[B, 1]` are where they are a loss, see `layer_loss`; empty where they are
            not.
        takes: The values that the layer's inputs may have.
        sample: (params, state, key, count) -> examples `[count, ...]` like the layer's inputs, drawn by what
            it has learnt of them; None where it cannot.
        note: What a summary says beside the layer; empty where there is nothing to say.
    """

    output_shape: Shape
    params: Mapping[str, Variable] = {}
    state: Mapping[str, Variable] = {}
    children: Mapping[str, Setup] = {}
    type: str = ""
    activation: Activation | None = None
    state_activation: Activation | None = None
    vocabulary: int | None = None
    random: bool = False
    workspace_values: int = 0
    own_loss: str = ""
    takes: InputValues = "any"
    sample: Callable[[Tree, Tree, Array, int], Array] | None = None
    note: str = ""

    @property
    def values_per_example(self) -> int:
        """Values per example that all layers together compute."""
        return sum(math.prod(leaf.output_shape) + leaf.workspace_values for _, leaf in self.leaves())

    def variables(self, collection: VariableCollection) -> Tree:
        """The Variables of one collection, nested as the children are."""
        inner = {name: child.variables(collection) for name, child in self.children.items()}
        return self._collection(collection) | {name: tree for name, tree in inner.items() if tree}

    def leaves(self, prefix: str = "") -> Iterator[tuple[str, Setup]]:
        """The layers without children, by their path, in the order of the data."""
        if not self.children:
            yield prefix, self
        for name, child in self.children.items():
            yield from child.leaves(f"{prefix}/{name}" if prefix else name)

    def count(self, collection: VariableCollection) -> int:
        """The number of values in one collection, those of the children included."""
        size = sum(variable.size for variable in self._collection(collection).values())
        return size + sum(child.count(collection) for child in self.children.values())

    def _collection(self, name: VariableCollection) -> dict[str, Variable]:
        return dict(self.params if name == "params" else self.state)


class Output(NamedTuple):
    """What a layer returns.

    Attributes:
        value: The output, `[B, *output_shape]`.
        state: The layer's new state.
        intermediates: Values from within, by what they are and the path of the layer (an empty path for the
            layer itself): `outputs` of each layer in a container, `inputs` z of each activation, `states`
            of each recurrent layer. Compiled programs drop those that are not used.
    """

    value: Array
    state: Tree = {}  # noqa: RUF012 - never changed
    intermediates: Mapping[str, Mapping[str, Array]] = {}


class Layer(NamedTuple):
    """A layer that is not yet set up for an input shape; see the head of this module.

    Attributes:
        setup: Input shape -> Setup. Raises InvalidValue where inputs of this shape do not suit the layer.
        apply: (params, state, x, *, key, train) -> Output.
        layers: The parts of a chain, which a chain around it takes as its own.
        type: The layer's name in the registry.
    """

    setup: Callable[[Shape], Setup]
    apply: Callable[..., Output]
    layers: tuple[Layer, ...] = ()
    type: str = ""


LayerLike = Annotated[Layer, ComponentOf("layer")]

layer = register("layer")
"""Register a function that returns a Layer."""


def at_least_float32(x: Array) -> Array:
    """The values in float32, unless their type is wider: bfloat16 is too coarse for a variance."""
    return x.astype(np.promote_types(x.dtype, np.float32))


def path_matches(path: str, patterns: Sequence[str]) -> bool:
    """Whether one of the patterns matches a layer's path or that of a layer around it."""
    names = path.split("/")
    prefixes = ["/".join(names[: length + 1]) for length in range(len(names))]
    return any(fnmatch.fnmatchcase(prefix, pattern) for pattern in patterns for prefix in prefixes)


class TrainUnlessFrozen:
    """The argument `train` where some layers are frozen: true for all layers but those.

    A frozen layer behaves as in evaluation.

    Attributes:
        frozen: Says of a layer's path whether the layer is frozen.
        path: The path of the layer that receives this as `train`.
    """

    def __init__(self, frozen: Callable[[str], bool], path: str = "") -> None:
        self.frozen, self.path = frozen, path

    def __bool__(self) -> bool:
        return not self.frozen(self.path)

    def for_child(self, name: str) -> TrainUnlessFrozen:
        """The same for the layer of that name inside this one."""
        return TrainUnlessFrozen(self.frozen, f"{self.path}/{name}" if self.path else name)


TrainMode = bool | TrainUnlessFrozen
