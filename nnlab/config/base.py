"""`base: FILE` or `base: nnlab:NAME`: a file that says only how its experiment differs from that of another.

The two are merged before anything is checked, so that what is saved and hashed is the whole experiment:

- Mappings are merged key by key; lists, numbers and words are replaced.
- A component is merged where its type is the same or left out, and else replaced, so that no key of another
  type stays.
- `null` drops a key of the base, so that its default holds.
- What only makes sense as a whole is replaced as a whole (ONE_VALUE), and of keys that exclude each other the
  given one takes the place of the others (EXCLUDED).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from nnlab.config.document import Document, Mark, read
from nnlab.errors import ConfigError, KeyPath, Problem
from nnlab.registry import ConfigTree, ConfigValue
from nnlab.text import suggestion

KEY = "base"
SHIPPED = "nnlab:"
SHIPPED_FOLDER = Path(__file__).parent.parent / "shipped"

ONE_VALUE: tuple[KeyPath, ...] = (  # "*" stands for any key
    ("expect",),  # what must come out is each file's own
    ("sweep", "axes", "*"),
    ("sweep", "zip", "*"),
    ("sweep", "random", "axes", "*"),
    ("record", "every"),
)
EXCLUDED: Mapping[KeyPath, Mapping[str, tuple[str, ...]]] = {  # key -> those that it takes the place of
    (): {"solver": ("optimizer", "train"), "optimizer": ("solver",), "train": ("solver",)},
    ("train",): {"epochs": ("steps",), "steps": ("epochs",)},
    ("record",): {"every": ("log_spaced",), "log_spaced": ("every",)},
}


def shipped_experiments() -> dict[str, Path]:
    """The files of the shipped experiments by their names, in alphabetical order."""
    return {file.stem: file for file in sorted(SHIPPED_FOLDER.glob("*.yaml"))}


def read_with_base(file: Path) -> Document:
    """Read an experiment file, merged into its base. Raises ConfigError where one of them cannot be read."""
    return with_base(read(file), file.parent)


def with_base(document: Document, folder: Path) -> Document:
    """The document merged into its base, and that into its own, if it has one.

    Args:
        document: An experiment file.
        folder: Where it lies; a base lies there, too, or below.

    Returns:
        The whole experiment, without the key `base`. Every value has the mark of the file that it stands in.

    Raises:
        ConfigError: A base cannot be found or read, or bases lead in a circle.
    """
    documents = [document]
    visited: dict[Path, str] = {}
    while (base := _base_of(documents[-1], folder)) is not None:
        file, source = base
        if _real(file) in visited:
            circle = " -> ".join([*visited.values(), source])
            raise _error(documents[-1], f"leads back to {source}, in a circle: {circle}")
        visited[_real(file)] = source
        documents.append(read(file, source))
        folder = file.parent
    merged = documents.pop()
    while documents:
        merged = _Merger(merged, documents.pop()).merged()
    return _without_base(merged)


def _base_of(document: Document, folder: Path) -> tuple[Path, str] | None:
    """The file of a document's base, and what messages call it; None where it has no base."""
    base = document.tree.get(KEY)
    if base is None:
        return None
    if (
        not isinstance(base, str)
        or not base.removeprefix(SHIPPED)
        or "\0" in base
        or Path(base).is_absolute()
    ):
        raise _error(document, "takes the name of a file beside this one or below, or nnlab:NAME")
    if base.startswith(SHIPPED):
        name, shipped = base.removeprefix(SHIPPED), shipped_experiments()
        if name not in shipped:
            near = suggestion(name, shipped) or ";"
            raise _error(document, f"there is no shipped experiment '{name}'{near} `nnlab new` lists them")
        return shipped[name], base
    file = folder / base
    if not _real(file).is_relative_to(_real(folder)):
        raise _error(document, f"'{base}' lies outside of this file's folder; copy it there")
    if not _real(file).is_file():
        known = [other.relative_to(folder).as_posix() for other in sorted(file.parent.glob("*.yaml"))]
        near = suggestion(base, known) or "; a base lies beside this file or below"
        raise _error(document, f"there is no file '{base}'{near}")
    return file, str(file)


def _real(path: Path) -> Path:
    """A path without symbolic links; Path.resolve raises where these lead in a circle."""
    return Path(os.path.realpath(path))


def _error(document: Document, message: str) -> ConfigError:
    return document.error([Problem((KEY,), message)])


def _without_base(document: Document) -> Document:
    """The document without the key `base` and its marks."""
    tree = {key: value for key, value in document.tree.items() if key != KEY}

    def without_key(marks: Mapping[KeyPath, Mark]) -> dict[KeyPath, Mark]:
        return {path: mark for path, mark in marks.items() if path != (KEY,)}

    return Document(tree, without_key(document.values), without_key(document.keys), document.source)


class _Merger:
    """Merges a document into its base."""

    def __init__(self, base: Document, document: Document) -> None:
        self.base, self.document = base._replace(values=dict(base.values)), document
        self.values: dict[KeyPath, Mark] = {}
        self.keys: dict[KeyPath, Mark] = {}

    def merged(self) -> Document:
        tree = self._merge(_without_base(self.base).tree, self.document.tree, ())
        return Document(tree, self.values, self.keys, self.document.source)

    def _merge(self, lower: ConfigValue, upper: ConfigValue, path: KeyPath) -> ConfigValue:
        """The value at a path: that of the document, put over that of the base."""
        if isinstance(lower, str) and isinstance(upper, Mapping):  # a component by its bare name
            lower = {"type": lower}
            self.base.values.setdefault((*path, "type"), self.base.mark(path))
        if not self._merges(lower, upper, path):
            return self._take(self.document, upper, path)
        self._mark(self.base, path)
        self._mark(self.document, path)
        excluded = {
            other
            for key, others in EXCLUDED.get(path, {}).items()
            if upper.get(key) is not None
            for other in others
        }
        tree: ConfigTree = {}
        for key in {**lower, **upper}:
            here = (*path, key)
            if key not in upper:
                if key not in excluded:
                    tree[key] = self._take(self.base, lower[key], here)
            elif key not in lower:
                tree[key] = self._take(self.document, upper[key], here)
            elif upper[key] is not None:
                tree[key] = self._merge(lower[key], upper[key], here)
        return tree

    def _merges(self, lower: ConfigValue, upper: ConfigValue, path: KeyPath) -> bool:
        if not (isinstance(lower, Mapping) and isinstance(upper, Mapping)):
            return False
        if path in ONE_VALUE or (*path[:-1], "*") in ONE_VALUE:
            return False
        return "type" not in upper or upper["type"] == lower.get("type")

    def _take(self, document: Document, value: ConfigValue, path: KeyPath) -> ConfigValue:
        """A value of one of the two, with its marks."""
        self._mark(document, path)
        items = value.items() if isinstance(value, Mapping) else ()
        for key, inner in enumerate(value) if isinstance(value, list) else items:
            self._take(document, inner, (*path, key))
        return value

    def _mark(self, document: Document, path: KeyPath) -> None:
        for marks, own in ((self.values, document.values), (self.keys, document.keys)):
            if path in own:
                marks[path] = own[path]
