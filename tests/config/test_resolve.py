"""Checking a file against the signatures: one problem for one mistake, at its place, all at once."""

import collections
import difflib
import inspect
import re
from pathlib import Path

import pytest

from nnlab.config import check_tree, load
from nnlab.config.document import parse
from nnlab.config.json_schema import json_schema
from nnlab.config.load import EXPERIMENT
from nnlab.config.resolve import resolve
from nnlab.errors import ConfigError
from nnlab.registry import KINDS, Component, Section, components
from nnlab.text import is_one_edit_apart, letters, suggestion

SHIPPED = sorted((Path(__file__).parents[2] / "experiments").glob("*.yaml"))

BASE = {
    "name": "name: base",
    "data": "data: {type: gaussian, examples: 60, features: 5, classes: 3}",
    "model": "model: [{type: dense, units: 3}]",
    "train": "train: {steps: 5}",
}


def text_with(line):
    """BASE with the line of one key replaced or added."""
    return "\n".join((BASE | {line.replace("§", "").split(":")[0]: line}).values())


def lines_of(text):
    with pytest.raises(ConfigError) as caught:
        check_tree(parse(text, "f.yaml"))
    assert all(line.isprintable() for line in caught.value.lines)
    return caught.value.lines


# (the line with § where the error must point, dotted path, what the message says)
MISTAKES = {
    "unknown key at the top": (
        "§trian: {steps: 3}",
        "trian",
        "unknown; did you mean 'train'? experiment takes name,",
    ),
    "unknown key, nothing near": ("§zzz: 1", "zzz", "unknown; experiment takes name,"),
    "unknown key of a layer": (
        "model: [{type: dense, units: 3, §kernel_int: zeros}]",
        "model[0].kernel_int",
        "unknown; did you mean 'kernel_init'? dense takes units, use_bias, kernel_init, bias_init",
    ),
    "misspelt key that is required": (
        "model: [{type: dense, §unts: 3}]",
        "model[0].unts",
        "unknown; did you mean 'units'?",
    ),
    "unknown key of a component without any": (
        "model: [{type: dense, units: 3}, {type: relu, §slope: 1}]",
        "model[1].slope",
        "unknown; relu takes no arguments",
    ),
    "unknown key of a section": (
        "train: {steps: 5, §epoch: 1}",
        "train.epoch",
        "unknown; did you mean 'epochs'?",
    ),
    "unknown key of a section in a component": (
        "data: {type: xor, split: {§trian: 0.5}}",
        "data.split.trian",
        "unknown; did you mean 'train'?",
    ),
    "unknown key shared by the kind": (
        "data: {type: xor, §batchsize: 3}",
        "data.batchsize",
        "unknown; did you mean 'batch_size'?",
    ),
    "unknown component": (
        "optimizer: {§type: adm}",
        "optimizer.type",
        "unknown optimizer 'adm'; did you mean 'adam'? (`nnlab list optimizer` shows all ",
    ),
    "unknown component, bare": ("model: [§relo]", "model[0]", "unknown layer 'relo'; did you mean 'relu'?"),
    "unknown component, in another case": ("model: [§LSTM]", "model[0]", "'LSTM'; did you mean 'lstm'?"),
    "softmax": (
        "model: [§softmax]",
        "model[0]",
        "unknown layer 'softmax'; outputs are logits, and the loss cross_entropy applies softmax itself: "
        "leave it out",
    ),
    "name of another framework": (
        "model: [{§type: MaxPool2d}]",
        "model[0].type",
        "unknown layer 'MaxPool2d'; here it is called 'max_pool'",
    ),
    "key of another framework": (
        "model: [{type: conv2d, filters: 3, §kernel_size: 3}]",
        "model[0].kernel_size",
        "unknown; here it is called 'size'; conv2d takes filters, size,",
    ),
    "activation as a key": (
        "model: [{type: dense, units: 3, §activation: relu}]",
        "model[0].activation",
        "unknown; an activation is a layer of its own, after this one; dense takes units,",
    ),
    "unknown component inside": (
        "model: [{type: dense, units: 3, §kernel_init: hee_normal}]",
        "model[0].kernel_init",
        "unknown initializer 'hee_normal'; did you mean 'he_normal'?",
    ),
    "unknown component of a list": (
        "phenomena: [§gradients_flow]",
        "phenomena[0]",
        "did you mean 'gradient_flow'?",
    ),
    "component without type": ("model: [§{units: 3}]", "model[0]", "needs a 'type'"),
    "component of another kind": ("§loss: relu", "loss", "unknown loss 'relu'"),
    "number for a component": ("§optimizer: 3", "optimizer", "3 is no optimizer"),
    "list for a component": ("§loss: [cross_entropy]", "loss", "['cross_entropy'] is no loss"),
    "text for a whole number": (
        "model: [{type: dense, §units: many}]",
        "model[0].units",
        "'many' is not allowed",
    ),
    "quoted number": ('model: [{type: dense, §units: "3"}]', "model[0].units", "'3' is not allowed"),
    "float for a whole number": (
        "model: [{type: dense, §units: 3.0}]",
        "model[0].units",
        "3.0 is not allowed",
    ),
    "bool for a whole number": (
        "model: [{type: dense, §units: true}]",
        "model[0].units",
        "true is not allowed",
    ),
    "bool for a number": (
        "optimizer: {type: sgd, §momentum: false}",
        "optimizer.momentum",
        "false is not allowed",
    ),
    "bool for a seed": ("§seed: true", "seed", "true is not allowed"),
    "whole number for a bool": (
        "optimizer: {type: sgd, §nesterov: 1}",
        "optimizer.nesterov",
        "1 is not allowed",
    ),
    "number for text": ("§name: 3", "name", "3 is not allowed; name takes text"),
    "yaml 1.1 bool": ("optimizer: {type: sgd, §nesterov: yes}", "optimizer.nesterov", "'yes' is not allowed"),
    "no such word": ("loss: {type: squared_error, §outputs: max}", "loss.outputs", "takes mean or sum"),
    "below range": (
        "model: [{type: dense, §units: 0}]",
        "model[0].units",
        "0 is not allowed; units takes a whole number >= 1 and <= 1e+15",
    ),
    "above range": (
        "§seed: 4294967296",
        "seed",
        "4294967296 is not allowed; seed takes a whole number >= 0 and < 4294967296",
    ),
    "at an open end": (
        "optimizer: {type: sgd, §momentum: 1.0}",
        "optimizer.momentum",
        "a number >= 0 and < 1",
    ),
    "negative": (
        "data: {type: xor, §noise: -0.1}",
        "data.noise",
        "-0.1 is not allowed; noise takes a number >= 0",
    ),
    "share above one": (
        "data: {type: xor, split: {§validation: 1.5}}",
        "data.split.validation",
        "1.5 is not allowed",
    ),
    "enormous": (
        f"model: [{{type: dense, §units: {'9' * 300}}}]",
        "model[0].units",
        "a number of more than 70 digits",
    ),
    "enormous rate": (
        f"optimizer: {{type: adam, §b1: {'9' * 390}}}",
        "optimizer.b1",
        "a number of more than 70 digits is not allowed",
    ),
    "nan": ("optimizer: {type: sgd, §momentum: .nan}", "optimizer.momentum", "nan is not allowed"),
    "inf": ("data: {type: xor, §noise: .inf}", "data.noise", "inf is not allowed"),
    "overflow to inf": ("data: {type: xor, §noise: 1e999}", "data.noise", "inf is not allowed"),
    "nan as a rate": (
        "optimizer: {type: sgd, §learning_rate: .nan}",
        "optimizer.learning_rate",
        "nan is not allowed",
    ),
    "negative rate": (
        "optimizer: {type: sgd, §learning_rate: -1}",
        "optimizer.learning_rate",
        "-1 is not allowed",
    ),
    "text as a rate": (
        "optimizer: {type: sgd, §learning_rate: fast}",
        "optimizer.learning_rate",
        "unknown schedule 'fast'",
    ),
    "nan as a bound": (
        "expect: {final.train_loss: {§max: .nan}}",
        "expect.final.train_loss.max",
        "nan is not allowed",
    ),
    "missing key": (
        "model: [§{type: dense}]",
        "model[0]",
        "'units' is missing: a whole number >= 1 and <= 1e+15",
    ),
    "missing key, bare": ("model: [§dense]", "model[0]", "'units' is missing"),
    "missing key of a shorthand": ("model: [§{type: repeat, times: 2}]", "model[0]", "'layers' is missing"),
    "empty value": ("model: [{type: dense, §units: }]", "model[0].units", "an empty value is not allowed"),
    "empty component": ("§loss:", "loss", "an empty value is no loss"),
    "empty model": ("§model:", "model", "an empty value is no layer"),
    "empty item": ("model:\n  - {type: dense, units: 3}\n  -§", "model[1]", "an empty value is no layer"),
    "empty section": ("§record:", "record", "an empty value is not allowed"),
    "empty type": ("model: [§{type: , units: 3}]", "model[0]", "is no layer"),
    "empty data": ("§data: {}", "data", "needs a 'type'"),
    "list for a section": ("§train: [5]", "train", "[5] is not allowed; it takes a mapping of epochs, steps"),
    "contradiction": ("§train: {epochs: 1, steps: 1}", "train", "give one of 'epochs' and 'steps'"),
    "neither": ("§train: {}", "train", "give one of 'epochs' and 'steps'"),
    "contradiction deeper": (
        "record: {§every: {steps: 1, epochs: 1}}",
        "record.every",
        "give one of 'epochs' and 'steps'",
    ),
    "bounds crossed": (
        "expect: {§final.train_loss: {min: 2, max: 1}}",
        "expect.final.train_loss",
        "min 2 lies above max 1",
    ),
    "no bound": (
        "expect: {§final.train_loss: {}}",
        "expect.final.train_loss",
        "give 'min', 'max' or both, or 'equals'",
    ),
    "no such number": (
        "phenomena: [gradient_flow]\nexpect: {§gradient_flow.verdic: {equals: healthy}}",
        "expect.gradient_flow.verdic",
        "'gradient_flow' has no number 'verdic'; did you mean 'verdict'?",
    ),
    "number of a phenomenon not asked for": (
        "expect: {§gradient_flow.verdict: {equals: healthy}}",
        "expect.gradient_flow.verdict",
        "is no number of this run",
    ),
    "bad name": ("§name: Base Run", "name", "a name is 1 to 80 of a-z"),
    "name that climbs": ("§name: ../base", "name", "a name is 1 to 80 of a-z"),
    "name too long": (f"§name: {'a' * 81}", "name", "a name is 1 to 80 of a-z"),
    "name that ends with a dot": ("§name: run.", "name", "no '.' last"),
    "name of a device": ("§name: con", "name", "'con' is the name of a device on Windows; give another"),
    "name of a device, dotted": ("§name: lpt1.x", "name", "'lpt1.x' is the name of a device on Windows"),
    "word, misspelt": (
        "loss: {type: squared_error, §outputs: maen}",
        "loss.outputs",
        "'maen' is not allowed; did you mean 'mean'? outputs takes mean or sum",
    ),
    "bool, misspelt": (
        "optimizer: {type: sgd, §nesterov: ture}",
        "optimizer.nesterov",
        "did you mean 'true'?",
    ),
    "word beside a number, misspelt": ("data: {type: xor, §batch_size: ful}", "data.batch_size", "'full'?"),
    "type, misspelt": (
        "§data: {tpye: xor}",
        "data",
        "needs a 'type'; did you mean 'type'? allowed is a dataset",
    ),
    "two letters, misspelt": ("optimizer: {type: adam, §b3: 0.9}", "optimizer.b3", "did you mean 'b1'?"),
    "spacing of too many trials": (
        f"§sweep: {{axes: {{{', '.join(f'a{i}: {{range: [0, 99999]}}' for i in range(800))}}}}}",
        "sweep",
        "comes to more than 10^15 trials",
    ),
    "deep inside": (
        "model:\n  - type: repeat\n    times: 2\n    layers:\n      - type: residual\n        layers:\n"
        "          - {type: dense, units: 5, §use_bias: 7}\n",
        "model[0].layers[0].layers[0].use_bias",
        "7 is not allowed; use_bias takes true or false",
    ),
    "in a list of lists": (
        "model: [[relu, [{type: dense, §units: x}]]]",
        "model[0][1][0].units",
        "'x' is not allowed",
    ),
    "in a list": ("data: {type: gaussian, §features: [3, 0]}", "data.features", "[3, 0] is not allowed"),
    "control characters": ('model: [§"\\e[31mrelu"]', "model[0]", "unknown layer '\\x1b[31mrelu'"),
    "a key of control characters": ('§"\\e[31m": 1', "\\x1b[31m", "unknown"),
    "a merge key": ("data: {§<<: {a: 1}, type: xor}", "data.<<", "unknown; xor takes"),
}


@pytest.mark.parametrize(("line", "path", "says"), MISTAKES.values(), ids=MISTAKES)
def test_one_mistake_is_one_problem_at_its_place(line, path, says, marked):
    text, (place,) = marked(text_with(line))
    (problem,) = lines_of(text)
    assert problem.startswith(f"f.yaml:{place}: {path}: ")
    assert says in problem


@pytest.mark.parametrize("key", BASE)
def test_a_missing_top_key(key):
    text = "\n".join(line for name, line in BASE.items() if name != key)
    (problem,) = lines_of(text)
    assert problem.startswith(f"f.yaml:1:1: '{key}' is missing: ")


def test_several_mistakes_come_at_once_and_in_the_order_of_the_file(marked):
    text, places = marked(
        "name: base\n"
        "§seed: -1\n"
        "model:\n"
        "  - {type: dense, §widht: 3, units: 3, §use_bias: 1}\n"
        "  - §relo\n"
        "  - {type: residual, layers: [{type: dense, §units: x}]}\n"
        "data: {type: gaussian, §features: 0, split: {§trian: 0.5}, §normalize: standard}\n"
        "§loss:\n"
        "train: {§steps: 1.5, §epoch: 3}\n"
        "§zzz: 1\n"
    )
    lines = lines_of(text)
    assert [line.split(": ")[0] for line in lines] == [f"f.yaml:{place}" for place in places]
    assert [line.split(": ")[1] for line in lines] == [
        "seed",
        "model[0].widht",
        "model[0].use_bias",
        "model[1]",
        "model[2].layers[0].units",
        "data.features",
        "data.split.trian",
        "data.normalize",
        "loss",
        "train.steps",
        "train.epoch",
        "zzz",
    ]


def test_an_empty_file_names_every_key_it_needs():
    lines = lines_of("{}")
    assert [line.split("'")[1] for line in lines] == ["data", "model", "name"]


@pytest.mark.parametrize("line", ["train:", "train: null"])
def test_an_empty_train_is_a_missing_one(line):
    """A solver stands in its place: only the whole file tells whether it is missing."""
    (problem,) = lines_of(text_with(line))
    assert problem.split(": ", 1)[1] == "'train' is missing: a mapping of epochs, steps, stop"


SOLVED = """\
name: base
data: {type: wave}
model: [{type: dense, units: 1, use_bias: false}]
loss: squared_error
solver: least_squares
"""


def test_a_solver_stands_in_the_place_of_optimizer_and_train(marked):
    tree = resolved(SOLVED).tree
    assert (tree["optimizer"], tree["train"]) == (None, None)
    for line in ("optimizer: sgd", "train: {steps: 5}"):
        text, (place,) = marked(SOLVED + "§" + line)
        key = line.split(":")[0]
        said = f"f.yaml:{place}: {key}: a solver stands in its place; leave out '{key}' or 'solver'"
        assert lines_of(text) == (said,)


def test_a_letter_more_less_or_swapped_comes_before_a_likeness():
    """difflib alone finds 'mlp' too far from 'lp', and 'train' nearer to 'trai_' than need be."""
    known = ["mlp", "relu", "elu", "tanh", "dense"]
    found = [suggestion(word, known) for word in ("ml", "mpl", "mlpp", "mlq", "lu", "teln", "rel", "xyz")]
    words = ["mlp", "mlp", "mlp", "mlp", "elu", "", "relu", ""]
    assert found == [f"; did you mean '{word}'?" if word else "" for word in words]


def test_difflib_compares_few_words_and_short_ones(monkeypatch):
    asked = []

    def recorded(word, words, **options):
        asked.append((word, words))
        return []

    monkeypatch.setattr(difflib, "get_close_matches", recorded)
    assert suggestion("x" * 81, ["y"]) == ""
    assert asked == []
    assert suggestion("x", ["y" * 81, *(f"name{i}" for i in range(1_000))]) == ""
    ((_, words),) = asked
    assert len(words) <= 200
    assert max(map(len, words)) <= 80


@pytest.mark.parametrize("word", ["mlp", "lp", "mlpx", "xmlp", "mp", "mpl", "lmp", "mxp", ""])
def test_one_letter_off(word):
    assert is_one_edit_apart(word, "mlp") == is_one_edit_apart("mlp", word) == (word not in ("mlp", ""))


def test_names_of_other_frameworks_lead_to_names_that_are_known():
    for name, kind in KINDS.items():
        known = components(name)
        keys = {key for component in known.values() for key in component.parameters}
        for key, words in kind.keys_elsewhere.items():
            assert key == letters(key)
            assert " " in words or words in keys
        for elsewhere, words in kind.elsewhere.items():
            assert elsewhere == letters(elsewhere)
            assert elsewhere not in map(letters, known)
            assert set(re.findall("'(.+?)'", words)) <= set(known)


def test_a_bad_value_is_cut_to_one_short_line():
    (line,) = lines_of(text_with(f"seed: {'x' * 5000}"))
    assert len(line) < 200


# --- the canonical form ------------------------------------------------------------------------------------


def resolved(tree):
    return check_tree(parse(tree, "f.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_resolved_config_resolves_to_itself(path):
    once = load(path)
    twice = resolved(once.text)
    assert twice.tree == once.tree
    assert twice.text == once.text
    assert (twice.hash, twice.directory_name) == (once.hash, once.directory_name)


def test_there_are_shipped_experiments():
    assert len(SHIPPED) >= 1


def test_every_default_is_in_the_saved_config():
    config = resolved(text_with("optimizer: sgd"))
    assert config.tree == {
        "name": "base",
        "data": {
            "type": "gaussian",
            "examples": 60,
            "features": 5,
            "classes": 3,
            "split": None,
            "normalize": None,
            "label_noise": None,
            "batch_size": 32,
            "limit": None,
            "keep_classes": None,
            "reconstruct": False,
            "order": None,
            "fresh": False,
            "tasks": None,
        },
        "model": [
            {
                "type": "dense",
                "units": 3,
                "use_bias": True,
                "kernel_init": {"type": "glorot_uniform", "gain": 1.0},
                "bias_init": "zeros",
            }
        ],
        "train": {"epochs": None, "steps": 5, "stop": [], "cache_frozen": False, "devices": 1},
        "prune": None,
        "precision": {"compute": "float32", "matmul": "highest"},
        "seed": 0,
        "loss": {"type": "cross_entropy", "label_smoothing": 0.0, "class_weights": None},
        "metrics": [],
        "regularizers": [],
        "constraints": [],
        "augment": [],
        "initialize": None,
        "optimizer": {
            "type": "sgd",
            "learning_rate": 0.01,
            "momentum": 0.0,
            "nesterov": False,
            "form": "accumulated",
            "clip": None,
            "groups": [],
        },
        "solver": None,
        "record": {
            "every": {"steps": None, "epochs": 1.0},
            "log_spaced": None,
            "layers": True,
            "predictions": False,
        },
        "phenomena": [],
        "sweep": None,
        "expect": {},
    }
    assert parse(config.text, "f.yaml").tree == config.tree


@pytest.mark.parametrize(
    "layers",
    [
        "[" * 46 + "{type: dense, units: 3}" + "]" * 46,
        "[" + "{type: dense, units: 3}," * 800 + "]",
    ],
    ids=["deep", "many"],
)
def test_what_is_too_large_to_be_read_back_is_refused(layers, tmp_path):
    (tmp_path / "f.yaml").write_text(text_with(f"model: {layers}"))
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "f.yaml")
    (line,) = caught.value.lines
    assert "with every default in place it comes to more than" in line


def test_layers_in_layers_are_built_once(monkeypatch):
    """Each level used to build all that is below it anew."""
    layers = "[" * 40 + "{type: dense, units: 3}," * 200 + "]" * 40
    built = collections.Counter()
    construct = Component.construct

    def counted(component, arguments):
        built[component.name] += 1
        return construct(component, arguments)

    monkeypatch.setattr(Component, "construct", counted)
    resolved(text_with(f"model: {layers}"))
    assert (built["dense"], built["sequential"]) == (200, 40)


def test_a_config_builds_its_components_once():
    config = resolved(text_with("seed: 1"))
    assert config.build() is config.build()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("optimizer: sgd", "optimizer: {type: sgd}"),
        ("optimizer: {type: sgd, momentum: 0}", "optimizer: {type: sgd, momentum: 0.0}"),
        ("optimizer: {type: sgd, learning_rate: 1}", "optimizer: {learning_rate: 1.0, type: sgd}"),
        (
            "optimizer: {type: sgd, learning_rate: 0.1}",
            "optimizer: {type: sgd, learning_rate: {type: constant, value: 0.1}}",
        ),
        (
            "model: [{type: dense, units: 3}]",
            "model: {type: sequential, layers: [{type: dense, units: 3}]}",
        ),
        ("data: {type: xor, label_noise: 0.1}", "data: {type: xor, label_noise: {fraction: 0.1, by: any}}"),
        ("train: {steps: 5}", "train: {steps: 5, epochs: null}"),
        ("train: {steps: 5}", "# a comment\ntrain:\n  steps: 0x5"),
    ],
)
def test_what_means_the_same_has_the_same_hash(one, other):
    assert (
        resolved(text_with(one)).hash == resolved("\n".join({**BASE, one.split(":")[0]: other}.values())).hash
    )


def test_a_whole_share_is_a_count_and_a_float_a_fraction():
    split = resolved(text_with("data: {type: xor, split: {train: 1, validation: 1.0}}")).tree["data"]["split"]
    assert (split["train"], split["validation"]) == (1, 1.0)
    assert (type(split["train"]), type(split["validation"])) == (int, float)


# --- JSON Schema -------------------------------------------------------------------------------------------


def nodes(schema):
    if isinstance(schema, dict):
        yield schema
        for value in schema.values():
            yield from nodes(value)
    elif isinstance(schema, list):
        for item in schema:
            yield from nodes(item)


def test_every_reference_of_the_json_schema_resolves():
    schema = json_schema()
    references = {node["$ref"] for node in nodes(schema) if "$ref" in node}
    assert references == {f"#/$defs/{name}" for name in schema["$defs"]}
    assert set(schema["$defs"]) >= {*KINDS, "partial_dataset", "partial_layer", "partial_optimizer"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_component_and_key_appears_in_the_json_schema(kind):
    options = json_schema()["$defs"][kind]["anyOf"]
    mappings = {o["properties"]["type"]["const"]: o for o in options if "type" in o.get("properties", {})}
    bare = {o["const"]: o["description"] for o in options if "const" in o}
    assert set(mappings) == set(components(kind))
    for name, component in components(kind).items():
        required = [p.name for p in component.parameters.values() if p.required]
        assert list(mappings[name]["properties"]) == ["type", *component.parameters]
        assert mappings[name]["required"] == ["type", *required]
        assert mappings[name]["additionalProperties"] is False
        assert bare.get(name) == (None if required else component.headline)


def test_the_json_schema_names_the_top_keys():
    schema = json_schema()
    whole, of_a_base = schema["else"], schema["then"]
    assert list(whole["properties"]) == list(of_a_base["properties"]) == list(EXPERIMENT.parameters)
    assert set(whole["required"]) == {"name", "data", "model"}
    assert "required" not in of_a_base


def test_the_json_schema_accepts_what_is_shipped_and_refuses_mistakes():
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(json_schema())
    for path in SHIPPED:
        for tree in (parse(path.read_text(), path.name).tree, load(path).tree):
            assert [(path.name, error.message) for error in validator.iter_errors(tree)] == []
        assert list(validator.iter_errors(tree | {"trian": 1}))
        assert list(validator.iter_errors(tree | {"loss": "no_such"}))
        assert list(validator.iter_errors({key: value for key, value in tree.items() if key != "data"}))


@pytest.mark.parametrize(
    ("keys", "accepted"),
    [
        ("optimizer: {momentum: 0.9}", True),
        ("optimizer: {momentum: null}", True),
        ("optimizer: {type: sgd, momentum: 0.9}", True),
        ("optimizer: {learning_rate: {peak: 0.1}}", True),
        ("data: {split: null}", True),
        ("model: {width: 3}", True),
        ("train: {steps: 3}", True),
        ("expect: null", True),
        ("initialize: {layers: dense_1}", True),
        ("sweep: {axes: {model.width: null}}", True),
        ("optimizer: {momentun: 0.9}", False),
        ("optimizer: {type: sgd, momentum: 2}", False),
        ("data: {splt: null}", False),
        ("base: null", True),
        ("base: 3", False),
        # the items of a list are whole, and so is a bound
        ("model: [{units: 3}]", False),
        ("expect: {final.train_loss: null}", False),
    ],
)
def test_the_json_schema_of_a_file_with_a_base_takes_a_part(keys, accepted):
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(json_schema())
    tree = {"name": "a", "base": "nnlab:b"} | parse(keys, "f").tree
    assert validator.is_valid(tree) == accepted


@pytest.mark.parametrize("kind", [*KINDS, "section"])
def test_every_key_is_described(kind):
    """By its docstring's `Args:`, which editors show; where keys exclude each other, the headline says so."""
    keyed = components(kind).values() if kind in KINDS else sections()
    missing = [f"{one.name}.{key}" for one in keyed for key in one.parameters if not one.key_texts.get(key)]
    assert missing == []


def sections(section=EXPERIMENT):
    """A section, and all that are inside it."""
    yield section
    for parameter in section.parameters.values():
        for part in parameter.spec.parts():
            if isinstance(part, Section):
                yield from sections(part)


def test_a_key_of_the_json_schema_says_what_it_is():
    schema = json_schema()
    dense = next(option for option in schema["$defs"]["layer"]["anyOf"] if option.get("title") == "dense")
    assert dense["properties"]["units"]["description"]
    assert schema["else"]["properties"]["model"]["description"].startswith("A layer; a list of layers is")


# --- words -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_no_message_says_a_problem_of_another_kind(kind):
    problems = []
    assert resolve(kind, {"type": "no such thing"}, ("x",), problems) is None
    (problem,) = problems
    assert problem.path == ("x", "type")
    assert problem.message.startswith(f"unknown {kind} 'no such thing'")


def test_the_file_s_own_keys_can_be_said_in_words():
    for parameter in EXPERIMENT.parameters.values():
        words = parameter.spec.describe()
        assert "typing." not in words
        assert "Annotated" not in words
    assert inspect.getdoc(EXPERIMENT.factory)
