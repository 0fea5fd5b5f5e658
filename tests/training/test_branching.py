"""Two trainings that differ in the seed of `data.order` alone: twins up to the step at which they part."""

import jax
import numpy as np
import pytest
from support import assert_same, experiment_of, tables_of

from nnlab.errors import ConfigError
from nnlab.training.batches import BatchOrder
from nnlab.training.lanes import Lanes
from nnlab.training.loop import train, train_together

STEPS = 20


def experiment(order=None, **data):
    return experiment_of(
        {
            "name": "branch",
            "data": {"type": "wine", "normalize": "standardize", "batch_size": 16, "order": order, **data},
            "model": [
                {"type": "dense", "units": 6},
                "relu",
                {"type": "dropout", "rate": 0.2},
                {"type": "dense", "units": 3},
            ],
            "optimizer": {"type": "sgd", "momentum": 0.9, "learning_rate": 0.05},
            "train": {"steps": STEPS},
            "record": {"every": {"steps": 1}},
        }
    )


def branch(step, seed=1):
    return {"from_step": step, "seed": seed}


@pytest.mark.parametrize("step", [0, 6, 7, 10])  # seven batches are an epoch
def test_each_epoch_is_still_one_pass_over_all_examples(step):
    trunk, twin = (BatchOrder(experiment(order)).rows(0, 21) for order in (None, branch(step)))
    np.testing.assert_array_equal(twin[:step], trunk[:step])
    assert not (twin[step:] == trunk[step:]).all(1).any()
    for epoch in twin.reshape(3, -1):
        assert len(set(epoch)) == len(epoch)


def test_the_order_after_the_branch_is_one_of_both_seeds():
    rows = [BatchOrder(experiment(branch(3, seed))).rows(0, 21) for seed in (0, 1, 2**32 - 1)]
    for first, second in ((0, 1), (0, 2), (1, 2)):
        np.testing.assert_array_equal(rows[first][:3], rows[second][:3])
        assert not (rows[first][3:] == rows[second][3:]).all(1).any()
    unbranched = BatchOrder(experiment()).rows(0, 21)
    assert not (rows[0][3:] == unbranched[3:]).all(1).any(), "a seed of 0 is an order of its own"


def test_twins_are_the_same_bit_by_bit_up_to_the_branch():
    trunk, *twins = (tables_of(train(experiment(order))) for order in (None, branch(8), branch(8, 2)))
    for twin in twins:
        shared = {name: {c: v[table["step"] <= 7] for c, v in table.items()} for name, table in twin.items()}
        of_trunk = {
            name: {c: v[table["step"] <= 7] for c, v in table.items()} for name, table in trunk.items()
        }
        assert_same(shared, of_trunk)
    losses = [table["metrics"]["train_loss"] for table in (trunk, *twins)]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert losses[one][8] == losses[other][8], "the weights at the branch"
        assert (losses[one][9:] != losses[other][9:]).all()


def test_a_branch_past_the_end_changes_nothing():
    assert_same(tables_of(train(experiment(branch(STEPS + 1)))), tables_of(train(experiment())))


def test_a_branch_past_the_end_is_told():
    (note,) = experiment(branch(STEPS)).notes
    assert note == "data.order: the order does not branch off, as there is no step 20 in a training of 20"
    assert not experiment(branch(STEPS - 1)).notes


def test_twins_share_a_program_as_lanes():
    lanes = [experiment(branch(step, seed)) for step, seed in ((0, 1), (8, 1), (8, 2))]
    assert len({lane.program_key for lane in lanes}) == 1
    assert Lanes(lanes).shares_data
    chunks = [[], [], []]
    for found in train_together(lanes):
        for lane, chunk in found.items():
            chunks[lane].append(chunk)
    for lane, parts in zip(lanes, chunks, strict=True):
        alone, together = list(train(lane))[-1].state(), parts[-1].state()
        for one, other in zip(jax.tree.leaves(alone.params), jax.tree.leaves(together.params), strict=True):
            np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-6)


def test_full_batches_have_no_order():
    with pytest.raises(ConfigError, match=r"data.order: is one of batches, and here each is full"):
        experiment(branch(3), batch_size="full")
