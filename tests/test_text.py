"""Names of columns, numbers and keys in words."""

import re

import pytest

from nnlab.registry import KINDS, components
from nnlab.text import SPOKEN, name_in_words, names_in_words, setting_in_words

EXAMPLES = {
    "validation_accuracy": "validation accuracy",
    "grad_norm": "gradient norm",
    "activation_std": "activation standard deviation",
    "train_f1": "training F1",
    "w_1": "weight 1",
    "delay_ratio": "delay ratio",
    "final_train_accuracy": "final training accuracy",
    "final.test_error": "final test error",
    "selected.validation_loss": "selected validation loss",
    "grokking.delay_ratio": "delay ratio",
    "model.width": "width",
    "optimizer.learning_rate": "learning rate",
    "model.0.units": "units of layer 1",
    "model.2.layers.0.units": "units of layer 1 in layer 3",
    "model.1": "layer 2",
    "model.1.type": "layer 2",
    "optimizer.type": "optimizer",
    "data.label_noise.fraction": "label noise",
    "optimizer.groups.1.learning_rate": "learning rate of group 2",
    "data.split.train": "training split",
    "data.split.fold": "fold",
    "residual_2/dense_1": "residual 2, dense 1",
    "model.0.units, model.2.units": "units of layer 1, units of layer 3",
    "encoder.width, decoder.width": "width",
    "epochs": "epochs",
}


@pytest.mark.parametrize(("name", "words"), EXAMPLES.items())
def test_a_name_in_words(name, words):
    assert name_in_words(name) == words


@pytest.mark.parametrize("kind", KINDS)
def test_every_component_and_key_has_words(kind):
    """No abbreviation that is written out is left in them, and nothing but words."""
    for name, component in components(kind).items():
        for key in (name, *component.parameters):
            words = name_in_words(key)
            assert re.fullmatch(r"[^\W_]+( [^\W_]+)*", words), words
            assert not set(words.split()) & (SPOKEN.keys() - set(SPOKEN.values()))


def test_a_value_does_not_run_into_a_number():
    assert setting_in_words("weight decay", "1") == "weight decay 1"
    assert setting_in_words("units of layer 1", "8") == "units of layer 1 = 8"


def test_equal_words_get_what_they_belong_to():
    assert names_in_words(["optimizer.learning_rate", "model.width"]) == ["learning rate", "width"]
    assert names_in_words(["optimizer.weight_decay", "regularizers.0.strength", "model.strength"]) == [
        "weight decay", "strength of regularizer 1", "strength",
    ]  # fmt: skip
    assert names_in_words(["data.label_noise", "model.label_noise", "seed"]) == [
        "label noise (data)", "label noise (model)", "seed",
    ]  # fmt: skip
