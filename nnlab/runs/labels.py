"""What runs and sweeps are called where several of them come together: by name, or by what they differ in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from nnlab.runs.catalogue import flattened
from nnlab.text import in_words, label_in_words, names_in_words, one_line, setting_in_words

if TYPE_CHECKING:
    from nnlab.registry import ConfigTree
    from nnlab.runs.results import Run, Sweep

    Results = Sequence[Run | Sweep]

MAXIMUM_DIFFERENCES = 2  # that a label names
MAXIMUM_CHARACTERS = 40  # of such a label
ASIDE = ("name", "phenomena", "expect", "record", "sweep")  # keys that say nothing of the training


def with_distinct_labels(results: Results) -> Results:
    """Results with labels that tell them apart.

    That is their names where no two have the same; else what their experiments differ in, `weight decay 1`,
    where it is one key or two; else their names, and those of the directories where names are the same.
    """
    if len(results) < 2:
        return results
    names = [result.config.name for result in results]
    labels = names
    if len(set(names)) < len(results):
        labels = _differences([result.config.tree for result in results])
    if len(set(labels)) < len(results):
        labels = [n if names.count(n) == 1 else r.path.name for n, r in zip(names, results, strict=True)]
    return [
        result if result.title else result.with_title(label)
        for result, label in zip(results, labels, strict=True)
    ]


def _differences(trees: Sequence[ConfigTree]) -> list[str]:
    """For each tree the values of the keys in which they differ, in words; empty where those are too many."""
    kept = [
        dict(flattened({key: value for key, value in tree.items() if key not in ASIDE})) for tree in trees
    ]
    keys = [
        key
        for key in dict.fromkeys(key for one in kept for key in one)
        if any(one.get(key) != kept[0].get(key) for one in kept)
    ]
    keys = [key for number, key in enumerate(keys) if not _comes_with_another(key, keys[:number], kept)]
    if len(keys) > MAXIMUM_DIFFERENCES:
        return []
    named = list(zip(keys, names_in_words(keys), strict=True))
    labels = [
        ", ".join(setting_in_words(name, _value_in_words(one, key)) for key, name in named) for one in kept
    ]
    return labels if max(map(len, labels)) <= MAXIMUM_CHARACTERS else []


def _comes_with_another(key: str, before: Sequence[str], trees: Sequence[Mapping[str, object]]) -> bool:
    """Whether a key is there only where a key of the same section is, which says enough."""
    there = [key in tree for tree in trees]
    siblings = [other for other in before if other.rpartition(".")[0] == key.rpartition(".")[0]]
    return not all(there) and any([other in tree for tree in trees] == there for other in siblings)


def _value_in_words(values: Mapping[str, object], key: str) -> str:
    if key not in values:
        return "none"
    return label_in_words(one_line(in_words(values[key]))).replace("$", r"\$")  # which would begin a formula
