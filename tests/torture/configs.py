"""Experiment files that are wrong in every way: they load, or are refused in lines, with little work.

They are written from the registry's signatures, values right and wrong, or are shipped ones, damaged.
"""

from __future__ import annotations

import json
import math
import random
import resource
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
from annotated_types import Ge, Gt, Le, Lt
from hypothesis import strategies as st
from support import calls_of

from nnlab.config import Config, load
from nnlab.config.load import EXPERIMENT
from nnlab.config.sweep_keys import DISTRIBUTIONS, SPACINGS
from nnlab.errors import NnlabError
from nnlab.registry import KINDS, Component, ComponentOf, Parameter, Section, components
from nnlab.registry.spec import Choice, Either, ListOf, Scalar, Spec
from nnlab.training.experiment import build_experiment
from torture import Report

SHIPPED = sorted((Path(__file__).parents[2] / "experiments").glob("*.yaml"))
LONGEST_LINE = 2_000  # of an error
MOST_CALLS = 4_000_000  # of functions, to load a file: half a second of work
MOST_MEMORY = 300_000  # KiB that a run may add to the process
SMALL = 2_000  # examples, of data that are small enough to be bound
ONE_IN = 20  # of the configs that load and are small is bound

LETTERS = "abcdefghijklmnopqrstuvwxyz_"
_SOME_WORDS = (
    "no yes null ~ << = - con nul.x x. .. a/b 1e-3 0x1F 12:30 é \ufeff name type status model.0.units"
)
_WORDS = ["", "a" * 81, "final.train_loss", "best.value", *_SOME_WORDS.split(" ")]
_NUMERALS = ".nan .inf -.inf 1e999 -0 -0.0 1e-400 010 0o17 5. .5 1_000 0b1 4294967296 2147483647 1e308 5e-324"
_RAW = [  # what stands in a file as it is
    *_NUMERALS.split(),
    *["9223372036854775808", "9" * 400, "9" * 401, "-" + "9" * 5000, "1e" + "9" * 50],
    *["0x" + "f" * 330, "0x" + "f" * 400, "0o" + "7" * 400],
    *["yes", "~", "''", "!!int 3", "!foo x", "*a", "&a x", "&a [*a]", "{<<: *a}", "[[[[]]]]", "{? [a] : 1}"],
    *["@x", "`x", "%x", "- 1", "a: b: c"],
    *(f'"{escape}"' for escape in ("\\ud800", "\\U00110000", "\\uD83D\\uDE00", "\\e[31m", "\\x00")),
]
_INSERTS = [
    *(b"\0", b"\xef\xbb\xbf", b"\xff", b"\xed\xa0\x80", b"\xc3", b"\x1b[31m", b"\x85", b"\xe2\x80\xa8"),
    *(bytes([byte]) for byte in b"\r\t\n -:,[]{}#'\"|>\\"),
    *(b"  ", b": ", b"- ", b" #", b"? ", b"&a ", b"*a ", b"!!str ", b"!x ", b"<<: *a\n", b"\n\n  "),
    *(b"&a {b: *a}", b"[*a]", b"null", b"true", b".nan", b"1e999"),
    *(b"%YAML 1.1\n", b"%TAG ! x:\n", b"---\n", b"...\n", b"[" * 60, b"{a: " * 60, b"9" * 500, b"a" * 3000),
]


# --- what a file may do ----------------------------------------------------------------------------------


class _Case(NamedTuple):
    """A file's bytes, and the overrides it is loaded with; axes: overrides of several values are axes."""

    content: bytes
    overrides: list[str] = []  # noqa: RUF012 - never changed
    axes: bool = False

    def shown(self) -> str:
        text = f"{self.content[:600]!r}{'...' if len(self.content) > 600 else ''}"
        return f"{text} {self.overrides}" if self.overrides else text


class _Judge:
    """Loads cases and notes the bad ones. place: the file that each of them is in turn."""

    def __init__(self, seed: int, place: Path) -> None:
        self.seed, self.place = seed, place
        self.cases, self.loaded, self.bound, self.most_calls = 0, 0, 0, 0
        self.bad: list[str] = []
        self.memory = self.memory_at_first = _peak_memory()

    def __call__(self, case: _Case) -> None:
        self.cases += 1
        problem = self._problem(case)
        peak = _peak_memory()
        if peak - self.memory_at_first > MOST_MEMORY and peak > 1.1 * self.memory:
            problem = problem or f"memory grew to {peak // 1024} MiB"
            self.memory = peak
        if problem:
            self.bad.append(f"seed {self.seed}: {problem[:500]}: {case.shown()}")

    def _problem(self, case: _Case) -> str:
        self.place.write_bytes(case.content)
        outcome: list[tuple[Any, str]] = []
        calls = calls_of(
            lambda: outcome.append(_outcome(lambda: load(self.place, case.overrides, axes=case.axes)))
        )
        (config, problem), self.most_calls = outcome[0], max(self.most_calls, calls)
        if calls > MOST_CALLS:
            problem = problem or f"took {calls:,} calls"
        if config is None or problem:
            return problem
        self.loaded += 1
        problem = self._read_back(config)
        if not problem and self.loaded % ONE_IN == 0 and _is_small(config):
            self.bound += 1
            _, problem = _outcome(lambda: build_experiment(config))
        return problem

    def _read_back(self, config: Config) -> str:
        """What is saved must be the same experiment."""
        _, problem = _outcome(lambda: self.place.write_text(config.text, encoding="utf-8"))
        if problem:
            return f"cannot be saved: {problem}"
        again, problem = _outcome(lambda: load(self.place))
        if again is None:
            return problem or f"is refused when it is read back: {config.text[:300]!r}"
        return "" if again.hash == config.hash else f"is another when it is read back: {config.text[:300]!r}"


def _outcome(call: Callable[[], Any]) -> tuple[Any, str]:
    """What a call gives, None where it is refused, and what is wrong with that."""
    try:
        return call(), ""
    except NnlabError as error:
        lines = str(error).split("\n")
        good = all(line.strip() and line.isprintable() and len(line) < LONGEST_LINE for line in lines)
        return None, "" if good else f"says {str(error)[:300]!r}"
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"


def _peak_memory() -> int:
    """KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _is_small(config: Config) -> bool:
    data = config.tree["data"]
    if data["type"] in ("csv", "npz", "idx", "mnist1d"):
        return False
    features = data.get("features", 1)
    width = math.prod(features) if isinstance(features, list) else features
    counts = [data.get("examples", 1), data.get("test_examples", 1), data.get("modulus", 1) ** 2]
    return max(counts) <= SMALL and width <= 1_000 and data.get("classes", 1) <= 100


# --- files from the signatures ---------------------------------------------------------------------------


class _Raw(str):
    """Text that stands in a file as it is, no string."""


_TEXTS = st.one_of(
    st.sampled_from(_WORDS), st.text(max_size=8), st.text(max_size=3), st.text(st.characters(), max_size=2)
)
_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 70),
    st.integers(-(10**25), 10**25),
    st.floats(),
    st.sampled_from(_RAW).map(_Raw),
    _TEXTS,
)
_MANY_SCALARS = st.lists(st.integers(-2, 9) | st.floats() | _SCALARS, max_size=4)
_ANYTHING = st.one_of(
    _SCALARS,
    st.lists(_SCALARS, max_size=3),
    st.dictionaries(_TEXTS, _SCALARS, max_size=3),
    st.recursive(
        _SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_TEXTS, inner, max_size=2)
    ),
)
_PATHS = [
    *["model.0.units", "model.width", "data.examples", "data.label_noise", "train.steps"],
    *["optimizer.learning_rate", "optimizer.type", "loss", "data.split.train", "record.every.steps"],
    *["model.width, model.depth", "model.9", "seed", "name", "x", "a.b", "expect.final.train_loss.max"],
    *["sweep.seeds", "phenomena.0"],
]
_NUMBERS = ["parameters", "final.train_loss", "best.test_accuracy", "best.value", "final.x", "status", "x.y"]
_BOUNDS = [{"min": 0}, {"max": 1.5}, {"equals": True}, {"equals": "complete"}, {"min": 2, "max": 1}]
_SPACED = [{"range": [1, 5]}, {"geomspace": [1, 100, 3]}, {"linspace": [0, 1, 4]}, {"logspace": [-2, 0, 3]}]
_AXES = [[1, 2, 3], [0.1], *_SPACED]
_VALUES = ["3", "1,2", "relu", "{type: dense, units: 2}", "geomspace(1,9,3)", "range(1,x)", ""]
_RANGES = [{"uniform": [0, 1]}, {"log_uniform": [0.1, 1]}, {"integers": [1, 9]}, {"choice": ["relu", 3]}]
_FITTING: dict[str, list[Any]] = {  # what often fits together
    "dataset": ["xor", "digits", {"type": "gaussian", "examples": 50, "features": 4, "classes": 3}, "wave"],
    "layer": [
        [{"type": "dense", "units": 2}],
        ["relu", {"type": "mlp", "width": 4, "depth": 2, "outputs": 2}],
        [{"type": "residual", "layers": [{"type": "dense", "units": 2}]}, {"type": "dense", "units": 10}],
        {"type": "dense", "units": 1, "use_bias": False},
    ],
    "phenomenon": ["gradient_flow", "symmetry"],
}
_POOL = st.binary(min_size=64, max_size=64)


class _Author:
    """Writes configs by the signatures. wrong: in how many of 256 places something that does not belong.

    Every small decision takes a byte of a pool: that is cheaper than to draw each of them.
    """

    def __init__(self, draw: Callable[[Any], Any], wrong: int) -> None:
        self.draw, self.wrong, self.pool = draw, wrong, b""

    def byte(self) -> int:
        if not self.pool:
            self.pool = self.draw(_POOL)
        first, self.pool = self.pool[0], self.pool[1:]
        return first

    def happens(self, chance: int) -> bool:
        """With this chance of 256; not where all that is drawn is zero, which is often."""
        return chance > 0 and self.byte() >= 256 - chance

    def errs(self) -> bool:
        return self.happens(self.wrong)

    def pick(self, options: Sequence[Any]) -> Any:
        return options[self.byte() % len(options)]

    def config(self) -> dict[str, Any]:
        tree = self.arguments(EXPERIMENT.parameters, depth=0)
        if not self.errs():  # a solver stands in the place of these, and takes another loss
            for key in ("optimizer", "train", "regularizers") if self.happens(16) else ("solver",):
                tree.pop(key, None)
            if "solver" not in tree:
                tree.setdefault("train", {"steps": 3})
        return tree

    def arguments(self, parameters: Mapping[str, Parameter], depth: int) -> dict[str, Any]:
        """Keys and values for a component's or a section's parameters."""
        taken: dict[str, Any] = {}
        for name, parameter in parameters.items():
            if not self.errs() if parameter.required else self.happens(64):
                key = self.misspelt(name) if self.errs() else name
                taken[key] = self.value(name, parameter.spec, depth)
        if self.errs():
            taken[self.draw(_TEXTS)] = self.draw(_SCALARS)
        return taken

    def misspelt(self, word: str) -> str:
        at = self.byte() % max(1, len(word))
        return word[:at] + word[at + 1 :]

    def value(self, name: str, spec: Spec, depth: int) -> Any:
        if self.errs():
            return self.draw(_ANYTHING)
        if isinstance(spec, ComponentOf):
            return self.component(spec.kind, depth + 1)
        if isinstance(spec, Section):
            return self.section(spec, depth + 1)
        if name in _SPECIAL:
            return _SPECIAL[name](self)
        if isinstance(spec, Either):
            return self.value(name, self.pick(spec.options), depth)
        if isinstance(spec, Choice):
            return self.pick(spec.options)
        if isinstance(spec, ListOf):
            return [self.value("", spec.item, depth + 1) for _ in range(self.byte() % 4)]
        if not isinstance(spec, Scalar):
            return self.draw(_ANYTHING)
        if spec.base in (int, float):
            return self.number(spec.base, spec.bounds)
        return self.draw(_PLAIN.get(spec.base, _ANYTHING))

    def number(self, kind: type, notes: tuple[Any, ...]) -> Any:
        """A small number within its bounds, often the lowest."""
        low, high, step = 0, 2**32, self.byte() % 8
        for note in notes:
            if isinstance(note, (Ge, Gt)):
                low = note.ge if isinstance(note, Ge) else note.gt
            elif isinstance(note, (Le, Lt)):
                high = note.le if isinstance(note, Le) else note.lt
        if kind is int:
            return min(int(low) + step, int(high))
        return low + min(high - low, 1.0) * (step + 1) / 9 if self.happens(200) else low + step

    def component(self, kind: str, depth: int) -> Any:
        if kind in _FITTING and depth < 3 and self.happens(120):
            return self.pick(_FITTING[kind])
        known = components(kind)
        name = self.pick(list(known))
        if depth > 6:
            name = next(name for name, found in known.items() if _is_bare(found))
        if self.errs():
            name = self.misspelt(name) if self.happens(128) else self.draw(_TEXTS)
        elif KINDS[kind].shorthand and self.happens(80):
            if list in KINDS[kind].shorthand:
                return [self.component(kind, depth + 1) for _ in range(self.byte() % 4)]
            return self.number(float, (Ge(0.0),))
        taken = self.arguments(known[name].parameters if name in known else {}, depth)
        if not taken and self.happens(180):
            return name
        return taken if self.errs() else {"type": name, **taken}

    def section(self, section: Section, depth: int) -> Any:
        if section.shorthand_key and self.happens(100):
            return 0.1
        parameters = section.parameters
        taken = self.arguments(parameters, depth)
        either = [name for name in ("epochs", "steps", "every", "log_spaced") if name in parameters]
        if len(either) == 2 and not self.errs():  # one of the two
            chosen = self.pick(either)
            taken = {name: value for name, value in taken.items() if name not in either}
            taken[chosen] = self.value(chosen, parameters[chosen].spec, depth)
        return taken

    def mapping(self, keys: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
        """None to two of these keys, each with one of these values, or with something else."""
        last = 2 + self.wrong  # those at the end are seldom right
        keys, values = keys[: len(keys) // 2 + last], values[: len(values) // 2 + last]
        count = self.byte() % 3
        return {
            self.pick(keys): self.draw(_ANYTHING) if self.errs() else self.pick(values) for _ in range(count)
        }

    def axes(self, values: Sequence[Any]) -> dict[str, Any]:
        if not self.errs():
            return self.mapping(_PATHS, values)
        word = self.pick([*SPACINGS, *DISTRIBUTIONS, "spaced"])
        return {self.pick(_PATHS): {word: self.draw(_MANY_SCALARS)}}

    def overrides(self) -> list[str]:
        found = []
        for _ in range(1 + self.byte() % 3):
            sign = self.pick(["", "", "", "+", "~"])
            path = self.pick(_PATHS) if self.happens(230) else self.draw(_TEXTS)
            value = self.pick(_VALUES) or _flow(self.draw(_ANYTHING))
            found.append(sign + path if sign == "~" and self.happens(230) else f"{sign}{path}={value}")
        return found


def _is_bare(component: Component) -> bool:
    return not any(parameter.required for parameter in component.parameters.values())


_PLAIN = {bool: st.booleans(), str: _TEXTS, type(None): st.none()}
_SPECIAL: dict[str, Callable[[_Author], Any]] = {
    "name": lambda author: author.draw(_TEXTS) if author.errs() else author.pick(["a", "x-1", "run.2"]),
    "axes": lambda author: author.axes(_RANGES if author.happens(60) else _AXES),
    "zip": lambda author: author.axes(_AXES[:1]),
    "expect": lambda author: author.mapping(_NUMBERS, _BOUNDS),
    "capacity": lambda author: author.pick(["model.width", "data.examples", "epochs", "x"]),
    "along": lambda author: author.pick(["model.width", "data.examples", "epochs", "x"]),
}


@st.composite
def _written(draw: Callable[[Any], Any]) -> _Case:
    """A file of the schema, some of them right, some with a mistake or two, some with many."""
    author = _Author(draw, wrong=draw(st.sampled_from([0, 0, 0, 2, 8, 30])))
    tree = author.config()
    text = _flow(tree) if author.happens(25) else "x: &a {b: 1}\n" * author.happens(3) + _block(tree)
    overrides = author.overrides() if author.happens(40) else []
    content = text.encode("utf-8", "surrogatepass" if author.happens(128) else "replace")
    return _Case(content, overrides, axes=author.happens(80))


def _flow(value: Any) -> str:
    """A value in one line of YAML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_flow(key)}: {_flow(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, _Raw) or (isinstance(value, str) and value.isidentifier()):
        return value
    if isinstance(value, float) and value - value != 0:
        return ".nan" if value != value else ".inf" if value > 0 else "-.inf"
    return json.dumps(value)


def _block(value: Any, indent: str = "") -> str:
    """A value over several lines, as far as that is shorter to read."""
    if isinstance(value, dict) and value and len(indent) < 8:
        lines = []
        for key, entry in value.items():
            nested = isinstance(entry, (dict, list)) and entry and len(indent) < 6
            inner = f"\n{_block(entry, indent + '  ')}" if nested else f" {_flow(entry)}\n"
            lines.append(f"{indent}{_flow(key)}:{inner}")
        return "".join(lines)
    if isinstance(value, list) and value and len(indent) < 8:
        return "".join(f"{indent}- {_flow(item)}\n" for item in value)
    return f"{indent}{_flow(value)}\n"


def _write_cases(count: int, seed: int, judge: _Judge) -> None:
    """Let hypothesis draw files until so many are judged."""
    until = judge.cases + count

    def judged(case: _Case) -> None:
        if judge.cases < until:
            judge(case)

    while judge.cases < until:
        settings = hypothesis.settings(
            max_examples=min(until - judge.cases, 5_000),
            database=None,
            deadline=None,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        hypothesis.seed(seed)(settings(hypothesis.given(_written())(judged)))()
        seed += 1_000_003


# --- damage to the shipped files -------------------------------------------------------------------------


def _damaged(content: bytes, pick: random.Random) -> bytes:
    """A shipped file with one to three things done to it."""
    for _ in range(pick.choice([1, 1, 1, 2, 3])):
        content = pick.choice(_DAMAGES)(content, pick)
    return content


def _span(content: bytes, pick: random.Random) -> tuple[int, int]:
    start = pick.randrange(len(content) + 1)
    return start, min(len(content), start + int(pick.paretovariate(0.7)))


def _cut_out(content: bytes, pick: random.Random) -> bytes:
    start, end = _span(content, pick)
    return content[:start] + content[end:]


def _doubled(content: bytes, pick: random.Random) -> bytes:
    start, end = _span(content, pick)
    return content[:end] + content[start:end] + content[end:]


def _inserted(content: bytes, pick: random.Random) -> bytes:
    at, what = pick.randrange(len(content) + 1), pick.choice(_INSERTS)
    return content[:at] + (what if pick.random() < 0.8 else pick.randbytes(pick.randint(1, 4))) + content[at:]


def _line_changed(content: bytes, pick: random.Random) -> bytes:
    """A line left out, doubled, moved, or indented otherwise."""
    lines = content.split(b"\n")
    at, other = pick.randrange(len(lines)), pick.randrange(len(lines))
    change = pick.randrange(5)
    if change == 0:
        del lines[at]
    elif change == 1:
        lines.insert(other, lines[at])
    elif change == 2:
        lines[at], lines[other] = lines[other], lines[at]
    elif change == 3:
        lines[at] = b" " * pick.choice([1, 2, 4]) + lines[at]
    else:
        lines[at] = lines[at].replace(b"  ", pick.choice([b"\t", b" ", b""]), 1)
    return b"\n".join(lines)


def _scalar_replaced(content: bytes, pick: random.Random) -> bytes:
    """A value, or a key, in the place of another."""
    places = [i for i, byte in enumerate(content) if byte in b" [{,"]
    if not places:
        return content
    start = pick.choice(places) + 1
    end = min(
        (found for mark in b",]}\n:" if (found := content.find(mark, start)) >= 0), default=len(content)
    )
    value = pick.choice(_RAW) if pick.random() < 0.6 else pick.choice(_WORDS)
    return content[:start] + value.encode() + content[end:]


def _truncated(content: bytes, pick: random.Random) -> bytes:
    return content[: pick.randrange(len(content) + 1)]


def _aliased(content: bytes, pick: random.Random) -> bytes:
    """An anchor before a value, and aliases or merge keys elsewhere."""
    for word in (b" &a ", pick.choice([b" *a ", b" <<: *a, ", b" [*a, *a] "])):
        places = [i for i, byte in enumerate(content) if byte == 32]
        if places:
            at = pick.choice(places)
            content = content[:at] + word + content[at + 1 :]
    return content


_DAMAGES = [_cut_out, _doubled, _inserted, _line_changed, _scalar_replaced, _truncated, _aliased]
_DAMAGES += [_inserted, _scalar_replaced, _scalar_replaced, _line_changed]


def generated(count: int, seed: int) -> Report:
    """Load so many files: half of them from the signatures, half of them shipped ones, damaged.

    Bad is any exception but nnlab's own, a message that is not of short printable lines, a load that is
    much work, memory that grows, and a config that is another one when it is saved and read back.
    """
    pick = random.Random(seed)
    with tempfile.TemporaryDirectory(dir=memory_folder()) as folder:
        place = Path(folder) / "case.yaml"
        judge = _Judge(seed, place)
        shipped = [path.read_bytes() for path in SHIPPED]
        for content in shipped:  # what is loaded once, and takes its memory once
            place.write_bytes(content)
            load(place)
        judge.memory = judge.memory_at_first = _peak_memory()
        _write_cases(count - count // 2, seed, judge)
        for _ in range(count // 2):
            judge(_Case(_damaged(pick.choice(shipped), pick)))
    return Report(judge.cases, judge.bad)


def memory_folder() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
