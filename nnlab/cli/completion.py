"""What a shell offers at the tab key, beyond commands, options and files."""

from __future__ import annotations

import click

from nnlab.errors import NnlabError


def experiments(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The shipped experiments."""
    from nnlab.config.base import shipped_experiments

    return [name for name in shipped_experiments() if name.startswith(incomplete)]


def kinds(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The kinds of components."""
    from nnlab.registry import KINDS

    return [kind for kind in KINDS if kind.startswith(incomplete)]


def component_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The components of the kind that was named."""
    from nnlab.registry import KINDS, components

    kind = context.params.get("kind")
    return [name for name in components(kind) if name.startswith(incomplete)] if kind in KINDS else []


def overrides(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """The keys of the experiment file that was named, every default among them, as `key=`."""
    from nnlab.config import load
    from nnlab.config.overrides import paths_of

    sign = incomplete[:1] if incomplete[:1] in ("+", "~") else ""
    try:
        paths = paths_of(load(context.params["config"]).tree)
    except (NnlabError, KeyError, TypeError):
        return []
    words = [f"{sign}{path}" + "=" * (sign != "~") for path in paths]
    return [word for word in words if word.startswith(incomplete)]
