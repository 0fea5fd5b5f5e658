"""Components and sections: classes and functions whose signature is their schema.

A component is a function or class registered under a kind. Its keyword parameters are its YAML keys, their
annotations say what is allowed, their defaults are the defaults, its docstring is its documentation.
Positional-only parameters are what it receives when it runs; they are not YAML keys:

    @register("activation")
    def leaky_relu(z: Array, /, *, negative_slope: float = 0.01) -> Array: ...

    build("activation", {"type": "leaky_relu", "negative_slope": 0.2})   # z -> array

A parameter that is itself a component is annotated with its kind (`Annotated[Any, ComponentOf("layer")]`). A
fixed group of keys is a section: a class marked with `@section`, which then serves as an annotation.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import keyword
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from nnlab.errors import KeyPath, PluginError
from nnlab.registry.docstrings import argument_texts, first_sentence
from nnlab.registry.json_schema import mapping_schema
from nnlab.registry.kinds import KINDS, load_home
from nnlab.registry.plugins import Origin, load_installed, origin_of, plugins
from nnlab.registry.spec import (
    NULL,
    Annotation,
    Built,
    ConfigTree,
    ConfigValue,
    Either,
    Parameter,
    Replace,
    Spec,
    deferred_type,
    signature,
)
from nnlab.text import join_words, suggestion

F = TypeVar("F", bound=Callable)
C = TypeVar("C", bound=type)


@dataclass(frozen=True)
class Keyed:
    """A factory whose keyword parameters are keys of the file."""

    name: str
    factory: Callable

    @property
    def parameters(self) -> dict[str, Parameter]:
        """Its keys."""
        return signature(self.factory)

    @property
    def document(self) -> str:
        return inspect.getdoc(self.factory) or ""

    @property
    def common_document(self) -> str:
        """The documentation of keys that it shares with others; empty where there are none."""
        return ""

    @property
    def headline(self) -> str:
        """The first sentence of its documentation."""
        return first_sentence(self.document)

    @property
    def key_texts(self) -> dict[str, str]:
        """What the documentation says of each key."""
        return argument_texts(self.document) | argument_texts(self.common_document)

    @property
    def constant_keys(self) -> ConfigTree:
        """JSON Schema of the keys that are no parameters."""
        return {}

    def construct(self, arguments: Mapping[str, ConfigValue]) -> Built:
        """What the factory makes of these arguments; components and sections among them may be config."""
        return _apply(self.factory, arguments)


@dataclass(frozen=True)
class Component(Keyed):
    """An entry of the registry."""

    kind: str
    origin: Origin

    @property
    def parameters(self) -> dict[str, Parameter]:
        """Its own keys, then those shared by the whole kind."""
        shared = _SHARED.get(self.kind)
        return {**self.own_parameters, **(signature(shared) if shared else {})}

    @property
    def own_parameters(self) -> dict[str, Parameter]:
        """The keys that its factory takes."""
        return signature(self.factory)

    @property
    def common_document(self) -> str:
        shared = _SHARED.get(self.kind)
        return (inspect.getdoc(shared) or "") if shared else ""

    @property
    def constant_keys(self) -> ConfigTree:
        return {"type": {"const": self.name, "description": self.headline}}

    def construct(self, arguments: Mapping[str, ConfigValue]) -> Built:
        shared = _SHARED.get(self.kind)
        if shared is None:
            return _apply(self.factory, arguments)
        names = self.own_parameters
        source = _apply(self.factory, {k: v for k, v in arguments.items() if k in names})
        return shared(source, **_built(shared, {k: v for k, v in arguments.items() if k not in names}))


@dataclass(frozen=True)
class ComponentOf(Spec):
    """Annotation: this parameter is a component of `kind`."""

    kind: str
    is_part = True

    @property
    def or_null(self) -> Either:
        """Annotation: this parameter is a component, or null."""
        return Either((self, NULL))

    def describe(self) -> str:
        words = {list: "a list of layers", int: "a number"}
        extra = [text for python_type, text in words.items() if python_type in KINDS[self.kind].shorthand]
        article = "an" if self.kind[0] in "aeiou" else "a"
        return f"{article} {self.kind}: {join_words(['its name', 'a mapping with a type', *extra])}"

    def validated_type(self) -> Annotation:
        return deferred_type(self, {"x-kind": self.kind})

    def example(self) -> ConfigValue:
        return KINDS[self.kind].example

    def example_list(self) -> list[ConfigValue]:
        return list(KINDS[self.kind].example_list)

    def parts(self) -> list[Spec]:
        return [self]

    def build(self, value: ConfigValue) -> Built:
        return build(self.kind, value)

    def replace_arguments(self, value: ConfigValue, replace: Replace, path: KeyPath) -> Built:
        if KINDS[self.kind].drawn_on_host:
            return replace(path, value)
        return replace_arguments(self.kind, value, replace, path)


@dataclass(frozen=True)
class Section(Keyed, Spec):
    """A fixed group of keys, those of a class. shorthand_key: the key that a bare number stands for."""

    shorthand_key: str | None = None
    is_part = True

    def describe(self) -> str:
        keys = f"a mapping of {', '.join(self.parameters)}"
        return f"a number ({self.shorthand_key}) or {keys}" if self.shorthand_key else keys

    def validated_type(self) -> Annotation:
        mapping = mapping_schema(self)
        if self.shorthand_key is None:
            return deferred_type(self, mapping)
        number = self.parameters[self.shorthand_key].spec
        return deferred_type(self, {"anyOf": [number.json_schema(), mapping]})

    def parts(self) -> list[Spec]:
        return [self]

    def spell_out(self, value: ConfigValue) -> Mapping[str, ConfigValue] | None:
        """The keys of a config value, its shorthand undone; None where it is no config value."""
        if isinstance(value, (int, float)) and not isinstance(value, bool) and self.shorthand_key:
            return {self.shorthand_key: value}
        return value if isinstance(value, Mapping) else None

    def build(self, value: ConfigValue) -> Built:
        arguments = self.spell_out(value)
        return value if arguments is None else self.construct(arguments)

    def replace_arguments(self, value: ConfigValue, replace: Replace, path: KeyPath) -> Built:
        return _replaced(self, self.spell_out(value) or {}, replace, path)


def section(number: str | None = None, name: str | None = None) -> Callable[[C], C]:
    """Mark a class as a section of the experiment file: its parameters are the section's keys.

    Args:
        number: The key that a bare number stands for.
        name: What messages call it; the class' name in small letters where it is left out.
    """

    def mark(factory: C) -> C:
        factory.__section__ = Section(name or factory.__name__.lower(), factory, number)  # type: ignore[attr-defined]
        return factory

    return mark


def section_of(factory: type) -> Section:
    """The section that a class is marked as."""
    return vars(factory)["__section__"]


_CATALOGUE: dict[str, dict[str, Component]] = {name: {} for name in KINDS}
_SHARED: dict[str, Callable] = {}
_ADOPTERS: dict[str, Callable] = {}


def register(kind: str, name: str | None = None) -> Callable[[F], F]:
    """Enter a function or class under `kind`.

    Called from Python, what it decorates takes names for component-valued arguments too:
    `dense(10, kernel_init="zeros")`.

    Args:
        kind: One of KINDS.
        name: The component's name, where that is a word of Python's own or taken; else the function's.

    Raises:
        PluginError: There is no such kind, or the name is taken.
    """
    if kind not in KINDS:
        known = f"{suggestion(kind, KINDS) or ';'} kinds are {join_words(list(KINDS), 'and')}"
        raise PluginError(f"there is no kind '{kind}'{known}")
    label = KINDS[kind].label

    def enter(factory: F) -> F:
        entry = name or factory.__name__
        origin = origin_of(factory)
        earlier = _CATALOGUE[kind].get(entry)
        runs_again = earlier and factory.__module__ == earlier.factory.__module__ == "__main__"  # a cell
        if earlier and not runs_again:
            raise PluginError(f"{kind} '{entry}' is registered twice, by {earlier.origin} and by {origin}")
        if _is_bound_later(factory):
            _CATALOGUE[kind][entry] = Component(entry, factory, kind, origin)
            return factory

        written = inspect.signature(factory)

        @functools.wraps(factory)
        def constructing(*args: Any, **kwargs: Any) -> Built:
            bound = written.bind(*args, **kwargs)
            bound.apply_defaults()
            component = factory(**_built(factory, bound.arguments))
            return _with_name(component, label, entry) if label else component

        _CATALOGUE[kind][entry] = Component(entry, constructing, kind, origin)
        return typing.cast(F, constructing)

    return enter


def _with_name(built: Built, field: str, name: str) -> Built:
    """A built dataclass or NamedTuple with the component's name in one of its fields."""
    if dataclasses.is_dataclass(built) and not isinstance(built, type):
        return dataclasses.replace(built, **{field: name})
    return built._replace(**{field: name})


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
    load_home(KINDS[kind].home)
    load_installed()
    adopts = KINDS[kind].adopts
    entries = dict(_CATALOGUE[kind])
    for name, component in components(adopts).items() if adopts else ():
        entries.setdefault(name, component)
    return entries


def plugins_used(tree: ConfigTree) -> dict[str, Origin]:
    """The plug-ins, by module, of which a config names a component: its numbers depend on them."""
    modules = plugins()
    if not modules:
        return {}
    text = json.dumps(tree)
    used = {
        component.factory.__module__
        for entries in _CATALOGUE.values()
        for name, component in entries.items()
        if component.factory.__module__ in modules and json.dumps(name) in text
    }
    return {module: origin for module, origin in modules.items() if module in used}


def build(kind: str, config: ConfigValue) -> Built:
    """The component that a checked config value stands for; what is built already is returned as it is.
    Raises PluginError where the config was checked by a process that knew more components."""
    spelled = spell_out(kind, config)
    if spelled is None:
        return config
    name, arguments = spelled
    component = components(kind).get(name)
    if component is None:
        raise PluginError(f"{kind} '{name}' is not known here; import the module that registers it")
    built = component.construct(arguments)
    return built if component.kind == kind else _ADOPTERS[kind](built)


def spell_out(kind: str, config: ConfigValue) -> tuple[str, ConfigTree] | None:
    """(name, arguments) of a config value, its shorthand undone; None where it is no config value."""
    if isinstance(config, str):
        return config, {}
    if isinstance(config, Mapping):
        return config["type"], {k: v for k, v in config.items() if k != "type"}
    if type(config) in KINDS[kind].shorthand:
        component, parameter = KINDS[kind].shorthand[type(config)]
        return component, {parameter: config}
    return None


def replace_arguments(kind: str, config: ConfigValue, replace: Replace, path: KeyPath = ()) -> Built:
    """A component's config, spelled out, with the arguments of the compiled program replaced.

    These are the values that are no part of the program itself: traced numbers, and initializers, which draw
    on the host. Each becomes `replace(path, value)`.
    """
    spelled = spell_out(kind, config)
    if spelled is None:
        return config
    name, arguments = spelled
    return {"type": name} | _replaced(components(kind)[name], arguments, replace, path)


def _replaced(
    keyed: Keyed, arguments: Mapping[str, ConfigValue], replace: Replace, path: KeyPath
) -> ConfigTree:
    parameters = keyed.parameters
    return {
        key: parameters[key].spec.replace_arguments(value, replace, (*path, key))
        for key, value in arguments.items()
    }


@functools.cache
def _is_bound_later(factory: Callable) -> bool:
    """Whether it has positional-only parameters, to be received when it runs."""
    parameters = inspect.signature(factory).parameters.values()
    return inspect.Parameter.POSITIONAL_ONLY in {parameter.kind for parameter in parameters}


def _apply(factory: Callable, arguments: Mapping[str, ConfigValue]) -> Built:
    built = {
        f"{key}_" if keyword.iskeyword(key) else key: value
        for key, value in _built(factory, arguments).items()
    }
    return functools.partial(factory, **built) if _is_bound_later(factory) else factory(**built)


def _built(factory: Callable, arguments: Mapping[str, ConfigValue]) -> ConfigTree:
    """The arguments with every component and section among them built."""
    parameters = signature(factory)
    return {name: parameters[name].spec.build(value) for name, value in arguments.items()}
