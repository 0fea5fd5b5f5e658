"""Changes from the command line, and that they are the same as a file that says the same."""

import copy

import pytest

from nnlab.config import check_tree
from nnlab.config.document import parse
from nnlab.config.overrides import apply, with_axes
from nnlab.errors import ConfigError, UsageError

BASE = """\
name: base
seed: 0
data: {type: gaussian, examples: 60, features: 5, classes: 3}
model:
  - {type: dense, units: 4}
  - leaky_relu
  - {type: dense, units: 3}
optimizer: sgd
train: {steps: 5}
phenomena: [gradient_flow]
expect:
  gradient_flow.first_to_last_ratio: {max: 100}
"""


def changed(*overrides, text=BASE):
    return apply(parse(text, "f.yaml"), overrides)


def tree_with(*overrides):
    return changed(*overrides).tree


def refused(*overrides):
    with pytest.raises(UsageError) as caught:
        changed(*overrides)
    message = str(caught.value)
    assert "\n" not in message
    assert message.isprintable()
    return message


def problem(*overrides, text=BASE):
    with pytest.raises(ConfigError) as caught:
        check_tree(changed(*overrides, text=text))
    (line,) = caught.value.lines
    return line


# override -> what the file would say in its place
SAME = {
    "seed=7": ("seed: 0", "seed: 7"),
    "seed=0x10": ("seed: 0", "seed: 16"),
    "name=no": ("name: base", "name: 'no'"),
    "optimizer=adam": ("optimizer: sgd", "optimizer: adam"),
    "optimizer.momentum=0.9": ("optimizer: sgd", "optimizer: {type: sgd, momentum: 0.9}"),
    "optimizer.learning_rate=1e-3": ("optimizer: sgd", "optimizer: {type: sgd, learning_rate: 0.001}"),
    "optimizer={type: sgd, momentum: 0.9}": ("optimizer: sgd", "optimizer: {type: sgd, momentum: 0.9}"),
    "~optimizer": ("optimizer: sgd\n", ""),
    "+loss=squared_error": ("train:", "loss: squared_error\ntrain:"),
    "loss=squared_error": ("train:", "loss: squared_error\ntrain:"),
    "data.split.train=0.5": ("classes: 3}", "classes: 3, split: {train: 0.5}}"),
    "data.label_noise=0.1": ("classes: 3}", "classes: 3, label_noise: 0.1}"),
    "~data.examples": ("examples: 60, ", ""),
    "model.0.units=8": ("units: 4", "units: 8"),
    "model.1=tanh": ("- leaky_relu", "- tanh"),
    "model.1.negative_slope=0.3": ("- leaky_relu", "- {type: leaky_relu, negative_slope: 0.3}"),
    "model.1.type=tanh": ("- leaky_relu", "- tanh"),
    "+model.1={type: dropout, rate: 0.5}": (
        "  - leaky_relu",
        "  - {type: dropout, rate: 0.5}\n  - leaky_relu",
    ),
    "+model.3=tanh": ("units: 3}", "units: 3}\n  - tanh"),
    "+model.99=tanh": ("units: 3}", "units: 3}\n  - tanh"),
    "~model.1": ("  - leaky_relu\n", ""),
    "model=[{type: dense, units: 3}]": (
        BASE[BASE.index("model:") : BASE.index("optimizer")],
        "model: [{type: dense, units: 3}]\n",
    ),
    "expect.gradient_flow.first_to_last_ratio.max=3": ("max: 100", "max: 3"),
    "+expect.gradient_flow.first_to_last_ratio.min=3": ("max: 100", "max: 100, min: 3"),
    "expect.gradient_flow.first_to_last_ratio={min: 0}": ("max: 100", "min: 0"),
    "expect.final.train_loss={max: 3}": ("expect:\n", "expect:\n  final.train_loss: {max: 3}\n"),
    "~expect.gradient_flow.first_to_last_ratio": (
        "expect:\n  gradient_flow.first_to_last_ratio: {max: 100}\n",
        "expect: {}\n",
    ),
}


@pytest.mark.parametrize(("override", "edit"), SAME.items())
def test_an_override_equals_the_file_that_says_the_same(override, edit):
    assert BASE.count(edit[0]) == 1
    by_hand = check_tree(parse(BASE.replace(*edit), "f.yaml"))
    by_override = check_tree(changed(override))
    assert by_override.tree == by_hand.tree
    assert by_override.hash == by_hand.hash


def test_the_hash_tells_different_experiments_apart():
    hashes = {check_tree(changed(override)).hash for override in SAME}
    same = {"+loss=squared_error", "loss=squared_error"}, {"+model.3=tanh", "+model.99=tanh"}
    same += ({"model.1=tanh", "model.1.type=tanh"},)
    same += ({"optimizer.momentum=0.9", "optimizer={type: sgd, momentum: 0.9}"},)
    equal_to_base = {"~optimizer"}
    groups = len(SAME) - sum(len(group) - 1 for group in same)
    assert len(hashes) == groups
    assert {check_tree(changed(o)).hash for o in equal_to_base} == {check_tree(changed()).hash}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("no", "no"),
        ("[1, 2]", [1, 2]),
        ("", None),
        ("a=b", "a=b"),
        ("'3'", "3"),
        ("~", None),
    ],
)
def test_values_are_yaml_1_2(text, value):
    assert tree_with(f"seed={text}")["seed"] == value


def test_overrides_apply_in_order():
    assert tree_with("seed=1", "seed=2")["seed"] == 2
    assert tree_with("~model.0", "~model.0")["model"] == [{"type": "dense", "units": 3}]
    assert tree_with("~optimizer", "optimizer=adam", "optimizer.b1=0.5")["optimizer"] == {
        "type": "adam",
        "b1": 0.5,
    }


def test_an_empty_value_on_the_way_becomes_a_mapping():
    """A saved config.yaml holds `split: null`."""
    assert tree_with("data.split=null", "data.split.train=0.5")["data"]["split"] == {"train": 0.5}


def test_the_document_itself_is_left_alone():
    document = parse(BASE, "f.yaml")
    before = copy.deepcopy(document)
    apply(document, ["model.0.units=9", "~seed", "+model.0=relu", "optimizer.momentum=0.5"])
    assert document == before


@pytest.mark.parametrize(
    "override",
    [
        "",
        "seed",
        "=4",
        "~seed=3",
        "~",
        "+",
        "+=",
        "~=",
        ".=1",
        "seed.=1",
        ".seed=1",
        "a..b=1",
        "model.0.=1",
        "+seed",
    ],
)
def test_a_wrong_form_shows_the_right_ones(override):
    assert refused(override) == (
        f"override '{override}': write key.path=value to set, +key.path=value to add, ~key.path to delete"
    )


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("~sed", "there is no 'sed' to delete; did you mean 'seed'?"),
        ("~optimizr.momentum", "there is no 'optimizr.momentum' to delete; did you mean 'optimizer'?"),
        ("~optimizer.momentum", "there is no 'optimizer.momentum' to delete"),
        ("~data.exampels", "there is no 'data.exampels' to delete; did you mean 'examples'?"),
        (
            "~expect.gradient_flow.first_to_last_rati",
            "there is no 'expect.gradient_flow.first_to_last_rati' to delete; "
            "did you mean 'gradient_flow.first_to_last_ratio'?",
        ),
        ("~model.3", "there is no 'model.3' to delete"),
        ("+seed=3", "'seed' is there already; without the '+' it is set"),
        ("+data.classes=4", "'data.classes' is there already; without the '+' it is set"),
        ("model.3=tanh", "the list has 3 items, counted from 0"),
        ("model.3.units=4", "the list has 3 items, counted from 0"),
        ("model.x=1", "a list item goes by its index, not 'x'"),
        ("model.-1=relu", "a list item goes by its index, not '-1'"),
        ("model.1.5=relu", None),
        ("seed.a=4", "'seed' is a plain value, it has no 'a'"),
        ("data.examples.many=4", "'examples' is a plain value, it has no 'many'"),
        ("seed=a: b: c", "the value is not YAML (value:1:5: not YAML: mapping values are not allowed here)"),
        ("seed=!!int 1", None),
        ("seed={a: 1, a: 2, b: 3, b: 4}", None),
        ("seed=a\x1b[31m", None),
        ("seed=[1,\n2", None),
        ("\x1b[31m.a=1\x07", None),
        (f"model.{'9' * 5000}=1", None),
        ("model.²=1", "a list item goes by its index, not '²'"),
        (f"data.{'.'.join('a' * 60)}=1", "more than 48 levels deep"),
        (f"data.{'.'.join('a' * 3000)}=1", None),
        (f"~{'x' * 5000}", None),
        (f"seed={'[' * 5000}", None),
        ("seed=%YAML 1." + "9" * 5000, None),
        ("seed='\\ud800'".replace("'", '"'), None),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(override, says):
    if says is None:
        with pytest.raises((UsageError, ConfigError)) as caught:
            check_tree(changed(override))
        assert str(caught.value).isprintable()
        assert str(caught.value).startswith("override '")
        assert len(str(caught.value)) < 2_000
    else:
        assert refused(override) == f"override '{override}': {says}"


def test_an_axis_of_bytes_that_are_no_text_can_be_saved():
    document, left = with_axes(parse(BASE, "f.yaml"), ["x\udcff=1,2"])
    assert (document.tree["sweep"]["axes"], left) == ({"x\\udcff": [1, 2]}, [])


def test_nothing_is_made_on_the_way_to_a_delete_that_fails():
    document = parse(BASE, "f.yaml")
    with pytest.raises(UsageError):
        apply(document, ["~nowhere.at.all"])
    assert "nowhere" not in document.tree


@pytest.mark.parametrize(
    ("override", "begins"),
    [
        ("data.classes=x", "override 'data.classes=x': data.classes: 'x' is not allowed"),
        ("trian.steps=4", "override 'trian.steps=4': trian: unknown; did you mean 'train'?"),
        ("+model.0={type: dense}", "override '+model.0={type: dense}': model[0]: 'units' is missing"),
        ("model.1.slope=1", "override 'model.1.slope=1': model[1].slope: unknown"),
        ("~data", "f.yaml:1:1: 'data' is missing"),
        ("~data.type", "f.yaml:3:1: data: needs a 'type'"),
    ],
)
def test_an_error_points_at_the_override_that_made_it(override, begins):
    assert problem(override).startswith(begins)


@pytest.mark.parametrize(
    ("overrides", "index"),
    [
        ([], 2),
        (["~model.0"], 1),
        (["~model.0", "~model.0"], 0),
        (["+model.0=relu"], 3),
        (["+model.9=relu"], 2),
    ],
)
def test_an_error_of_the_file_keeps_its_place_when_items_come_and_go(overrides, index):
    line = problem(*overrides, text=BASE.replace("units: 3", "units: x"))
    assert line.startswith(f"f.yaml:7:19: model[{index}].units: 'x' is not allowed")


def test_a_replaced_value_has_no_place_in_the_file():
    line = problem("model=[{type: dense, unts: 3}]")
    assert line.startswith(
        "override 'model=[{type: dense, unts: 3}]': model[0].unts: unknown; did you mean 'units'?"
    )
