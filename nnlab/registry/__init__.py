"""The registry: a component's signature is its schema.

A component is a function or class registered under a kind. Its keyword parameters are its YAML keys, their
annotations say what is allowed, their defaults are the defaults, its docstring is its documentation.
Positional-only parameters are what it receives when it runs; they are not YAML keys:

    @register("activation")
    def leaky_relu(z: Array, /, *, negative_slope: float = 0.01) -> Array: ...

    build("activation", {"type": "leaky_relu", "negative_slope": 0.2})   # z -> array

A parameter that is itself a component is annotated with its kind (`Annotated[Any, Of("initializer")]`), one
that is a fixed group of keys with its class (`Annotated[Any, Section(Split)]`).
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import keyword
import pkgutil
import re
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from annotated_types import Ge, Gt, Le, Lt

from nnlab.errors import KeyPath

Count = typing.Annotated[int, Ge(1), Le(10**15)]
Positive = typing.Annotated[float, Gt(0.0)]
NonNegative = typing.Annotated[float, Ge(0.0)]
Fraction = typing.Annotated[float, Ge(0.0), Le(1.0)]
BelowOne = typing.Annotated[float, Ge(0.0), Lt(1.0)]


class Kind(NamedTuple):
    """A family of components.

    home: the package or module whose modules register them, imported at the first look-up.
    shorthand: Python type of a YAML value -> (component, parameter) that it stands for.
    adopts: another kind whose components serve as this one's too (every activation is a layer).
    """

    name: str
    home: str
    about: str
    shorthand: Mapping[type, tuple[str, str]] = types.MappingProxyType({})
    adopts: str | None = None


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            "layer",
            "nnlab.nn",
            "a step of the model",
            shorthand={list: ("sequential", "layers")},
            adopts="activation",
        ),
        Kind("activation", "nnlab.nn", "an elementwise function; also a layer"),
        Kind("initializer", "nnlab.nn", "draws the first weights"),
        Kind("dataset", "nnlab.data", "examples to learn from"),
        Kind("transform", "nnlab.data", "scales inputs by training statistics"),
        Kind("augmentation", "nnlab.data", "changes training inputs at random, anew at each step"),
        Kind("loss", "nnlab.optim", "what training makes small"),
        Kind("regularizer", "nnlab.optim", "a penalty on the weights, added to the loss"),
        Kind("constraint", "nnlab.optim", "what weights are brought back to after each step"),
        Kind("optimizer", "nnlab.optim", "how weights follow the gradient"),
        Kind(
            "schedule",
            "nnlab.optim",
            "the learning rate over time",
            shorthand={int: ("constant", "value"), float: ("constant", "value")},
        ),
        Kind("stop", "nnlab.optim", "ends a training before its time"),
        Kind("solver", "nnlab.optim", "finds the last layer in closed form"),
        Kind("phenomenon", "nnlab.phenomena", "what a run or a sweep is examined for"),
        Kind("search", "nnlab.sweeps.search", "chooses the next trials of a sweep"),
    )
}


class _Traced:
    """Annotation: the compiled program takes this number as an argument, so that it may change without the
    program being compiled anew. The component must work with a traced value in its place."""


TRACED = _Traced()


class ComponentOf(NamedTuple):
    """Annotation: this parameter is a component of `kind`."""

    kind: str


class Section:
    """Annotation: this parameter is a fixed group of keys, the parameters of `factory`.

    number: the key that a bare number stands for.
    """

    def __init__(self, factory: Callable[..., Any], number: str | None = None) -> None:
        self.component = Component("section", factory.__name__.lower(), factory)
        self.number = number

    def spell_out(self, config: Any) -> Mapping[str, Any] | None:
        """The keys of a config value, its shorthand undone; None where it is no config value."""
        if isinstance(config, (int, float)) and not isinstance(config, bool) and self.number:
            return {self.number: config}
        return config if isinstance(config, Mapping) else None

    def build(self, config: Any) -> Any:
        arguments = self.spell_out(config)
        return config if arguments is None else self.component(**arguments)


class Parameter(NamedTuple):
    name: str
    annotation: Any
    default: Any

    @property
    def required(self) -> bool:
        return self.default is inspect.Parameter.empty


class Component(NamedTuple):
    """An entry of the registry."""

    kind: str
    name: str
    factory: Callable[..., Any]

    @property
    def parameters(self) -> dict[str, Parameter]:
        """Its YAML keys: those of the factory, then those shared by the whole kind."""
        shared = _SHARED.get(self.kind)
        return {**signature(self.factory), **(signature(shared) if shared else {})}

    @property
    def document(self) -> str:
        return inspect.getdoc(self.factory) or ""

    @property
    def headline(self) -> str:
        """The first sentence of its documentation."""
        paragraph = " ".join(self.document.split("\n\n", 1)[0].split())
        first = re.split(r"(?<=[.?])(?<!et al\.)(?<!\.\.) ", paragraph, maxsplit=1)[0]
        return first if first.endswith((".", "?")) else f"{first}."

    def __call__(self, **arguments: Any) -> Any:
        """The component with these arguments; component-valued ones may still be config."""
        shared = _SHARED.get(self.kind)
        if shared is None:
            return _apply(self.factory, arguments)
        own = signature(self.factory)
        source = _apply(self.factory, {k: v for k, v in arguments.items() if k in own})
        return shared(source, **_constructed(shared, {k: v for k, v in arguments.items() if k not in own}))


_CATALOGUE: dict[str, dict[str, Component]] = {name: {} for name in KINDS}
_SHARED: dict[str, Callable[..., Any]] = {}
_ADOPTERS: dict[str, Callable[[Any], Any]] = {}

F = TypeVar("F", bound=Callable[..., Any])


def register(kind: str, name: str | None = None, label: str | None = None) -> Callable[[F], F]:
    """Enter a function or class under `kind` (as `name` where Python's own word is taken).

    label: the field of what the function returns that is to hold the component's name. Calling it from
    Python takes names for component-valued arguments too: `dense(10, kernel_init="zeros")`.
    """

    def enter(factory: F) -> F:
        entry = name or factory.__name__
        if entry in _CATALOGUE[kind]:
            raise ValueError(f"{kind} '{entry}' is registered twice")
        if _is_bound_later(factory):
            _CATALOGUE[kind][entry] = Component(kind, entry, factory)
            return factory

        written = inspect.signature(factory)

        @functools.wraps(factory)
        def constructing(*args: Any, **kwargs: Any) -> Any:
            bound = written.bind(*args, **kwargs)
            bound.apply_defaults()
            made = factory(**_constructed(factory, bound.arguments))
            return _with_name(made, label, entry) if label else made

        _CATALOGUE[kind][entry] = Component(kind, entry, constructing)
        return typing.cast(F, constructing)

    return enter


def _with_name(made: Any, field: str, name: str) -> Any:
    """A built dataclass or NamedTuple with the component's name in one of its fields."""
    if dataclasses.is_dataclass(made) and not isinstance(made, type):
        return dataclasses.replace(made, **{field: name})
    return made._replace(**{field: name})


def common_options(kind: str) -> Callable[[F], F]:
    """The keyword parameters of this function are keys of every component of `kind`.

    It receives the built component as its one positional argument, and what it returns takes its place.
    """

    def enter(function: F) -> F:
        _SHARED[kind] = function
        return function

    return enter


def adopter(kind: str) -> Callable[[F], F]:
    """This function makes a component of `kind` from a built one of the kind that it adopts."""

    def enter(function: F) -> F:
        _ADOPTERS[kind] = function
        return function

    return enter


def components(kind: str) -> dict[str, Component]:
    """All components of a kind by name, the adopted ones last."""
    _load(KINDS[kind].home)
    found = dict(_CATALOGUE[kind])
    adopts = KINDS[kind].adopts
    if adopts is not None:
        found |= {name: component for name, component in components(adopts).items() if name not in found}
    return found


def build(kind: str, config: Any) -> Any:
    """The component that a checked config value stands for; what is built already is returned as it is."""
    spelled = spell_out(kind, config)
    if spelled is None:
        return config
    name, arguments = spelled
    component = components(kind)[name]
    built = component(**arguments)
    return built if component.kind == kind else _ADOPTERS[kind](built)


def spell_out(kind: str, config: Any) -> tuple[str, dict[str, Any]] | None:
    """(name, arguments) of a config value, its shorthand undone; None where it is no config value."""
    if isinstance(config, str):
        return config, {}
    if isinstance(config, Mapping):
        return config["type"], {k: v for k, v in config.items() if k != "type"}
    if type(config) in KINDS[kind].shorthand:
        component, parameter = KINDS[kind].shorthand[type(config)]
        return component, {parameter: config}
    return None


@functools.cache
def signature(factory: Callable[..., Any]) -> dict[str, Parameter]:
    """The keyword parameters of a factory by their YAML keys, their annotations evaluated.

    A key that is a word of Python's own is written with an underscore there: `from_`.
    """
    hints = typing.get_type_hints(factory, include_extras=True)
    return {
        _key(name): Parameter(_key(name), hints.get(name, Any), parameter.default)
        for name, parameter in inspect.signature(factory).parameters.items()
        if parameter.kind is not inspect.Parameter.POSITIONAL_ONLY
    }


def _key(name: str) -> str:
    return name[:-1] if name.endswith("_") and keyword.iskeyword(name[:-1]) else name


def with_outsiders(kind: str, config: Any, replace: Callable[[KeyPath, Any], Any], path: KeyPath = ()) -> Any:
    """A component's config, spelled out, with `replace(path, value)` in the place of every value that is no
    part of the compiled program: traced numbers, and initializers, which draw on the host."""
    spelled = spell_out(kind, config)
    if spelled is None:
        return config
    name, arguments = spelled
    parameters = components(kind)[name].parameters
    return {"type": name} | {
        key: _with_outsiders(parameters[key].annotation, value, replace, (*path, key))
        for key, value in arguments.items()
    }


def _with_outsiders(
    annotation: Any, value: Any, replace: Callable[[KeyPath, Any], Any], path: KeyPath
) -> Any:
    marker = marker_of(annotation)
    if isinstance(marker, ComponentOf) and marker.kind != "initializer":
        return with_outsiders(marker.kind, value, replace, path)
    if isinstance(marker, ComponentOf) or TRACED in getattr(annotation, "__metadata__", ()):
        return replace(path, value)
    if isinstance(marker, Section):
        parameters = marker.component.parameters
        return {
            key: _with_outsiders(parameters[key].annotation, part, replace, (*path, key))
            for key, part in (marker.spell_out(value) or {}).items()
        }
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (types.UnionType, typing.Union) and value is not None:
        marked = [option for option in inner if hasattr(option, "__metadata__")]
        return _with_outsiders(marked[0], value, replace, path) if len(marked) == 1 else value
    if origin is list and isinstance(value, (list, tuple)):
        return [_with_outsiders(inner[0], item, replace, (*path, i)) for i, item in enumerate(value)]
    return value


@functools.cache
def _is_bound_later(factory: Callable[..., Any]) -> bool:
    """Whether it has positional-only parameters, to be received when it runs."""
    kinds = {parameter.kind for parameter in inspect.signature(factory).parameters.values()}
    return inspect.Parameter.POSITIONAL_ONLY in kinds


def _apply(factory: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    built = {
        f"{key}_" if keyword.iskeyword(key) else key: value
        for key, value in _constructed(factory, arguments).items()
    }
    return functools.partial(factory, **built) if _is_bound_later(factory) else factory(**built)


def _constructed(factory: Callable[..., Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with every component and section among them built."""
    parameters = signature(factory)
    return {name: _construct(parameters[name].annotation, value) for name, value in arguments.items()}


def _construct(annotation: Any, value: Any) -> Any:
    marker = marker_of(annotation)
    if isinstance(marker, ComponentOf):
        return build(marker.kind, value)
    if isinstance(marker, Section):
        return marker.build(value)
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is list and isinstance(value, (list, tuple)):
        return [_construct(inner[0], item) for item in value]
    if origin is dict and isinstance(value, Mapping):
        return {key: _construct(inner[1], item) for key, item in value.items()}
    if origin in (types.UnionType, typing.Union):
        marked = [option for option in inner if marker_of(option) is not None]
        return _construct(marked[0], value) if marked and value is not None else value
    return value


def marker_of(annotation: Any) -> ComponentOf | Section | None:
    """The `Of` or `Section` of an annotation, if it has one."""
    for note in getattr(annotation, "__metadata__", ()):
        if isinstance(note, (ComponentOf, Section)):
            return note
    return None


def sections_in(annotation: Any) -> list[Section]:
    """The sections that an annotation allows, alone, in a list or beside others."""
    marker = marker_of(annotation)
    if isinstance(marker, Section):
        return [marker]
    return [found for option in typing.get_args(annotation) for found in sections_in(option)]


@functools.cache
def _load(home: str) -> None:
    """Import every module of a kind's home, so that what is registered depends on nothing else."""
    package = importlib.import_module(home)
    for entry in pkgutil.walk_packages(package.__path__, f"{home}."):
        importlib.import_module(entry.name)
