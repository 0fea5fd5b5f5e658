"""The queue of trials: what is run next, by whom, how many side by side and how often."""

from types import SimpleNamespace

import pytest

from nnlab.sweeps.queue import MAXIMUM_LANES, TrialGroup, TrialQueue


class FreeTrials:
    """Claims of a process that is alone, or beside one that has some trials, or has ended them."""

    def __init__(self, taken=(), ended=(), lost=()):
        self.taken, self.outcomes, self.lost = set(taken), set(ended), set(lost)

    def take(self, trial):
        return None if trial.id in self.taken else f"lease of {trial.id}"

    def outcome_elsewhere(self, trial):
        return {"status": "complete"} if trial.id in self.outcomes else None

    def has(self, trial):
        return trial.id not in self.lost

    def release(self, trial):
        self.taken.discard(trial.id)


def queue_of(*groups, claims=None):
    return TrialQueue(groups, claims or FreeTrials())


def group(key, count, flops=1.0, size=100):
    return TrialGroup(key, [SimpleNamespace(id=f"{key}{i}") for i in range(count)], flops, size)


def assigned(queue, worker_group="", memory=None):
    assignment = queue.next_assignment(worker_group, memory)
    return assignment and (assignment.group, [trial.id for trial in assignment.trials])


def test_the_costliest_group_comes_first_and_a_worker_stays_with_its_group():
    queue = queue_of(group("a", 3, flops=1), group("b", 2, flops=10), group("c", 1, flops=4))
    assert len(queue) == 6
    assert assigned(queue) == ("b", ["b0"])
    assert assigned(queue, "b") == ("b", ["b1"])
    assert assigned(queue, "b") == ("c", ["c0"])
    assert assigned(queue, "a") == ("a", ["a0"])
    assert len(queue) == 2


def test_a_new_worker_starts_a_group_of_its_own_before_it_joins_another():
    queue = queue_of(group("a", 5, flops=100), group("b", 1, flops=1))
    assert assigned(queue) == ("a", ["a0"])
    assert assigned(queue) == ("b", ["b0"])
    assert assigned(queue) == ("a", ["a1"])


def test_every_trial_is_assigned_once():
    queue = queue_of(group("a", 3), group("b", 4))
    names = []
    while assignment := assigned(queue, names[-1][0] if names else ""):
        names += assignment[1]
    assert sorted(names) == ["a0", "a1", "a2", "b0", "b1", "b2", "b3"]
    assert len(queue) == 0


def test_a_trial_whose_worker_died_is_tried_once_more():
    queue = queue_of(group("a", 1))
    for can_retry in (True, False):
        (trial,) = queue.next_assignment("", None).trials
        assert queue.retry(trial) is can_retry
    assert len(queue) == 0


@pytest.mark.parametrize(
    ("memory", "lanes"), [(None, 1), (0, 1), (1000, 6), (10**9, MAXIMUM_LANES), (160, 1), (170, 1), (340, 2)]
)
def test_as_many_trials_run_side_by_side_as_fit_in_the_memory(memory, lanes):
    queue = queue_of(group("a", 2 * MAXIMUM_LANES))
    _, names = assigned(queue, memory=memory)
    assert len(names) == lanes


def test_a_trial_that_another_process_has_is_left_to_it_and_taken_when_that_is_gone():
    claims = FreeTrials(taken=["b0", "a1"])
    queue = queue_of(group("a", 3, flops=1), group("b", 1, flops=10), claims=claims)
    assert assigned(queue) == ("a", ["a0"])
    assert assigned(queue, "a", memory=10**9) == ("a", ["a2"])
    assert assigned(queue, "a") is None
    assert len(queue) == 2
    assert queue.ended_elsewhere() == []
    claims.taken = {"b0"}
    assert queue.next_assignment("a", None).leases == ("lease of a1",)
    assert len(queue) == 1


def test_a_trial_that_another_process_has_ended_is_told_of_once_and_not_run():
    queue = queue_of(group("a", 3), claims=FreeTrials(ended=["a0", "a1"]))
    assert assigned(queue) == ("a", ["a2"])
    assert len(queue) == 0
    assert [(event.trial.id, event.status) for event in queue.ended_elsewhere()] == [
        ("a0", "complete"),
        ("a1", "complete"),
    ]
    assert queue.ended_elsewhere() == []


def test_a_worker_that_leaves_as_another_process_has_its_trial_is_no_attempt():
    queue = queue_of(group("a", 1), claims=FreeTrials(lost=["a0"]))
    for _ in range(5):
        (trial,) = queue.next_assignment("", None).trials
        assert queue.retry(trial)
