"""Writes the pages under reference/ from what nnlab says of itself: registry, experiment file, commands, API.

Nothing is declared here that a signature or a docstring says already. The pages are written anew before each
build, and git does not know them.
"""

from __future__ import annotations

import enum
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import nnlab
from nnlab.config.document import dump
from nnlab.config.experiment_keys import ExperimentPlan
from nnlab.registry import (
    KINDS,
    Component,
    ConfigValue,
    Keyed,
    Kind,
    Parameter,
    Section,
    components,
    section_of,
)

if TYPE_CHECKING:
    from docutils.nodes import Element
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

SECTION = re.compile(r"^([A-Z][a-z]+):$", re.MULTILINE)
ENTRY = re.compile(r"^(\w[\w ,]*): ", re.MULTILINE)
FIELD_OF_NAMED_TUPLE = type(nnlab.Verdict.key)
MARKUP = re.compile(r"([\\*_\[\]<>#|$~{}])")

INDEX = """\
# Reference

Written from nnlab itself: from the signatures and docstrings of its components, its commands and its
Python API. `nnlab show KIND NAME` prints the same in a terminal. Lectures 000 to 004 are those of
[the lectures' page](../lectures.md).

```{{toctree}}
:maxdepth: 1

{}
```
"""

COMMANDS = """\
# Commands

```{eval-rst}
.. click:: nnlab.cli.main:cli
   :prog: nnlab
   :nested: full
```
"""


def pages() -> dict[str, str]:
    """The pages, by their paths below reference/."""
    kinds = {f"{kind.name}.md": kind_page(kind) for kind in KINDS.values()}
    return {
        "index.md": index_page(list(kinds)),
        "experiment_file.md": experiment_file_page(),
        "commands.md": COMMANDS,
        "python.md": python_page(),
        **kinds,
    }


def index_page(kinds: list[str]) -> str:
    """The table of contents."""
    names = ["experiment_file", *(name.removesuffix(".md") for name in kinds), "commands", "python"]
    return INDEX.format("\n".join(names))


# --- the experiment file ---------------------------------------------------------------------------------


def experiment_file_page() -> str:
    """The keys of an experiment file, section by section."""
    parts = ["# The experiment file"]
    for section in sections(section_of(ExperimentPlan)):
        parts += [f"## {section.name}", *document(section, section.parameters)]
    return "\n\n".join(parts) + "\n"


def sections(root: Section) -> list[Section]:
    """A section and those inside it, each once; those of components stand on their own pages."""
    found = [root]
    for section in found:
        for parameter in section.parameters.values():
            found += [
                part for part in parameter.spec.parts() if isinstance(part, Section) and part not in found
            ]
    return found


# --- components ------------------------------------------------------------------------------------------


def kind_page(kind: Kind) -> str:
    """All components of a kind."""
    entries = [component for component in components(kind.name).values() if component.kind == kind.name]
    parts = [f"# {kind.name.capitalize()}", f"{kind.about.capitalize()}."]
    if kind.adopts:
        parts.append(f"Every [{kind.adopts}]({kind.adopts}.md) is one, too.")
    parts += [part for component in entries for part in component_parts(component)]
    if entries[0].common_document:
        common = {n: p for n, p in entries[0].parameters.items() if n not in entries[0].own_parameters}
        parts += [f"## Keys of every {kind.name}", *key_list(entries[0], common)]
        for section in dict.fromkeys(s for p in common.values() for s in section_parts(p)):
            parts += [f"### {section.name}", *document(section, section.parameters)]
    return "\n\n".join(parts) + "\n"


def component_parts(component: Component) -> Iterator[str]:
    """The documentation of a component in Markdown."""
    yield f"## {component.name}"
    yield from document(component, component.own_parameters)
    if component.kind == "phenomenon":
        yield from phenomenon_parts(component)
    for section in dict.fromkeys(s for p in component.own_parameters.values() for s in section_parts(p)):
        yield f"**{section.name}**"
        yield from document(section, section.parameters)


def section_parts(parameter: Parameter) -> list[Section]:
    """The sections that a key takes."""
    return [part for part in parameter.spec.parts() if isinstance(part, Section)]


def phenomenon_parts(component: Component) -> Iterator[str]:
    """The numbers and figures of a phenomenon."""
    required = {name: p.spec.example() for name, p in component.parameters.items() if p.required}
    built = component.construct(required)
    numbers = entries_of(split(inspect.getdoc(built.result) or "")[1].get("Attributes", ""))
    yield "**Numbers**"
    yield "\n\n".join(entry(f"`{name}`", prose(text)) for name, text in numbers.items())
    yield f"**Figures:** {', '.join(f'`{name}`' for name in built.figures)}."


def document(keyed: Keyed, parameters: dict[str, Parameter]) -> Iterator[str]:
    """What a component or section says of itself, in Markdown, with these of its keys among it."""
    body, named = split(keyed.document)
    yield from paragraphs(body)
    named.pop("Args", None)
    yield from key_list(keyed, parameters)
    for title, content in named.items():
        entries = entries_of(content)
        if title == "Verdicts":
            yield "**Verdicts**"
            yield from paragraphs(content[: ENTRY.search(content).start()])
            yield "\n\n".join(entry(f"`{name}`", prose(words)) for name, words in entries.items())
        else:
            yield f"**{title}:** {prose(content)}"


def key_list(keyed: Keyed, parameters: dict[str, Parameter]) -> Iterator[str]:
    """Keys as a list, with what each takes and is for."""
    if parameters:
        texts = keyed.key_texts
        yield "\n\n".join(key(parameter, texts.get(name, "")) for name, parameter in parameters.items())


def key(parameter: Parameter, description: str) -> str:
    """A key of the file: what it takes, its default, what it is for."""
    default = "required" if parameter.required else f"default `{as_yaml(parameter.default)}`"
    return entry(f"`{parameter.name}` ({prose(parameter.spec.describe())}; {default})", prose(description))


def as_yaml(value: ConfigValue) -> str:
    """A value as it would stand in a file, on one line."""
    return dump({"": value}, inline=True).strip().removeprefix("{'': ").removesuffix("}")


def entry(term: str, text: str) -> str:
    """An entry of a definition list."""
    return f"{term}\n: {text or '&nbsp;'}"


# --- docstrings ------------------------------------------------------------------------------------------


def split(text: str) -> tuple[str, dict[str, str]]:
    """What a docstring says before its sections, and each section's content by its title."""
    body, *rest = SECTION.split(text)
    contents = [inspect.cleandoc(content) for content in rest[1::2]]
    return body.strip(), dict(zip(rest[::2], contents, strict=True))


def entries_of(content: str) -> dict[str, str]:
    """The entries of a section, `name: text`; several names before one text have it in common."""
    _, *parts = ENTRY.split(content)
    return {
        name.removesuffix("_"): text
        for names, text in zip(parts[::2], parts[1::2], strict=True)
        for name in names.split(", ")
    }


def paragraphs(text: str) -> Iterator[str]:
    """The paragraphs of a text in Markdown."""
    for paragraph in filter(None, map(str.strip, text.split("\n\n"))):
        yield prose(paragraph)


def prose(text: str) -> str:
    """Text in Markdown, on one line: outside of backticks every character stands for itself."""
    parts = re.split(r"(`[^`]*`)", " ".join(text.split()))
    return "".join(part if part.startswith("`") else MARKUP.sub(r"\\\1", part) for part in parts)


# --- Python ----------------------------------------------------------------------------------------------


def python_page() -> str:
    """The public names of the package: functions, then classes, then errors."""
    names = [name for name in nnlab.__all__ if name != "__version__"]
    classes = [name for name in names if inspect.isclass(getattr(nnlab, name))]
    errors = [name for name in classes if issubclass(getattr(nnlab, name), BaseException)]
    groups = {
        "Functions": ("autofunction", [name for name in names if name not in classes]),
        "Classes": ("autoclass", [name for name in classes if name not in errors]),
        "Errors": ("autoexception", errors),
    }
    parts = ["# Python", "All names are attributes of `nnlab`."]
    for title, (directive, members) in groups.items():
        parts.append(f"## {title}")
        parts += [autodoc(directive, name) for name in members]
    return "\n\n".join(parts) + "\n"


def autodoc(directive: str, name: str) -> str:
    """The directive that documents a public name."""
    value = getattr(nnlab, name)
    options = "   :members:\n" if inspect.isclass(value) else ""
    options += "   :undoc-members:\n" if inspect.isclass(value) and issubclass(value, enum.Enum) else ""
    return f"```{{eval-rst}}\n.. {directive}:: nnlab.{name}\n{options}```"


def leave_out_fields(
    app: Sphinx, what: str, name: str, value: object, skip: bool, options: object
) -> bool | None:
    """Leave out what NamedTuple makes of its fields: the class' docstring has them."""
    return True if isinstance(value, FIELD_OF_NAMED_TUPLE) else None


def keep_colons(app: Sphinx, what: str, name: str, value: object, options: object, lines: list[str]) -> None:
    """Keep napoleon from taking what stands before a colon in a property's first line for its type."""
    if what == "property":
        lines.insert(0, "\\ ")  # a line that shows nothing


def resolve_public_name(
    app: Sphinx, environment: BuildEnvironment, node: pending_xref, content: Element
) -> Element | None:
    """Lead a reference to the module in which a public name is defined to its entry below `nnlab`."""
    name = node.get("reftarget", "").rpartition(".")[2]
    if node.get("refdomain") != "py" or name not in nnlab.__all__:
        return None
    domain = environment.get_domain("py")
    return domain.resolve_xref(
        environment, node["refdoc"], app.builder, "obj", f"nnlab.{name}", node, content
    )


def write_pages(app: Sphinx) -> None:
    """Write the pages, those that have not changed left as they are."""
    folder = Path(app.srcdir) / "reference"
    folder.mkdir(exist_ok=True)
    for name, text in pages().items():
        file = folder / name
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Enter the extension into Sphinx."""
    app.connect("builder-inited", write_pages)
    app.connect("autodoc-skip-member", leave_out_fields)
    app.connect("autodoc-process-docstring", keep_colons, priority=400)  # before napoleon's
    app.connect("missing-reference", resolve_public_name)
    return {"parallel_read_safe": True}
