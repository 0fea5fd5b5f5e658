"""The figure of a sweep without a phenomenon: what is drawn of one axis, of two and of more."""

import itertools
from pathlib import Path

import numpy as np
import pandas
import pytest
from support import assert_labelled, assert_told_apart, figure_for_people, panels_of, run_nnlab, title_of

from nnlab import plotting
from nnlab.config import check_tree
from nnlab.config.document import parse
from nnlab.errors import UsageError
from nnlab.runs.figures import available, draw
from nnlab.runs.results import Sweep, open_sweep
from nnlab.runs.sweep_dimensions import dimensions_of
from nnlab.runs.sweep_figure import sweep_overview
from nnlab.runs.sweep_points import sweep_points
from nnlab.text import name_in_words

BASE = """\
data: {type: xor, examples: 120}
model: {type: mlp, width: 4, depth: 1, outputs: 2}
train: {epochs: 3}
"""
WIDTH, RATE, OPTIMIZER, DEPTH = "model.width", "optimizer.learning_rate", "optimizer", "model.depth"
WIDTHS, RATES = [8, 16, 32, 64], [0.001, 0.01, 0.1]
ADAM, SGD = "adam", "{type: sgd, momentum: 0.9}"


def grid(**axes):
    names = {"width": WIDTH, "rate": RATE, "optimizer": OPTIMIZER, "depth": DEPTH}
    return [
        dict(zip((names[n] for n in axes), values, strict=True))
        for values in itertools.product(*axes.values())
    ]


def sweep_of(definition, points, seeds=1, what="accuracy", statuses=None, name="swept", base=BASE):
    """A sweep over these points, of numbers drawn at random; statuses: (point, seed) -> how it ended."""
    chance, rows = np.random.default_rng(0), []
    for number, point in enumerate(points):
        for seed in range(seeds):
            row = {"trial": f"t{number}s{seed}", **point, "seed": seed}
            row["status"] = (statuses or {}).get((number, seed), "complete")
            row |= {
                f"final.{split}_{what}": chance.uniform(0.1, 0.9) for split in ("train", "validation", "test")
            }
            rows.append(row)
    config = check_tree(parse(f"name: {name}\n{base}sweep: {definition}\n", "f.yaml"))
    return Sweep(Path(name), config, {"status": "complete"}, pandas.DataFrame(rows).assign(reason=np.nan))


def drawn_rates(count):
    chance = np.random.default_rng(1)
    return [
        {RATE: float(10 ** chance.uniform(-4, 0)), WIDTH: int(chance.integers(4, 99))} for _ in range(count)
    ]


LOST = {(2, 0): "diverged", (3, 0): "diverged", (3, 1): "diverged", (0, 1): "failed"}
RANDOM = "{random: {draws: 12, axes: {optimizer.learning_rate: {log_uniform: [1e-4, 1]}%s}}}"
SWEEPS = {
    "width": sweep_of("{axes: {model.width: [8, 16, 32, 64]}, seeds: 2}",
                      grid(width=WIDTHS), 2, statuses=LOST),
    "one_seed": sweep_of("{axes: {model.width: [8, 16, 32, 64]}}", grid(width=WIDTHS), what="loss"),
    "optimizers": sweep_of("{axes: {optimizer: [adam, {type: sgd, momentum: 0.9}]}, seeds: 3}",
                           grid(optimizer=[ADAM, SGD]), 3),
    "seeds": sweep_of("{seeds: 4}", [{}], 4),
    "together": sweep_of("{zip: {model.width: [8, 16, 32, 64], optimizer.learning_rate: [1, 1, 0.1, 0.1]}}",
                         [{WIDTH: w, RATE: r} for w, r in zip(WIDTHS, (1, 1, 0.1, 0.1), strict=True)]),
    "map": sweep_of("{axes: {optimizer.learning_rate: [0.001, 0.01, 0.1], model.width: [8, 16, 32, 64]}, "
                    "seeds: 2}",
                    grid(rate=RATES, width=WIDTHS), 2, statuses=LOST),
    "large_map": sweep_of("{axes: {model.width: {range: [1, 41]}, model.depth: {range: [1, 5]}}}",
                          grid(width=range(1, 41), depth=range(1, 5)), statuses=LOST),
    "three": sweep_of("{axes: {model.width: [8, 16, 32, 64], optimizer.learning_rate: [0.001, 0.01, 0.1], "
                      "optimizer: [adam, {type: sgd, momentum: 0.9}]}}",
                      grid(width=WIDTHS, rate=RATES, optimizer=[ADAM, SGD]), statuses=LOST),
    "drawn": sweep_of(RANDOM % "", [{RATE: p[RATE]} for p in drawn_rates(12)], statuses=LOST),
    "drawn_plane": sweep_of(RANDOM % ", model.width: {integers: [4, 98]}", drawn_rates(12),
                            statuses={(1, 0): "pruned", (2, 0): "diverged"}),
}  # fmt: skip


def figure_of(*names):
    with plotting.style():
        return sweep_overview([SWEEPS[name] for name in names])


@pytest.mark.parametrize(
    "name", [name for name in SWEEPS if name != "three"]
)  # whose axes have ticks of theirs
def test_every_kind_is_labelled(name):
    assert list(available([SWEEPS[name]])) == ["sweep"]
    assert_labelled(figure_for_people([SWEEPS[name]], "sweep"))


def test_several_sweeps_are_panels_and_the_same_bytes_twice(tmp_path):
    sweeps = [SWEEPS[name] for name in ("width", "map", "three")]
    (first,), (second,) = (draw(sweeps, tmp_path / folder) for folder in ("first", "second"))
    assert first.name == "sweep.png"
    assert first.read_bytes() == second.read_bytes()
    assert_labelled(figure_of("width", "map", "three"))


def test_sweeps_of_several_names_are_told_apart():
    others = [sweep_of("{seeds: 2}", [{}], 2, name=name) for name in ("mine", "yours")]
    assert_told_apart(sweep_overview(others), ["mine", "yours"])


def lines_of(ax):
    return {line.get_label(): line for line in ax.get_lines()}


def test_curves_are_the_means_over_the_seeds_and_shades_their_range():
    sweep, (ax,) = SWEEPS["width"], panels_of(figure_of("width"))
    complete, lines = sweep.completed_trials, lines_of(ax)
    for split in ("train", "validation", "test"):
        by_width = (
            complete.groupby(WIDTH)[f"final.{split}_accuracy"].agg(["mean", "min", "max"]).reindex(WIDTHS)
        )
        line = lines[f"{name_in_words(split)} accuracy"]
        np.testing.assert_array_equal(line.get_xdata(), WIDTHS)
        np.testing.assert_allclose(line.get_ydata(), by_width["mean"])
    shade = np.concatenate([path.vertices for path in ax.collections[2].get_paths()])
    assert (shade[:, 1].min(), shade[:, 1].max()) == pytest.approx(
        (by_width["min"].min(), by_width["max"].max())
    )
    assert ax.get_xscale() == "log"
    assert [text.get_text() for text in ax.get_xticklabels()] == ["8", "16", "32", "64"]
    np.testing.assert_array_equal(lines["diverged"].get_xdata(), [32, 64])
    assert [text.get_text() for text in ax.texts] == ["1 of 2", "2 of 2"]
    best = sweep.points[sweep.points["best"]].iloc[0]
    assert lines["best"].get_xdata()[0] == best[WIDTH] != 32
    assert title_of(ax).startswith(f"swept: best width {best[WIDTH]}: validation accuracy 0.")
    assert "(n = 2)" in title_of(ax)


def test_a_layer_and_its_value_are_told_apart():
    times = "model.0.times"
    base = BASE.replace("{type: mlp, width: 4, depth: 1, outputs: 2}",
                        "[{type: repeat, times: 2, layers: [{type: dense, units: 2}]}]")  # fmt: skip
    sweep = sweep_of(f"{{axes: {{{times}: [1, 2, 3]}}}}", [{times: n} for n in (1, 2, 3)], base=base)
    with plotting.style():
        (ax,) = panels_of(sweep_overview([sweep]))
    best = sweep.points[sweep.points["best"]].iloc[0]
    assert title_of(ax).startswith(f"swept: best times of layer 1 = {best[times]}: ")


def test_values_that_are_no_numbers_are_categories_without_lines_between():
    (ax,) = panels_of(figure_of("optimizers"))
    assert [text.get_text() for text in ax.get_xticklabels()] == ["adam", "sgd momentum 0.9"]
    assert {line.get_linestyle() for line in ax.get_lines() if "accuracy" in line.get_label()} == {"None"}


def test_a_map_has_the_mean_of_each_point_in_its_cell():
    (ax,), table = panels_of(figure_of("map")), SWEEPS["map"].points
    expected = table.pivot_table("final.validation_accuracy.mean", RATE, WIDTH, dropna=False)
    found = np.ma.asarray(ax.collections[0].get_array()).filled(np.nan)
    np.testing.assert_allclose(found, expected.reindex(index=RATES, columns=WIDTHS))
    assert [text.get_text() for text in ax.get_xticklabels()] == ["8", "16", "32", "64"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("width", "learning rate")
    words = {text.get_position(): text.get_text() for text in ax.texts}
    assert words[3, 0] == "2 diverged"
    assert words[2, 0].endswith("\n1 diverged")
    assert words[1, 0] == f"{expected.iloc[0, 1]:.3g}"
    best = table[table["best"]].iloc[0]
    x, y = (line.mean() for line in np.array(lines_of(ax)["best"].get_data())[:, :4])
    assert (WIDTHS[int(x)], RATES[int(y)]) == (best[WIDTH], best[RATE])


def test_parallel_lines_pass_through_the_values_of_a_point_to_its_mean():
    (ax,), table = panels_of(figure_of("three")), SWEEPS["three"].points
    best = table[table["best"]].iloc[0]
    assert [text.get_text() for text in ax.get_xticklabels()] == [
        "width\n(log scale)",
        "learning rate\n(log scale)",
        OPTIMIZER,
    ]
    ticks = [text.get_text() for text in ax.texts]
    assert ticks == ["8", "16", "32", "64", "0.001", "0.01", "0.1", "adam", "sgd momentum\n0.9"]
    lines = [line for line in ax.get_lines() if len(line.get_xdata()) == 4]
    assert len(lines) == (table["count"] > 0).sum() + 1, "the best has an outline"
    means = table["final.validation_accuracy.mean"]
    share = (best["final.validation_accuracy.mean"] - means.min()) / (means.max() - means.min())
    expected = [
        WIDTHS.index(best[WIDTH]) / 3,
        RATES.index(best[RATE]) / 2,
        float(best[OPTIMIZER] == SGD),
        share,
    ]
    np.testing.assert_allclose(lines_of(ax)["best"].get_ydata(), expected, atol=1e-12)
    assert share == 1, "the largest accuracy is best"
    assert sum(len(line.get_xdata()) == 3 for line in ax.get_lines()) == 2, "those that diverged"


def test_points_that_were_drawn_are_dots():
    sweep, (ax,) = SWEEPS["drawn_plane"], panels_of(figure_of("drawn_plane"))
    complete = sweep.completed_trials
    np.testing.assert_allclose(ax.collections[0].get_offsets(), complete[[RATE, WIDTH]])
    np.testing.assert_allclose(ax.collections[0].get_array(), complete["final.validation_accuracy"])
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "linear")
    lines = lines_of(ax)
    assert len(lines["pruned"].get_xdata()) == len(lines["diverged"].get_xdata()) == 1
    (ax,) = panels_of(figure_of("drawn"))
    assert lines_of(ax)["validation accuracy"].get_linestyle() == "None"


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], "linear"),
        ([0.1, 0.4, 0.6, 1.0], "linear"),
        ([16, 32, 64, 128], "log"),
        ([1e-4, 1e-3, 1e-2], "log"),
        ([0.0, 1e-3, 1e-2, 1e-1], "categories"),
        ([0.0, 0.5, 1.0], "linear"),
        ([-1.0, 10.0, 100.0], "linear"),
        ([np.nan, 1.0, 2.0], "categories"),
        ([True, False], "categories"),
    ],
)
def test_the_scale_of_an_axis(values, kind):
    sweep = sweep_of(
        f"{{axes: {{model.width: {list(range(1, len(values) + 1))}}}}}", [{WIDTH: v} for v in values]
    )
    (dimension,) = dimensions_of(sweep, sweep_points(sweep))
    assert ("log" if dimension.is_log else "categories" if dimension.categories else "linear") == kind


def test_axes_that_move_together_are_one():
    sweep = SWEEPS["together"]
    (dimension,) = dimensions_of(sweep, sweep_points(sweep))
    assert (dimension.name, dimension.places.tolist()) == ("width (with learning rate)", WIDTHS)


def test_a_sweep_that_came_to_nothing_cannot_be_drawn(tmp_path):
    lost = sweep_of("{axes: {model.width: [8]}}", [{WIDTH: 8}], statuses={(0, 0): "diverged"})
    with pytest.raises(UsageError, match="has no complete trials, nothing to draw"):
        draw([lost], tmp_path)


# --- from the command line ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("sweeps_here")
def test_a_sweep_without_a_phenomenon_prints_a_table_and_draws_a_figure(folder):
    (folder / "f.yaml").write_text(f"name: swept\n{BASE.replace('epochs: 3', 'steps: 4')}")
    words = ("f.yaml", "optimizer.learning_rate=0.25,0.5", "sweep.seeds=2", "--out", "out", "--jobs", 1)
    done = run_nnlab("sweep", *words)
    assert done.exit_code == 0, done.stderr
    assert (folder / "out" / "plots" / "sweep.png").stat().st_size > 2000
    lines = [line.split() for line in done.stdout.splitlines()]
    rows = [line for line in lines if line and line[0] in ("0.25", "0.5")]
    points = open_sweep(folder / "out").points
    for row, (_, point) in zip(rows, points.iterrows(), strict=True):
        assert float(row[1]) == pytest.approx(point["final.validation_accuracy.mean"], abs=0.01)
        assert row[2] == "±"
        assert (row[-1] == "best") == point["best"]
    assert max(map(len, done.stdout.splitlines())) < 80
    assert run_nnlab("plot", "out", "--format", "pdf", "--figure", "sweep").exit_code == 0
    assert (folder / "out" / "plots" / "sweep.pdf").exists()
    assert "±" in open_sweep(folder / "out")._repr_html_()


def test_plot_of_what_has_no_figure_says_so(folder):
    text = "data: {type: wave, examples: 8, test_examples: 20}\nloss: squared_error\n"
    text += "solver: {type: least_squares}\n"
    text += "model: [{type: legendre, degree: 4}, {type: dense, units: 1, use_bias: false}]\n"
    (folder / "f.yaml").write_text(f"name: solved\n{text}")
    assert run_nnlab("train", "f.yaml", "--out", "out", "--quiet").exit_code == 0
    result = run_nnlab("plot", "out")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == "out: nothing is drawn: there is no figure that it has\n"
