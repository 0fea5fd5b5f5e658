"""What a training and its probes compute, counted by hand."""

from support import experiment_of

from nnlab.training.cost import probe_costs, step_flops, training_flops

NET = {
    "name": "cost",
    "data": {"type": "wine", "split": {"train": 100, "test": 50}, "batch_size": 20},
    "model": [{"type": "dense", "units": 8}, "relu", {"type": "dense", "units": 3}],
    "train": {"steps": 10},
    "record": {"every": {"steps": 4}},
}
FORWARD = 2 * (13 * 8 + 8 * 3)
EVALUATIONS = 4 * 150 * FORWARD  # at the steps 0, 4, 8 and 10


def test_a_training_is_its_steps_and_evaluations():
    experiment = experiment_of(NET)
    assert step_flops(experiment) == 20 * 3 * FORWARD
    assert step_flops(experiment_of(NET | {"optimizer": "sam"})) == 2 * step_flops(experiment)
    assert probe_costs(experiment) == []
    assert training_flops(experiment) == 10 * 20 * 3 * FORWARD + EVALUATIONS


def test_a_probe_that_looks_at_examples_has_its_price_at_each_record():
    """Neural collapse evaluates the training examples once."""
    experiment = experiment_of(NET | {"phenomena": ["gradient_flow", "neural_collapse"]})
    [cost] = probe_costs(experiment)
    assert cost == ("neural_collapse", 4, 4 * 100 * FORWARD)
    assert training_flops(experiment) == 10 * 20 * 3 * FORWARD + EVALUATIONS + cost.flops
