"""The whole registry: every component is documented, in words, shown and listed, and its example works."""

import re

import pytest
from support import run_nnlab

from nnlab.config.document import parse_value
from nnlab.config.resolve import resolve, resolve_arguments
from nnlab.errors import PluginError
from nnlab.registry import KINDS, Component, ComponentOf, Section, build, components, register

OWN = [(kind, name) for kind in KINDS for name, c in components(kind).items() if c.kind == kind]
ALL = [(kind, name) for kind in KINDS for name in components(kind)]
SHORTEST_DOCUMENT = 5

own = pytest.mark.parametrize(("kind", "name"), OWN, ids=[f"{kind}-{name}" for kind, name in OWN])
every = pytest.mark.parametrize(("kind", "name"), ALL, ids=[f"{kind}-{name}" for kind, name in ALL])


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_components(kind):
    assert components(kind)
    assert KINDS[kind].about


@own
def test_a_component_is_documented(kind, name):
    headline = components(kind)[name].headline
    assert len(headline) >= SHORTEST_DOCUMENT
    equation = re.search(r"[=(]", headline)
    assert headline.endswith((".", "?")) or equation, f"'{headline}' is neither a sentence nor an equation"


def documented_keys(document):
    """The names under `Args:` of a docstring, in their order."""
    arguments = re.search(r"^Args:\n((?: {4}.*\n|\n)*)", f"{document}\n", re.MULTILINE)
    return re.findall(r"^ {4}(\w+):", arguments[1], re.MULTILINE) if arguments else []


@own
def test_its_document_explains_its_keys(kind, name):
    component = components(kind)[name]
    assert documented_keys(component.document) == list(component.own_parameters)


@pytest.mark.parametrize("kind", KINDS)
def test_the_keys_that_a_kind_shares_are_explained(kind):
    component = next(iter(components(kind).values()))
    shared = [name for name in component.parameters if name not in component.own_parameters]
    assert documented_keys(component.common_document) == shared
    assert bool(shared) == (kind in ("dataset", "optimizer", "task_sequence"))


@own
def test_its_parameters_can_be_said_in_words(kind, name):
    for parameter in components(kind)[name].parameters.values():
        words = parameter.spec.describe()
        assert words
        assert not re.search(r"typing\.|<class|Annotated|\[|any value", words), f"{parameter.name}: {words}"


def sections(parameters):
    """Parameters, and those of the sections among them, at any depth."""
    for parameter in parameters:
        yield parameter
        for part in parameter.spec.parts():
            if isinstance(part, Section):
                yield from sections(part.parameters.values())


@own
def test_the_documents_of_its_sections_explain_their_keys(kind, name):
    specs = [p.spec for p in sections(components(kind)[name].parameters.values())]
    for section in {part for spec in specs for part in spec.parts() if isinstance(part, Section)}:
        assert documented_keys(section.document) == list(section.parameters)


@own
def test_its_sections_can_be_said_in_words(kind, name):
    for parameter in sections(components(kind)[name].parameters.values()):
        assert "typing." not in parameter.spec.describe()


@own
def test_its_defaults_pass_their_own_validation(kind, name):
    component = components(kind)[name]
    problems = []
    resolve_arguments(component, {}, (), problems)
    missing = [p for p in problems if p.message.endswith("is missing") or "' is missing: " in p.message]
    assert problems == missing
    assert len(missing) == sum(p.required for p in component.parameters.values())


@every
def test_what_it_resolves_to_is_canonical(kind, name):
    example = example_of(kind, name)
    problems = []
    once = resolve(kind, example, (), problems)
    assert problems == []
    assert resolve(kind, once, (), problems) == once
    assert problems == []
    assert build(kind, once) is not None


def example_of(kind, name):
    """The example that `nnlab show` prints, read back."""
    shown = run_nnlab("show", kind, name)
    assert shown.exit_code == 0
    return parse_value(shown.stdout.split("\nExample:", 1)[1].strip(), "example").tree


@every
def test_show(kind, name):
    shown = run_nnlab("show", kind, name)
    component = components(kind)[name]
    assert (shown.exit_code, shown.stderr) == (0, "")
    lines = shown.stdout.splitlines()
    assert name in lines[0]
    assert component.document.splitlines()[0] in lines
    table = {line.split("  ")[0].strip() for line in lines}
    assert set(component.parameters) <= table
    assert component.common_document in shown.stdout
    example = example_of(kind, name)
    assert (example["type"] if isinstance(example, dict) else example) == name


@pytest.mark.parametrize("kind", KINDS)
def test_list_of_a_kind(kind):
    listed = run_nnlab("list", kind)
    assert (listed.exit_code, listed.stderr) == (0, "")
    words = {line.split()[0] for line in listed.stdout.splitlines() if line.strip()}
    assert set(components(kind)) <= words


def test_list_of_everything():
    listed = run_nnlab("list")
    words = [line.split()[0] for line in listed.stdout.splitlines() if line.strip()]
    assert set(KINDS) <= set(words)
    for kind, name in OWN:
        assert words.count(name) >= 1, f"{kind} {name} is not listed"


@pytest.mark.parametrize("name", components("activation"))
def test_an_activation_serves_as_a_layer(name):
    layer = build("layer", name)
    assert layer.setup((3,)).output_shape == (3,)
    assert layer.setup((3,)).count("params") == 0


@pytest.mark.parametrize(
    "arguments",
    [("show", "layer", "dens"), ("show", "layr", "dense"), ("list", "layr"), ("show", "activation", "dense")],
)
def test_unknown_names_are_one_line(arguments):
    result = run_nnlab(*arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1


def test_unknown_names_have_their_near_miss():
    assert "did you mean 'dense'?" in run_nnlab("show", "layer", "dens").stderr
    assert "did you mean 'layer'?" in run_nnlab("list", "layr").stderr


def test_a_name_is_registered_once():
    with pytest.raises(PluginError, match="registered twice, by nnlab"):
        register("activation", "relu")(lambda z, /: z)


def test_a_component_valued_argument_may_be_given_in_python_too():
    from nnlab.nn.dense import dense

    layer = dense(3, kernel_init="zeros")
    assert layer.setup((2,)).params["kernel"].shape == (2, 3)


def test_no_component_is_named_like_a_kind_s_marker():
    """`ComponentOf` must name a kind that exists."""
    for kind, name in OWN:
        for parameter in sections(components(kind)[name].parameters.values()):
            for part in parameter.spec.parts():
                assert not isinstance(part, ComponentOf) or part.kind in KINDS
    assert all(isinstance(c, Component) for kind in KINDS for c in components(kind).values())
