"""Panels, colours, numbers in words and borders of cells."""

import io

import numpy as np
import pytest

from nnlab import plotting


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.374, "0.374"),
        (830.0, "830"),
        (7e-13, "7.0\N{MULTIPLICATION SIGN}10⁻¹³"),
        (-2.5e5, "-2.5\N{MULTIPLICATION SIGN}10⁵"),
        (float("inf"), "inf"),
        (float("nan"), "nan"),
    ],
)
def test_numbers_in_titles(value, text):
    assert plotting.scientific(value) == text


@pytest.mark.parametrize(
    ("count", "picked"), [(1, [0]), (3, [0, 1, 2]), (5, [0, 1, 2, 3, 4]), (9, [0, 2, 4, 6, 8])]
)
def test_layers_are_chosen_from_first_to_last(count, picked):
    assert list(plotting.evenly_spaced_indices(count, 5)) == picked


@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("label", ["adam", "a run with a name and what was found, in many words, to the end"])
def test_a_legend_is_no_wider_than_the_figure(label, count):
    with plotting.style():
        figure, ((ax,),) = plotting.panels()
        for number in range(count):
            ax.plot([0, 1], [number, 1], label=f"{label} {number}")
        plotting.legend_below(figure, ax)
        plotting.colour_legend(figure, [label] * count, "what it means")
        figure.draw_without_rendering()
        for legend in figure.legends:
            box = legend.get_window_extent()
            assert 0 <= box.x0 < box.x1 <= figure.bbox.width


def test_grey_print_tells_eight_runs_apart_by_their_markers():
    assert len(set(plotting.markers(8))) == 8
    assert plotting.markers(10)[8:] == plotting.markers(2)


def test_colours_of_many_lines_are_all_different():
    for count in (1, 8, 9, 40):
        assert len({tuple(np.ravel(colour)) for colour in plotting.colours(count)}) == count


@pytest.mark.parametrize(("count", "rows"), [(1, 1), (2, 1), (3, 2), (4, 2)])
def test_each_result_has_a_panel_with_its_title(count, rows):
    names = [f"run {number}" for number in range(count)]

    def draw(ax, name):
        ax.set_ylabel(f"loss of {name}")
        return name.upper()

    figure, axes = plotting.panel_per_result(names, draw, height=3.0, sharey=True)
    assert figure.axes == axes
    assert [ax.get_title() or ax.get_title(loc="left") for ax in axes] == [name.upper() for name in names]
    labels = ["" if number % 2 else f"loss of {name}" for number, name in enumerate(names)]
    assert [ax.get_ylabel() for ax in axes] == labels, "the first of a row speaks for it"
    assert figure.get_size_inches().tolist() == pytest.approx([plotting.WIDTH, 3.0 * rows])


@pytest.mark.parametrize(
    ("centres", "linear", "log"),
    [
        ([1.0, 2.0, 4.0], [0.5, 1.5, 3.0, 5.0], [0.5**0.5, 2**0.5, 8**0.5, 32**0.5]),
        ([0.0, 10.0], [-5.0, 5.0, 15.0], [-5.0, 5.0, 15.0]),  # a log axis has no place for 0
        ([3.0], [2.5, 3.5], [3 / np.e**0.5, 3 * np.e**0.5]),
    ],
)
def test_cells_end_halfway_between_their_centres(centres, linear, log):
    centres = np.array(centres)
    np.testing.assert_allclose(plotting.cell_edges(centres), linear)
    np.testing.assert_allclose(plotting.log_cell_edges(centres), log)


def test_a_log_axis_is_for_values_that_span_much():
    for values, scale in (([1.0, 20.0], "linear"), ([1.0, 40.0, np.inf], "log"), ([0.0, 40.0], "linear")):
        _, ((ax,),) = plotting.panels()
        plotting.log_if_wide(ax, values)
        assert ax.get_yscale() == scale


def test_what_the_package_lists_is_there():
    assert set(plotting.__all__) <= set(dir(plotting))


@pytest.mark.parametrize("highest", [8.0, 1e6])  # an axis of less than a decade labels its minor ticks
def test_a_saved_figure_has_the_bytes_of_matplotlib_s_own_layout(highest, tmp_path):
    def figure():
        figure, ((left, right),) = plotting.panels(1, 2)
        left.plot([1.0, 10.0, 1000.0], [1.0, 3.0, highest], label="loss")
        left.set(xscale="log", yscale="log", title="Loss", ylabel="mean loss")
        figure.colorbar(right.imshow([[1.0, 2.0], [3.0, 4.0]]), ax=right)
        plotting.legend_below(figure, left)
        return figure

    expected = io.BytesIO()
    with plotting.style():
        figure().savefig(expected, format="png", metadata={"Software": None})
        plotting.save(figure(), tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes() == expected.getvalue()
