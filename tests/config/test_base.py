"""`base`: what two files come to, where each value's place is, and what is refused."""

import copy
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import TINY, run_nnlab

import nnlab
from nnlab.config import base
from nnlab.config.base import EXCLUDED, KEY, shipped_experiments, with_base
from nnlab.config.document import Document, Mark, parse
from nnlab.config.load import load
from nnlab.errors import ConfigError, UsageError
from nnlab.runs.results import open_run


@pytest.fixture
def files(folder):
    """Writes files by their names, and returns the folder."""

    def write(**texts):
        for name, text in texts.items():
            (folder / f"{name}.yaml").write_text(text)
        return folder

    write(tiny=TINY)
    return write


def merged(files, upper, lower):
    """The tree of a file with these keys whose base has those."""
    folder = files(lower=lower)
    return with_base(parse(f"base: lower.yaml\n{upper}", "upper.yaml"), folder).tree


def line_of(call):
    with pytest.raises(ConfigError) as caught:
        call()
    (line,) = caught.value.lines
    return line


@pytest.mark.parametrize(
    ("lower", "upper", "expected"),
    [
        ("seed: 1", "seed: 2", {"seed": 2}),
        ("data: {type: xor, noise: 0.1}", "data: {noise: 0.2}", {"data": {"type": "xor", "noise": 0.2}}),
        ("data: {type: xor, b: 0}", "data: {type: xor, a: 3}", {"data": {"type": "xor", "b": 0, "a": 3}}),
        # another type takes over no key of the one before
        ("data: {type: xor, noise: 0}", "data: {type: moons, a: 3}", {"data": {"type": "moons", "a": 3}}),
        ("data: {type: xor, noise: 0.1}", "data: xor", {"data": "xor"}),
        ("optimizer: sgd", "optimizer: {momentum: 0.9}", {"optimizer": {"type": "sgd", "momentum": 0.9}}),
        ("optimizer: sgd", "optimizer: {type: adam, b1: 0.8}", {"optimizer": {"type": "adam", "b1": 0.8}}),
        (
            "optimizer: {type: sgd, learning_rate: {type: cosine, peak: 1}}",
            "optimizer: {learning_rate: {peak: 2}}",
            {"optimizer": {"type": "sgd", "learning_rate": {"type": "cosine", "peak": 2}}},
        ),
        (
            "optimizer: {learning_rate: 0.1}",
            "optimizer: {learning_rate: {type: cosine}}",
            {"optimizer": {"learning_rate": {"type": "cosine"}}},
        ),
        ("model: [relu, {type: dense, units: 3}]", "model: [{units: 4}]", {"model": [{"units": 4}]}),
        ("model: [relu]", "model: {width: 4}", {"model": {"width": 4}}),
        # null drops what the base has, and stays where it has nothing
        ("augment: [noise]\nseed: 1", "augment: null", {"seed": 1}),
        ("data: {type: xor, split: {test: 0.2}}", "data: {split: ~}", {"data": {"type": "xor"}}),
        ("seed: 1", "sweep: null", {"seed": 1, "sweep": None}),
        # expectations, an axis and a distribution are one value each
        ("expect: {x: {min: 1}, y: {max: 3}}", "expect: {x: {equals: 0}}", {"expect": {"x": {"equals": 0}}}),
        ("expect: {x: {min: 1}}", "seed: 1", {"expect": {"x": {"min": 1}}, "seed": 1}),
        (
            "sweep: {axes: {a: {linspace: [0, 1, 3]}, b: [1, 2]}, seeds: 3}",
            "sweep: {axes: {a: {geomspace: [1, 9, 3]}, b: null, c: [5]}}",
            {"sweep": {"axes": {"a": {"geomspace": [1, 9, 3]}, "c": [5]}, "seeds": 3}},
        ),
        (
            "sweep: {random: {draws: 9, axes: {a: {uniform: [0, 1]}}}}",
            "sweep: {random: {axes: {a: {integers: [0, 5]}}}}",
            {"sweep": {"random": {"draws": 9, "axes": {"a": {"integers": [0, 5]}}}}},
        ),
        (
            "record: {every: {epochs: 1}, layers: false}",
            "record: {every: {steps: 5}}",
            {"record": {"every": {"steps": 5}, "layers": False}},
        ),
        # of two that exclude each other one is enough
        ("train: {epochs: 3, devices: 2}", "train: {steps: 5}", {"train": {"devices": 2, "steps": 5}}),
        ("train: {steps: 5}", "train: {epochs: ~, a: 2}", {"train": {"steps": 5, "epochs": None, "a": 2}}),
        ("record: {every: {epochs: 1}}", "record: {log_spaced: 9}", {"record": {"log_spaced": 9}}),
        ("optimizer: sgd\ntrain: {steps: 5}", "solver: least_squares", {"solver": "least_squares"}),
        ("solver: least_squares", "train: {steps: 5}", {"train": {"steps": 5}}),
        (
            "optimizer: sgd\ntrain: {steps: 5}",
            "train: {steps: 6}",
            {"optimizer": "sgd", "train": {"steps": 6}},
        ),
    ],
)  # fmt: skip
def test_what_two_files_come_to(files, lower, upper, expected):
    assert merged(files, upper, lower) == expected


PLAIN = st.recursive(
    st.one_of(st.booleans(), st.integers(-9, 9), st.sampled_from(["red", "blue"]), st.none()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
    max_leaves=12,
)
TREES = st.dictionaries(st.sampled_from("abcd"), PLAIN, max_size=4)


def merge_patch(target, patch):
    """RFC 7396, but that null stays where there is nothing to drop, and a word is a component's type."""
    if not isinstance(patch, dict):
        return patch
    if isinstance(target, str):
        target = {"type": target}
    if not isinstance(target, dict):
        return patch
    result = dict(target)
    for key, value in patch.items():
        if key in target and value is None:
            del result[key]
        else:
            result[key] = merge_patch(target[key], value) if key in target else value
    return result


@given(TREES, TREES)
def test_merging_is_that_of_json_merge_patch(lower, upper):
    """Of keys that are none of the experiment's, by the rule of Helm, written anew here."""
    documents = [
        Document(copy.deepcopy(tree), {(): Mark(name, 1, 1)}, {}, name)
        for name, tree in (("l", lower), ("u", upper))
    ]
    result = base._Merger(*documents).merged().tree
    assert result == merge_patch(lower, upper)
    assert [document.tree for document in documents] == [lower, upper], "they are left as they are"


GIVEN = {
    "optimizer": "sgd",
    "solver": "least_squares",
    "train": {"steps": 5},
    "epochs": 1,
    "steps": 5,
    "every": {"steps": 5},
    "log_spaced": 5,
}


@pytest.mark.parametrize(
    ("path", "key", "other"),
    [
        (path, key, other)
        for path, keys in EXCLUDED.items()
        for key, others in keys.items()
        for other in others
    ],
)
def test_keys_that_exclude_each_other_are_refused_beside_each_other(path, key, other):
    """So that it is right to put one in the place of the other."""
    tree = load(shipped_experiments()["vanishing_gradients"]).tree
    section = tree[path[0]] if path else tree
    changed = section | {key: GIVEN[key], other: GIVEN[other]}
    with pytest.raises(ConfigError, match=r"give one of|a solver stands in its place"):
        nnlab.experiment(tree | {path[0]: changed} if path else changed)


def test_a_file_with_a_base_and_the_same_file_written_out_are_one_experiment(files):
    folder = files(short="name: tiny\nbase: tiny.yaml\nseed: 3\ntrain: {steps: 5}\nexpect: null\n")
    whole = TINY.replace("steps: 20", "steps: 5").split("expect:")[0] + "seed: 3\n"
    files(whole=whole)
    short, written_out = load(folder / "short.yaml"), load(folder / "whole.yaml")
    assert short.hash == written_out.hash
    assert short.text == written_out.text
    tree = {"name": "tiny", "base": "tiny.yaml", "seed": 3, "train": {"steps": 5}, "expect": None}
    assert nnlab.experiment(tree).text == written_out.text


def test_a_base_may_have_a_base_and_overrides_come_last(files):
    folder = files(
        one="base: two.yaml\nname: one\n", two="base: sub/three.yaml\nseed: 5\ntrain: {steps: 7}\n"
    )
    (folder / "sub").mkdir()
    (folder / "sub" / "three.yaml").write_text("base: four.yaml\nseed: 6\nrecord: {log_spaced: 4}\n")
    (folder / "sub" / "four.yaml").write_text(TINY)
    config = nnlab.load(folder / "one.yaml", "train.steps=9")
    assert (config.name, config.tree["seed"], config.tree["train"]["steps"]) == ("one", 5, 9)
    assert config.tree["record"]["log_spaced"] == 4


def test_a_shipped_experiment_is_a_base(folder):
    config = nnlab.experiment({"name": "mine", "base": "nnlab:grokking_mod31", "seed": 7})
    shipped = load(shipped_experiments()["grokking_mod31"])
    assert config.tree == {**shipped.tree, "name": "mine", "seed": 7}


def test_a_run_of_a_file_with_a_base_is_saved_whole(files):
    folder = files(short="name: short\nbase: tiny.yaml\nsweep: {axes: {model.width: [2, 3]}}\n")
    assert run_nnlab("validate", "short.yaml").stdout == "short.yaml: ok (2 trials, 2 programs)\n"
    run = folder / "run"
    assert run_nnlab("train", "short.yaml", "~sweep", "--out", run, "--quiet", "--no-plots").exit_code == 0
    saved = (run / "config.yaml").read_text()
    assert KEY not in parse(saved, "").tree
    (folder / "tiny.yaml").unlink()
    assert load(run / "config.yaml").text == saved
    assert json.loads((run / "summary.json").read_text())["status"] == "complete"


def test_every_mistake_is_shown_where_it_stands(files, marked):
    lower, lower_places = marked(
        "name: tiny\ndata: {type: xor, §exampels: 120}\nmodel: {type: mlp, width: 4, outputs: 2}\n"
        "§optimizer: sdg\ntrain: {steps: 20}\n"
    )
    upper, upper_places = marked(
        "name: upper\nbase: lower.yaml\nmodel: {§wdth: 5}\noptimizer: {§momentun: 0.9}\ntrain: {§steps: -1}\n"
    )
    folder = files(lower=lower, upper=upper)
    with pytest.raises(ConfigError) as caught:
        load(folder / "upper.yaml")
    places = [line.split(": ")[0] for line in caught.value.lines]
    in_lower = [f"{folder / 'lower.yaml'}:{place}" for place in lower_places]
    in_upper = [f"{folder / 'upper.yaml'}:{place}" for place in upper_places]
    # the unknown optimizer's keys are not known either, so of momentun nothing is said
    assert places == [*in_lower, in_upper[0], in_upper[2]]


def test_a_mistake_in_a_shipped_base_is_told_by_its_name(files, folder, monkeypatch):
    monkeypatch.setattr(base, "SHIPPED_FOLDER", folder)
    files(
        wrong=TINY.replace("seps", "").replace("steps: 20", "steps: x"), mine="base: nnlab:wrong\nname: a\n"
    )
    assert line_of(lambda: load(folder / "mine.yaml")).startswith("nnlab:wrong:5:9: train.steps: 'x' is not")


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("tiny.yml", "there is no file 'tiny.yml'; did you mean 'tiny.yaml'?"),
        ("sub/none.yaml", "there is no file 'sub/none.yaml'; a base lies beside this file or below"),
        (".", "there is no file '.'; a base lies beside this file or below"),
        ("../tiny.yaml", "'../tiny.yaml' lies outside of this file's folder; copy it there"),
        ("link/outside.yaml", "'link/outside.yaml' lies outside of this file's folder; copy it there"),
        ("loop", "there is no file 'loop'; a base lies beside this file or below"),
        ("pipe", "there is no file 'pipe'; a base lies beside this file or below"),
        ("/etc/hosts", "takes the name of a file beside this one or below, or nnlab:NAME"),
        ("3", "takes the name of a file beside this one or below, or nnlab:NAME"),
        ("[tiny.yaml]", "takes the name of a file beside this one or below, or nnlab:NAME"),
        ("''", "takes the name of a file beside this one or below, or nnlab:NAME"),
        ("'nnlab:'", "takes the name of a file beside this one or below, or nnlab:NAME"),
        ('"\\0"', "takes the name of a file beside this one or below, or nnlab:NAME"),
        (
            "nnlab:grokking_mod13",
            "there is no shipped experiment 'grokking_mod13'; did you mean 'grokking_mod31'? "
            "`nnlab new` lists them",
        ),
        ("nnlab:../grokking_mod31", "there is no shipped experiment '../grokking_mod31'"),
        ("upper.yaml", "leads back to upper.yaml, in a circle: upper.yaml -> upper.yaml"),
    ],
)  # fmt: skip
def test_a_base_that_cannot_be_costs_a_line(files, tmp_path_factory, written, message):
    folder = files(upper=f"name: a\nbase: {written}\n")
    outside = tmp_path_factory.mktemp("outside")
    (outside / "outside.yaml").write_text(TINY)
    (folder / "link").symlink_to(outside)
    (folder / "loop").symlink_to("loop")
    os.mkfifo(folder / "pipe")
    before = set(folder.iterdir())
    result = run_nnlab("train", "upper.yaml")
    (line,) = result.stderr.splitlines()
    assert result.exit_code == 2
    assert line.startswith(f"upper.yaml:2:1: base: {message}")
    assert set(folder.iterdir()) == before


def test_a_circle_of_several_files_is_told(files):
    folder = files(one="base: two.yaml\n", two="base: three.yaml\n", three="seed: 1\nbase: two.yaml\n")
    place, circle = (
        folder / "three.yaml",
        " -> ".join(str(folder / f"{n}.yaml") for n in ("two", "three", "two")),
    )
    line = line_of(lambda: load(folder / "one.yaml"))
    assert line == f"{place}:2:1: base: leads back to {folder / 'two.yaml'}, in a circle: {circle}"


def test_a_damaged_base_is_told_by_its_place(files):
    folder = files(lower="name: [", upper="base: lower.yaml\n")
    assert line_of(lambda: load(folder / "upper.yaml")).startswith(f"{folder / 'lower.yaml'}:1:8: not YAML")


def test_a_base_stands_in_files_alone(files, finished):
    alone = "base: stands in an experiment file alone: not in overrides, not in the complete config of a run"
    folder = files()
    assert line_of(lambda: load(folder / "tiny.yaml", ["base=tiny.yaml"])).endswith(alone)
    run = folder / "run"
    run.mkdir()
    (run / "config.yaml").write_text("base: nnlab:grokking_mod31\n" + (finished / "config.yaml").read_text())
    (run / "summary.json").write_text((finished / "summary.json").read_text())
    with pytest.raises(UsageError, match=alone):
        open_run(run)
    sweep = "sweep: {axes: {base: [tiny.yaml]}}\n"
    files(axis=TINY + sweep)
    assert "'base' cannot be an axis" in line_of(lambda: load(folder / "axis.yaml"))


def test_a_misspelt_base_is_offered(files):
    folder = files(upper=TINY + "bse: tiny.yaml\n")
    assert "bse: unknown; did you mean 'base'?" in line_of(lambda: load(folder / "upper.yaml"))
