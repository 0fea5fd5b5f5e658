"""The precision of a training: what its program asks for, which types it has, and what stays as it was."""

import copy
import hashlib
import json
import os
import re

import jax
import numpy as np
import pytest
from support import TINY, run_nnlab

import nnlab
from nnlab.errors import ConfigError, UsageError
from nnlab.nn import convolution
from nnlab.system import device
from nnlab.training.compilation import _compile
from nnlab.training.experiment import build_experiment
from nnlab.training.lanes import Lanes
from nnlab.training.loop import train
from nnlab.training.program import group_key

SIGNALS = {
    "name": "signals",
    "data": {
        "type": "mnist1d",
        "examples": 120,
        "split": {"train": 0.5, "validation": 0.5},
        "batch_size": 12,
    },
    "model": [
        {"type": "conv1d", "filters": 3, "size": 5, "stride": 2},
        "batch_norm",
        "relu",
        {"type": "simple_rnn", "units": 4},
        {"type": "dropout", "rate": 0.1},
        {"type": "dense", "units": 10},
    ],
    "optimizer": {"type": "sgd", "learning_rate": 0.05, "momentum": 0.9},
    "train": {"steps": 12},
    "record": {"every": {"steps": 6}},
    "phenomena": ["gradient_flow"],
}
HALF = {"precision": {"compute": "bfloat16"}}


def bound(**keys):
    return build_experiment(nnlab.experiment({**SIGNALS, **keys}))


def lowered(monkeypatch, experiment):
    """The program of a chunk before XLA has it, as text."""
    texts = []
    compile_it = jax.stages.Lowered.compile
    monkeypatch.setattr(
        jax.stages.Lowered, "compile", lambda self: texts.append(self.as_text()) or compile_it(self)
    )
    _compile(Lanes([experiment]))
    (text,) = texts
    return text


def products(text):
    """The lines that multiply matrices or convolve."""
    return re.findall(r".*stablehlo\.(?:dot_general|convolution).*", text)


@pytest.mark.parametrize(
    ("precision", "asked_for"),
    [({}, "HIGHEST"), ({"matmul": "high"}, "HIGH"), ({"matmul": "default"}, "DEFAULT")],
)
def test_every_product_forward_and_backward_asks_for_the_precision(precision, asked_for, monkeypatch):
    monkeypatch.setattr(convolution.device, "is_cpu", lambda: False)  # XLA's own convolution
    lines = products(lowered(monkeypatch, bound(precision=precision)))
    assert sum("convolution" in line for line in lines) >= 3  # forward, by the kernel, and in evaluation
    assert sum("dot_general" in line for line in lines) >= 10
    for line in lines:
        words = re.findall(r"precision(?: = \[| )(\w+)", line) or ["DEFAULT"]
        assert set(words) == {asked_for}, line


def test_in_bfloat16_the_model_alone_computes_so(monkeypatch):
    full, half = lowered(monkeypatch, bound()), lowered(monkeypatch, bound(**HALF))
    assert "bf16" not in full
    assert sum("bf16" in line for line in products(half)) >= 10
    drawn = re.findall(r"func.func public @main\((.*)\) -> \((.*)\)", half)
    assert drawn
    assert "bf16" not in str(drawn)


def test_a_training_in_bfloat16_keeps_float32_state_and_learns_much_the_same():
    tables = []
    for keys in ({}, HALF):
        chunks = list(train(bound(**keys)))
        types = {leaf.dtype for leaf in jax.tree.leaves(chunks[-1].state())}
        assert types <= {np.dtype(kind) for kind in ("float32", "int32", "bool")}
        tables.append({name: np.concatenate([c.tables["metrics"][name] for c in chunks]) for name in LOSSES})
    for name in LOSSES:
        full, half = (table[name] for table in tables)
        np.testing.assert_allclose(half, full, rtol=0.02)
        assert (half != full).any()


LOSSES = ("train_loss", "validation_loss")


def test_an_experiment_without_the_key_keeps_its_hash():
    plain, half = nnlab.experiment(SIGNALS), nnlab.experiment({**SIGNALS, **HALF})
    before = copy.deepcopy(plain.tree)
    later = {"": ("precision", "prune"), "data": ("order", "fresh", "tasks"), "train": ("devices",)}
    for section, keys in later.items():
        for key in keys:
            del (before[section] if section else before)[key]
    del before["data"]["split"]["sample"]
    text = json.dumps(before, sort_keys=True, separators=(",", ":"))
    assert plain.hash == hashlib.sha256(text.encode()).hexdigest()
    assert nnlab.experiment({**SIGNALS, "precision": {"matmul": "highest"}}).hash == plain.hash
    assert (
        len({plain.hash, half.hash, nnlab.experiment({**SIGNALS, "precision": {"matmul": "high"}}).hash}) == 3
    )
    assert group_key(plain) != group_key(half)


def test_a_solver_takes_no_precision():
    tree = {
        "name": "solved",
        "data": {"type": "wave", "examples": 20},
        "model": [{"type": "dense", "units": 1, "use_bias": False}],
        "loss": "squared_error",
        "solver": "least_squares",
    }
    nnlab.experiment(tree)
    with pytest.raises(ConfigError, match=r"precision: a solver computes in float64; leave it out"):
        nnlab.experiment({**tree, **HALF})


def test_a_run_predicts_and_goes_on_in_its_precision(folder):
    (folder / "tiny.yaml").write_text(TINY + "precision: {compute: bfloat16}\n")
    config = nnlab.load(folder / "tiny.yaml", "+record.predictions=true")
    run = nnlab.train(config, folder / "run", plots=False)
    data = build_experiment(config).data
    recorded = run.tables["predictions"]
    wanted = recorded[recorded["split"] == "train"]["prediction"].to_numpy().reshape(len(data.train), -1)
    np.testing.assert_allclose(run.predict(data.train.inputs), wanted, rtol=1e-6, atol=1e-6)
    values = data.train.inputs.astype(np.float64)
    weights = run.weights()
    for number in (1, 2, 3):
        values = values @ weights[f"dense_{number}/kernel"] + weights[f"dense_{number}/bias"]
        values = np.tanh(values) if number < 3 else values
    assert 1e-4 < np.abs(values - wanted).max() < 0.03  # away from those of the same weights in float64
    other = run_nnlab("train", folder / "tiny.yaml", "~precision", "--out", folder / "run", "--no-plots")
    assert other.exit_code == 2
    assert "holds a run of another config" in other.stderr


AS_WITH_A_GPU = """
from nnlab.system import device

device.has_accelerator = lambda platform="auto": True
"""


def test_deterministic_is_a_flag_of_a_gpu_and_recorded(folder, nnlab_process):
    (folder / "tiny.yaml").write_text(TINY)
    (folder / "sitecustomize.py").write_text(AS_WITH_A_GPU)
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    less = ("phenomena=[]", "expect={}", "record.layers=false", "--deterministic", "--no-plots")
    rates = "optimizer.learning_rate=0.1,0.2"
    for words in (("train", "--out", "run"), ("sweep", rates, "--jobs", "1", "--out", "sweep")):
        done = nnlab_process(words[0], "tiny.yaml", *words[1:], *less, env=environment)
        assert done.returncode == 0, done.stderr
    trials = list((folder / "sweep" / "trials").iterdir())
    assert len(trials) == 2
    for path in (folder / "run", *trials):
        settings = json.loads((path / "environment.json").read_text())["settings"]
        assert settings["XLA_FLAGS"] == f"{os.environ['XLA_FLAGS']} --xla_gpu_deterministic_ops=true"


def test_on_a_cpu_deterministic_changes_nothing(folder, monkeypatch):
    (folder / "tiny.yaml").write_text(TINY)
    before = dict(os.environ)
    assert run_nnlab("train", folder / "tiny.yaml", "--deterministic", "--no-plots").exit_code == 0
    assert dict(os.environ) == before
    monkeypatch.setattr(device, "has_accelerator", lambda platform="auto": True)
    with pytest.raises(UsageError, match="--deterministic: JAX has started without"):
        device.configure(deterministic=True)
