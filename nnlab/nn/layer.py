"""What a layer is.

A layer is a pair of pure functions and knows nothing of its neighbours:

    setup(input_shape) -> Setup                              shapes only; costs nothing, needs no JAX
    apply(params, state, x, *, key, train) -> Output         traced and compiled

Shapes leave out the batch axis: an input `[B, D]` has the shape `(D,)`. `setup` says which arrays the layer
wants (Variables: a shape and who draws it), so that sizes are known, printed and refused before anything
is allocated. `params` are trained, `state` (running averages) is carried along; both are dicts by name.
"""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import numpy as np

from nnlab.registry import ComponentOf, register
from nnlab.system.imports import Array

Shape = tuple[int, ...]
Tree = Mapping[str, Any]

LayerLike = Annotated[Any, ComponentOf("layer")]
ActivationLike = Annotated[Any, ComponentOf("activation")]
InitializerLike = Annotated[Any, ComponentOf("initializer")]


class Variable(NamedTuple):
    """An array that a layer wants: drawn as `initializer(random, shape)`."""

    shape: Shape
    initializer: Callable[[np.random.Generator, Shape], np.ndarray]

    @property
    def size(self) -> int:
        return math.prod(self.shape)


class Setup(NamedTuple):
    """A layer's variables and output shape for one input shape; a container's are its children's.

    type: the layer's name in the registry. activation: f, where the layer is elementwise. vocabulary: how
    many tokens there are, where the layer's inputs are such whole numbers. random: whether its outputs are
    in training. workspace_values: how many values an example it makes on the way to its outputs.
    """

    output_shape: Shape
    params: Mapping[str, Variable] = {}
    state: Mapping[str, Variable] = {}
    children: Mapping[str, Setup] = {}
    type: str = ""
    activation: Callable[[Array], Array] | None = None
    vocabulary: int | None = None
    random: bool = False
    workspace_values: int = 0

    @property
    def values_per_example(self) -> int:
        """The values an example that all layers make."""
        return sum(math.prod(leaf.output_shape) + leaf.workspace_values for _, leaf in self.leaves())

    def variables(self, part: str) -> dict[str, Any]:
        """The variables of one part ("params" or "state"), nested as the children are."""
        own = dict(getattr(self, part))
        inner = {name: child.variables(part) for name, child in self.children.items()}
        return own | {name: variables for name, variables in inner.items() if variables}

    def leaves(self, prefix: str = "") -> Iterator[tuple[str, Setup]]:
        """The layers without children, in the order of the data, by their path."""
        if not self.children:
            yield prefix, self
        for name, child in self.children.items():
            yield from child.leaves(f"{prefix}/{name}" if prefix else name)

    def count(self, part: str) -> int:
        """The number of values in one part."""
        own = sum(variable.size for variable in getattr(self, part).values())
        return own + sum(child.count(part) for child in self.children.values())


class Output(NamedTuple):
    """What a layer returns.

    value: `[B, ...output_shape]`; state: the layer's new state; inside: named intermediate values, by the
    layer's path for a container: `outputs` of each layer and `slopes` f'(z) of each activation. Those that
    nobody asks for are not computed.
    """

    value: Array
    state: Tree = {}  # noqa: RUF012 - never changed
    intermediates: Mapping[str, Mapping[str, Array]] = {}


def path_matches(path: str, patterns: Sequence[str]) -> bool:
    """Whether a layer's path, or that of a layer around it, matches one of the patterns."""
    names = path.split("/")
    around = ["/".join(names[: i + 1]) for i in range(len(names))]
    return any(fnmatch.fnmatchcase(part, pattern) for pattern in patterns for part in around)


class TrainUnlessFrozen:
    """`train` where some layers are frozen: false, as in evaluation, for those of which `frozen(path)` says
    so."""

    def __init__(self, frozen: Callable[[str], bool], path: str = "") -> None:
        self.frozen, self.path = frozen, path

    def __bool__(self) -> bool:
        return not self.frozen(self.path)

    def for_child(self, name: str) -> TrainUnlessFrozen:
        """For the layer of that name inside this one."""
        return TrainUnlessFrozen(self.frozen, f"{self.path}/{name}" if self.path else name)


class Layer(NamedTuple):
    """See the module's head. `layers`: the parts of a chain, which a chain around it takes as its own."""

    setup: Callable[[Shape], Setup]
    apply: Callable[..., Output]
    layers: tuple[Layer, ...] = ()
    type: str = ""


layer = register("layer", label="type")
"""Register a function that returns a Layer."""
