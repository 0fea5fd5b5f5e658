"""Images by name, from folders, and of another size; tables of other formats; what their preparation adds."""

import gzip
import hashlib
import io
import sys
import tarfile
import threading
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler

import numpy as np
import pandas
import pytest
from support import blobs, idx_bytes, put_image_sets

from nnlab.config.resolve import resolve
from nnlab.data.datasets import image_sets
from nnlab.data.datasets.fetch import Published
from nnlab.data.datasets.resize import resize_images
from nnlab.errors import InvalidValue
from nnlab.registry import build

IDX_SETS = ("mnist", "fashion_mnist")
SETS = (*IDX_SETS, "cifar10")


def load(seed=0, **config):
    problems = []
    resolved = resolve("dataset", config, (), problems)
    assert problems == []
    return build("dataset", resolved).load(seed)


def refusal(**config):
    """What is said of data that will not do, in one line, and of which key."""
    with pytest.raises(InvalidValue) as caught:
        load(**config)
    assert "\n" not in str(caught.value)
    return str(caught.value), caught.value.at


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Small image sets in folders of their own; not to be changed."""
    folder = tmp_path_factory.mktemp("whole")
    put_image_sets(folder)
    return folder


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder, and its data folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "nnlab" / "data"


# --- by name ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SETS)
def test_a_folder_or_the_cache_hold_the_same(name, whole, cache):
    there = load(type=name, path=str(whole / name))
    put_image_sets(cache)
    assert load(type=name).hash == there.hash
    assert {part: len(examples) for part, examples in there.splits.items()} == {"train": 300, "test": 100}


@pytest.mark.parametrize("name", IDX_SETS)
def test_idx_files_may_lie_in_folders_of_their_own_names(name, whole, tmp_path):
    for file in (whole / name).iterdir():  # as in Kaggle's MNIST, where each is there twice
        (tmp_path / file.name).mkdir()
        (tmp_path / file.name / file.name).symlink_to(file)
        if "labels" in file.name:
            (tmp_path / file.name.replace("-idx", ".idx")).symlink_to(file)
    assert load(type=name, path=str(tmp_path)).hash == load(type=name, path=str(whole / name)).hash


def test_images_are_the_files_bytes_over_255(whole):
    images, labels = blobs(300, 28, seed=300)
    train = load(type="mnist", path=str(whole / "mnist")).train
    np.testing.assert_array_equal(train.inputs, images / np.float32(255))
    np.testing.assert_array_equal(train.targets, labels)


def test_cifar10_has_its_colours_last(whole):
    """Against the format's own words: a label, 1024 red bytes row by row, 1024 green, 1024 blue."""
    content = (whole / "cifar10" / "data_batch_2.bin").read_bytes()
    train = load(type="cifar10", path=str(whole / "cifar10")).train
    for example, row, column, colour in ((0, 0, 1, 0), (7, 31, 2, 1), (59, 16, 30, 2)):
        byte = content[3073 * example + 1 + 1024 * colour + 32 * row + column]
        pixel = np.asarray(train.inputs)[60 + example, row, column, colour]
        assert pixel == np.float32(byte) / np.float32(255)
        assert train.targets[60 + example] == content[3073 * example]


def archive_of(folder, file, name="cifar-10-batches-bin/{}", change=lambda member: member):
    """The binary version's archive of the batches in a folder; `change` is made to each member's header."""
    with tarfile.open(file, "w:gz", compresslevel=1) as archive:
        note = tarfile.TarInfo("cifar-10-batches-bin/readme.html")
        archive.addfile(note)
        for batch in sorted(folder.glob("*.bin")):
            member = tarfile.TarInfo(name.format(batch.name))
            member.size = batch.stat().st_size
            member = change(member)
            archive.addfile(member, io.BytesIO(batch.read_bytes()) if member.isreg() else None)


def test_cifar10_is_read_from_its_archive_without_unpacking(whole, tmp_path):
    archive_of(whole / "cifar10", tmp_path / "cifar-10-binary.tar.gz")
    found = load(type="cifar10", path=str(tmp_path))
    assert found.hash == load(type="cifar10", path=str(whole / "cifar10")).hash
    assert [entry.name for entry in tmp_path.iterdir()] == ["cifar-10-binary.tar.gz"]


def linked(member):
    member.type, member.linkname, member.size = tarfile.SYMTYPE, "/etc/passwd", 0
    return member


@pytest.mark.parametrize(
    "options", [{"name": "../{}"}, {"name": "/tmp/{}"}, {"change": linked}], ids=["above", "absolute", "link"]
)
def test_odd_members_of_an_archive_are_not_taken(whole, tmp_path, options):
    archive_of(whole / "cifar10", tmp_path / "cifar-10-binary.tar.gz", **options)
    said, at = refusal(type="cifar10", path=str(tmp_path))
    assert "data_batch_1.bin is not there as a plain file" in said
    assert at == ("path",)


@pytest.mark.parametrize("kept", [0, 10, 1000, -200, -1], ids=lambda kept: f"[:{kept}]")
def test_an_archive_that_is_cut_off_is_refused(whole, tmp_path, kept):
    archive_of(whole / "cifar10", tmp_path / "whole.tar.gz")
    content = (tmp_path / "whole.tar.gz").read_bytes()
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(content[:kept])
    said, at = refusal(type="cifar10", path=str(tmp_path))
    assert str(tmp_path) in said
    assert at == ("path",)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is not of 1 to 10,000 records"),
        (bytes(3072), "is not of 1 to 10,000 records"),
        (bytes(3073 * 10_001), "is not of 1 to 10,000 records"),
        (b"\x0a" + bytes(3072), "holds the label 10"),
    ],
)
def test_a_batch_that_will_not_do_is_refused(whole, tmp_path, content, said):
    for batch in (whole / "cifar10").iterdir():
        (tmp_path / batch.name).symlink_to(batch)
    (tmp_path / "test_batch.bin").unlink()
    (tmp_path / "test_batch.bin").write_bytes(content)
    assert said in refusal(type="cifar10", path=str(tmp_path))[0]


def test_a_folder_that_lacks_files_is_told_which(tmp_path):
    (tmp_path / "train-images.idx3-ubyte.gz").touch()
    said, at = refusal(type="mnist", path=str(tmp_path))
    assert "holds train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz" in said
    assert at == ("path",)
    assert "cifar-10-binary.tar.gz" in refusal(type="cifar10", path=str(tmp_path))[0]
    assert "no folder that holds" in refusal(type="mnist", path=__file__)[0]


def test_other_images_than_mnist_s_are_refused(tmp_path):
    for stem, side in (("train", 28), ("t10k", 27)):
        images, labels = blobs(20, side, seed=0)
        (tmp_path / f"{stem}-images-idx3-ubyte").write_bytes(idx_bytes(images))
        (tmp_path / f"{stem}-labels-idx1-ubyte").write_bytes(idx_bytes(labels))
    assert (
        "t10k-images-idx3-ubyte' holds no images of 28 x 28" in refusal(type="mnist", path=str(tmp_path))[0]
    )
    images, labels = blobs(20, 28, seed=0)
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx_bytes(images))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx_bytes(labels + 1))
    assert "and 10 classes" in refusal(type="fashion_mnist", path=str(tmp_path))[0]


def test_a_damaged_file_in_the_cache_is_told_how_to_fetch_anew(cache):
    put_image_sets(cache)
    file = cache / "mnist" / "t10k-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:1000])
    said, _ = refusal(type="mnist")
    assert f"'{file}' is cut off or too long" in said
    assert said.endswith("remove that file, and it is fetched anew")


# --- fetched ---------------------------------------------------------------------------------------------


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def mirror(whole, tmp_path, monkeypatch):
    """A publisher on this machine, in whose folder the files lie; the known hashes are theirs."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    for file in (whole / "mnist").iterdir():
        (folder / f"{file.name}.gz").write_bytes(gzip.compress(file.read_bytes(), 1, mtime=0))
    archive_of(whole / "cifar10", folder / "cifar-10-binary.tar.gz")
    monkeypatch.setenv("NO_PROXY", "*")
    server = HTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}/"
    for name in SETS:
        files = {
            file: hashlib.sha256((folder / file).read_bytes()).hexdigest()
            for file in image_sets.PUBLISHED[name].files
        }
        monkeypatch.setitem(image_sets.PUBLISHED, name, Published((f"{address}gone/", address), files))
    yield folder
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_what_is_missing_is_fetched_once(name, whole, cache, mirror, capfd):
    """From the second mirror, the first having none of it."""
    fetched = load(type=name)
    assert fetched.hash == load(type=name, path=str(whole / name)).hash
    assert {entry.name for entry in (cache / name).iterdir()} == set(image_sets.PUBLISHED[name].files)
    for file in mirror.iterdir():
        file.unlink()
    assert load(type=name).hash == fetched.hash
    assert capfd.readouterr() == ("", "")  # no terminal, no bar


def test_only_what_is_missing_is_fetched(cache, mirror):
    put_image_sets(cache)
    (cache / "mnist" / "train-labels-idx1-ubyte").unlink()
    load(type="mnist")
    assert {entry.name for entry in (cache / "mnist").iterdir()} == {
        "train-images-idx3-ubyte", "train-labels-idx1-ubyte.gz",
        "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte",
    }  # fmt: skip


def test_a_file_of_another_hash_is_not_kept(cache, mirror):
    (mirror / "t10k-images-idx3-ubyte.gz").write_bytes(b"something else")
    said, at = refusal(type="mnist")
    assert said.startswith("t10k-images-idx3-ubyte.gz is not in")
    assert "put t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz from http://127.0.0.1" in said
    assert at == ("path",)
    assert {entry.name for entry in (cache / "mnist").iterdir()} == {
        "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz",
    }  # fmt: skip


def test_a_wrong_hash_is_said_to_be_one(cache, mirror, monkeypatch):
    published = image_sets.PUBLISHED["cifar10"]
    monkeypatch.setitem(image_sets.PUBLISHED, "cifar10", published._replace(mirrors=published.mirrors[1:]))
    (mirror / "cifar-10-binary.tar.gz").write_bytes(b"something else")
    assert "does not match the known hash" in refusal(type="cifar10")[0]
    assert list((cache / "cifar10").iterdir()) == []


def test_a_transfer_that_breaks_off_leaves_nothing(cache, mirror, monkeypatch):
    monkeypatch.setattr(Quiet, "copyfile", lambda self, source, output: output.write(source.read(100)))
    said, _ = refusal(type="cifar10")
    assert "cannot be fetched" in said
    assert list((cache / "cifar10").iterdir()) == []


def test_without_a_connection_it_is_told_what_to_do_by_hand(cache, monkeypatch, nnlab, folder):
    monkeypatch.setenv("NO_PROXY", "*")
    nowhere = Published(("http://127.0.0.1:9/",), image_sets.PUBLISHED["mnist"].files)
    monkeypatch.setitem(image_sets.PUBLISHED, "mnist", nowhere)
    (folder / "a.yaml").write_text(
        "name: a\ndata: mnist\nmodel: [{type: dense, units: 10}]\n"
        "optimizer: {type: sgd, learning_rate: 0.1}\ntrain: {steps: 1}\n"
    )
    result = nnlab("validate", "a.yaml")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("a.yaml:2:")
    for file in nowhere.files:
        assert file in line
    assert f"'{cache / 'mnist'}'" in line
    assert "from http://127.0.0.1:9/ into that folder by hand, or name with 'path' a folder" in line


def test_a_bar_is_drawn_where_stderr_is_a_terminal(cache, mirror, monkeypatch):
    screen = io.StringIO()
    screen.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", screen)
    load(type="cifar10")
    assert "cifar-10-binary.tar.gz" in screen.getvalue()


# --- size ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 28, 28), (2, 9, 14, 3)])
@pytest.mark.parametrize("size", [1, 7, 16, 28, 33])
def test_resizing_is_pytorch_s_bilinear_interpolation(shape, size):
    torch = pytest.importorskip("torch")
    images = np.random.default_rng(0).random(shape, np.float32)
    planes = torch.from_numpy(images.reshape(*shape[:3], -1).transpose(0, 3, 1, 2).astype(np.float64))
    theirs = torch.nn.functional.interpolate(planes, (size, size), mode="bilinear", align_corners=False)
    found = resize_images(images, size)
    assert found.dtype == np.float32
    expected = theirs.numpy().transpose(0, 2, 3, 1).reshape(shape[0], size, size, *shape[3:])
    np.testing.assert_allclose(found, expected, atol=3e-7)  # of float32 places it would have 2e-6


def test_a_ramp_stays_one_between_the_outermost_centres():
    """Bilinear interpolation is exact for what is linear."""
    ramp = np.arange(12, dtype=np.float32) + 0.5  # each pixel is where its centre is
    image = np.broadcast_to(ramp, (1, 12, 12))
    centres = (np.arange(8) + 0.5) * 12 / 8
    np.testing.assert_allclose(resize_images(image, 8)[0], np.tile(centres, (8, 1)), rtol=1e-6)
    doubled = np.clip((np.arange(24) + 0.5) / 2, 0.5, 11.5)
    np.testing.assert_allclose(resize_images(image, 24)[0], np.tile(doubled, (24, 1)), rtol=1e-6)


@pytest.mark.parametrize("name", [*SETS, "idx"])
def test_size_resizes_both_sets(name, whole):
    place = str(whole / ("mnist" if name == "idx" else name))
    plain, small = load(type=name, path=place), load(type=name, path=place, size=16)
    for part, examples in small.splits.items():
        np.testing.assert_array_equal(
            examples.inputs, resize_images(np.asarray(plain.splits[part].inputs), 16)
        )
        np.testing.assert_array_equal(examples.targets, plain.splits[part].targets)


def test_sizes_that_cannot_be_are_refused(tmp_path):
    (tmp_path / "train-images-idx2-ubyte").write_bytes(idx_bytes(np.zeros((4, 9), np.uint8)))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(4, np.uint8)))
    assert refusal(type="idx", path=str(tmp_path), size=3)[1] == ("size",)
    said, at = refusal(type="mnist", size=4096)
    assert "would take 18.8 GB" in said
    assert at == ("size",)


# --- Parquet ---------------------------------------------------------------------------------------------


@pytest.fixture
def table(tmp_path):
    random = np.random.default_rng(0)
    columns = {"a": random.standard_normal(30), "b": np.arange(30), "kind": [*"xyz"] * 10}
    table = pandas.DataFrame(columns | {"value": random.random(30)})
    table.to_csv(tmp_path / "t.csv", index=False)
    return table


CODING = {"kind": "one_hot", "b": "binary"}


@pytest.mark.parametrize(
    "keys",
    [{"target": "kind"}, {"target": "value", "task": "regression", "coding": CODING}],
    ids=lambda keys: keys["target"],
)
def test_parquet_is_the_same_table_as_csv(tmp_path, table, keys):
    shuffled = table.iloc[np.random.default_rng(1).permutation(30)]
    table.to_parquet(tmp_path / "t.parquet")
    shuffled.to_parquet(tmp_path / "labelled.parquet")  # with row labels, which are no inputs
    found = load(type="parquet", path=str(tmp_path / "t.parquet"), **keys)
    assert found.hash == load(type="csv", path=str(tmp_path / "t.csv"), **keys).hash
    labelled = load(type="parquet", path=str(tmp_path / "labelled.parquet"), **keys)
    assert labelled.train.inputs.shape == found.train.inputs.shape


def test_parquet_that_will_not_do_is_refused(tmp_path, table):
    import pyarrow
    import pyarrow.parquet

    file = tmp_path / "t.parquet"
    table.to_parquet(file)
    content = file.read_bytes()
    keys = {"type": "parquet", "path": str(file), "target": "kind"}
    for damage in (b"", b"PAR1", content[:-100], content[100:], content[:200] + bytes(400) + content[600:]):
        file.write_bytes(damage)
        said, at = refusal(**keys)
        assert "is no Parquet table" in said
        assert at == ("path",)
    table.assign(a=table.a.where(table.b != 4)).to_parquet(file)
    assert "row 5, column 'a': 'null' is a gap" in refusal(**keys)[0]
    table.assign(a="word").to_parquet(file)
    assert "row 1, column 'a': 'word' is text" in refusal(**keys)[0]
    pyarrow.parquet.write_table(pyarrow.table([[1, 2], [3, 4], ["x", "y"]], ["a", "a", "kind"]), file)
    assert "'a' is the name of columns 1 and 2" in refusal(**keys)[0]
    table.to_parquet(file)
    assert "no column 'kinds'; did you mean 'kind'" in refusal(**keys | {"target": "kinds"})[0]


def test_parquet_without_pyarrow_names_the_remedy(tmp_path, table, monkeypatch):
    path = tmp_path / "t.parquet"
    table.to_parquet(path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "pip install 'nnlab[parquet]'" in refusal(type="parquet", path=str(path), target="kind")[0]


# --- classes, reconstruction, digits ----------------------------------------------------------------------


@pytest.mark.parametrize("kept", [[3, 8], [8, 3], [9, 0, 4]])
def test_kept_classes_are_numbered_in_the_order_given(kept):
    everything, found = load(type="mnist"), load(type="mnist", keep_classes=kept)
    for part in ("train", "test"):
        plain, chosen = everything.splits[part], found.splits[part]
        rows = np.isin(plain.targets, kept)
        np.testing.assert_array_equal(chosen.inputs, plain.inputs[rows])
        np.testing.assert_array_equal(np.array(kept)[chosen.targets], plain.targets[rows])
        assert chosen.classes == len(kept)
        assert chosen.targets.dtype == np.int32


def test_classes_are_kept_before_anything_is_split():
    split = {"train": 0.5, "test": 0.5, "stratify": True}
    data = load(type="digits", keep_classes=[1, 7], limit=100, split=split)
    assert [len(part) for part in data.splits.values()] == [50, 50]
    noisy = load(type="digits", keep_classes=[1, 7], label_noise={"fraction": 1.0, "by": "other"})
    assert set(noisy.train.targets) == {0, 1}


@pytest.mark.parametrize(
    ("config", "said", "at"),
    [
        (
            {"type": "digits", "keep_classes": [1, 10]},
            "no class 10; this data set's are 0 to 9",
            ("keep_classes", 1),
        ),
        ({"type": "digits", "keep_classes": [1, 2, 1]}, "names class 1 twice", ("keep_classes", 2)),
        ({"type": "digits", "keep_classes": []}, "is empty", ("keep_classes",)),
        ({"type": "diabetes", "keep_classes": [0]}, "needs class labels", ("keep_classes",)),
    ],
)
def test_what_contradicts_the_data_is_refused(config, said, at):
    found, place = refusal(**config)
    assert said in found
    assert place == at


@pytest.mark.parametrize(
    "config", [{"type": "mnist"}, {"type": "diabetes"}, {"type": "digits", "keep_classes": [0, 3]}]
)
@pytest.mark.parametrize("normalize", [None, "standardize"])
def test_reconstruct_asks_for_the_prepared_inputs(config, normalize):
    split = {"train": 0.5, "validation": 0.25, "test": 0.25}
    plain = load(**config, split=split, normalize=normalize)
    data = load(**config, split=split, normalize=normalize, reconstruct=True)
    for part, examples in data.splits.items():
        np.testing.assert_array_equal(examples.inputs, plain.splits[part].inputs)
        np.testing.assert_array_equal(
            examples.targets, np.asarray(plain.splits[part].inputs).reshape(len(examples), -1)
        )
        assert examples.targets.dtype == np.float32
        assert examples.classes == 0


def test_reconstruct_has_no_labels_to_change():
    problems = []
    resolve("dataset", {"type": "digits", "reconstruct": True, "label_noise": 0.1}, (), problems)
    assert [problem.path for problem in problems] == [("label_noise",)]


def test_digits_as_images_are_its_features_in_rows_of_eight():
    images, features = load(type="digits", images=True), load(type="digits")
    for part, examples in images.splits.items():
        assert examples.inputs.shape[1:] == (8, 8)
        np.testing.assert_array_equal(
            np.asarray(examples.inputs).reshape(-1, 64), features.splits[part].inputs
        )
