"""Curves as numbers for a page: nothing that can be seen gets lost when records are left out."""

import numpy as np
import pytest

from nnlab.reports.curves import Source, curves_of, thinned

STEPS = np.arange(12.0)


def metrics(count=12, **columns):
    return {"step": np.arange(count), "epoch": np.arange(count) / 2, **columns}


@pytest.mark.parametrize("most", [20, 57, 400])
def test_what_is_left_out_lies_between_what_is_kept(most):
    random = np.random.default_rng(3)
    values = np.cumsum(random.standard_normal((3, 5_000)), axis=1)
    values[1, 1_234] = 99.0  # a peak of one record
    kept = thinned(values, most)
    assert len(kept) <= most
    assert (np.diff(kept) > 0).all()
    assert kept[0] == 0
    assert kept[-1] == 4_999
    assert 1_234 in kept
    for curve in values:
        assert curve[kept].min() == curve.min()
        assert curve[kept].max() == curve.max()


def test_each_group_keeps_its_extremes():
    values = np.random.default_rng(0).standard_normal((1, 1_000))
    kept = set(thinned(values, 42).tolist())  # 20 groups of 50
    for start in range(0, 1_000, 50):
        group = values[0, start : start + 50]
        assert {start + int(group.argmin()), start + int(group.argmax())} <= kept


def test_few_records_stay_as_they_are():
    assert thinned(np.zeros((2, 30)), 30).tolist() == list(range(30))


def test_what_is_not_finite_hides_nothing():
    values = np.full((1, 300), np.nan)
    values[0, 100], values[0, 200] = 5.0, -5.0
    assert {100, 200} <= set(thinned(values, 20).tolist())


def test_a_chart_for_each_quantity_and_a_line_for_each_split():
    columns = metrics(
        learning_rate=STEPS,
        validation_accuracy=STEPS,
        train_accuracy=STEPS,
        train_loss=STEPS,
        test_loss=STEPS,
    )
    curves = curves_of([Source("a", columns), Source("b", metrics(train_loss=STEPS))], 10_000)
    assert [chart.title for chart in curves.charts] == ["loss", "accuracy", "learning rate"]
    loss, accuracy, rate = curves.charts
    assert [(bundle.run, [line.name for line in bundle.lines]) for bundle in loss.bundles] == [
        (0, ["training", "test"]),
        (1, ["training"]),
    ]
    assert [line.split for line in loss.bundles[0].lines] == [0, 2]
    assert [line.name for line in accuracy.bundles[0].lines] == ["validation", "training"]
    assert rate.bundles[0].lines[0].split is None
    assert not curves.is_thinned


def test_a_page_has_room_for_so_many_numbers():
    count = 3_000
    wave = np.sin(np.arange(count))
    sources = [
        Source(str(n), metrics(count, train_loss=wave, test_loss=wave + n, grad_norm=wave)) for n in range(4)
    ]
    curves = curves_of(sources, 2_400)
    lines = [line for chart in curves.charts for bundle in chart.bundles for line in bundle.lines]
    assert sum(len(line.values) for line in lines) <= 2_400
    assert curves.is_thinned
    assert curves.records == count
    assert curves.points == max(len(line.values) for line in lines)


def test_scales_are_logarithmic_where_figures_have_them_so():
    far, near = np.geomspace(1e-3, 1, 12), np.linspace(1, 2, 12)
    curves = curves_of([Source("a", metrics(train_loss=far, train_accuracy=near, grad_norm=-far))], 1_000)
    assert [chart.is_log for chart in curves.charts] == [True, False, False]
    assert not curves.is_log_step
    spaced = {"step": 2 ** np.arange(12), "train_loss": near}
    assert curves_of([Source("a", spaced)], 1_000).is_log_step


def test_numbers_have_five_digits_and_none_where_they_are_not_finite():
    values = np.array([1 / 3, np.nan, np.inf, 123456.789])
    (chart,) = curves_of([Source("a", metrics(4, train_loss=values))], 100).charts
    assert chart.bundles[0].lines[0].values == [0.33333, None, None, 123460.0]


def test_a_learning_rate_that_never_changes_has_no_chart():
    constant, falling = metrics(learning_rate=np.full(12, 0.1)), metrics(learning_rate=-STEPS)
    assert curves_of([Source("a", constant)], 100).charts == []
    both = curves_of([Source("a", constant), Source("b", falling)], 100)
    assert [len(chart.bundles) for chart in both.charts] == [2]


def test_what_has_not_grown_is_not_made_anew():
    first, second = metrics(train_loss=STEPS), metrics(train_loss=-STEPS)
    known = {}
    before = curves_of([Source("a", first, "x"), Source("b", second, "y")], 1_000, known)
    longer = metrics(13, train_loss=np.arange(13.0))
    after = curves_of([Source("b", second, "y"), Source("a", longer, "x")], 1_000, known)
    fresh = curves_of([Source("b", second), Source("a", longer)], 1_000)
    assert after == fresh
    assert after.charts[0].bundles[0].lines is before.charts[0].bundles[1].lines
    fewer = curves_of([Source("b", second, "y"), Source("a", longer, "x")], 30, known)
    assert fewer == curves_of([Source("b", second), Source("a", longer)], 30)


def test_words_are_no_curve():
    words = np.array(["a"] * 12, dtype=object)
    assert curves_of([Source("a", metrics(row=words))], 100).charts == []
