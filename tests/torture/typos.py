"""Misspell one word of a shipped experiment file, and see that the right word is offered."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from click.testing import CliRunner

from nnlab.cli.main import cli
from nnlab.config.load import EXPERIMENT
from nnlab.config.sweep_keys import DISTRIBUTIONS, SPACINGS
from nnlab.registry import ComponentOf, Parameter, Section, components
from nnlab.registry.spec import Either, ListOf, Spec
from nnlab.text import is_one_edit_apart
from torture import Report
from torture.configs import LETTERS, SHIPPED, memory_folder


class _Word(NamedTuple):
    """A word of a file that only a few others could stand for: where it is, and which those are."""

    start: int
    end: int
    text: str
    what: str
    legal: frozenset[str]


def typos(count: int, seed: int) -> Report:
    """Misspell so many words of shipped files, a letter each. Bad are those where `nnlab validate` does not
    offer the right one."""
    pick, bad = random.Random(seed), []
    files = [(path, path.read_text(), list(_words_of_file(path.read_text()))) for path in SHIPPED]
    with tempfile.TemporaryDirectory(dir=memory_folder()) as folder:
        place = Path(folder) / "typo.yaml"
        for _ in range(count):
            path, text, words = pick.choice(files)
            word, typo = _typo_of_a_word(words, pick)
            place.write_text(text[: word.start] + typo + text[word.end :])
            done = CliRunner().invoke(cli, ["validate", str(place)])
            if done.exit_code != 2 or f"did you mean '{word.text}'" not in done.stderr:
                said = (done.stderr or done.stdout)[:300]
                bad.append(f"seed {seed}: {word.what} {word.text} as {typo} in {path.name}: {said}")
    return Report(count, bad)


def _typo_of_a_word(words: list[_Word], pick: random.Random) -> tuple[_Word, str]:
    """A word, and what it is misspelt as: no other legal word, and nothing of one or two letters that several
    words are as near to."""
    while True:
        word = pick.choice(words)
        typo = _with_typo(word.text, pick)
        several = sum(is_one_edit_apart(typo, other) for other in word.legal) > 1
        if typo and typo not in word.legal and not (several and len(word.text) <= 2):
            return word, typo


def _with_typo(word: str, pick: random.Random) -> str:
    at, letter = pick.randrange(len(word)), pick.choice(LETTERS)
    swapped = word[:at] + word[at : at + 2][::-1] + word[at + 2 :]
    options = [
        word[:at] + word[at + 1 :],
        word[:at] + letter + word[at:],
        word[:at] + letter + word[at + 1 :],
        swapped,
    ]
    return pick.choice(options)


def _words_of_file(text: str) -> Iterator[_Word]:
    """Keys, names of components and enumerated words of an experiment file."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    yield from _words_in(node, EXPERIMENT.parameters)


def _word(node: yaml.Node, what: str, legal: Any) -> Iterator[_Word]:
    start, end = node.start_mark.index, node.end_mark.index
    if node.style is None and node.value in legal:
        yield _Word(start, end, node.value, what, frozenset(legal))


def _words_in(
    node: yaml.Node, parameters: Mapping[str, Parameter | None], beside: tuple[str, ...] = ()
) -> Iterator[_Word]:
    """Of a mapping with these keys; beside: keys that it may also have."""
    for key, value in node.value:
        yield from _word(key, "key", {*parameters, *beside})
        if key.value == "expect":
            yield from (word for number, bound in value.value for word in _expected(number, bound))
        elif key.value in ("axes", "zip"):
            for _, values in value.value if isinstance(value, yaml.MappingNode) else ():
                if isinstance(values, yaml.MappingNode):
                    yield from _words_in(values, dict.fromkeys([*SPACINGS, *DISTRIBUTIONS]))
        elif parameter := parameters.get(key.value):
            yield from _words_at(value, parameter.spec)


def _expected(number: yaml.Node, bound: yaml.Node) -> Iterator[_Word]:
    """The first word of a number's name, and its bound's keys."""
    prefix = number.value.partition(".")[0]
    legal = {"final", "best", "status", "parameters", *components("phenomenon")}
    if prefix in legal:
        start = number.start_mark.index
        yield _Word(start, start + len(prefix), prefix, "number", frozenset(legal))
    yield from _words_in(bound, dict.fromkeys(("min", "max", "equals")))


def _words_at(node: yaml.Node, spec: Spec) -> Iterator[_Word]:
    """Of a value of this spec."""
    if isinstance(spec, ComponentOf):
        yield from _words_of_component(node, spec.kind)
    elif isinstance(spec, Section) and isinstance(node, yaml.MappingNode):
        yield from _words_in(node, spec.parameters)
    elif isinstance(spec, ListOf) and isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _words_at(item, spec.item)
    elif isinstance(spec, Either):
        for option in spec.options:
            yield from _words_at(node, option)
    elif isinstance(node, yaml.ScalarNode):
        yield from _word(node, "word", spec.words())


def _words_of_component(node: yaml.Node, kind: str) -> Iterator[_Word]:
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _words_of_component(item, kind)
    elif isinstance(node, yaml.ScalarNode):
        yield from _word(node, kind, components(kind))
    elif name := next((value for key, value in node.value if key.value == "type"), None):
        yield from _word(name, kind, components(kind))
        yield from _words_in(node, components(kind)[name.value].parameters, beside=("type",))
