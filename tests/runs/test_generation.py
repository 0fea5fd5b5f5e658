"""What runs on texts write."""

import json
import shutil

import numpy as np
import pytest
from support import run_nnlab

import nnlab
from nnlab.errors import UsageError
from nnlab.runs.generation import Draw

SUCCESSOR = """\
name: successor
data: {{type: text, path: {path}, length: 6, split: {{train: 1.0}}, unit: {unit}}}
model: {model}
optimizer: {{type: sgd, learning_rate: 1.0, momentum: 0.9}}
train: {{steps: {steps}}}
"""
ONE_TOKEN = "[{{type: embedding, vocabulary: {k}, units: 8}}, {{type: dense, units: {k}}}]"
BOTH_WAYS = (
    "[{{type: embedding, vocabulary: {k}, units: 8}}, {{type: transformer_block, heads: 2}}, "
    "{{type: dense, units: {k}}}]"
)  # attention is not causal


def trained(folder, content, model=ONE_TOKEN, unit="characters", steps=150):
    file = folder / "some.txt"
    file.write_bytes(content.encode())
    tokens = len(set(content)) if unit == "characters" else 256
    keys = {"path": file, "unit": unit, "steps": steps, "model": model.format(k=tokens)}
    (folder / "some.yaml").write_text(SUCCESSOR.format(**keys))
    return nnlab.train(nnlab.load(folder / "some.yaml"), folder / "run", plots=False)


@pytest.fixture(scope="module")
def cycle(tmp_path_factory):
    """A run on `abc\\n` over and over, whose text is gone."""
    folder = tmp_path_factory.mktemp("cycle")
    run = trained(folder, "abc\n" * 100)
    (folder / "some.txt").unlink()
    return nnlab.open(run.path)


def test_the_likeliest_text_is_the_one_it_was_trained_on(cycle):
    assert cycle.generate("a", 11, temperature=0) == "bc\nabc\nabc\n"
    assert cycle.generate("abc\nabc\nabc", 5, temperature=0) == "\nabc\n", "longer than a window"
    assert cycle.generate("a", 0) == ""


def test_the_directory_holds_the_vocabulary(cycle):
    summary = json.loads((cycle.path / "summary.json").read_text())
    assert summary["vocabulary"] == "\nabc"
    assert summary["classes"] == 4


def test_a_seed_makes_one_text(cycle):
    texts = [cycle.generate("a", 60, temperature=30.0, seed=seed) for seed in (0, 0, 1)]
    assert texts[0] == texts[1] != texts[2]
    assert nnlab.open(cycle.path).generate("a", 60, temperature=30.0) == texts[0]
    assert cycle.generate("a", 60, temperature=30.0, top_k=1) == cycle.generate("a", 60, temperature=0)


def test_bytes_are_written_as_text(tmp_path):
    run = trained(tmp_path, "é€\n" * 100, unit="bytes")
    assert run.summary["vocabulary"].encode("latin-1") == bytes(range(256))
    assert run.generate("\n", 5, temperature=0) == "é€"
    assert run.generate("\n", 3, temperature=0) == "é�", "the last one is cut short"


def test_a_command_line_may_hold_any_bytes(tmp_path):
    run = trained(tmp_path, "é\n" * 100, unit="bytes", steps=5)
    prompt = b"\xff".decode(errors="surrogateescape")
    result = run_nnlab("generate", run.path, "--prompt", prompt, "--length", 1)
    assert result.exit_code == 0
    assert result.stdout.startswith("\N{REPLACEMENT CHARACTER}")


def test_ends_of_lines_are_those_of_the_text(cycle):
    assert cycle.generate("a\r\n", 5, temperature=0) == cycle.generate("a\n", 5, temperature=0)


def test_draws_have_the_probabilities_of_the_softmax():
    outputs, random, count = np.float32([1.0, 3.0, 2.0, -1.0]), np.random.default_rng(0), 20_000
    for temperature, top_k in ((1.0, None), (0.5, None), (2.0, 3), (1.0, 2)):
        draws = [Draw(temperature, top_k).token(outputs, random) for _ in range(count)]
        kept = np.argsort(-outputs)[: top_k or 4]
        expected = np.zeros(4)
        expected[kept] = np.exp(outputs[kept] / temperature)
        expected /= expected.sum()
        found = np.bincount(draws, minlength=4) / count
        assert (np.abs(found - expected) <= 4 * np.sqrt(expected * (1 - expected) / count)).all()
    assert Draw(1e-300, None).token(outputs, random) == Draw(0.0, None).token(outputs, random) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"prompt": ""}, "prompt: is empty"),
        ({"prompt": "axyz"}, "prompt: 'x', 'y' and 'z' did not occur in the text that"),
        ({"length": -1}, "length: -1; it is a whole number, 0 or more"),
        ({"length": 2.5}, "length: 2.5; it is a whole number, 0 or more"),
        ({"temperature": -0.5}, "temperature: -0.5; it is 0 or more"),
        ({"temperature": float("nan")}, "temperature: nan; it is 0 or more"),
        ({"top_k": 0}, "top_k: 0; it is a whole number, 1 or more"),
        ({"top_k": 1.5}, "top_k: 1.5; it is a whole number, 1 or more"),
        ({"seed": -1}, "seed: -1; it is a whole number, 0 or more"),
        ({"seed": 0.5}, "seed: 0.5; it is a whole number, 0 or more"),
        ({"prompt": "a\ud800"}, "prompt: holds half of a character"),
    ],
)
def test_an_argument_that_does_not_suit_is_refused_in_a_line(cycle, arguments, words):
    with pytest.raises(UsageError) as error:
        cycle.generate(**{"prompt": "a", "length": 2} | arguments)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_model_that_sees_later_tokens_writes_nothing(tmp_path):
    run = trained(tmp_path, "abc\n" * 30, BOTH_WAYS, steps=1)
    with pytest.raises(UsageError, match="its outputs depend on later tokens"):
        run.generate("a")


def test_a_run_on_other_data_writes_nothing(tmp_path):
    (tmp_path / "xor.yaml").write_text(
        "name: xor\ndata: xor\nmodel: [{type: dense, units: 2}]\ntrain: {steps: 1}\n"
    )
    run = nnlab.train(nnlab.load(tmp_path / "xor.yaml"), tmp_path / "run", plots=False)
    with pytest.raises(UsageError, match="has no vocabulary; only a run on data of type text writes"):
        run.generate("a")


def test_a_damaged_vocabulary_is_a_line(cycle, tmp_path):
    shutil.copytree(cycle.path, tmp_path / "copy")
    file = tmp_path / "copy" / "summary.json"
    for damaged, words in (
        ("ab", "has 2 tokens, its model 4 outputs"),
        (["a"], "damaged: 'vocabulary'"),
        (7, "has no vocabulary"),
    ):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"vocabulary": damaged}))
        with pytest.raises(UsageError, match=words):
            nnlab.open(tmp_path / "copy").generate("a")


def test_the_command_prints_prompt_and_text(cycle):
    result = run_nnlab("generate", cycle.path, "--prompt", "ab", "--length", 3, "--temperature", 0)
    assert (result.exit_code, result.stdout) == (0, "abc\na\n")
    refused = run_nnlab("generate", cycle.path, "--prompt", "x")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "did not occur in the text" in refused.stderr
