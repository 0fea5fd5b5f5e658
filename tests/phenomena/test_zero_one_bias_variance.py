"""The parts of the zero-one loss against NumPy, one example at a time, and on answers with a known split."""

import numpy as np
import pandas
import pytest
from support import FakeSweep

from nnlab.errors import InvalidValue
from nnlab.phenomena.generalization import zero_one_bias_variance as parts

AXIS = "model.width"


def sweep_of(answers, labels, classes=3, scores=None):
    """A sweep in which `answers[value][seed]` are the classes that each example is taken for."""
    trials, rows = [], []
    for value, by_seed in answers.items():
        for seed, chosen in enumerate(by_seed):
            trial = f"t{value}-{seed}"
            accuracy = np.mean(np.asarray(chosen) == np.asarray(labels))
            trials.append(
                {
                    "trial": trial,
                    "seed": seed,
                    "status": "complete",
                    AXIS: value,
                    "final.test_accuracy": accuracy,
                }
            )
            for example, (answer, label) in enumerate(zip(chosen, labels, strict=True)):
                for output in range(classes):
                    row = {"trial": trial, "split": "test", "example": example, "output": output}
                    prediction = 2.0 * (output == answer) - 0.1 * output
                    rows.append(row | {"target": float(output == label), "prediction": prediction})
    return FakeSweep(pandas.DataFrame(trials), {"predictions": pandas.DataFrame(rows)}, [AXIS])


def test_it_is_what_numpy_computes_example_by_example_and_adds_up():
    random = np.random.default_rng(0)
    labels = random.integers(0, 4, 25)
    answers = {value: random.integers(0, 4, (5, 25)).tolist() for value in (1, 2, 8)}
    curves = parts.decompose(sweep_of(answers, labels, classes=4), AXIS)
    for value, by_seed in answers.items():
        bias, variance, error = [], [], []
        for chosen, label in zip(np.array(by_seed).T, labels, strict=True):
            p = np.bincount(chosen, minlength=4) / 5
            bias.append(0.5 * sum(((y == label) - p[y]) ** 2 for y in range(4)))
            variance.append(0.5 * (1 - sum(p**2)))
            error.append(np.mean(chosen != label))
        found = curves.loc[value]
        assert found["bias_squared"] == pytest.approx(np.mean(bias))
        assert found["variance"] == pytest.approx(np.mean(variance))
        assert found["error"] == pytest.approx(np.mean(error)) == pytest.approx(found["test_error"])
        assert found["bias_squared"] + found["variance"] == pytest.approx(found["error"])


def test_answers_that_agree_have_no_variance_and_answers_by_chance_have_most():
    labels = [0, 1, 2]
    always_wrong, right = [[1, 2, 0]] * 3, [labels] * 3
    by_chance = [[0, 0, 0], [1, 1, 1], [2, 2, 2]]
    found = parts.detect(sweep_of({1: always_wrong, 2: by_chance, 3: right}, labels), AXIS)
    assert (found.first_bias, found.first_variance) == (1.0, 0.0)
    assert (found.last_bias, found.last_variance) == (0.0, 0.0)
    assert found.greatest_variance == pytest.approx(1 / 3)
    assert found.greatest_variance_at == 2
    assert found.decomposition_error == pytest.approx(0.0, abs=1e-12)
    assert found.reason is None


def test_the_same_answers_everywhere_have_a_reason():
    found = parts.detect(sweep_of(dict.fromkeys((1, 2, 3), [[0, 1]] * 2), [0, 0], classes=2), AXIS)
    assert (found.greatest_variance, found.greatest_variance_at, found.first_bias) == (0.0, None, 0.5)
    assert found.reason == "all seeds give the same answers everywhere"


def test_what_cannot_be_decomposed_is_refused():
    answers = {1: [[0], [1]], 2: [[0], [1]], 3: [[0], [1]]}
    with pytest.raises(InvalidValue, match="needs three points or more; there are 2"):
        parts.detect(sweep_of({1: answers[1], 2: answers[2]}, [0]), AXIS)
    with pytest.raises(InvalidValue, match="two seeds or more at every value; at 2 there is one"):
        parts.detect(sweep_of(answers | {2: [[0]]}, [0]), AXIS)
    with pytest.raises(InvalidValue, match="needs an output for each class"):
        parts.detect(sweep_of(answers, [0], classes=1), AXIS)
    moving = sweep_of(answers, [0])
    table = moving.tables["predictions"]
    table.loc[table["trial"] == "t1-1", "target"] = [0.0, 1.0, 0.0]
    with pytest.raises(InvalidValue, match="one test set for all seeds"):
        parts.detect(moving, AXIS)
    regression = sweep_of(answers, [0])
    regression.completed_trials = regression.completed_trials.drop(columns="final.test_accuracy")
    with pytest.raises(InvalidValue, match="the trials have no test accuracy"):
        parts.detect(regression, AXIS)
