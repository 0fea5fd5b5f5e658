"""What a parameter takes: a Spec, made once from its annotation.

A Spec is a small tree (a list of numbers is ListOf(Scalar)). Each node describes itself in words and in JSON
Schema, checks a config value, builds what the value stands for, and knows which values a compiled program
takes as arguments. Components and sections are nodes too; they are in `components`.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
import inspect
import keyword
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeAlias

from annotated_types import Ge, Gt, Le, Lt

from nnlab.errors import KeyPath
from nnlab.text import join_words

if TYPE_CHECKING:
    from pydantic import TypeAdapter

ConfigValue: TypeAlias = Any
"""A plain value of an experiment file: None, bool, int, float, str, or a list or mapping of such."""
ConfigTree: TypeAlias = dict[str, ConfigValue]
Built: TypeAlias = Any
"""What a factory returned for a config value; its type depends on the component's kind."""
Annotation: TypeAlias = Any
"""A type expression; Python's type system has no type for these."""
Replace: TypeAlias = Callable[[KeyPath, ConfigValue], Built]
"""(path, config value) -> what takes its place."""

Count = Annotated[int, Ge(1), Le(10**15)]
Positive = Annotated[float, Gt(0.0)]
NonNegative = Annotated[float, Ge(0.0)]
Fraction = Annotated[float, Ge(0.0), Le(1.0)]
BelowOne = Annotated[float, Ge(0.0), Lt(1.0)]


class Traced:
    """Annotation: the compiled program takes this number as an argument.

    The number may then change without the program being compiled anew. The component must work with a traced
    value in its place.
    """


TRACED = Traced()

_SCALAR_WORDS: Mapping[Annotation, str] = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    type(None): "null",
    Any: "any value",
}
_SCALAR_EXAMPLES: Mapping[Annotation, Sequence[ConfigValue]] = {int: (10,), float: (0.1, 0.01)}
_BOUNDS: Mapping[type, tuple[str, str]] = {
    Ge: (">=", "ge"),
    Gt: (">", "gt"),
    Le: ("<=", "le"),
    Lt: ("<", "lt"),
}


class Deferred(NamedTuple):
    """A component's or section's value met inside a checked one, to be checked where its path is known."""

    spec: Spec
    value: ConfigValue


class Spec(abc.ABC):
    """What a parameter takes; see the module's head. Nodes differ in what they override."""

    is_part = False
    """Whether its values are built: components and sections."""

    @abc.abstractmethod
    def describe(self) -> str:
        """In words: 'a whole number >= 1 or full'."""

    @abc.abstractmethod
    def validated_type(self) -> Annotation:
        """The type by which pydantic judges values; components and sections come out Deferred."""

    def words(self) -> list[str]:
        """The words that it takes: `mean` and `sum`, or `true` and `false`."""
        return []

    def example(self) -> ConfigValue:
        """A value to show where one is needed."""
        return "..."

    def example_list(self) -> list[ConfigValue]:
        """Values to show where a list is needed."""
        return [self.example()]

    def parts(self) -> list[Spec]:
        """The components and sections that it allows, alone, in a list or beside others."""
        return []

    def build(self, value: ConfigValue) -> Built:
        """The value with every component and section in it built."""
        return value

    def replace_arguments(self, value: ConfigValue, replace: Replace, path: KeyPath) -> Built:
        """The value with `replace(path, value)` where a compiled program takes an argument."""
        return value

    @property
    def holds_arguments(self) -> bool:
        """Whether `replace_arguments` may change its values."""
        return self.is_part

    @functools.cached_property
    def _adapter(self) -> TypeAdapter:
        from pydantic import ConfigDict, TypeAdapter

        return TypeAdapter(self.validated_type(), config=ConfigDict(strict=True, allow_inf_nan=False))

    def check(self, value: ConfigValue) -> ConfigValue:
        """The value in its declared type. Raises ValueError where it is not allowed."""
        return self._adapter.validate_python(value)

    def json_schema(self) -> ConfigTree:
        """JSON Schema of the values that are allowed."""
        return self._adapter.json_schema()


def deferred_type(spec: Spec, json_schema: ConfigTree) -> Annotation:
    """A type whose values pydantic lets pass, Deferred, and describes by this JSON Schema."""
    from pydantic import PlainValidator, WithJsonSchema

    return Annotated[Any, PlainValidator(functools.partial(Deferred, spec)), WithJsonSchema(json_schema)]


@dataclass(frozen=True)
class Scalar(Spec):
    """A number, text, truth value, null or anything.

    Attributes:
        annotation: The parameter's annotation.
        base: Its type, without bounds.
        bounds: Limits of a number.
        traced: Whether the compiled program takes the number as an argument.
    """

    annotation: Annotation
    base: Annotation
    bounds: tuple[Ge | Gt | Le | Lt, ...] = ()
    traced: bool = False

    def describe(self) -> str:
        word = _SCALAR_WORDS.get(self.base, getattr(self.base, "__name__", str(self.base)))
        signs = [_BOUNDS[type(bound)] for bound in self.bounds]
        limits = [
            f"{sign} {_limit_text(getattr(bound, name))}"
            for bound, (sign, name) in zip(self.bounds, signs, strict=True)
        ]
        return f"{word} {' and '.join(limits)}" if limits else word

    def validated_type(self) -> Annotation:
        return self.annotation

    def words(self) -> list[str]:
        return ["true", "false"] if self.base is bool else []

    def example(self) -> ConfigValue:
        return self.example_list()[0]

    def example_list(self) -> list[ConfigValue]:
        return list(_SCALAR_EXAMPLES.get(self.base, ("...",)))

    def replace_arguments(self, value: ConfigValue, replace: Replace, path: KeyPath) -> Built:
        return replace(path, value) if self.traced else value

    @property
    def holds_arguments(self) -> bool:
        return self.traced


NULL = Scalar(type(None), type(None))


@dataclass(frozen=True)
class Choice(Spec):
    """One of a few words."""

    options: tuple[ConfigValue, ...]

    def describe(self) -> str:
        return join_words(self.words())

    def validated_type(self) -> Annotation:
        return Literal[self.options]

    def words(self) -> list[str]:
        return [str(option) for option in self.options]


@dataclass(frozen=True)
class Either(Spec):
    """A value of one of several specs."""

    options: tuple[Spec, ...]

    def describe(self) -> str:
        return join_words([option.describe() for option in self.options])

    def validated_type(self) -> Annotation:
        # what is plain is tried before what could be a component's name
        ordered = sorted(self.options, key=lambda option: option.is_part)
        return typing.Union[tuple(option.validated_type() for option in ordered)]  # noqa: UP007

    def words(self) -> list[str]:
        return [word for option in self.options for word in option.words()]

    def example(self) -> ConfigValue:
        return self.options[0].example()

    def example_list(self) -> list[ConfigValue]:
        return self.options[0].example_list()

    def parts(self) -> list[Spec]:
        return [part for option in self.options for part in option.parts()]

    def build(self, value: ConfigValue) -> Built:
        built = next((option for option in self.options if option.parts()), None)
        return value if built is None or value is None else built.build(value)

    def replace_arguments(self, value: ConfigValue, replace: Replace, path: KeyPath) -> Built:
        holding = [option for option in self.options if option.holds_arguments]
        if value is None or len(holding) != 1:
            return value
        return holding[0].replace_arguments(value, replace, path)

    @property
    def holds_arguments(self) -> bool:
        return any(option.holds_arguments for option in self.options)


@dataclass(frozen=True)
class ListOf(Spec):
    """A list of values of one spec."""

    item: Spec

    def describe(self) -> str:
        return f"a list, each item {self.item.describe()}"

    def validated_type(self) -> Annotation:
        return list[self.item.validated_type()]  # type: ignore[misc]

    def example(self) -> ConfigValue:
        return self.item.example_list()

    def parts(self) -> list[Spec]:
        return self.item.parts()

    def build(self, value: ConfigValue) -> Built:
        return [self.item.build(item) for item in value] if isinstance(value, (list, tuple)) else value

    def replace_arguments(self, value: ConfigValue, replace: Replace, path: KeyPath) -> Built:
        if not isinstance(value, (list, tuple)):
            return value
        return [self.item.replace_arguments(item, replace, (*path, i)) for i, item in enumerate(value)]

    @property
    def holds_arguments(self) -> bool:
        return self.item.holds_arguments


@dataclass(frozen=True)
class MappingOf(Spec):
    """A mapping of keys that the user chooses."""

    value: Spec

    def describe(self) -> str:
        return f"a mapping, each value {self.value.describe()}"

    def validated_type(self) -> Annotation:
        return dict[str, self.value.validated_type()]  # type: ignore[misc]

    def parts(self) -> list[Spec]:
        return self.value.parts()

    def build(self, value: ConfigValue) -> Built:
        built = self.value.build
        return {key: built(item) for key, item in value.items()} if isinstance(value, Mapping) else value


@functools.cache
def spec_of(annotation: Annotation) -> Spec:
    """The spec that an annotation stands for."""
    origin: Annotation = typing.get_origin(annotation)
    inner = typing.get_args(annotation)
    if origin is Annotated:
        marked = next((note for note in inner[1:] if isinstance(note, Spec)), None)
        bounds = tuple(note for note in inner[1:] if isinstance(note, (Ge, Gt, Le, Lt)))
        return marked or Scalar(annotation, inner[0], bounds, TRACED in inner[1:])
    if origin is Literal:
        return Choice(inner)
    if origin in (types.UnionType, typing.Union):
        return Either(tuple(spec_of(option) for option in inner))
    if origin and issubclass(origin, Mapping):
        return MappingOf(spec_of(inner[1]))
    if origin and issubclass(origin, Sequence):
        return ListOf(spec_of(inner[0]))
    section = vars(annotation).get("__section__") if isinstance(annotation, type) else None
    return section or Scalar(annotation, annotation)


class Parameter(NamedTuple):
    """A key of the file.

    Attributes:
        name: The key.
        spec: What it takes.
        default: Its default, as it would stand in the file; `inspect.Parameter.empty` where it is required.
    """

    name: str
    spec: Spec
    default: ConfigValue

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is inspect.Parameter.empty


@functools.cache
def signature(factory: Callable) -> dict[str, Parameter]:
    """The keyword parameters of a factory by their keys in the file.

    A key that is a word of Python's own is written with an underscore there: `from_`.
    """
    hints = typing.get_type_hints(factory, include_extras=True)
    factory_defaults = {
        field.name: field.default_factory()
        for field in (dataclasses.fields(factory) if dataclasses.is_dataclass(factory) else ())
        if field.default_factory is not dataclasses.MISSING
    }
    parameters = {}
    for name, parameter in inspect.signature(factory).parameters.items():
        if parameter.kind is not inspect.Parameter.POSITIONAL_ONLY:
            key = name[:-1] if name.endswith("_") and keyword.iskeyword(name[:-1]) else name
            default = _as_written(factory_defaults.get(name, parameter.default))
            parameters[key] = Parameter(key, spec_of(hints.get(name, Any)), default)
    return parameters


def _as_written(default: Built) -> ConfigValue:
    """A default as it would stand in a file; of a section, the keys whose values are not the class' own."""
    if isinstance(default, tuple):
        return list(default)
    section = getattr(default, "__section__", None)
    if section is None:
        return default
    written = {
        name: (_as_written(getattr(default, name)), parameter.default)
        for name, parameter in signature(section.factory).items()
    }
    return {name: value for name, (value, usual) in written.items() if value != usual}


def _limit_text(limit: float) -> str:
    """`1e+15`, but 4294967296 with all its digits."""
    short = f"{limit:g}"
    return short if float(short) == limit else str(limit)
