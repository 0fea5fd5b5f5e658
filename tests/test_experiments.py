"""The shipped experiments: form of each, smoke runs, ATLAS §3 at initialization, detectors' controls."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pandas
import pytest
from torture.smoke import assert_sound, smoked

from nnlab.config import load
from nnlab.phenomena.signal import gradient_flow, symmetry
from nnlab.registry import KINDS, components
from nnlab.runs.run import run
from nnlab.storage.run_directory import RunDirectory
from nnlab.training.arguments import Arguments
from nnlab.training.blocks import EvalBlocks
from nnlab.training.chunk import build_core
from nnlab.training.experiment import build_experiment
from nnlab.training.state import MonitorState, State

FOLDER = Path(__file__).parent.parent / "experiments"
FILES = sorted(FOLDER.glob("*.yaml"))
SEEDS = range(5)

# experiment (and overrides) -> its verdict, and bounds on the medians over five seeds. The numbers are those
# of ATLAS §3, an independent NumPy computation, and of §4's "Activation spread".
NETS = {
    "initial_gradients_sigmoid": (
        "vanishing",
        {"first_to_last_ratio": (9e-13 / 5, 9e-13 * 5), "decay_per_layer": (0.2, 0.30)},
    ),
    "initial_gradients_sigmoid_skip": ("healthy", {"first_to_last_ratio": (0.01, 0.25)}),
    "initial_gradients_sigmoid_batch_norm": ("healthy", {"first_to_last_ratio": (0.5, 5)}),
    "initial_gradients_tanh": ("healthy", {"first_to_last_ratio": (0.5, 2)}),
    "initial_gradients_relu_he": (
        "healthy",
        {"first_to_last_ratio": (0.05, 20), "activation_spread": (0.1, 10)},
    ),
    "initial_gradients_relu_he model.0.layers.1=leaky_relu": ("healthy", {"first_to_last_ratio": (0.05, 20)}),
    "initial_gradients_relu_he model.0.layers.1=elu": ("healthy", {"first_to_last_ratio": (0.05, 20)}),
    "initial_gradients_relu_batch_norm": ("exploding", {"first_to_last_ratio": (33 / 2, 33 * 2)}),
    "relu_exploding": ("exploding", {"activation_spread": (100, 1e4), "first_to_last_ratio": (0.05, 20)}),
    # its ratio alone would pass as healthy
    "relu_glorot_collapsing": (
        "collapsing",
        {"first_to_last_ratio": (0.2, 5), "activation_spread": (0, 0.01)},
    ),
    # so would this one's
    "sigmoid_saturated": ("saturated", {"first_to_last_ratio": (0.02, 20), "saturated_fraction": (0.6, 1)}),
    "initial_weights_small": ("collapsing", {"activation_spread": (4e-6 / 0.058 / 2, 4e-6 / 0.058 * 2)}),
    "initial_weights_he": ("healthy", {"activation_spread": (0.5, 2)}),
    "initial_weights_large": ("exploding", {"activation_spread": (4e4 / 5.8 / 2, 4e4 / 5.8 * 2)}),
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_form(path):
    """A file opens with its command and outcome, is named as the file is, and expects something."""
    text = path.read_text(encoding="utf-8")
    head = text[: text.index("\nname:")].splitlines()
    assert all(line.startswith("# ") for line in head)
    config = load(path)
    command = "train" if config.tree["sweep"] is None else "sweep"
    assert f"#   nnlab {command} experiments/{path.name}" in head
    assert any(line.startswith("# Expect: ") for line in head)
    assert config.name == path.stem.replace("_", "-")
    assert config.build().expect
    for word in " ".join(head).split():
        if word.strip("(),.;:").endswith(".yaml") and not word.startswith("..."):
            assert (FOLDER / Path(word.strip("(),.;:")).name).exists(), f"refers to {word}"


# The shipped experiments that are trained here: among them they hold every component and every optional part
# that any shipped experiment has. `make torture` trains all of them.
TRAINED = [
    "augmentation",
    "autoencoder_convolutional",
    "autoencoder_denoising",
    "bias_variance_ridge",
    "bias_variance_trained_narrow",
    "cnn_translation",
    "critical_batch_small",
    "cross_validated_units_narrow",
    "cross_validation_short",
    "deep_sawtooth_two_folds",
    "double_descent_polynomial",
    "double_descent_samples_cutoff",
    "double_descent_triple_even",
    "dropout_none",
    "early_stopping",
    "edge_of_stability_sam_small_rate",
    "forgetting_replay",
    "grokking_grokfast",
    "grokking_muon_equal_decay",
    "grokking_power2022",
    "grokking_progress",
    "input_scaling",
    "l1_l2",
    "lazy_scale_large",
    "leaky_relu_recovery",
    "learning_rate_range",
    "lecun1989_more_data",
    "lenet5_fashion_mnist",
    "loss_landscape_skip",
    "lottery_ticket_wide",
    "matched_units_deep",
    "memorisation_narrow",
    "max_norm",
    "mode_connectivity_digits",
    "mode_collapse",
    "neural_collapse_stopped",
    "next_token",
    "next_token_gru",
    "optimizers_fixed_rates",
    "perceptron_xor",
    "phase_diagram_relu",
    "plasticity_leaky",
    "pruning_few",
    "ravine_turned",
    "rbm",
    "relu_glorot_collapsing",
    "rnn_gradient_orthogonal",
    "rnn_memory",
    "schedule_free_small_rate",
    "schedules_small_rate",
    "search_catalogue",
    "sparse_parity",
    "spectral_bias_fourier",
    "superposition_linear",
    "symmetry_broken",
    "transfer_frozen",
    "universal_approximation_linear",
    "update_ratios_adam",
    "vae",
    "voting_alike",
    "whitening",
    "zero_one_bias_variance_clean",
]
SMALLER = {
    "loss_landscape_skip": ["model.1.times=2"],
    "phase_diagram_relu": ["model.0.times=6"],
}  # layers of one kind, which take long to compile
PARTS = ("augment", "constraints", "initialize", "parameters", "prune", "regularizers", "solver", "stop")
PARTS += ("sweep",)
COMPONENTS = {name for kind in KINDS for name in components(kind)}


def parts_of(tree):
    """The components that a config names, anywhere, and the optional parts that it has."""
    if isinstance(tree, dict):
        present = {key for key, value in tree.items() if key in PARTS and value}
        return present.union(
            *(parts_of(value) for key, value in tree.items() if key not in ("expect", "name"))
        )
    if isinstance(tree, list):
        return set().union(*map(parts_of, tree))
    return {tree} & COMPONENTS if isinstance(tree, str) else set()


def test_what_is_trained_has_every_part_that_any_shipped_experiment_has():
    parts = {path.stem: parts_of(load(path).tree) for path in FILES}
    assert set().union(*(parts[name] for name in TRAINED)) == set().union(*parts.values())


@pytest.fixture
def lenient_promotion():
    """Not as strict as conftest.py: optax's Adam raises a float to an int32 power."""
    with jax.numpy_dtype_promotion("standard"):
        yield


@pytest.mark.usefixtures("lenient_promotion")
@pytest.mark.parametrize("name", TRAINED)
def test_smoke(name, tmp_path):
    for number, config in enumerate(smoked(FOLDER / f"{name}.yaml", SMALLER.get(name, ()))):
        experiment, place = build_experiment(config), tmp_path / str(number)
        outcome = run(experiment, RunDirectory(place))
        assert_sound(experiment, outcome, place)
        if name in NETS:  # its data are no larger than a smoke run's: at step 0 it is the run itself
            verdict, bounds = NETS[name]
            flow = outcome.summary["gradient_flow"]
            assert flow["verdict"] == verdict
            assert all(low <= flow[number] <= high for number, (low, high) in bounds.items())


def first_weights(experiment_file, *overrides):
    """The detector's numbers at step 0 for every seed, from one compiled program.

    It takes the step that a run takes, without the evaluations around it, which would take longer to compile.
    """
    path = FOLDER / f"{experiment_file}.yaml"
    runs = [build_experiment(load(path, [*overrides, f"seed={seed}"])) for seed in SEEDS]
    lead, blocks = runs[0], EvalBlocks.of(runs[0])
    probe = lead.probes[0]

    @jax.jit
    def first_record(arguments, layer_state):
        core = build_core(lead, arguments)
        params, step, finite = arguments.initial_params, jnp.int32(0), jnp.array(True)
        monitors = MonitorState(((),), (), jnp.int32(0))
        optimizer_state = core.train_step.optimizer.init(params)
        state = State(params, layer_state, optimizer_state, step, finite, None, monitors)
        batch = core.blocks.batch(arguments.data, jnp.empty(0, jnp.int32), ())
        trace = core.train_step.trace(state, batch)
        return core.recorder.observe(state, trace, 0)["layers"]

    found = []
    for experiment in runs:
        assert experiment.total_steps == 0
        assert experiment.batch_size == len(experiment.data.train)
        assert experiment.program_key == lead.program_key
        seed = experiment.plan.seed
        params, layer_state = experiment.model.init(seed)
        data = blocks.arrange(experiment)
        arguments = Arguments(np.uint32(seed), experiment.traced_values, params, data)
        columns = first_record(arguments, layer_state)
        rows = probe.rows(lead.model.setup, lead.data)
        layers = pandas.DataFrame({"step": 0, **rows, **{k: np.asarray(v) for k, v in columns.items()}})
        found.append(gradient_flow.detect(layers))
    assert first_record._cache_size() == 1
    return found


@pytest.mark.usefixtures("lenient_promotion")
@pytest.mark.parametrize("net", NETS)
def test_first_weights(net):
    """Gradients and activations at initialization: the numbers of ATLAS §3, the verdict on every seed."""
    verdict, bounds = NETS[net]
    found = first_weights(*net.split())
    assert [flow.verdict for flow in found] == [verdict] * len(SEEDS)
    for number, (low, high) in bounds.items():
        median = np.median([getattr(flow, number) for flow in found])
        assert low <= median <= high, number


def test_every_verdict_has_a_case_and_a_control():
    """`test_first_weights` sees each word given to some nets and so refused to all others."""
    given = {verdict for verdict, _ in NETS.values()}
    assert given == {"vanishing", "exploding", "collapsing", "saturated", "healthy"}


@pytest.mark.parametrize(
    ("ratio", "spread", "saturated", "word"),
    [
        (1.0, 1.0, 0.0, "healthy"),
        (0.009, 1.0, 0.0, "vanishing"),
        (0.011, 1.0, 0.0, "healthy"),
        (20.1, 1.0, 0.0, "exploding"),
        (19.9, 1.0, 0.0, "healthy"),
        (1.0, 101.0, 0.0, "exploding"),
        (1.0, 99.0, 0.0, "healthy"),
        (1.0, 0.009, 0.0, "collapsing"),
        (1.0, 0.011, 0.0, "healthy"),
        (1.0, 1.0, 0.61, "saturated"),
        (1.0, 1.0, 0.59, "healthy"),
        (0.001, 1.0, 0.9, "vanishing"),  # saturated too, but the gradient is what counts
        (float("nan"), 1.0, 0.0, "exploding"),
        (float("inf"), 1.0, 0.0, "exploding"),
        (1.0, float("nan"), 0.0, "exploding"),
    ],
)
def test_verdict_on_both_sides_of_each_bound(ratio, spread, saturated, word):
    assert gradient_flow.verdict(ratio, spread, saturated, dead=0.0) == word


@pytest.mark.parametrize(("spread", "herding"), [(0.0, True), (9e-4, True), (2e-3, False), (1.0, False)])
def test_herding_on_both_sides_of_its_bound(spread, herding):
    """The greatest spread of any hidden layer decides, at the last record; the read-out does not count."""
    rows = [
        (0, 1, 64, 0.5),
        (0, 2, 64, 0.5),
        (0, 3, 64, 0.9),
        (9, 1, 64, 0.0),
        (9, 2, 64, spread),
        (9, 3, 64, 0.9),
    ]
    layers = pandas.DataFrame(rows, columns=["step", "index", "fan_in", "unit_spread"])
    found = symmetry.detect(layers)
    assert found.herding is herding
    assert found.final_unit_spread == spread
