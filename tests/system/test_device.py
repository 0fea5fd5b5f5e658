"""How many threads a training gets."""

import pytest

from nnlab.system import device


@pytest.mark.parametrize(
    ("cores", "step_flops", "threads"),
    [
        (16, 0.0, 1),
        (16, 4.9e7, 1),  # half of it for each of two would be too little
        (16, 5.0e7, 2),
        (16, 2.0e8, 8),
        (16, 1.0e12, 16),
        (1, 1.0e12, 1),
    ],
)
def test_a_thread_for_each_25_million_operations_of_a_step(monkeypatch, cores, step_flops, threads):
    monkeypatch.setattr(device, "core_count", lambda: cores)
    assert device.thread_count(step_flops) == threads
