"""The nets of examples/well_known_nets against PyTorch: the published number of parameters, the same outputs.

The reference nets are built here from their published architectures, those of torchvision with its names of
modules, so that weights are taken over as users take them over.
"""

from pathlib import Path

import jax
import numpy as np
import pytest

from nnlab.config import load
from nnlab.config.training_keys import Initialize
from nnlab.nn.model import build_model
from nnlab.registry import build
from nnlab.training.experiment import build_experiment
from nnlab.training.pretrained import load_pretrained

FOLDER = Path(__file__).parents[2] / "examples" / "well_known_nets"
BATCH = 2
NARROW = 64  # units in place of the 4096 that make up most of a large net's weights


def keras_mnist_convnet(nn):
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Dropout(0.5), nn.Linear(1600, 10)),
    )


def keras_cifar10_cnn(nn):
    return nn.Sequential(
        *(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(64, 64, 3), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(1024, 64), nn.ReLU(), nn.Linear(64, 10)),
    )


def keras_fashion_mnist(nn):
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))


def keras_mnist_lstm(nn):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm = nn.LSTM(28, 64, batch_first=True)
            self.norm = nn.BatchNorm1d(64, eps=1e-3)
            self.dense = nn.Linear(64, 10)

        def forward(self, x):
            return self.dense(self.norm(self.lstm(x.squeeze(1))[0][:, -1]))

    return Net()


def pytorch_mnist(nn):
    return nn.Sequential(
        *(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Dropout(0.25), nn.Flatten(), nn.Linear(9216, 128), nn.ReLU(), nn.Dropout(0.5)),
        nn.Linear(128, 10),
    )


def pytorch_cifar10(nn):
    return nn.Sequential(
        *(nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )


def pytorch_fashion_mnist(nn):
    return nn.Sequential(
        *(nn.Flatten(), nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU()),
        nn.Linear(512, 10),
    )


def of_torchvision(nn, features, classifier):
    net = nn.Sequential()
    net.add_module("features", features)
    net.add_module("flatten", nn.Flatten())  # the adaptive pooling before it changes nothing at 224 x 224
    net.add_module("classifier", classifier)
    return net


def alexnet(nn, units=4096):
    pool = {"kernel_size": 3, "stride": 2}
    features = nn.Sequential(
        *(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(**pool)),
        *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(**pool)),
        *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(**pool)),
    )
    classifier = nn.Sequential(
        *(nn.Dropout(), nn.Linear(9216, units), nn.ReLU(), nn.Dropout(), nn.Linear(units, units), nn.ReLU()),
        nn.Linear(units, 1000),
    )
    return of_torchvision(nn, features, classifier)


def vgg11(nn, units=4096):
    layers, channels = [], 3
    for word in (64, "pool", 128, "pool", 256, 256, "pool", 512, 512, "pool", 512, 512, "pool"):
        if word == "pool":
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(channels, word, 3, padding=1), nn.ReLU()]
            channels = word
    classifier = nn.Sequential(
        *(nn.Linear(25088, units), nn.ReLU(), nn.Dropout(), nn.Linear(units, units), nn.ReLU()),
        *(nn.Dropout(), nn.Linear(units, 1000)),
    )
    return of_torchvision(nn, nn.Sequential(*layers), classifier)


def resnet18(nn):
    class Block(nn.Module):
        def __init__(self, channels, filters, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(channels, filters, 3, stride=stride, padding=1, bias=False)
            self.bn1 = nn.BatchNorm2d(filters)
            self.conv2 = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
            self.bn2 = nn.BatchNorm2d(filters)
            self.downsample = None
            if stride > 1:
                projection = nn.Conv2d(channels, filters, 1, stride=stride, bias=False)
                self.downsample = nn.Sequential(projection, nn.BatchNorm2d(filters))

        def forward(self, x):
            y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
            return (y + (x if self.downsample is None else self.downsample(x))).relu()

    net = nn.Sequential()
    net.add_module("conv1", nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False))
    net.add_module("bn1", nn.BatchNorm2d(64))
    net.add_module("relu", nn.ReLU())
    net.add_module("maxpool", nn.MaxPool2d(3, stride=2, padding=1))
    channels = 64
    for stage, filters in enumerate((64, 128, 256, 512), 1):
        stride = 1 if stage == 1 else 2
        blocks = [Block(channels, filters, stride), Block(filters, filters, 1)]
        net.add_module(f"layer{stage}", nn.Sequential(*blocks))
        channels = filters
    net.add_module("avgpool", nn.AdaptiveAvgPool2d(1))
    net.add_module("flatten", nn.Flatten())
    net.add_module("fc", nn.Linear(512, 1000))
    return net


# net -> the published number, the shape of an input, names of layers in the reference where the file has none
NETS = {
    keras_mnist_convnet: (34_826, (28, 28), {"conv2d_1": "0", "conv2d_2": "3", "dense_1": "8"}),
    keras_cifar10_cnn: (
        122_570,
        (32, 32, 3),
        {"conv2d_1": "0", "conv2d_2": "3", "conv2d_3": "6", "dense_1": "9", "dense_2": "11"},
    ),
    keras_fashion_mnist: (101_770, (28, 28), {"dense_1": "1", "dense_2": "3"}),
    keras_mnist_lstm: (24_714, (28, 28), {"lstm_1": "lstm", "batch_norm_1": "norm", "dense_1": "dense"}),
    pytorch_mnist: (
        1_199_882,
        (28, 28),
        {"conv2d_1": "0", "conv2d_2": "2", "dense_1": "7", "dense_2": "10"},
    ),
    pytorch_cifar10: (
        62_006,
        (32, 32, 3),
        {"conv2d_1": "0", "conv2d_2": "3", "dense_1": "7", "dense_2": "9", "dense_3": "11"},
    ),
    pytorch_fashion_mnist: (669_706, (28, 28), {"dense_1": "1", "dense_2": "3", "dense_3": "5"}),
    alexnet: (61_100_840, (224, 224, 3), None),
    vgg11: (132_863_336, (224, 224, 3), None),
    resnet18: (11_689_512, (224, 224, 3), None),
}


def file_of(reference):
    return FOLDER / f"{reference.__name__}.yaml"


def test_every_net_is_here():
    assert sorted(net.__name__ for net in NETS) == sorted(path.stem for path in FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("reference", NETS, ids=lambda net: net.__name__)
def test_parameters_are_those_that_are_published(reference):
    """Keras counts the running averages of batch normalization, PyTorch does not."""
    published, input_shape, names = NETS[reference]
    config = load(file_of(reference))
    setup = build_model(build("layer", config.tree["model"]), input_shape).setup
    of_keras = reference.__name__.startswith("keras")
    assert setup.count("params") + of_keras * setup.count("state") == published
    assert f"{published:,}" in file_of(reference).read_text().partition("name:")[0]
    if names:  # the others need ImageNet
        assert build_experiment(config).model.setup.count("params") == setup.count("params")


@pytest.mark.parametrize("reference", NETS, ids=lambda net: net.__name__)
def test_outputs_are_those_of_the_same_weights_in_pytorch(reference, tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    _, input_shape, names = NETS[reference]
    config = load(file_of(reference))
    wide = reference in (alexnet, vgg11)
    torch.manual_seed(0)
    theirs = (reference(torch.nn, NARROW) if wide else reference(torch.nn)).eval()
    for name, array in theirs.state_dict().items():
        if "running" in name or "bn" in name:
            array.copy_(0.5 + torch.rand(array.shape))
    save_file(theirs.state_dict(), tmp_path / "net.safetensors")
    model = config.tree["model"]
    if wide:
        model = [layer | {"units": NARROW} if is_wide(layer) else layer for layer in model]
    net = build_model(build("layer", model), input_shape)
    asked = Initialize(str(tmp_path / "net.safetensors"), None, names or config.tree["initialize"]["names"])
    weights = load_pretrained(asked, net.setup, input_shape)
    params, state = (weights.replace_in(tree) for tree in net.init(0))
    assert len(weights.arrays) == len(jax.tree.leaves(params)) + len(jax.tree.leaves(state))

    x = np.random.default_rng(0).random((BATCH, *input_shape), np.float32)
    found = jax.jit(lambda *arguments: net.apply(*arguments, key=jax.random.key(0), train=False).value)
    with_channels = x.reshape(*x.shape[:3], -1)
    with torch.no_grad():
        expected = theirs(torch.tensor(np.moveaxis(with_channels, -1, 1).copy())).numpy()
    tolerance = 1e-5 * np.abs(expected).max()
    np.testing.assert_allclose(found(params, state, x), expected, rtol=0, atol=tolerance)


def is_wide(layer):
    return isinstance(layer, dict) and layer.get("units") == 4096
