"""Models that draw examples: their numbers against closed forms, two nets' steps against PyTorch."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pandas
import pytest
from support import KEY, FakeRun, assert_labelled, experiment_of, trained

import nnlab
from nnlab import plotting
from nnlab.config import check_tree
from nnlab.config.document import Document
from nnlab.data.augment import apply_augmentations
from nnlab.errors import InvalidValue, NnlabError, UsageError
from nnlab.phenomena.generation import density_estimation, mode_collapse, posterior_collapse, samples
from nnlab.registry import build

MACHINE = {
    "name": "machine",
    "data": {
        "type": "digits",
        "images": True,
        "limit": 60,
        "normalize": {"type": "binarize", "above": 7},
        "split": {"train": 0.5, "test": 0.5},
        "batch_size": 10,
    },
    "model": ["flatten", {"type": "rbm", "hidden": 3}],
    "loss": "layer_loss",
    "optimizer": {"type": "sgd", "learning_rate": 0.1},
    "train": {"epochs": 2},
    "record": {"every": {"epochs": 1}, "layers": False},
    "phenomena": ["density_estimation", {"type": "samples", "shown": 4}],
}


def table_of(tables, name):
    return pandas.DataFrame(tables[name]).infer_objects()


def test_the_likelihoods_of_a_machine_and_of_independent_bits():
    exp = experiment_of(MACHINE)
    tables, _ = trained(exp)
    table = table_of(tables, "log_likelihoods")
    found = density_estimation.detect(table)
    losses = table_of(tables, "metrics")
    assert found.log_likelihood == pytest.approx(-losses["test_loss"].iloc[-1], rel=1e-5)
    assert found.train_log_likelihood == pytest.approx(-losses["train_loss"].iloc[-1], rel=1e-5)
    train, test = (exp.data.splits[name].inputs.reshape(30, 64).astype(float) for name in ("train", "test"))
    ones = (train.sum(0) + 0.5) / 31
    expected = (test @ np.log(ones) + (1 - test) @ np.log(1 - ones)).mean()
    assert found.independent == pytest.approx(expected, rel=1e-5)
    assert found.gain == pytest.approx(found.log_likelihood - expected, rel=1e-4)


@pytest.mark.parametrize(("gain", "verdict"), [(1.01, "dependence"), (0.99, "none"), (-5.0, "none")])
def test_the_verdict_on_a_gain(gain, verdict):
    rows = {"step": [0, 0, 9, 9], "split": ["train", "test"] * 2, "independent": [-7.0] * 4}
    table = pandas.DataFrame(rows | {"log_likelihood": [-40.0, -40.0, -6.0, gain - 7.0]})
    assert density_estimation.detect(table).verdict == verdict
    assert density_estimation.detect(table).train_log_likelihood == -6.0
    with pytest.raises(InvalidValue, match="not finite"):
        density_estimation.detect(table.assign(log_likelihood=np.nan))


def test_samples_are_measured_among_the_examples():
    numbers = {"split": ["test"], "held_out_distance": [2.0], "held_out_spread": [4.0]}
    found = samples.detect(pandas.DataFrame(numbers | {"distance": [3.0], "spread": [1.0]}))
    assert (found.distance, found.over_held_out, found.spread, found.reason) == (3.0, 1.5, 0.25, None)
    alike = pandas.DataFrame(numbers | {"distance": [3.0], "spread": [1.0], "held_out_distance": [0.0]})
    assert samples.detect(alike).over_held_out is None
    assert samples.detect(alike).reason
    random = np.random.default_rng(0)
    one, other = (random.standard_normal((n, 5)).astype(np.float32) for n in (6, 4))
    expected = np.linalg.norm(one[:, None] - other[None], axis=-1)
    np.testing.assert_allclose(samples.distances_between(one, other), expected, rtol=1e-5)


def test_a_run_draws_its_samples_and_figures(tmp_path):
    run = nnlab.train(check_tree(Document(MACHINE, {}, {}, "test")), out=tmp_path / "run")
    drawn = run.sample(5, seed=3)
    assert drawn.shape == (5, 8, 8)
    assert set(np.unique(drawn)) <= {0.0, 1.0}
    np.testing.assert_array_equal(drawn, run.sample(5, seed=3))
    assert (drawn != run.sample(5, seed=4)).any()
    kept = run.table("samples")
    assert len(kept) == 3 * 4 * 64
    for name in ("samples", "density_estimation"):
        figure = run.figure(name)
        with plotting.style():
            figure.draw_without_rendering()
    assert_labelled(run.figure("density_estimation"))
    for count, seed in ((0, 0), (3, -1), (2.5, 0), (3, 0.5)):
        with pytest.raises(UsageError, match="whole numbers, a count of 1 or more and a seed"):
            run.sample(count, seed)


def test_a_net_that_answers_draws_nothing(tmp_path):
    tree = MACHINE | {
        "model": ["flatten", {"type": "dense", "units": 10}],
        "loss": "cross_entropy",
        "train": {"steps": 1},
        "phenomena": [],
    }
    run = nnlab.train(check_tree(Document(tree, {}, {}, "test")), out=tmp_path / "run")
    with pytest.raises(UsageError, match="draws no examples"):
        run.sample(3)


BITS, GREY = MACHINE["data"], MACHINE["data"] | {"normalize": None}
READ_OUT = {"type": "dense", "units": 10}
RBM = {"type": "rbm", "hidden": 3}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": "cross_entropy"}, "loss: rbm_1 computes its own loss; let loss be layer_loss"),
        (
            {"model": ["flatten", READ_OUT]},
            "loss: needs a last layer that computes its own loss, such as rbm",
        ),
        ({"model": ["flatten", RBM, READ_OUT]}, "model: rbm_1 computes its own loss; it must be the last"),
        (
            {"model": ["flatten", READ_OUT | {"units": 1}, {"type": "residual", "layers": [RBM]}]},
            "model: residual_1/rbm_1 computes its own loss; it must be the last",
        ),
        (
            {"data": BITS | {"label_noise": {"fraction": 0.2}}},
            "data.label_noise: changes labels, which layer_loss leaves aside; leave it out",
        ),
        ({"data": GREY}, "data: rbm_1 takes inputs 0 or 1, and among them is .*binarize, above: "),
        (
            {"model": ["flatten", READ_OUT, RBM]},
            "model: rbm_1 takes inputs 0 or 1, and dense before it makes other numbers",
        ),
        ({"model": [RBM]}, "model: rbm_1: rbm takes inputs of one axis.*put flatten before it"),
        ({"metrics": ["r2"]}, "metrics: compare outputs with targets, which layer_loss leaves aside"),
        (
            {"model": ["flatten", RBM | {"hidden": 17}]},
            r"phenomena\[0\]: density_estimation .* that of rbm is negative pseudo-log-likelihood",
        ),
        ({"data": BITS | {"split": {"train": 1.0}}}, r"phenomena\[1\]: samples needs test or validation"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(change, message):
    with pytest.raises(NnlabError, match=message) as error:
        experiment_of(MACHINE | change)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("augmentation", "bits", "grey"),
    [
        ("flip", "", ""),
        ("shift", "", ""),
        ({"type": "shift", "fill": "wrap"}, "", ""),
        ({"type": "cutout", "size": 2, "fill": 1.0}, "", ""),
        ({"type": "shift", "fill": 0.5}, ".fill: is 0.5, and rbm_1 takes inputs 0 or 1", ""),
        ({"type": "cutout", "fill": -1.0}, ".fill: is -1", ".fill: is -1, and vae_1 takes inputs from 0 to"),
        ({"type": "rotate", "fill": 2.0}, ": rotate makes other values", ".fill: is 2, and vae_1 takes"),
        ("scale", ": scale makes other values", ""),
        ("crop", ": crop makes other values", ""),
        ("mixup", ": mixup makes other values, and rbm_1 takes inputs 0 or 1; leave it out", ""),
        ("noise", ": noise makes other values", ": noise makes other values, and vae_1 takes inputs from 0"),
        ("brightness", ": brightness makes", ": brightness makes other values"),
        ("contrast", ": contrast makes", ": contrast makes other values"),
    ],
)
def test_changed_examples_are_what_the_layer_takes(augmentation, bits, grey):
    machine = MACHINE | {"model": [{"type": "reshape", "shape": [64]}, RBM]}
    gaussian = ENCODED["model"][0] | {"likelihood": "gaussian"}
    for tree, message in ((machine, bits), (ENCODED, grey), (ENCODED | {"model": [gaussian]}, "")):
        tree = tree | {"phenomena": [], "augment": [augmentation]}
        if message:
            with pytest.raises(NnlabError, match=rf"augment\[0\]{message}") as error:
                experiment_of(tree)
            assert len(str(error.value).splitlines()) == 1
            continue
        exp = experiment_of(tree)
        inputs = jnp.asarray(exp.data.train.inputs)
        changed = apply_augmentations(exp.plan.augment, KEY, inputs).inputs
        assert changed.shape == inputs.shape
        if "gaussian" not in str(tree):
            assert changed.min() >= 0
            assert changed.max() <= 1 + 1e-6
        if tree["model"] == machine["model"]:
            assert set(np.unique(changed)) <= {0.0, 1.0}


@pytest.mark.parametrize("reconstruct", [False, True])
def test_a_layer_s_loss_is_one_output_whatever_the_targets(reconstruct):
    assert experiment_of(MACHINE | {"data": BITS | {"reconstruct": reconstruct}}).data.train.classes == 0
    assert experiment_of(ENCODED | {"phenomena": [], "data": BITS | {"reconstruct": reconstruct}})


def test_labels_are_left_aside_and_kept_as_values():
    exp = experiment_of(MACHINE)
    assert exp.data.train.classes == 0
    assert exp.data.train.targets.shape == (30, 1)
    assert set(np.unique(exp.data.train.targets)) <= set(range(10))
    assert "accuracy" not in "".join(exp.metric_columns)


def test_a_figure_without_samples_is_refused():
    empty = pandas.DataFrame({"step": [], "sample": [], "y": [], "x": [], "channel": [], "value": []})
    run = FakeRun({"samples": empty.astype(float), "sampled_examples": empty.astype(float)}, {})
    with pytest.raises(InvalidValue, match="there are no samples"):
        build("phenomenon", "samples").figures["samples"]([run])


# --- adversarial nets ------------------------------------------------------------------------------------

WIDTHS = {"generator": [3, 8, 2], "discriminator": [2, 8, 1]}


def adversaries(penalty, **keys):
    def layers(widths):
        inner = [part for units in widths[1:-1] for part in ({"type": "dense", "units": units}, "tanh")]
        return [*inner, {"type": "dense", "units": widths[-1]}]

    nets = {name: layers(widths) for name, widths in WIDTHS.items()}
    return {
        "name": "adversaries",
        "data": {"type": "ring_of_gaussians", "examples": 64, "test_examples": 16, "batch_size": 16},
        "model": [{"type": "gan", "latent": 3, "gradient_penalty": penalty, **nets}],
        "loss": "layer_loss",
        "optimizer": {
            "type": "adam",
            "learning_rate": 0.01,
            "b1": 0.5,
            "groups": [{"layers": "gan_1/generator", "learning_rate": 0.003}],
        },
        "train": {"steps": 50},
        "record": {"every": {"steps": 50}, "layers": False},
    } | keys


def noise_of(seed, step, count):
    """The noise of a step, by the keys that layers are told."""
    key = jax.random.fold_in(jax.random.key(seed), step)  # the step's; then the chain's first layer's
    noise_key, _ = jax.random.split(jax.random.fold_in(key, 0))
    return np.asarray(jax.random.normal(noise_key, (count, 3)))


@pytest.mark.parametrize("penalty", [0.0, 0.7])
def test_both_updates_are_pytorch_s_for_fifty_steps(penalty):
    """Two optimizers, two losses, both stepping from the same weights."""
    torch = pytest.importorskip("torch")
    from nnlab.training.batches import BatchOrder

    exp = experiment_of(adversaries(penalty))
    first, _ = exp.first_weights()
    nets = {}
    for name, widths in WIDTHS.items():
        parts = []
        for number, (inputs, outputs) in enumerate(itertools.pairwise(widths), 1):
            layer = torch.nn.Linear(inputs, outputs)
            weights = first["gan_1"][name][f"dense_{number}"]
            layer.weight.data = torch.tensor(np.asarray(weights["kernel"]).T.copy())
            layer.bias.data = torch.tensor(np.asarray(weights["bias"]).copy())
            parts += [layer, torch.nn.Tanh()]
        nets[name] = torch.nn.Sequential(*parts[:-1])
    generator, discriminator = nets["generator"], nets["discriminator"]
    rates = {"generator": 0.003, "discriminator": 0.01}
    steps = {
        name: torch.optim.Adam(nets[name].parameters(), lr=rates[name], betas=(0.5, 0.999)) for name in nets
    }
    softplus = torch.nn.functional.softplus
    order = BatchOrder(exp).rows(0, 50)
    for step in range(50):
        x = torch.tensor(exp.data.train.inputs[order[step]], requires_grad=True)
        made = generator(torch.tensor(noise_of(exp.plan.seed, step, 16)))
        true = discriminator(x)
        (slope,) = torch.autograd.grad(true.sum(), x, create_graph=True)
        of_discriminator = (softplus(-true) + softplus(discriminator(made.detach()))).mean()
        of_discriminator = of_discriminator + penalty / 2 * (slope**2).sum(1).mean()
        of_generator = softplus(-discriminator(made)).mean()
        gradients = {
            "discriminator": torch.autograd.grad(of_discriminator, discriminator.parameters()),
            "generator": torch.autograd.grad(of_generator, generator.parameters()),
        }
        for name, net in nets.items():
            for parameter, gradient in zip(net.parameters(), gradients[name], strict=True):
                parameter.grad = gradient
            steps[name].step()
    with jax.numpy_dtype_promotion("standard"):  # optax raises floats to whole powers
        _, chunks = trained(exp)
    found = chunks[-1].state().params["gan_1"]
    for name, net in nets.items():
        linear = [part for part in net if isinstance(part, torch.nn.Linear)]
        for number, part in enumerate(linear, 1):
            kernel = found[name][f"dense_{number}"]["kernel"]
            np.testing.assert_allclose(kernel, part.weight.detach().numpy().T, rtol=2e-4, atol=2e-5)
            assert np.abs(kernel - first["gan_1"][name][f"dense_{number}"]["kernel"]).max() > 0.01


def test_where_the_discriminator_tells_nothing_the_loss_is_three_times_log_two():
    tree = adversaries(0.5)
    tree["model"][0]["discriminator"][-1]["kernel_init"] = "zeros"
    exp = experiment_of(tree)
    params, state = exp.model.init(0)
    out = exp.model.apply(params, state, exp.data.test.inputs, key=jax.random.key(0), train=False)
    np.testing.assert_allclose(out.value, 3 * np.log(2), rtol=1e-6)


def test_nets_that_do_not_fit_are_refused():
    for name, message in (
        ("generator", "the generator makes .3.*inputs are .2"),
        ("discriminator", "makes .3"),
    ):
        tree = adversaries(0.0)
        tree["model"][0][name][-1]["units"] = 3
        with pytest.raises(NnlabError, match=message):
            experiment_of(tree)


# --- collapsed modes -------------------------------------------------------------------------------------


def shares(*rows):
    """The table of a run with these shares of four modes at step 0, 10, ..."""
    parts = [{"step": 10 * n, "mode": range(4), "due": 0.25, "share": row} for n, row in enumerate(rows)]
    return pandas.concat([pandas.DataFrame(part) for part in parts])


@pytest.mark.parametrize(
    ("last", "found", "verdict"),
    [
        ([0.2, 0.3, 0.2, 0.3], 4, "none"),
        ([0.9, 0.0, 0.0, 0.0], 1, "collapse"),
        ([0.5, 0.5, 0.0, 0.0], 2, "collapse"),
        ([0.4, 0.3, 0.3, 0.01], 3, "some missing"),
        ([0.02, 0.02, 0.02, 0.02], 4, "none"),  # of those near to any
        ([0.01, 0.0, 0.0, 0.0], 0, None),
    ],
)
def test_the_verdict_on_modes(last, found, verdict):
    numbers = mode_collapse.detect(shares([0.25] * 4, last))
    assert (numbers.modes, numbers.found, numbers.most_found, numbers.verdict) == (4, found, 4, verdict)
    assert numbers.near == pytest.approx(sum(last))
    assert (numbers.reason is None) == (verdict is not None)
    with pytest.raises(InvalidValue, match="not finite"):
        mode_collapse.detect(shares([np.nan] * 4))


def test_samples_are_counted_for_the_mode_they_are_near_to():
    train = np.array([[0, 0], [0, 2], [10, 0], [10, 2]], np.float32)
    drawn = np.array([[0, 1.5], [0, 1], [0, 5], [10, 1], [4, 1]], np.float32)
    found = mode_collapse._shares_near(drawn, train, np.array([0, 0, 1, 1], np.float32), 2)
    np.testing.assert_allclose(found, [0.4, 0.2])  # radius 1 about (0, 1) and (10, 1)


def test_modes_must_be_as_many_as_classes():
    with pytest.raises(NnlabError, match=r"phenomena\[0\].modes: has 7 modes, and the data have 8 classes"):
        experiment_of(adversaries(0.0, phenomena=[{"type": "mode_collapse", "modes": 7}]))
    exp = experiment_of(
        adversaries(0.0, phenomena=[{"type": "mode_collapse", "modes": 8}], train={"steps": 2})
    )
    with jax.numpy_dtype_promotion("standard"):
        tables, _ = trained(exp)
    table = table_of(tables, "modes")
    assert list(table["due"][:8]) == [0.125] * 8
    figure = build("phenomenon", {"type": "mode_collapse", "modes": 8}).figures["mode_collapse"]
    enough = shares([0.25] * 4, [0.9, 0, 0, 0])
    assert_labelled(figure([FakeRun({"modes": enough}, {})]))


# --- variational autoencoders ----------------------------------------------------------------------------

ENCODED = MACHINE | {
    "name": "encoded",
    "model": [
        {
            "type": "vae",
            "code": 2,
            "encoder": ["flatten", {"type": "dense", "units": 4}],
            "decoder": [{"type": "dense", "units": 64}],
        }
    ],
    "phenomena": ["density_estimation", "posterior_collapse", {"type": "samples", "shown": 3}],
}


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("beta", [1.0, 2.5])
def test_the_bound_is_that_of_numpy(likelihood, beta):
    """With its divergence in closed form, against an average over codes as well."""
    tree = ENCODED | {
        "model": [ENCODED["model"][0] | {"likelihood": likelihood, "beta": beta}],
        "phenomena": [],
    }
    exp = experiment_of(tree)
    params, state = exp.model.init(0)
    x = exp.data.test.inputs
    out = exp.model.apply(params, state, x, key=KEY, train=True)
    code_key, _ = jax.random.split(jax.random.fold_in(KEY, 0))
    noise = np.asarray(jax.random.normal(code_key, (len(x), 2)), float)
    weights = {
        name: {k: np.asarray(v, float) for k, v in net["dense_1"].items()}
        for name, net in params["vae_1"].items()
    }
    flat = x.reshape(len(x), 64).astype(float)
    said = flat @ weights["encoder"]["kernel"] + weights["encoder"]["bias"]
    mean, std = said[:, :2], np.exp(said[:, 2:] / 2)
    made = (mean + std * noise) @ weights["decoder"]["kernel"] + weights["decoder"]["bias"]
    if likelihood == "bernoulli":
        p = 1 / (1 + np.exp(-made))
        distortion = -(flat * np.log(p) + (1 - flat) * np.log(1 - p)).sum(1)
    else:
        distortion = (((flat - made) ** 2 + np.log(2 * np.pi)) / 2).sum(1)
    kl = ((mean**2 + std**2 - 1) / 2 - np.log(std)).sum(1)
    np.testing.assert_allclose(out.value[:, 0], distortion + beta * kl, rtol=1e-5)
    many = mean[None] + std[None] * np.random.default_rng(0).standard_normal((20_000, *mean.shape))
    log_ratio = (many**2 / 2 - ((many - mean) / std) ** 2 / 2 - np.log(std)).sum(-1)
    np.testing.assert_allclose(log_ratio.mean(0), kl, atol=0.08)


def test_a_code_that_says_nothing_is_a_collapse():
    rows = {"step": [0, 0, 9, 9], "unit": [1, 2, 1, 2], "distortion": [20.0, 20.0, 5.0, 5.0]}
    table = pandas.DataFrame(rows | {"divergence": [0.0, 0.0, 1.0, 2.0], "variance": [0.0, 0.0, 0.5, 0.005]})
    found = posterior_collapse.detect(table)
    assert (found.units, found.active, found.verdict) == (2, 1, "some units")
    assert (found.rate, found.distortion, found.bound) == (3.0, 5.0, -8.0)
    assert posterior_collapse.detect(table[table["step"] == 0]).verdict == "collapse"
    assert posterior_collapse.detect(table.assign(variance=1.0)).verdict == "none"
    with pytest.raises(InvalidValue, match="not finite"):
        posterior_collapse.detect(table.assign(divergence=np.inf))


def test_an_encoded_run_has_its_numbers_and_figures(tmp_path):
    run = nnlab.train(check_tree(Document(ENCODED, {}, {}, "test")), out=tmp_path / "run")
    numbers, last = run.numbers, run.metrics.iloc[-1]
    assert numbers["posterior_collapse.bound"] == pytest.approx(-last["test_loss"], rel=1e-5)
    assert numbers["density_estimation.log_likelihood"] == pytest.approx(-last["test_loss"], rel=1e-5)
    assert set(run.table("codes")["class"]) <= set(range(10))
    drawn = run.sample(3)
    assert drawn.shape == (3, 8, 8)
    assert ((drawn > 0) & (drawn < 1)).all()
    for name in ("posterior_collapse", "latent_map"):
        assert_labelled(run.figure(name))


def test_what_does_not_fit_a_code_is_refused():
    for name, units, message in (
        ("encoder", 3, "let it end in {type: dense, units: 4}"),
        ("decoder", 9, "makes .9."),
    ):
        vae = ENCODED["model"][0]
        broken = vae | {name: [*vae[name][:-1], {"type": "dense", "units": units}]}
        with pytest.raises(NnlabError, match=message):
            experiment_of(ENCODED | {"model": [broken]})
    densities = ENCODED["model"][0] | {"likelihood": "gaussian"}
    with pytest.raises(
        NnlabError, match="likelihood of bits; that of vae is bound of the negative log densi"
    ):
        experiment_of(ENCODED | {"model": [densities]})
    pixels = {"phenomena": [], "data": BITS | {"normalize": "standardize"}}
    with pytest.raises(NnlabError, match=r"data: vae_1 takes inputs from 0 to 1, .* normalize be .*min_max"):
        experiment_of(ENCODED | pixels)
    experiment_of(ENCODED | pixels | {"model": [densities]})
    experiment_of(
        ENCODED | {"phenomena": [], "data": BITS | {"normalize": {"type": "min_max", "together": True}}}
    )
    weighted = ENCODED["model"][0] | {"beta": 2.0}
    with pytest.raises(NnlabError, match="that of vae is reconstruction and 2 KL, nats"):
        experiment_of(ENCODED | {"model": [weighted]})
    with pytest.raises(NnlabError, match="posterior_collapse needs a vae layer at the end; here it is rbm"):
        experiment_of(MACHINE | {"phenomena": ["posterior_collapse"]})
