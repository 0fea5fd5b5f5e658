"""Components of other packages: installed plug-ins, and modules that `--import` names.

An installed package names modules in the entry-point group `nnlab.components`; they are imported at the first
look-up of any kind, unless NNLAB_PLUGINS=0 is set. An experiment file itself never loads code.
"""

from __future__ import annotations

import functools
import hashlib
import importlib
import os
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import NamedTuple

from nnlab import __version__
from nnlab.errors import PluginError
from nnlab.registry.kinds import KINDS, load_home
from nnlab.text import one_line


class Origin(NamedTuple):
    """Where components come from: a distribution, or a module that belongs to none.

    Attributes:
        name: The name of the distribution or module.
        version: The version of the distribution; empty for a module.
        sha256: SHA-256 of the source of the top-level package; empty where there are no files.
    """

    name: str
    version: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.name} {self.version or self.sha256[:8]}"


NNLAB = Origin("nnlab", __version__, "")
_origins: dict[str, Origin] = {}  # of the modules outside of nnlab that registered components
_imported: list[str] = []


@functools.cache
def _entries() -> tuple[EntryPoint, ...]:
    if os.environ.get("NNLAB_PLUGINS") == "0":
        return ()
    return tuple(sorted(entry_points(group="nnlab.components"), key=lambda entry: entry.value))


def load_installed() -> None:
    """Import the modules of installed plug-ins that are not imported yet. Raises PluginError."""
    for entry in _entries():
        if problem := _import_installed(entry):
            raise PluginError(problem)


@functools.cache
def _import_installed(entry: EntryPoint) -> str:
    """Import an installed plug-in once, and return what is wrong with it; empty if nothing is. Tried again,
    one that fails after it registered a component would register it twice."""
    try:
        _import(entry.module, f"{entry.dist and entry.dist.name}: its plug-in {entry.value}")
    except PluginError as error:
        return str(error)
    return ""


def import_module_beside(name: str) -> None:
    """Import a module by its name, also one in the working directory. Raises PluginError."""
    if (folder := str(Path.cwd())) not in sys.path:
        sys.path.append(folder)
    _import(name, f"--import {name}")
    if name not in _imported:
        _imported.append(name)


def imported_modules() -> tuple[str, ...]:
    """The modules that were imported by name, which a worker must import too."""
    return tuple(_imported)


def _import(name: str, what: str) -> None:
    for kind in KINDS.values():  # nnlab's own come first: who takes a name twice does not depend on the order
        load_home(kind.home)
    try:
        importlib.import_module(name)
    except (Exception, SystemExit) as error:
        reason = str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"
        raise PluginError(f"{what} cannot be imported: {one_line(reason)}") from None


def origin_of(factory: Callable) -> Origin:
    """Where a factory comes from. Its package's source is hashed once; a notebook's module has none."""
    module, package = factory.__module__, factory.__module__.partition(".")[0]
    if package != "nnlab" and module not in _origins:
        dists = [entry.dist for entry in _entries() if entry.module.partition(".")[0] == package]
        name, version = (dists[0].name, dists[0].version) if dists and dists[0] else (package, "")
        _origins[module] = Origin(name, version, _source_hash(package))
    return _origins.get(module, NNLAB)


@functools.cache
def _source_hash(package: str) -> str:
    """SHA-256 over every module of a top-level package, imported yet or not, or of a module's one file."""
    module = sys.modules[package]
    folders = [Path(folder) for folder in getattr(module, "__path__", ())]
    sources = sorted(file for folder in folders for file in folder.rglob("*.py"))
    if not folders and getattr(module, "__file__", None):
        sources = [Path(str(module.__file__))]
    digest = hashlib.sha256()
    for source in sources:
        digest.update(source.read_bytes())
    return digest.hexdigest() if sources else ""


def plugins() -> dict[str, Origin]:
    """The modules outside of nnlab that registered components: the numbers of a run may depend on them."""
    load_installed()
    return dict(sorted(_origins.items()))
