"""Train on a data set of gigabytes that stays in its file, and on a smaller one both ways.

The large one must be trained in less than a gigabyte of memory; the smaller one must have the bytes of a
training in memory, and take hardly longer. Each is of bytes that show their class.
"""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np

from torture import Report

EXPERIMENT = """\
name: streaming
data: {type: npz, path: %s, batch_size: 64, split: {validation: 2000}, normalize: standardize}
model: [{type: dense, units: 256}, relu, {type: dense, units: 10}]
optimizer: {type: sgd, learning_rate: 0.05}
train: {epochs: %s}
record: {every: {epochs: 1}}
expect: {final.validation_accuracy: {min: 0.9}}
"""
FEATURES, CLASSES, BLOCK = 1024, 10, 10_000
LARGE, SMALL = 4_000_000, 200_000  # examples
MOST_BYTES, LEAST_SPEED = 1e9, 0.9
TRAIN = """\
import json, resource, sys, time
import nnlab
from nnlab.data import file_rows
file_rows.LARGEST_SHARE = float(sys.argv[1])
seconds = []
def progress(chunk):
    seconds.append(chunk.seconds - chunk.compiling)
run = nnlab.train(nnlab.load(sys.argv[2]), sys.argv[3], plots=False, threads=1, progress=progress)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps([peak, sum(seconds), bool(run.check())]))
"""


def write_archive(file: Path, examples: int) -> None:
    """An archive of so many examples, written in parts: noise, and a pattern that is brighter by class."""
    random = np.random.default_rng(0)
    labels = random.integers(0, CLASSES, examples).astype(np.uint8)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        with archive.open("x.npy", "w", force_zip64=True) as stream:
            header = {"descr": "|u1", "fortran_order": False, "shape": (examples, FEATURES)}
            np.lib.format.write_array_header_1_0(stream, header)
            for first in range(0, examples, BLOCK):
                part = labels[first : first + BLOCK]
                x = random.integers(0, 200, (len(part), FEATURES), np.uint8)
                x.reshape(len(part), -1, 16)[np.arange(len(part)), part] += 55
                stream.write(x.data)
        with archive.open("y.npy", "w") as stream:
            np.lib.format.write_array(stream, labels)


def trained(share: float, examples: int, epochs: float, folder: Path) -> tuple[float, float, bool, bytes]:
    """Peak memory, seconds of training, whether it learnt, and metrics.csv; `share` of the free memory may be
    loaded."""
    archive, out = folder / f"{examples}.npz", folder / f"{examples}_{share}"
    if not archive.exists():
        write_archive(archive, examples)
    experiment = folder / f"{examples}.yaml"
    experiment.write_text(EXPERIMENT % (archive, epochs))
    words = [sys.executable, "-c", TRAIN, str(share), str(experiment), str(out)]
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    peak, seconds, learnt = json.loads(done.stdout.splitlines()[-1])
    return peak, seconds, learnt, (out / "metrics.csv").read_bytes()


def streaming(folder: Path) -> Report:
    """Four cases: memory of the large one, bytes and speed of the small one, and that all learn."""
    bad = []
    resident, streamed = (trained(share, SMALL, 3, folder) for share in (1.0, 0.0))
    print(f"in memory: {resident[1]:.1f} s, {resident[0] / 1e6:.0f} MB", flush=True)
    print(f"streamed: {streamed[1]:.1f} s, {streamed[0] / 1e6:.0f} MB", flush=True)
    large = trained(0.0, LARGE, 1, folder)
    print(f"streamed, {LARGE * FEATURES / 1e9:.1f} GB: {large[1]:.0f} s, {large[0] / 1e6:.0f} MB", flush=True)
    if streamed[3] != resident[3]:
        bad.append("streamed: metrics.csv has other bytes than that of a training in memory")
    if resident[1] < LEAST_SPEED * streamed[1]:
        bad.append(f"streamed: {streamed[1]:.1f} s, in memory {resident[1]:.1f} s")
    if large[0] > MOST_BYTES:
        bad.append(f"streamed: {large[0] / 1e6:.0f} MB of memory")
    if not (resident[2] and streamed[2] and large[2]):
        bad.append("a training did not learn")
    return Report(4, bad)
