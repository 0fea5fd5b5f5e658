"""The last layer against the loss, normalization of single values: what is refused, and where it stands."""

import re
from pathlib import Path

import pytest

from nnlab.config import load
from nnlab.errors import ConfigError
from nnlab.registry import components
from nnlab.training.experiment import build_experiment

BINARY = ("binary_cross_entropy", "hinge", "perceptron")


@pytest.fixture
def built(folder):
    """Builds an experiment of two classes in which model and loss are these."""

    def build(model, loss="cross_entropy", data="features: 4", train="{epochs: 1}"):
        (folder / "e.yaml").write_text(
            f"name: e\nmodel: {model}\nloss: {loss}\ntrain: {train}\n"
            f"data: {{type: gaussian, examples: 20, classes: 2, {data}}}\n"
        )
        return build_experiment(load(Path("e.yaml")))

    return build


@pytest.fixture
def refused(built, marked):
    """The message of an experiment that is refused where its model has a §."""

    def message(model, *arguments, **options):
        model, (place,) = marked(f"name: e\nmodel: {model}")
        with pytest.raises(ConfigError) as error:
            built(model.split("model: ")[1], *arguments, **options)
        (line,) = str(error.value).splitlines()
        assert line.startswith(f"e.yaml:{place}: model")
        return line

    return message


@pytest.mark.parametrize(
    ("activation", "range_in_words"),
    [
        ("sigmoid", "lie from 0 to 1"),
        ("tanh", "lie from -1 to 1"),
        ("scaled_tanh", "lie from -1.72 to 1.72"),
        ("step", "lie from 0 to 1"),
        ("sign", "lie from -1 to 1"),
        ("relu", "are 0 or more"),
        ("square", "are 0 or more"),
        ("softplus", "are 0 or more"),
        ("elu", "are -1 or more"),
        ("selu", "are -1.76 or more"),
        ("gelu", "are -0.17 or more"),
        ("silu", "are -0.278 or more"),
        ("identity", ""),
        ("leaky_relu", ""),
    ],
)
def test_a_last_activation_must_hold_logits(built, refused, activation, range_in_words):
    assert len(components("activation")) == 14
    if not range_in_words:
        built(f"[{{type: dense, units: 2}}, {activation}]")
        return
    line = refused(f"[{{type: dense, units: 2}}, §{activation}]")
    assert f"ends in {activation}_1, whose outputs {range_in_words}; cross_entropy takes logits" in line
    assert line.endswith("applies softmax itself: leave it out")


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (
            "[{type: dense, units: 1}, §sigmoid, flatten, {type: dropout, rate: 0.5}]",
            "sigmoid_1, .*: leave it out$",
        ),
        ("[{type: dense, units: 1}, [{type: dense, units: 1}, §sigmoid]]", "sigmoid_1"),
        ("[relu, {type: repeat, times: 2, layers: [{type: dense, units: 1}, §relu]}]", "relu_3"),
        ("[§{type: simple_rnn, units: 1, activation: relu}]", "simple_rnn_1, whose outputs are 0 or more"),
    ],
)
@pytest.mark.parametrize("loss", BINARY)
def test_the_last_layer_is_found_and_named(refused, model, said, loss):
    assert re.search(f"ends in {said}", refused(model, loss))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("[{type: dense, units: 1}, §{type: elu, alpha: 2}]", "elu_1, whose outputs are -2 or more"),
        (
            "[{type: reshape, shape: [4, 1]}, §{type: lstm, units: 1}]",
            "lstm_1, .*: let a dense layer follow$",
        ),
    ],
)
def test_a_threshold_takes_either_sign_alone(built, refused, model, said):
    assert re.search(f"ends in {said}", refused(model, "binary_cross_entropy"))
    for loss in ("hinge", "perceptron"):
        built(model.replace("§", ""), loss)


def test_an_architecture_says_where_to_read_on(refused):
    line = refused("[{type: reshape, shape: [16, 16]}, §{type: lenet1989, outputs: 2}]", data="features: 256")
    assert "ends in tanh_4, whose outputs lie from -1 to 1" in line
    assert line.endswith("leave it out (`nnlab show layer lenet1989`)")


@pytest.mark.parametrize(
    ("model", "loss"),
    [
        ("[{type: dense, units: 2}, sigmoid]", "squared_error"),
        ("[relu, {type: dense, units: 1}]", "binary_cross_entropy"),
        (
            "[{type: dense, units: 2}, {type: residual, layers: [{type: dense, units: 2}, relu]}]",
            "cross_entropy",
        ),
        ("[{type: dense, units: 2}, batch_norm]", "cross_entropy"),
        ("[{type: dense, units: 2}, {type: dropout, rate: 0.1}]", "cross_entropy"),
        ("[{type: simple_rnn, units: 2, activation: identity}]", "cross_entropy"),
    ],
)
def test_what_can_hold_the_outputs_is_taken(built, model, loss):
    built(model, loss)


@pytest.mark.parametrize("activation", ["step", "sign"])
def test_a_last_activation_must_let_gradients_pass(built, refused, activation):
    line = refused(f"[{{type: dense, units: 2}}, §{activation}]", "squared_error")
    assert f"ends in {activation}_1, whose slope is 0 everywhere" in line
    assert line.endswith(": leave it out")
    built(f"[{{type: dense, units: 2}}, {activation}]", "squared_error", train="{steps: 0}")


def test_one_output_for_two_classes_is_binary_cross_entropy(built, refused):
    with pytest.raises(ConfigError, match="units: 2}, or mlp's outputs 2, or loss be binary_cross_entropy"):
        built("[{type: dense, units: 1}]")
    with pytest.raises(ConfigError, match="units: 1}, or mlp's outputs 1, or loss be cross_entropy"):
        built("[{type: dense, units: 2}]", "binary_cross_entropy")
    assert refused("[{type: dense, units: 1}, §sigmoid]").endswith("leave it out")


def test_batch_norm_of_one_value_is_refused(built):
    vectors = "[batch_norm, {type: dense, units: 2}]"
    images = "[{type: reshape, shape: [2, 2]}, {type: conv2d, filters: 2, size: SIZE}, batch_norm, flatten,"
    images += " {type: dense, units: 2}]"
    said = "data.batch_size: is 1, and batch_norm_1 would take the variance of one value"
    for model in (vectors, images.replace("SIZE", "2")):
        with pytest.raises(ConfigError, match=re.escape(said)):
            built(model, data="features: 4, batch_size: 1")
        built(model, data="features: 4, batch_size: 2")
    built(images.replace("SIZE", "1"), data="features: 4, batch_size: 1")  # of four values a feature
