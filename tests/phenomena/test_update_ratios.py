"""Update ratios on planted tables: layers at one speed, layers that differ, stuck and frozen ones."""

import pandas
import pytest
from support import FakeRun, experiment_of, trained

from nnlab.errors import InvalidValue
from nnlab.phenomena.signal import update_ratios


def layers(*records, gradients=None):
    """A table with a row for each layer of each record."""
    rows = [
        {"step": step, "layer": f"dense_{i}", "index": i, "fan_in": 5.0, "update_ratio": ratio}
        | {"grad_norm": 1.0 if gradients is None else gradients[i - 1]}
        for step, ratios in enumerate(records)
        for i, ratio in enumerate(ratios, 1)
    ]
    return pandas.DataFrame(rows)


def table_of(tree):
    """That of a training."""
    tables, _ = trained(experiment_of(tree))
    return pandas.DataFrame(tables["layers"]).infer_objects()


def detected(table):
    return update_ratios.detect(update_ratios.ratios_by_layer(FakeRun({"layers": table}, {})))


def test_the_median_over_the_records_counts():
    found = detected(layers([1e-5, 1e-3, 1e-2], [2e-5, 2e-3, 5e-2], [3e-5, 9e-3, 3e-2]))
    assert found == update_ratios.UpdateRatios(
        slowest_ratio=2e-5,
        fastest_ratio=3e-2,
        spread=pytest.approx(1500),
        first_to_last_ratio=pytest.approx(2 / 3000),
        verdict="uneven",
    )


@pytest.mark.parametrize(
    ("first", "verdict"), [(1e-3, "even"), (1.1e-4, "even"), (0.9e-4, "uneven"), (2e-2, "uneven")]
)
def test_both_sides_of_the_bound(first, verdict):
    assert detected(layers([first, 1e-3])).verdict == verdict


def test_a_layer_whose_gradient_has_vanished_is_stuck_and_a_frozen_one_is_left_out():
    found = detected(layers([0.0, 1e-3, 2e-3], gradients=[1e-30, 1.0, 1.0]))
    assert (found.spread, found.slowest_ratio, found.verdict) == (None, 0.0, "uneven")
    assert found.reason == "layer 1 does not move"
    frozen = detected(layers([0.0, 1e-3, 2e-3], gradients=[0.0, 1.0, 1.0]))
    assert (frozen.spread, frozen.verdict, frozen.reason) == (2.0, "even", None)


def test_layers_without_a_kernel_do_not_count():
    table = layers([1e-3, 1.0, 2e-3])
    table.loc[1, "fan_in"] = float("nan")
    assert detected(table).spread == 2.0


@pytest.mark.parametrize(
    ("table", "why"),
    [
        (layers([1e-3]), "a single layer is trained"),
        (layers([0.0, 0.0], gradients=[0.0, 0.0]), "no layer moves"),
        (layers([float("nan"), 1e-3]), "the update ratio of layer 1 is no number"),
    ],
)
def test_what_cannot_be_compared_has_a_reason(table, why):
    with pytest.raises(InvalidValue, match=why):
        detected(table)


def test_the_table_may_not_be_there():
    with pytest.raises(InvalidValue, match="there is no table layers"):
        update_ratios.ratios_by_layer(FakeRun({}, {}))


def test_a_training_in_which_one_layer_has_a_hundredth_of_the_rate():
    tree = {
        "name": "test",
        "data": {"type": "wine", "normalize": "standardize", "batch_size": "full"},
        "model": [{"type": "dense", "units": 6}, {"type": "dense", "units": 3}],
        "train": {"steps": 6},
        "record": {"every": {"steps": 2}},
        "phenomena": ["update_ratios"],
    }
    slow = {"type": "sgd", "groups": [{"layers": "dense_1", "learning_rate": 0.0001}]}
    plain, slowed = (detected(table_of(tree | {"optimizer": optimizer})) for optimizer in ("sgd", slow))
    assert plain.verdict == "even"
    assert slowed.verdict == "uneven"
    assert slowed.first_to_last_ratio == pytest.approx(plain.first_to_last_ratio / 100, rel=0.2)
