"""The definition of a sweep: which trials a file or a command line means, and what is said of a wrong one."""

import io
import math
import re
import subprocess
import sys

import numpy as np
import pandas
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nnlab.config import check_tree, load
from nnlab.config.document import Document, parse
from nnlab.errors import ConfigError, NnlabError
from nnlab.sweeps.trials import trials_of

BASE = """\
name: swept
seed: 3
data: {type: xor, examples: 120, batch_size: 8}
model: {type: mlp, width: 4, depth: 1, outputs: 2}
optimizer: {type: sgd, momentum: 0.5, learning_rate: 0.1}
train: {steps: 4}
"""


def config_of(sweep, *more):
    return check_tree(parse("\n".join([BASE, f"sweep: {{{sweep}}}", *more, ""]), "f.yaml"))


def trials(sweep, *more):
    return trials_of(config_of(sweep, *more))


def values(sweep, path):
    """The values that a trial's own config has along a path, in the order of the trials."""
    found = []
    for trial in trials(sweep):
        node = trial.config.tree
        for word in path.split("."):
            node = node[word]
        found.append(node)
    return found


def of_command(folder, *overrides, text=BASE):
    """The trials of `nnlab sweep f.yaml OVERRIDE...`."""
    (folder / "f.yaml").write_text(text)
    return trials_of(load(folder / "f.yaml", overrides, axes=True))


# --- grids, zip, seeds -----------------------------------------------------------------------------------


def test_a_grid_is_the_product_of_its_axes_and_seeds_vary_fastest():
    found = trials("axes: {model.width: [6, 10], optimizer.learning_rate: [0.1, 0.2, 0.3]}, seeds: 2")
    points = [(w, r, s) for w in (6, 10) for r in (0.1, 0.2, 0.3) for s in (3, 4)]
    assert [(*trial.axes.values(), trial.seed) for trial in found] == points
    assert list(found[0].axes) == ["model.width", "optimizer.learning_rate"]
    for trial, (width, rate, seed) in zip(found, points, strict=True):
        tree = trial.config.tree
        assert (tree["model"]["width"], tree["optimizer"]["learning_rate"], tree["seed"]) == (
            width,
            rate,
            seed,
        )


def test_what_does_not_vary_is_the_experiments_own():
    base = check_tree(parse(BASE, "f.yaml")).tree
    (trial,) = trials("axes: {model.width: [9]}")
    assert trial.config.tree == base | {"model": base["model"] | {"width": 9}}


def test_zipped_axes_move_together_beside_the_grid():
    found = trials(
        "axes: {model.depth: [1, 2]}, zip: {model.width: [6, 10], optimizer.learning_rate: [0.1, 0.2]}"
    )
    assert [tuple(trial.axes.values()) for trial in found] == [
        (1, 6, 0.1),
        (1, 10, 0.2),
        (2, 6, 0.1),
        (2, 10, 0.2),
    ]


def test_a_sweep_of_seeds_alone():
    assert [trial.seed for trial in trials("seeds: 4")] == [3, 4, 5, 6]
    assert [trial.axes for trial in trials("seeds: 2")] == [{}, {}]


def test_a_list_of_seeds_is_taken_as_it_is():
    assert [trial.seed for trial in trials("seeds: [7, 1, 4294967295]")] == [7, 1, 4294967295]


def test_one_axis_moves_several_paths():
    found = trials('axes: {"model.width, model.depth": [1, 2], optimizer.momentum: [0.1]}')
    assert [(t.config.tree["model"]["width"], t.config.tree["model"]["depth"]) for t in found] == [
        (1, 1),
        (2, 2),
    ]
    assert list(found[0].axes) == ["model.width, model.depth", "optimizer.momentum"]


def test_an_axis_may_hold_whole_components_and_null():
    found = trials("axes: {optimizer: [adam, {type: sgd, momentum: 0.9}], data.split: [null, {train: 0.5}]}")
    assert [t.config.tree["optimizer"]["type"] for t in found] == ["adam", "adam", "sgd", "sgd"]
    assert [t.config.tree["data"]["split"] is None for t in found] == [True, False, True, False]


@pytest.mark.parametrize("order", [1, -1])
def test_a_component_and_a_key_of_it_vary_together_whichever_stands_first(order):
    """A bare name becomes a mapping; a key that the component was written without is set."""
    axes = ["optimizer: [sgd, {type: adam, b1: 0.8}]", "optimizer.learning_rate: [0.2, 0.4]"][::order]
    found = [t.config.tree["optimizer"] for t in trials(f"axes: {{{', '.join(axes)}}}")]
    expected = {(kind, rate) for kind in ("sgd", "adam") for rate in (0.2, 0.4)}
    assert {(one["type"], one["learning_rate"]) for one in found} == expected
    assert {one["b1"] for one in found if one["type"] == "adam"} == {0.8}


def test_an_axis_goes_into_a_list_by_index():
    text = BASE.replace(
        "{type: mlp, width: 4, depth: 1, outputs: 2}",
        "[{type: dense, units: 5}, tanh, {type: dense, units: 2}]",
    )
    found = trials_of(check_tree(parse(text + "sweep: {axes: {model.0.units: [3, 7]}}\n", "f.yaml")))
    assert [[layer["units"] for layer in t.config.tree["model"] if layer != "tanh"] for t in found] == [
        [3, 2],
        [7, 2],
    ]


# --- spaced values ---------------------------------------------------------------------------------------

RATE = "optimizer.learning_rate"


@pytest.mark.parametrize(
    ("spaced", "expected"),
    [
        ("{range: [0.1, 0.5, 0.1]}", np.arange(0.1, 0.45, 0.1)),
        ("{range: [0.5, 0.0, -0.1]}", [0.5, 0.4, 0.3, 0.2, 0.1]),
        ("{range: [1, 4]}", [1.0, 2.0, 3.0]),
        ("{linspace: [0.0, 1.0, 7]}", np.linspace(0.0, 1.0, 7)),
        ("{linspace: [1, 0, 4]}", np.linspace(1, 0, 4)),
        ("{linspace: [0.25, 1.0, 1]}", np.linspace(0.25, 1.0, 1)),
        ("{geomspace: [1.0e-4, 1.0, 9]}", np.geomspace(1e-4, 1, 9)),
        ("{geomspace: [1, 1.0e-3, 4]}", np.geomspace(1, 1e-3, 4)),
        ("{geomspace: [0.3, 0.7, 1]}", np.geomspace(0.3, 0.7, 1)),
        ("{logspace: [-3, 0, 10]}", np.logspace(-3, 0, 10)),
        ("{logspace: [0, -2, 3]}", np.logspace(0, -2, 3)),
    ],
)
def test_spaced_values_are_numpys(spaced, expected):
    found = values(f"axes: {{{RATE}: {spaced}}}", RATE)
    assert all(isinstance(value, float) for value in found)
    np.testing.assert_allclose(found, expected, rtol=1e-13)


def test_the_ends_of_spaced_values_are_exact():
    for first, last in ((0.1, 0.7), (3e-5, 0.3), (0.7, 0.1)):
        for spacing in ("linspace", "geomspace"):
            found = values(f"axes: {{{RATE}: {{{spacing}: [{first}, {last}, 13]}}}}", RATE)
            assert (found[0], found[-1]) == (first, last), spacing


@pytest.mark.parametrize(
    ("spaced", "expected"),
    [
        ("{geomspace: [2, 300, 20]}", np.geomspace(2, 300, 20)),
        ("{linspace: [1, 20, 8]}", np.linspace(1, 20, 8)),
        ("{logspace: [0, 2, 12]}", np.logspace(0, 2, 12)),
        ("{range: [2, 11, 3]}", np.arange(2, 11, 3)),
        ("{geomspace: [1, 3, 20]}", np.geomspace(1, 3, 20)),
    ],
)
def test_spaced_values_are_whole_where_the_experiments_own_is(spaced, expected):
    found = values(f"axes: {{model.width: {spaced}}}", "model.width")
    assert all(type(value) is int for value in found)
    assert found == np.unique(np.round(expected).astype(int)).tolist()


def test_spaced_values_of_several_paths_are_whole_only_where_all_are():
    both = trials('axes: {"model.width, model.depth": {linspace: [1, 2, 5]}}')
    assert [value for trial in both for value in trial.axes.values()] == [1, 2]
    mixed = trials('axes: {"optimizer.momentum, optimizer.learning_rate": {linspace: [0, 0.5, 3]}}')
    assert [value for trial in mixed for value in trial.axes.values()] == [0.0, 0.25, 0.5]


def test_a_rate_that_is_written_as_a_whole_number_is_not_rounded():
    text = BASE.replace("learning_rate: 0.1", "learning_rate: 1")
    config = check_tree(parse(f"{text}sweep: {{axes: {{{RATE}: {{geomspace: [0.01, 1, 3]}}}}}}\n", "f.yaml"))
    np.testing.assert_allclose([t.axes[RATE] for t in trials_of(config)], [0.01, 0.1, 1.0], rtol=1e-12)


def test_zipped_spaced_values_that_are_rounded_do_not_lose_their_partners():
    """[2, 10, 20] rounds to 9 whole numbers: either 20 pairs, or a line that says why not."""
    sweep = "zip: {model.width: {geomspace: [2, 10, 20]}, optimizer.learning_rate: {linspace: [0.1, 1, 20]}}"
    try:
        found = trials(sweep)
    except ConfigError as error:
        (line,) = error.lines
        assert line.startswith("f.yaml:8:")
    else:
        assert len(found) == 20


# --- random ----------------------------------------------------------------------------------------------


def draws(distribution, count, path="optimizer.learning_rate", beside=""):
    found = trials(f"random: {{draws: {count}, axes: {{{path}: {distribution}{beside}}}}}")
    return [trial.axes[path] for trial in found]


def test_draws_are_the_same_whatever_their_number_and_whatever_is_beside():
    many = draws("{uniform: [0.1, 0.9]}", 30)
    assert draws("{uniform: [0.1, 0.9]}", 7) == many[:7]
    assert draws("{uniform: [0.1, 0.9]}", 30, beside=", optimizer.momentum: {uniform: [0, 0.5]}") == many


def test_draws_of_two_axes_and_two_seeds_differ():
    found = trials(f"random: {{draws: 20, axes: {{{RATE}: {{uniform: [0, 0.9]}}, "
                   "optimizer.momentum: {uniform: [0, 0.9]}}}")  # fmt: skip
    rates, momenta = ([t.axes[p] for t in found] for p in (RATE, "optimizer.momentum"))
    assert not set(rates) & set(momenta)
    assert abs(np.corrcoef(rates, momenta)[0, 1]) < 0.7
    text = BASE.replace("seed: 3", "seed: 4") + f"sweep: {{random: {{draws: 20, axes: {{{RATE}: "
    other = trials_of(check_tree(parse(text + "{uniform: [0, 0.9]}}}}\n", "f.yaml")))
    assert not {t.axes[RATE] for t in other} & set(rates)


def test_every_seed_gets_every_draw():
    found = trials(f"random: {{draws: 5, axes: {{{RATE}: {{uniform: [0, 1]}}}}}}, seeds: 3")
    assert [trial.seed for trial in found] == [3, 4, 5] * 5
    assert len({trial.axes[RATE] for trial in found}) == 5


def test_uniform_draws_are_uniform():
    found = np.array(draws("{uniform: [0.2, 0.6]}", 400))
    assert found.min() >= 0.2
    assert found.max() <= 0.6
    counts, _ = np.histogram(found, bins=4, range=(0.2, 0.6))
    assert counts.min() > 65  # 100 expected, standard deviation 8.7
    assert counts.max() < 135


def test_log_uniform_draws_are_uniform_in_the_logarithm():
    found = np.array(draws("{log_uniform: [1.0e-4, 1]}", 400))
    assert found.min() >= 1e-4
    assert found.max() <= 1
    counts, _ = np.histogram(np.log10(found), bins=4, range=(-4, 0))
    assert counts.min() > 65
    assert counts.max() < 135


def test_integers_take_both_ends():
    found = trials("random: {draws: 300, axes: {model.width: {integers: [5, 7]}}}, seeds: 1")
    assert {trial.axes["model.width"] for trial in found} == {5, 6, 7}
    assert all(type(trial.axes["model.width"]) is int for trial in found)
    assert [trial.axes["model.width"] for trial in trials("random: {draws: 1, axes: "
            "{model.width: {integers: [5, 5]}}}")] == [5]  # fmt: skip


def test_integers_are_even_handed():
    from nnlab.config.sweep_keys import draw_axis_value

    found = np.array([draw_axis_value({"integers": [5, 7]}, 3, "model.width", i) for i in range(600)])
    counts = [int((found == value).sum()) for value in (5, 6, 7)]
    assert min(counts) > 150  # 200 expected, standard deviation 11.5


def test_choice_draws_each_of_its_values_about_as_often():
    from nnlab.config.sweep_keys import draw_axis_value

    kinds = ["relu", None, {"type": "leaky_relu", "negative_slope": 0.3}]
    found = [draw_axis_value({"choice": kinds}, 3, "model.activation", i) for i in range(600)]
    assert all(value in kinds for value in found)
    assert min(found.count(kind) for kind in kinds) > 150
    names = draws("{choice: [relu, tanh]}", 20, "model.activation")
    assert set(names) == {"relu", "tanh"}


# --- from the command line -------------------------------------------------------------------------------


SAME = {
    "a list": ("model.width=6,10", "axes: {model.width: [6, 10]}"),
    "floats": ("optimizer.learning_rate=1e-3,0.1", "axes: {optimizer.learning_rate: [1.0e-3, 0.1]}"),
    "words": ("optimizer=sgd,adam", "axes: {optimizer: [sgd, adam]}"),
    "mappings": (
        "optimizer={type: sgd, momentum: 0.1},adam",
        "axes: {optimizer: [{type: sgd, momentum: 0.1}, adam]}",
    ),
    "null": ("data.limit=null,50", "axes: {data.limit: [null, 50]}"),
    "range": ("model.width=range(2,5)", "axes: {model.width: [2, 3, 4]}"),
    "range by steps": ("model.width=range(2,9,3)", "axes: {model.width: [2, 5, 8]}"),
    "linspace": ("optimizer.momentum=linspace(0,0.5,3)", "axes: {optimizer.momentum: [0.0, 0.25, 0.5]}"),
    "geomspace": ("model.width=geomspace(2,300,5)", "axes: {model.width: {geomspace: [2, 300, 5]}}"),
    "logspace": (
        "optimizer.learning_rate=logspace(-3,-1,3)",
        "axes: {optimizer.learning_rate: {logspace: [-3, -1, 3]}}",
    ),
    "spaces": (" model.width= range( 2, 5 ) ".strip(), "axes: {model.width: [2, 3, 4]}"),
    "seeds": ("sweep.seeds=3", "seeds: 3"),
    "a list of seeds": ("sweep.seeds=[5,1]", "seeds: [5, 1]"),
    "an axis in full": ("sweep={axes: {model.width: [6, 10]}}", "axes: {model.width: [6, 10]}"),
    "several paths": ("model.width, model.depth=1,2", 'axes: {"model.width, model.depth": [1, 2]}'),
}


@pytest.mark.parametrize(("override", "sweep"), SAME.values(), ids=SAME)
def test_the_command_line_says_what_the_file_says(override, sweep, tmp_path):
    found, expected = of_command(tmp_path, override), trials(sweep)
    assert [(dict(t.axes), t.id) for t in found] == [(dict(t.axes), t.id) for t in expected]


def test_two_axes_and_seeds_from_the_command_line(tmp_path):
    found = of_command(tmp_path, "model.width=6,10", "optimizer.momentum=0,0.5", "sweep.seeds=3", "seed=9")
    assert [(*trial.axes.values(), trial.seed) for trial in found] == [
        (w, m, s) for w in (6, 10) for m in (0, 0.5) for s in (9, 10, 11)
    ]


def test_an_axis_of_the_command_line_takes_the_place_of_the_files(tmp_path):
    text = BASE + "sweep: {axes: {model.width: [6, 10], model.depth: [1, 2]}}\n"
    found = of_command(tmp_path, "model.width=7,8", text=text)
    assert [tuple(trial.axes.values()) for trial in found] == [(7, 1), (7, 2), (8, 1), (8, 2)]


SINGLE = {
    "a list": ("data.class_weights=[1,2]", None),
    "a flow list": ("model=[{type: dense, units: 5}, {type: dense, units: 2}]", "model"),
    "a mapping": ("data.split={train: 0.5, validation: 0.5}", "data"),
    "a string in quotes": ("name='a,b'", None),
}


@pytest.mark.parametrize("override", [words for words, _ in SINGLE.values()], ids=SINGLE)
def test_commas_inside_brackets_and_quotes_make_no_axis(override, folder, nnlab):
    """So a sweep of that alone has nothing to vary, or the value is refused as what it is."""
    from nnlab.config.overrides import with_axes

    (folder / "f.yaml").write_text(BASE)
    document, left = with_axes(parse(BASE, "f.yaml"), [override])
    assert left == [override]
    assert "sweep" not in document.tree
    assert nnlab("sweep", "f.yaml", override, "--dry-run").exit_code == 2


def test_a_list_among_others_is_one_value(tmp_path):
    text = BASE.replace("{type: xor, examples: 120,", "{type: gaussian, features: 4, classes: 2,")
    found = of_command(tmp_path, "data.features=[1,2],[3,4],5", text=text)
    assert [trial.axes["data.features"] for trial in found] == [[1, 2], [3, 4], 5]


# --- identity --------------------------------------------------------------------------------------------


def ids(text):
    return [trial.id for trial in trials_of(check_tree(parse(text, "f.yaml")))]


def test_a_trial_is_known_by_its_resolved_config():
    spelled = """\
sweep: {seeds: [4, 3], axes: {model.width: [10, 6]}}
train: {steps: 4}
optimizer: {learning_rate: 1.0e-1, type: sgd, momentum: 0.5}
model: {outputs: 2, depth: 1, width: 99, type: mlp, activation: relu}
loss: cross_entropy
data: {batch_size: 8, type: xor, examples: 120}
seed: 3
name: swept
"""
    plain = ids(BASE + "sweep: {axes: {model.width: {range: [6, 11, 4]}}, seeds: 2}\n")
    assert len(plain) == 4
    assert sorted(ids(spelled)) == sorted(plain)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("learning_rate: 0.1", "learning_rate: 0.2"),
        ("name: swept", "name: other"),
        ("seed: 3", "seed: 30"),
        ("examples: 120", "examples: 121"),
        ("steps: 4", "steps: 5"),
    ],
)
def test_another_experiment_has_other_trials(old, new):
    sweep = "sweep: {axes: {model.width: [6, 10]}, seeds: 2}\n"
    assert not set(ids(BASE + sweep)) & set(ids(BASE.replace(old, new) + sweep))


def test_what_is_seen_and_expected_across_the_sweep_is_not_the_trials():
    sweep = "sweep: {axes: {model.width: [6, 8, 10]}}\n"
    across = "phenomena: [{type: double_descent, capacity: model.width}]\n"
    expected = "expect: {double_descent.verdict: {equals: none}, final.train_loss: {max: 9}}\n"
    assert ids(BASE + sweep + across + expected) == ids(BASE + sweep)
    assert ids(BASE + sweep + "phenomena: [gradient_flow]\n") != ids(BASE + sweep)
    (trial, *_) = trials("axes: {model.width: [6, 8, 10]}", across, expected)
    assert (trial.config.tree["phenomena"], trial.config.tree["expect"], trial.config.tree["sweep"]) == (
        [],
        {},
        None,
    )


def test_the_same_trial_twice_is_run_once():
    found = trials("axes: {model.width: [6, 10, 6], optimizer.learning_rate: [1, 1.0, 0.5]}")
    assert [tuple(trial.axes.values()) for trial in found] == [(6, 1), (6, 0.5), (10, 1), (10, 0.5)]


def test_the_complete_config_of_a_sweep_has_the_same_trials():
    config = config_of("axes: {model.width: [6, 8], model.depth: {range: [1, 3]}}, seeds: 2")
    again = check_tree(parse(config.text, "sweep.yaml"))
    assert again.text == config.text
    assert [t.id for t in trials_of(again)] == [t.id for t in trials_of(config)]


def test_ids_are_words_in_a_table_and_names_of_folders():
    """Of 400 hashes some are all digits, or look like 1e5."""
    found = trials("axes: {optimizer.learning_rate: {linspace: [0.1, 0.9, 400]}}")
    assert len({trial.id for trial in found}) == 400
    assert all(re.fullmatch(r"[a-z][a-z0-9]{7,19}", trial.id) for trial in found)
    table = pandas.read_csv(io.StringIO("\n".join(["trial", *(trial.id for trial in found)])))
    assert table["trial"].tolist() == [trial.id for trial in found]


# --- mistakes --------------------------------------------------------------------------------------------

DD = "phenomena: [{type: double_descent, capacity: model.width}]"

# lines after BASE, § where the problem is -> what the line says of it
WRONG = {
    "unknown path": ("sweep: {axes: {§model.widht: [6, 10]}}", "did you mean 'width'?"),
    "unknown first word": ("sweep: {axes: {§modle.width: [6, 10]}}", "did you mean 'model'?"),
    "unknown path in zip": ("sweep: {zip: {§model.widht: [6, 10]}}", "did you mean 'width'?"),
    "unknown path in random": (
        "sweep: {random: {draws: 2, axes: {§model.widht: {choice: [6]}}}}",
        "did you mean 'width'?",
    ),
    "below a plain value": ("sweep: {axes: {§train.steps.more: [6, 10]}}", "has no 'train.steps.more'"),
    "misspelt spacing": ("sweep: {axes: {§model.width: {geomspce: [2, 9, 3]}}}", "did you mean 'geomspace'?"),
    "two spacings": ("sweep: {axes: {§model.width: {range: [1, 2], linspace: [1, 2, 2]}}}", "one of range"),
    "a plain value": ("sweep: {axes: {§model.width: 6}}", "takes a list of values"),
    "empty list": ("sweep: {axes: {§model.width: []}}", "at least one value"),
    "empty range": ("sweep: {axes: {§model.width: {range: [5, 2]}}}", "range is empty"),
    "range without end": ("sweep: {axes: {§model.width: {range: [1, 5, 0]}}}", "range is empty"),
    "range too long": ("sweep: {axes: {§model.width: {range: [0, 1000000000000]}}}", "at most 100,000"),
    "linspace of two": ("sweep: {axes: {§model.width: {linspace: [2, 9]}}}", "takes [first, last, count]"),
    "half a count": ("sweep: {axes: {§model.width: {linspace: [2, 9, 2.5]}}}", "count is a whole number"),
    "no count": ("sweep: {axes: {§model.width: {linspace: [2, 9, 0]}}}", "count is a whole number"),
    "geomspace across 0": ("sweep: {axes: {§model.width: {geomspace: [-1, 9, 3]}}}", "two numbers of one"),
    "logspace too far": (
        "sweep: {axes: {§model.width: {logspace: [0, 999, 3]}}}",
        "goes beyond what a number can hold",
    ),
    "words to space": ("sweep: {axes: {§model.width: {linspace: [a, b, 3]}}}", "takes [first, last, count]"),
    "infinity to space": ("sweep: {axes: {§model.width: {linspace: [1, .inf, 3]}}}", "takes [first, last"),
    "zip of unequal lengths": (
        "sweep: {§zip: {model.width: [6, 10], model.depth: [1, 2, 3]}}",
        "model.width 2 and model.depth 3",
    ),
    "misspelt distribution": (
        "sweep: {random: {draws: 2, axes: {§model.width: {integer: [1, 2]}}}}",
        "did you mean 'integers'?",
    ),
    "bounds the wrong way round": (
        "sweep: {random: {draws: 2, axes: {§model.width: {integers: [5, 2]}}}}",
        "integers takes [low, high]",
    ),
    "log_uniform from 0": (
        "sweep: {random: {draws: 2, axes: {§optimizer.learning_rate: {log_uniform: [0, 1]}}}}",
        "above 0",
    ),
    "integers of fractions": (
        "sweep: {random: {draws: 2, axes: {§model.width: {integers: [1.5, 2.5]}}}}",
        "whole numbers",
    ),
    "nothing to choose from": (
        "sweep: {random: {draws: 2, axes: {§model.width: {choice: []}}}}",
        "at least one value",
    ),
    "no draws": ("sweep: {random: {§draws: 0, axes: {model.width: {choice: [5]}}}}", "0 is not allowed"),
    "no seeds": ("sweep: {§seeds: 0}", "0 is not allowed"),
    "an empty list of seeds": ("sweep: {§seeds: []}", "at least one"),
    "a seed twice": ("sweep: {§seeds: [1, 1]}", "each once"),
    "a seed below 0": ("sweep: {§seeds: [-1]}", "[-1] is not allowed"),
    "seeds above the largest": ("seed: 4294967295\nsweep: {§seeds: 3}", "4294967295"),
    "unknown key": ("sweep: {§axis: {model.width: [6, 10]}}", "did you mean 'axes'?"),
    "axis on seed": ("sweep: {axes: {§seed: [1, 2]}}", "give sweep.seeds"),
    "axis on name": ("sweep: {axes: {§name: [a, b]}}", "cannot be an axis"),
    "axis on the sweep": ("sweep: {axes: {§sweep.seeds: [1, 2]}}", "cannot be an axis"),
    "varied twice": (
        'sweep: {axes: {model.width: [6, 10]}, zip: {§"model.depth, model.width": [1, 2]}}',
        "varied twice",
    ),
    "value that the schema refuses": (
        "sweep: {axes: {model.depth: [1], §model.width: [6, 0]}, seeds: 2}\ntrain: {steps: 3}",
        "at model.depth=1, model.width=0: model.width: 0 is not allowed",
    ),
    "double_descent along no axis": (
        "sweep: {axes: {model.width: [6, 8]}}\nphenomena: [§{type: double_descent, capacity: model.widht}]",
        "did you mean 'model.width'?",
    ),
    "double_descent beside another axis": (
        "sweep: {axes: {model.width: [6, 8, 10], model.depth: [1, 2]}}\nphenomena: [§{type: double_descent, "
        "capacity: model.width}]",
        "'model.depth' varies too",
    ),
    "double_descent of epochs beside an axis": (
        "sweep: {axes: {model.depth: [1, 2]}}\nphenomena: [§{type: double_descent, capacity: epochs}]",
        "'model.depth' varies too",
    ),
    "double_descent without a sweep": (
        "phenomena: [§{type: double_descent, capacity: model.width}]",
        "add a 'sweep:' block",
    ),
    "an expectation that the detector does not have": (
        f"sweep: {{axes: {{model.width: [6, 8, 10]}}}}\n{DD}\nexpect: {{§double_descent.rize: {{min: 1}}}}",
        "did you mean 'rise'?",
    ),
    "no sweep": ("loss: cross_entropy", "nothing to vary"),
}


def contents(folder):
    return {path.relative_to(folder): path.stat().st_mtime_ns for path in folder.rglob("*")}


def refused(nnlab, folder, *arguments):
    """Run, and see that it is refused in lines and that nothing is written; the lines."""
    before = contents(folder)
    result = nnlab(*arguments)
    assert result.exit_code == 2, result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert contents(folder) == before
    lines = result.stderr.splitlines()
    assert all(line.isprintable() for line in lines)
    return lines


def text_with(lines):
    """BASE with keys replaced or added."""
    keys = {line.partition(":")[0]: line for line in BASE.splitlines()}
    return "\n".join((keys | {line.partition(":")[0]: line for line in lines.split("\n")}).values()) + "\n"


@pytest.mark.parametrize(("lines", "says"), WRONG.values(), ids=WRONG)
def test_a_mistake_is_one_line_at_its_place(lines, says, folder, nnlab, marked):
    text, places = marked(text_with(lines))
    (folder / "f.yaml").write_text(text)
    (line,) = refused(nnlab, folder, "sweep", "f.yaml")
    assert says in line
    assert line.startswith(f"f.yaml:{places[0]}: " if places else "f.yaml:")


@pytest.mark.parametrize("kind", ["refused", "unknown"])
def test_each_wrong_point_is_a_line_and_is_said_once(kind, folder, nnlab):
    axes = "model.width: [6, 0, -1]" if kind == "refused" else "model.widht: [1], modle: [2]"
    (folder / "f.yaml").write_text(f"{BASE}sweep: {{axes: {{{axes}}}, seeds: 5}}\n")
    lines = refused(nnlab, folder, "sweep", "f.yaml")
    assert len(lines) == len(set(lines))
    if kind == "refused":
        assert sorted(line.partition(": at ")[2].partition(":")[0] for line in lines) == [
            "model.width=-1",
            "model.width=0",
        ]


def test_what_does_not_fit_the_data_is_found_before_anything_runs(folder, nnlab):
    (folder / "f.yaml").write_text(f"{BASE}sweep: {{axes: {{model.outputs: [2, 3]}}}}\n")
    (line,) = refused(nnlab, folder, "sweep", "f.yaml")
    assert "f.yaml:" in line
    assert "needs [2]" in line


WRONG_WORDS = {
    "unknown path": ("model.widht=6,10", "did you mean 'width'?"),
    "empty range": ("model.width=range(5,2)", "range is empty"),
    "no numbers": ("model.width=linspace(a,b,3)", "takes [first, last, count]"),
    "too few": ("model.width=geomspace(2,9)", "takes [first, last, count]"),
    "no YAML": ("model.width=[1,2", "not YAML"),
    "axis on seed": ("seed=1,2", "give sweep.seeds"),
    "a list for seeds": ("sweep.seeds=1,2", "sweep.seeds"),
}


@pytest.mark.parametrize(("override", "says"), WRONG_WORDS.values(), ids=WRONG_WORDS)
def test_a_mistake_of_the_command_line_names_the_override(override, says, folder, nnlab):
    (folder / "f.yaml").write_text(BASE)
    (line,) = refused(nnlab, folder, "sweep", "f.yaml", override)
    assert line.startswith(f"override '{override}'")
    assert says in line


def test_train_does_not_take_a_sweep(folder, nnlab):
    (folder / "f.yaml").write_text(BASE + "sweep: {axes: {model.width: [6, 10]}}\n")
    (line,) = refused(nnlab, folder, "train", "f.yaml")
    assert line.startswith("f.yaml:7:1: sweep: ")
    assert "`nnlab sweep f.yaml`" in line


def test_the_message_of_a_file_without_a_sweep_says_what_to_do(folder, nnlab):
    (folder / "f.yaml").write_text(BASE)
    (line,) = refused(nnlab, folder, "sweep", "f.yaml", "model.width=6")
    assert line.startswith("f.yaml")
    assert "a.b=v1,v2" in line


def test_validate_counts_trials_and_programs(folder, nnlab):
    (folder / "f.yaml").write_text(BASE + "sweep: {axes: {model.width: [6, 10]}, seeds: 3}\n")
    assert "6 trials, 2 programs" in nnlab("validate", "f.yaml").stdout


# --- what once broke, or might ---------------------------------------------------------------------------

HARD = {
    "a component replaced, then gone into": "axes: {optimizer: [sgd, adam], optimizer.momentum: [0.1]}",
    "a mapping without the key": "axes: {optimizer: [{type: sgd}], optimizer.momentum: [0.1]}",
    "a split taken away, then gone into": "axes: {data: [xor], data.batch_size: [4]}",
    "rounded zip": "zip: {model.width: {geomspace: [2, 9, 20]}, model.depth: {geomspace: [1, 300, 20]}}",
    "integers beyond 64 bits": "random: {draws: 1, axes: {model.width: {integers: [1, %s]}}}" % ("9" * 20),
    "uniform over all floats": "random: {draws: 1, axes: {data.noise: {uniform: [-1.0e+308, 1.0e+308]}}}",
    "geomspace over all floats": "axes: {model.width: {geomspace: [1.0e-300, 1.0e+300, 3]}}",
    "linspace over all floats": "axes: {model.width: {linspace: [-1.0e+308, 1.0e+308, 3]}}",
    "a number of 400 digits": f"axes: {{optimizer.learning_rate: {{linspace: [1, 1{'0' * 399}, 3]}}}}",
    "draws from no axes": "random: {draws: 3, axes: {}}",
    "an empty path": "axes: {'': [1]}",
    "a mapping with a number for key": "axes: {model.width: {1: [2]}}",
}


@pytest.mark.parametrize("sweep", HARD.values(), ids=HARD)
def test_hard_definitions_are_trials_or_lines(sweep):
    try:
        found, lines = trials(sweep), []
    except NnlabError as error:
        found, lines = [], str(error).splitlines()
    assert bool(found) != bool(lines)
    assert all(line.startswith("f.yaml:") for line in lines)


@pytest.mark.parametrize("spacing", ["linspace: [0.1, 1.0e+308, 3]", "geomspace: [1.0e-200, 1.0e-180, 3]"])
def test_spaced_values_reach_as_far_as_floats(spacing):
    found = values(f"axes: {{optimizer.learning_rate: {{{spacing}}}}}", RATE)
    assert len(found) == 3
    assert all(math.isfinite(value) and value > 0 for value in found)


def test_a_product_without_end_is_refused_at_once(folder):
    axes = "model.width: {range: [1, 100000]}, data.examples: {range: [100, 100000]}"
    (folder / "f.yaml").write_text(f"{BASE}sweep: {{axes: {{{axes}}}, seeds: 1000}}\n")
    command = [sys.executable, "-m", "nnlab", "sweep", "f.yaml", "--dry-run"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("f.yaml:7:")


NUMBERS = st.one_of(st.integers(-2, 40), st.floats(), st.sampled_from([0, 1, 0.1, 1e308, -1e308, 10**400]))
PLAIN = st.one_of(NUMBERS, st.sampled_from([None, True, "sgd", "adam", "relu", "", "a,b", "xor"]))
WORDS = """
model.width model.depth optimizer optimizer.learning_rate optimizer.momentum data.limit data data.split
data.split.train train train.steps model record.log_spaced model.activation solver phenomena
seed expect nope.x model.
"""
USUAL = st.sampled_from(["model.width", "model.depth", "optimizer.learning_rate", "data.limit", "optimizer"])
PATHS = st.one_of(USUAL, USUAL, st.sampled_from([*WORDS.split(), "model.width, model.depth", ""]))
TREES = st.recursive(
    PLAIN,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["type", "steps", "width", "train"]), inner, max_size=2)
    ),
    max_leaves=4,
)
FEW = st.integers(1, 6)
SPACED = st.one_of(
    st.lists(FEW, min_size=1, max_size=3),
    st.lists(PLAIN, min_size=1, max_size=3),
    st.lists(TREES, max_size=3),
    st.builds(
        lambda name, first, last, count: {name: [first, last, count]},
        st.sampled_from(["linspace", "geomspace", "logspace"]),
        NUMBERS,
        NUMBERS,
        FEW,
    ),
    st.builds(lambda first, gap: {"range": [first, first + gap]}, st.integers(-5, 40), FEW),
    st.dictionaries(st.sampled_from(["linspace", "geomspace", "linspce"]), TREES, max_size=2),
)
DISTRIBUTIONS = st.one_of(
    st.builds(
        lambda name, low, high: {name: [low, high]},
        st.sampled_from(["uniform", "log_uniform", "integers", "choice"]),
        NUMBERS,
        NUMBERS,
    ),
    st.dictionaries(st.sampled_from(["uniform", "choice", "normal"]), TREES, max_size=2),
)
GRIDS = st.dictionaries(PATHS, SPACED, min_size=1, max_size=2)
RANDOM = st.fixed_dictionaries(
    {"draws": FEW, "axes": st.dictionaries(PATHS, DISTRIBUTIONS, min_size=1, max_size=2)}
)
SEEDS = st.one_of(FEW, st.lists(st.integers(-1, 2**33), max_size=2))
SWEEPS = st.one_of(
    *(st.fixed_dictionaries({key: of}) for key, of in (("axes", GRIDS), ("zip", GRIDS), ("random", RANDOM))),
    st.fixed_dictionaries({}, optional={"axes": GRIDS, "zip": GRIDS, "random": RANDOM, "seeds": SEEDS}),
    st.dictionaries(st.sampled_from(["axes", "zip", "random", "seeds", "method", "axis"]), TREES, max_size=2),
    TREES,
)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(SWEEPS)
def test_whatever_stands_in_the_sweep_block_is_trials_or_lines(block):
    tree = parse(BASE, "f.yaml").tree | {"sweep": block}
    try:
        found, problems = trials_of(check_tree(Document(tree, {}, {}, "f.yaml"))), ""
    except NnlabError as error:
        found, problems = [], str(error)
    assert bool(found) != bool(problems)
    assert len({trial.id for trial in found}) == len(found)
