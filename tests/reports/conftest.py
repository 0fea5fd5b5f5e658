"""What the tests of reports share."""

import pytest

import nnlab

SWEEP = """\
name: hostile
data: {type: xor, examples: 60, batch_size: 8}
model: {type: mlp, width: 4, depth: 1, outputs: 2}
train: {epochs: 2}
phenomena: [gradient_flow]
sweep: {axes: {model.width: [2, 4], optimizer.learning_rate: [0.1, 1], data.batch_size: [4, 8]}}
"""


@pytest.fixture(scope="module")
def swept(tmp_path_factory, sweeps_here):
    """A finished sweep of three axes; not to be changed."""
    home = tmp_path_factory.mktemp("swept")
    (home / "hostile.yaml").write_text(SWEEP)
    return nnlab.sweep(nnlab.load(home / "hostile.yaml"), home / "sweep", plots=False).path
