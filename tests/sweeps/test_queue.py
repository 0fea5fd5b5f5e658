"""The queue of trials: what is run next, by whom, how many side by side and how often."""

from types import SimpleNamespace

import pytest

from nnlab.sweeps.queue import MAXIMUM_LANES, TrialGroup, TrialQueue


def group(key, count, flops=1.0, size=100):
    return TrialGroup(key, [SimpleNamespace(id=f"{key}{i}") for i in range(count)], flops, size)


def assigned(queue, worker_group="", memory=None):
    assignment = queue.next_assignment(worker_group, memory)
    return assignment and (assignment.group, [trial.id for trial in assignment.trials])


def test_the_costliest_group_comes_first_and_a_worker_stays_with_its_group():
    queue = TrialQueue([group("a", 3, flops=1), group("b", 2, flops=10), group("c", 1, flops=4)])
    assert len(queue) == 6
    assert assigned(queue) == ("b", ["b0"])
    assert assigned(queue, "b") == ("b", ["b1"])
    assert assigned(queue, "b") == ("c", ["c0"])
    assert assigned(queue, "a") == ("a", ["a0"])
    assert len(queue) == 2


def test_a_new_worker_starts_a_group_of_its_own_before_it_joins_another():
    queue = TrialQueue([group("a", 5, flops=100), group("b", 1, flops=1)])
    assert assigned(queue) == ("a", ["a0"])
    assert assigned(queue) == ("b", ["b0"])
    assert assigned(queue) == ("a", ["a1"])


def test_every_trial_is_assigned_once():
    queue = TrialQueue([group("a", 3), group("b", 4)])
    names = []
    while assignment := assigned(queue, names[-1][0] if names else ""):
        names += assignment[1]
    assert sorted(names) == ["a0", "a1", "a2", "b0", "b1", "b2", "b3"]
    assert len(queue) == 0


def test_a_trial_whose_worker_died_is_tried_once_more():
    queue = TrialQueue([group("a", 1)])
    for can_retry in (True, False):
        (trial,) = queue.next_assignment("", None).trials
        assert queue.retry(trial) is can_retry
    assert len(queue) == 0


@pytest.mark.parametrize(
    ("memory", "lanes"), [(None, 1), (0, 1), (1000, 6), (10**9, MAXIMUM_LANES), (160, 1), (170, 1), (340, 2)]
)
def test_as_many_trials_run_side_by_side_as_fit_in_the_memory(memory, lanes):
    queue = TrialQueue([group("a", 2 * MAXIMUM_LANES)])
    _, names = assigned(queue, memory=memory)
    assert len(names) == lanes
