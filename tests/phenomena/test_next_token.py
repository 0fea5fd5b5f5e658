"""The next token: counts against loops and a chain of known entropy, what is measured against NumPy."""

import math

import numpy as np
import pandas
import pytest
from support import KEY, FakeRun, assert_labelled, assert_readable, experiment_of, tables_of, title_of
from support import trained as trained_by

from nnlab import plotting
from nnlab.errors import InvalidValue, NnlabError
from nnlab.phenomena.generalization import next_token

CHAIN = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8], [0.4, 0.5, 0.1]])


def chain(count, seed=0):
    """Tokens of a Markov chain, `[M]`."""
    random, tokens = np.random.default_rng(seed), [0]
    for _ in range(count - 1):
        tokens.append(random.choice(3, p=CHAIN[tokens[-1]]))
    return np.array(tokens)


def pairs(tokens):
    return np.stack([tokens[:-1], tokens[1:]])


def test_the_losses_of_counts_equal_those_of_loops():
    random = np.random.default_rng(1)
    train, scored, tokens = random.integers(0, 5, (2, 60)), random.integers(0, 6, (2, 40)), 6
    share = [(sum(b == token for b in train[1]) + 1) / (60 + tokens) for token in range(tokens)]

    def bigram(a, b, c):
        together = sum((x, y) == (a, b) for x, y in train.T)
        return (together + c * share[b]) / (sum(x == a for x in train[0]) + c)

    weights = [2.0**k for k in range(-4, 11)]
    best = min(np.mean([-math.log(bigram(a, b, c)) for a, b in scored.T]) for c in weights)
    expected = (math.log(6), np.mean([-math.log(share[b]) for b in scored[1]]), best)
    assert next_token.baseline_losses(train, scored, tokens) == pytest.approx(expected)


def test_of_a_chain_the_bigram_model_comes_to_its_entropy():
    train, scored = pairs(chain(40_000)), pairs(chain(40_000, seed=1))
    values, vectors = np.linalg.eig(CHAIN.T)
    stationary = np.real(vectors[:, np.argmax(np.real(values))])
    stationary /= stationary.sum()
    entropy = -(stationary[:, None] * CHAIN * np.log(CHAIN)).sum()
    uniform, unigram, bigram = next_token.baseline_losses(train, scored, 3)
    assert bigram == pytest.approx(entropy, abs=0.01)
    assert unigram == pytest.approx(-(stationary * np.log(stationary)).sum(), abs=0.01)
    assert uniform == math.log(3)


def tree(layers, **keys):
    return {
        "name": "test",
        "data": {"type": "text", "unit": "bytes", "length": 10, "limit": 50, "batch_size": 8},
        "model": [
            {"type": "embedding", "vocabulary": 256, "units": 8},
            *layers,
            {"type": "dense", "units": 256},
        ],
        "optimizer": {"type": "sgd", "learning_rate": 0.5},
        "train": {"steps": 5},
        "record": {"every": {"steps": 5}, "layers": False},
        "phenomena": ["next_token"],
    } | keys


@pytest.mark.parametrize("loss", ["cross_entropy", {"type": "cross_entropy", "label_smoothing": 0.3}])
def test_the_loss_is_that_of_the_test_set_whatever_training_makes_small(loss):
    experiment = experiment_of(tree([{"type": "gru", "units": 6, "read": None}], loss=loss))
    tables, chunks = trained_by(experiment)
    table, test = pandas.DataFrame(tables["next_token"]), experiment.data.test
    params = chunks[-1].state().params
    model = experiment.model
    z = np.asarray(model.apply(params, {}, np.asarray(test.inputs), key=KEY, train=False).value, float)
    log_p = z - np.log(np.exp(z).sum(-1, keepdims=True))
    expected = -np.take_along_axis(log_p, test.targets[..., None], -1).mean()
    assert table["loss"][0] == pytest.approx(expected, rel=1e-5)
    assert table["dependence"][0] == 0
    assert table["split"][0] == "test"


@pytest.mark.parametrize(
    ("layers", "hears"),
    [
        ([{"type": "transformer_block", "heads": 2, "causal": True}], False),
        ([{"type": "lstm", "units": 6, "read": None}], False),
        ([{"type": "transformer_block", "heads": 2}], True),
        ([{"type": "bidirectional", "layer": {"type": "gru", "units": 6, "read": None}}], True),
    ],
)
def test_a_model_that_sees_later_tokens_has_no_verdict(layers, hears):
    tables = tables_of(trained_by(experiment_of(tree(layers)))[1])
    found = next_token.detect(pandas.DataFrame(tables["next_token"]).infer_objects())
    assert (found.verdict is None) == (found.gain is None) == hears
    assert (found.reason or "").startswith("an output depends on later tokens") == hears


def table(loss, bigram=2.5, dependence=0.0):
    columns = {"uniform": 4.0, "unigram": 3.0, "bigram": bigram, "loss": loss, "dependence": dependence}
    return pandas.DataFrame([{"step": 10, "split": "test", **columns}])


@pytest.mark.parametrize(
    ("loss", "verdict"), [(2.39, "context"), (2.41, "none"), (2.5, "none"), (3.5, "none"), (0.0, "context")]
)
def test_verdict_on_both_sides_of_the_bound(loss, verdict):
    found = next_token.detect(table(loss))
    assert found == next_token.NextToken(loss, 2.5, 3.0, 4.0, pytest.approx(2.5 - loss), verdict)


def test_without_finite_losses_there_is_nothing_to_see():
    for broken in (table(math.nan), table(1.0, bigram=math.inf), table(1.0).iloc[:0]):
        with pytest.raises(InvalidValue, match="the losses on the next token are not finite"):
            next_token.detect(broken)


def test_data_without_a_next_token_are_refused():
    other = {"data": "wine", "model": [{"type": "dense", "units": 3}]}
    with pytest.raises(NnlabError, match="next_token needs a next token at every position"):
        experiment_of(tree([], **other))


def test_the_figure_has_the_curves_and_the_lines_of_counts():
    metrics = pandas.DataFrame({"step": [0, 5, 10], "train_loss": [4, 3, 1.8], "test_loss": [4, 3, 2.0]})
    runs = [FakeRun({"metrics": metrics, "next_token": table(loss)}, {}) for loss in (2.0, 2.6)]
    with plotting.style():
        figure = next_token.loss_curves(runs)
    assert_labelled(figure)
    assert_readable(figure)
    first, second = figure.axes
    assert "2.00 nats, 0.50 below the bigram model" in title_of(first)
    assert "0.10 above the bigram model" in title_of(second)
    levels = [line.get_ydata()[0] for line in first.get_lines()[2:]]
    assert levels == [4.0, 3.0, 2.5]
