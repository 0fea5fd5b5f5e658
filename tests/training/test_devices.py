"""Several devices, simulated by a CPU: a batch divided among them, and lanes spread over them."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import yaml
from support import TINY

import nnlab
from nnlab.errors import ConfigError
from nnlab.storage.tables import read_table
from nnlab.training.experiment import build_experiment
from nnlab.training.placement import batch_devices

FILE = """\
name: divided
data: {type: mnist1d, examples: 400, split: {train: 0.6, validation: 0.4, seed: null}, batch_size: 24}
model: [{type: dense, units: 20}, batch_norm, relu, {type: dropout, rate: 0.3}, {type: dense, units: 10}]
optimizer: {type: sgd, learning_rate: 0.05, momentum: 0.9}
augment: [{type: noise, std: 0.1}]
train: {steps: 200}
record: {every: {steps: 20}}
phenomena: [gradient_flow]
"""

SCRIPT = """
import os, signal
import numpy as np
import nnlab
from nnlab.data import file_rows
from nnlab.training import compilation, placement, segments
from nnlab.training.experiment import build_experiment
from nnlab.training.lanes import Lanes
from nnlab.training.loop import train_together

segments.CHUNK_SECONDS = 0.02  # many chunks, each of which takes the state of the one before
for devices in (1, 2, "all"):
    nnlab.train(nnlab.load("file.yaml", f"train.devices={devices}"), f"devices-{devices}", plots=False)

def interrupt(chunk):
    if chunk.step > 60:
        os.kill(os.getpid(), signal.SIGINT)

config = nnlab.load("file.yaml", "train.devices=all")
try:
    nnlab.train(config, "resumed", plots=False, progress=interrupt)
    raise SystemExit("was not interrupted")
except nnlab.Interrupted:
    nnlab.train(config, "resumed", plots=False)

random = np.random.default_rng(0)
np.savez("rows.npz", x=random.integers(0, 256, (400, 36), np.uint8), y=random.integers(0, 10, 400))
data = "data={type: npz, path: rows.npz, batch_size: 24}"
config = nnlab.load("file.yaml", data, "train.devices=2", "augment=[]", "phenomena=[]")
nnlab.train(config, "in-memory", plots=False)
file_rows.LARGEST_SHARE = 0.0
nnlab.train(config, "streamed", plots=False)
try:
    nnlab.train(config, "streamed-resumed", plots=False, progress=interrupt)
    raise SystemExit("was not interrupted")
except nnlab.Interrupted:
    nnlab.train(config, "streamed-resumed", plots=False)
file_rows.LARGEST_SHARE = 1.0

def tables_of(experiments, devices, multiple=None):
    placement.jax.local_device_count = lambda: devices
    compilation._compiled.clear()
    assert Lanes(experiments).placement.lane_multiple == (multiple or devices)
    found = {}
    for chunks in train_together(experiments):
        for lane, chunk in chunks.items():
            for table, columns in chunk.tables.items():
                for column, values in columns.items():
                    found.setdefault((lane, f"{table} {column}"), []).append(values)
    joined = {name: np.concatenate(parts) for name, parts in found.items()}
    return {name: v.astype(str) if v.dtype == object else v for name, v in joined.items()}

def save(name, tables, names):
    kept = {f"{names[at]} {column}": values for (at, column), values in tables.items() if at in names}
    np.savez(name, **kept)

for split_seed in ("0", "null"):  # the same data, or each lane its own
    keys = (f"data.split.seed={split_seed}", "train.steps=50", "phenomena=[]")
    changes = [(), ("seed=1", "optimizer.learning_rate=1e30"), ("seed=2", "optimizer.learning_rate=0.02")]
    lanes = [build_experiment(nnlab.load("file.yaml", *keys, *change)) for change in changes]
    assert Lanes(lanes).shares_data == (split_seed == "0")
    save(f"spread-{split_seed}", tables_of(lanes, 2), {0: 0, 1: 1, 2: 2})
    save(f"first-{split_seed}", tables_of(lanes[:2], 1), {0: 0, 1: 1})
    save(f"second-{split_seed}", tables_of([lanes[2], lanes[2]], 1), {0: 2})

divided = [build_experiment(nnlab.load("file.yaml", *keys, *changes[n], "train.devices=2")) for n in (0, 2)]
save("divided", tables_of(divided, 2, multiple=1), {0: 0, 1: 2})
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The runs of the script, on four devices of one CPU."""
    folder = tmp_path_factory.mktemp("devices")
    (folder / "file.yaml").write_text(FILE)
    environment = os.environ | {"JAX_NUM_CPU_DEVICES": "4"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("devices", ["2", "all"])
@pytest.mark.parametrize("table", ["metrics", "layers"])
def test_a_divided_batch_is_the_whole_batch(runs, devices, table):
    one, divided = (read_table(runs / f"devices-{n}" / f"{table}.csv") for n in ("1", devices))
    assert list(one) == list(divided)
    losses = [name for name in one if name.endswith("_loss")]
    assert (one["step"] == divided["step"]).all()
    if table == "metrics":
        assert one["train_loss"].iloc[-1] < 0.7 * one["train_loss"].iloc[0]
        exact = [name for name in one if name != "grad_norm"]  # which is a sum over the devices
        assert (one[exact].iloc[0] == divided[exact].iloc[0]).all()
        np.testing.assert_allclose(divided[losses], one[losses], rtol=1e-5)
    for name in one.select_dtypes(float):
        np.testing.assert_allclose(divided[name], one[name], rtol=1e-4, atol=1e-6, err_msg=name)


def test_the_devices_of_a_batch_are_recorded(runs):
    for devices, count in (("1", None), ("2", 2), ("all", 4)):
        environment = json.loads((runs / f"devices-{devices}" / "environment.json").read_text())
        assert environment.get("devices_of_a_batch") == count
        assert len(environment["devices"]) == 4


def test_a_divided_run_goes_on_to_the_same_bytes(runs):
    log = (runs / "resumed" / "train.log").read_text()
    assert "goes on from step" in log
    for table in ("metrics.csv", "layers.csv"):
        assert (runs / "resumed" / table).read_bytes() == (runs / "devices-all" / table).read_bytes()


@pytest.mark.parametrize("run", ["streamed", "streamed-resumed"])
def test_what_is_streamed_to_several_devices_trains_as_from_memory(runs, run):
    expected = (runs / "in-memory" / "metrics.csv").read_bytes()
    assert (runs / run / "metrics.csv").read_bytes() == expected
    assert ("goes on from step" in (runs / run / "train.log").read_text()) == (run == "streamed-resumed")


@pytest.mark.parametrize("split_seed", ["0", "null"])
def test_a_device_runs_its_lanes_as_if_there_were_no_others(runs, split_seed):
    spread, first, second = (
        dict(np.load(runs / f"{name}-{split_seed}.npz")) for name in ("spread", "first", "second")
    )
    alone = first | second
    assert {name.split()[0] for name in spread} == {"0", "1", "2"}
    assert spread.keys() == alone.keys()
    for name, values in spread.items():
        if name.endswith("activation_std"):  # summed up in another order, which no training depends on
            np.testing.assert_allclose(values, alone[name], rtol=1e-6, err_msg=name)
        else:
            assert values.tobytes() == alone[name].tobytes(), name
    assert len(spread["1 metrics train_loss"]) < len(spread["0 metrics train_loss"])  # it diverged


def test_batches_of_lanes_are_divided_too(runs):
    spread, divided = (dict(np.load(runs / f"{name}.npz")) for name in ("spread-null", "divided"))
    assert {name.split()[0] for name in divided} == {"0", "2"}
    for name, values in divided.items():
        if name.endswith("_loss"):
            np.testing.assert_allclose(values, spread[name], rtol=1e-5, err_msg=name)


def tiny(**train):
    return nnlab.experiment({**yaml.safe_load(TINY), "train": {"steps": 20, **train}})


def test_a_batch_that_cannot_be_divided_is_refused_before_anything_runs():
    with pytest.raises(ConfigError) as refused:
        build_experiment(tiny(devices=3))
    assert str(refused.value) == (
        "experiment: train.devices: 3 devices cannot have equal parts of a batch of 8 examples; let "
        "data.batch_size be 6 or 9"
    )


def test_more_devices_than_there_are_are_refused_before_anything_is_written(folder):
    with pytest.raises(
        ConfigError, match=r"train.devices: is 4, and this process sees 1; let it be 1 or all"
    ):
        nnlab.train(tiny(devices=4), "run")
    assert not list((folder / "run").glob("*.json"))
    assert batch_devices(build_experiment(tiny(devices="all"))) == 1


def test_one_device_is_the_experiment_of_before_and_another_number_is_not():
    assert tiny().hash == tiny(devices=1).hash
    assert len({tiny(devices=number).hash for number in (1, 2, 4, "all")}) == 4
