"""Augmentations against NumPy, SciPy and the distributions that they are drawn from."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
from support import figure_for_people, fully_optimized

from nnlab.config import check_tree
from nnlab.config.document import Document
from nnlab.config.resolve import resolve
from nnlab.data.augment import apply_augmentations, check_mixing
from nnlab.data.augmentations import geometric, values
from nnlab.errors import ConfigError, InvalidValue
from nnlab.phenomena.inspection import augmentations
from nnlab.registry import Scalar, build, components
from nnlab.runs.results import open_run
from nnlab.runs.run import run
from nnlab.storage.run_directory import RunDirectory
from nnlab.training.experiment import build_experiment

KEY = jax.random.key(0)
MANY = 4000
SIGNAL, GREY, COLOUR = (9,), (7, 9), (7, 9, 3)
ANY, ALL = [SIGNAL, GREY, COLOUR], [SIGNAL, (2, 3, 4, 5)]

# augmentation -> (arguments at which it does nothing; those for the tests; what it takes; what it refuses)
CASES = {
    "shift": ({"pixels": 0}, {"pixels": 2}, ANY, [(), (7, 9, 3, 2), (2, 9), (9, 2)]),
    "crop": ({"share": 1.0}, {"share": 0.3}, ANY, [(), (7, 9, 3, 2)]),
    "scale": ({"factor": 1.0}, {"factor": 1.5}, ANY, [(), (7, 9, 3, 2)]),
    "rotate": ({"degrees": 0.0}, {"degrees": 30.0}, ANY[1:], [SIGNAL, (7, 9, 3, 2)]),
    "flip": ({"probability": 0.0}, {}, ANY, [(), (7, 9, 3, 2)]),
    "cutout": (None, {"size": 3}, ANY, [(), (7, 9, 3, 2)]),
    "brightness": ({"delta": 0.0}, {}, ALL, []),
    "contrast": ({"factor": 1.0}, {}, ALL, []),
    "noise": ({"std": 0.0}, {}, ALL, []),
    "mixup": (None, {"alpha": 1.0}, ALL, []),
    "typos": ({"rate": 0.0}, {"rate": 0.4}, [SIGNAL], [(), (1,), GREY]),
    "swapped_words": ({"rate": 0.0}, {"rate": 0.5, "space": 0}, [SIGNAL], [(), (1,), GREY]),
}
TAKEN = [pytest.param(name, shape, id=f"{name}-{shape}") for name in CASES for shape in CASES[name][2]]
REFUSED = [pytest.param(name, shape, id=f"{name}-{shape}") for name in CASES for shape in CASES[name][3]]


TOKENS = np.array([[1, 2, 0, 3, 0, 4, 5, 0, 6]], np.float32)  # of three words, and a fourth that breaks off


def made(name, **arguments):
    problems = []
    resolved = resolve("augmentation", {"type": name, **arguments}, (), problems)
    assert problems == []
    return build("augmentation", resolved)


def drawn(shape, batch=5):
    return np.random.default_rng(0).standard_normal((batch, *shape)).astype(np.float32)


def changed(one, inputs, key=KEY):
    return np.asarray(jax.jit(one.apply)(key, jnp.asarray(inputs)).inputs)


def uniform(values, low, high):
    """Whether they may be uniform: Kolmogorov and Smirnov's test."""
    return scipy.stats.kstest(values, "uniform", (low, high - low)).pvalue > 1e-3


# --- all of them -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", components("augmentation"))
def test_every_augmentation_has_a_case_here(name):
    assert name in CASES, f"give the augmentation '{name}' a case in CASES"
    assert made(name).name == name


@pytest.mark.parametrize(("name", "shape"), TAKEN)
def test_each_example_has_a_change_of_its_own_and_a_key_says_all(name, shape):
    one = made(name, **CASES[name][1])
    one.validate(shape)
    inputs = np.repeat(TOKENS if one.of_tokens else drawn(shape, 1), 30, axis=0)
    if name == "mixup":  # of alike examples nothing else can be seen
        inputs = inputs * np.arange(1, 31, dtype=np.float32).reshape(-1, *[1] * len(shape))
    apply = jax.jit(one.apply)
    found, again, other = (np.asarray(apply(key, inputs).inputs) for key in (KEY, KEY, jax.random.key(1)))
    assert (found.shape, found.dtype) == (inputs.shape, np.float32)
    assert len({example.tobytes() for example in found}) > 1
    np.testing.assert_array_equal(found, again)
    assert (found != other).any()
    alone = jax.eval_shape(one.apply, KEY, jax.ShapeDtypeStruct((1, *shape), np.float32)).inputs
    assert alone.shape == (1, *shape)


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name][0]])
def test_at_strength_zero_nothing_is_changed(name):
    inputs = drawn(CASES[name][2][-1])
    np.testing.assert_array_equal(changed(made(name, **CASES[name][0]), inputs), inputs)


@pytest.mark.parametrize("name", CASES)
def test_numbers_may_be_traced(name):
    """A program that takes them as arguments gives what one gives that holds them."""
    parameters = components("augmentation")[name].parameters
    traced = [key for key, p in parameters.items() if isinstance(p.spec, Scalar) and p.spec.traced]
    arguments, inputs = CASES[name][1], jnp.asarray(drawn(CASES[name][2][0]))
    numbers = {key: arguments.get(key, parameters[key].default) for key in traced}

    def apply(numbers):
        return build("augmentation", {"type": name} | arguments | numbers).apply(KEY, inputs).inputs

    found, expected = jax.jit(lambda numbers: (apply(numbers), apply({})))(numbers)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "shape"), REFUSED)
def test_what_it_makes_no_sense_for_is_refused(name, shape):
    with pytest.raises(InvalidValue, match=r"the inputs are \[|out of sight"):
        made(name, **CASES[name][1]).validate(shape)


@pytest.mark.parametrize(
    ("name", "says"),
    [("rotate", "rotate takes images"), ("flip", "vertical flip takes images")],
)
def test_a_signal_is_no_image(name, says):
    arguments = {"axis": "vertical"} if name == "flip" else {}
    with pytest.raises(InvalidValue, match=rf"{says} \[H, W\] or \[H, W, C\]; the inputs are \[9\]"):
        made(name, **arguments).validate(SIGNAL)


# --- where the pixels are --------------------------------------------------------------------------------

FILLS = {
    -3.0: {"mode": "constant", "constant_values": -3.0},
    "edge": {"mode": "edge"},
    "wrap": {"mode": "wrap"},
}


@pytest.mark.parametrize("fill", FILLS)
@pytest.mark.parametrize("shape", ANY, ids=str)
def test_a_shift_is_one_of_all_whole_shifts_each_as_often(shape, fill):
    """All shifted inputs are cut out of the padded one; each of them must be found, about equally often."""
    inputs = np.repeat(drawn(shape, 1), MANY, axis=0)
    found = changed(made("shift", pixels=2, fill=fill), inputs)
    padded = np.pad(inputs[0], [(2, 2)] * min(2, len(shape)) + [(0, 0)] * (len(shape) == 3), **FILLS[fill])
    offsets = [(i, j) for i in range(5) for j in range(5)] if len(shape) > 1 else [(i,) for i in range(5)]
    counts = []
    for offset in offsets:
        cut = padded[tuple(slice(o, o + side) for o, side in zip(offset, shape, strict=False))]
        counts.append((found == cut).reshape(MANY, -1).all(1).sum())
    assert sum(counts) == MANY
    assert scipy.stats.chisquare(counts).pvalue > 1e-3
    if fill == "wrap":
        rolled = np.roll(inputs[0], (1,) * len(offset), tuple(range(len(offset))))
        assert (found == rolled).reshape(MANY, -1).all(1).any()


@pytest.mark.parametrize(("axis", "number"), [("vertical", 1), ("horizontal", 2)])
@pytest.mark.parametrize("shape", ANY, ids=str)
def test_a_flip_is_numpys_in_its_share_of_the_examples(shape, axis, number):
    if len(shape) == 1:
        axis, number = "horizontal", 1
    inputs = drawn(shape, MANY)
    found = changed(made("flip", axis=axis, probability=0.3), inputs)
    flipped, kept = ((found == one).reshape(MANY, -1).all(1) for one in (np.flip(inputs, number), inputs))
    assert (flipped ^ kept).all()
    assert scipy.stats.binomtest(int(flipped.sum()), MANY, 0.3).pvalue > 1e-3


turned = jax.jit(geometric.rotate_images, static_argnums=2)
drawn_out = jax.jit(geometric.magnify, static_argnums=3)
mixed = jax.jit(lambda inputs, alpha: values.mixup(alpha=alpha).apply(KEY, inputs))


@pytest.mark.parametrize("fill", [0.5, "edge", "wrap"])
@pytest.mark.parametrize("degrees", [-33.0, 10.0, 90.0, 180.0])
def test_turned_images_are_scipys(degrees, fill):
    images = drawn((8, 8, 2), 2)
    found = turned(images, np.deg2rad(np.array([degrees, 0.0], np.float32)), fill)
    mode = {"edge": "nearest", "wrap": "grid-wrap"}.get(fill, "grid-constant")
    settings = {"reshape": False, "order": 1, "mode": mode, "cval": fill if mode == "grid-constant" else 0.0}
    theirs = scipy.ndimage.rotate(images[0], degrees, **settings)
    np.testing.assert_allclose(found[0], theirs, atol=2e-5)
    np.testing.assert_array_equal(found[1], images[1])
    if degrees == 90.0:
        np.testing.assert_allclose(found[0][1:-1, 1:-1], np.rot90(images[0])[1:-1, 1:-1], atol=2e-5)


def test_angles_are_uniform():
    """Turned about the middle, a slope along the columns becomes one along the rows too."""
    slope = np.broadcast_to(np.arange(-3.0, 4.0, dtype=np.float32), (MANY, 7, 7))
    found = changed(made("rotate", degrees=40.0, fill="edge"), slope)
    angles = np.rad2deg(np.arctan2(found[:, 4, 3] - found[:, 2, 3], found[:, 3, 4] - found[:, 3, 2]))
    assert np.abs(angles).max() == pytest.approx(40, abs=0.2)
    assert uniform(angles, -40, 40)


@pytest.mark.parametrize("fill", [0.5, "edge", "wrap"])
@pytest.mark.parametrize("ratio", [0.5, 0.8, 1.7])
def test_pieces_that_are_drawn_out_are_scipys(ratio, fill):
    image = drawn((8, 10), 1)
    starts = np.array([[1.3], [0.4]], np.float32)
    (found,) = drawn_out(image, np.array([ratio], np.float32), starts, fill)
    mode = {"edge": "nearest", "wrap": "grid-wrap"}.get(fill, "grid-constant")
    offset = starts[:, 0] + ratio / 2 - 0.5
    settings = {"order": 1, "mode": mode, "cval": fill if mode == "grid-constant" else 0.0}
    theirs = scipy.ndimage.affine_transform(image[0], [ratio, ratio], offset, **settings)
    np.testing.assert_allclose(found, theirs, atol=1e-5)


def slopes(shape):
    """Values that rise by 1 a pixel along each axis, the first by 1000, from its middle on: `[MANY, ...]`."""
    places = [np.arange(side) - (side - 1) / 2 for side in shape]
    values = places[0] if len(shape) == 1 else 1000 * places[0][:, None] + places[1]
    return np.broadcast_to(values.astype(np.float32), (MANY, *shape))


def zoomed(name, shape, **arguments):
    """For each example, where its middle came from and how fast values rise there, by axis."""
    found = changed(made(name, **arguments), slopes(shape)).astype(np.float64)
    if len(shape) == 1:
        return found[:, 4], found[:, 5] - found[:, 4]
    return found[:, 4, 4] / 1000, (found[:, 5, 4] - found[:, 4, 4]) / 1000


@pytest.mark.parametrize("shape", [(9,), (9, 9)], ids=str)
def test_scales_have_uniform_logarithms_and_keep_the_middle(shape):
    with fully_optimized():
        middle, rise = zoomed("scale", shape, factor=2.0, fill="edge")
    np.testing.assert_allclose(middle, 0, atol=1e-4)
    assert uniform(np.log(rise), -np.log(2), np.log(2))


@pytest.mark.parametrize("shape", [(9,), (9, 9)], ids=str)
def test_a_crop_has_a_share_of_the_area_and_lies_anywhere_within(shape):
    middle, rise = zoomed("crop", shape, share=0.3)
    assert uniform(rise ** len(shape), 0.3, 1.0)
    assert uniform(middle / (9 * (1 - rise)), -0.5, 0.5)


@pytest.mark.parametrize("size", [1, 4, 20])
@pytest.mark.parametrize("shape", ANY, ids=str)
def test_a_cutout_is_a_square_about_a_pixel_of_the_input(shape, size):
    found = changed(made("cutout", size=size, fill=-1.0), np.ones((2000, *shape), np.float32))
    expected = np.ones(shape, np.float32)
    seen = set()
    for middle in np.ndindex(shape[:2]):
        hidden = expected.copy()
        hidden[tuple(slice(max(0, m - size // 2), m - size // 2 + size) for m in middle)] = -1.0
        seen.add(hidden.tobytes())
    assert {example.tobytes() for example in found} == seen


# --- what the values are ---------------------------------------------------------------------------------


def test_brightness_adds_one_uniform_number_an_example():
    inputs = drawn(GREY, MANY)
    added = (changed(made("brightness", delta=0.5), inputs) - inputs).reshape(MANY, -1)
    assert np.ptp(added, axis=1).max() < 1e-6
    assert uniform(added[:, 0], -0.5, 0.5)


def test_contrast_stretches_about_the_mean():
    inputs = drawn(COLOUR, MANY)
    found = changed(made("contrast", factor=3.0), inputs).reshape(MANY, -1)
    flat = inputs.reshape(MANY, -1)
    np.testing.assert_allclose(found.mean(1), flat.mean(1), atol=1e-5)
    factors = found.std(1) / flat.std(1)
    by_hand = flat.mean(1, keepdims=True) + factors[:, None] * (flat - flat.mean(1, keepdims=True))
    np.testing.assert_allclose(found, by_hand, atol=1e-4)
    assert uniform(np.log(factors), -np.log(3), np.log(3))


def test_noise_is_normal_and_independent():
    added = changed(made("noise", std=0.5), np.ones((500, *SIGNAL), np.float32)) - 1
    assert scipy.stats.kstest(added.ravel(), "norm", (0, 0.5)).pvalue > 1e-3
    correlations = np.corrcoef(added.T) - np.eye(9)
    assert np.abs(correlations).max() < 4.5 / 500**0.5


def test_typos_replace_tokens_or_let_neighbours_change_places():
    """Each token of the batch is another number, so that it is seen where it comes from."""
    length, rate, count = 50, 0.2, 400
    inputs = np.arange(count * length, dtype=np.float32).reshape(count, length)
    found = changed(made("typos", rate=rate), inputs)
    assert np.isin(found, inputs).all()
    near = np.pad(inputs, ((0, 0), (1, 1)), constant_values=-1)
    replaced = (found != near[:, :-2]) & (found != inputs) & (found != near[:, 2:])
    to_the_right = found[:, 1:] == inputs[:, :-1]
    assert replaced.mean() == pytest.approx(rate / 2, abs=0.01)
    assert to_the_right[:, 0].mean() == pytest.approx(rate / 2, abs=0.06)
    # the second one in a row that is to change places does not
    assert to_the_right[:, 1:].mean() == pytest.approx(rate / 2 * (1 - rate / 2), abs=0.01)
    pairs = to_the_right & (found[:, :-1] == inputs[:, 1:])
    assert pairs.sum() == pytest.approx((1 - rate / 2) * to_the_right.sum(), rel=0.05), (
        "but for replaced ones"
    )


def test_words_change_places_in_pairs():
    """Against Python's strings, with every way that the pairs can begin."""
    text = b"the quick brown fox jumps ov"
    inputs = np.repeat(np.frombuffer(text, np.uint8).astype(np.float32)[None], 4000, axis=0)
    found = [bytes(row.astype(np.uint8)) for row in changed(made("swapped_words", rate=0.25), inputs)]
    one, two = b"the quick brown fox ", b"quick the brown fox "
    counts = {one: 0, two: 0}
    for line in found:
        assert sorted(line.split()) == sorted(text.split())
        assert line.endswith(b" ov")
        counts[line[:20]] = counts.get(line[:20], 0) + 1
    # pairs begin with the first word in half of the lines, with the second in the others
    assert counts[two] / 4000 == pytest.approx(0.5 * 0.25 * 0.75, abs=0.02)
    assert counts[b"quick the fox brown "] / 4000 == pytest.approx(0.5 * 0.25 * 0.25, abs=0.01)
    assert counts[b"the brown quick fox "] / 4000 == pytest.approx(0.5 * 0.25 * 0.75, abs=0.02)
    assert not any(line.startswith(b"brown") for line in found)


@pytest.mark.parametrize("alpha", [0.3, 1.0, 4.0])
def test_mixed_examples_and_their_shares(alpha):
    inputs = drawn(GREY, MANY)
    found = mixed(inputs, np.float32(alpha))
    share, partner = np.asarray(found.share), np.asarray(found.partner)
    assert (share.shape, partner.dtype) == ((MANY,), np.int32)
    assert 0 <= share.min() <= share.max() <= 1
    assert scipy.stats.kstest(share, scipy.stats.beta(alpha, alpha).cdf).pvalue > 1e-3
    assert sorted(partner) == list(range(MANY))
    weight = share[:, None, None]
    np.testing.assert_allclose(found.inputs, (1 - weight) * inputs + weight * inputs[partner], atol=1e-5)


def test_every_example_of_a_batch_may_be_the_partner():
    apply = jax.jit(jax.vmap(made("mixup").apply, in_axes=(0, None)))
    partners = np.asarray(apply(jax.random.split(KEY, 600), jnp.zeros((6, 2))).partner)[:, 0]
    assert scipy.stats.chisquare(np.bincount(partners, minlength=6)).pvalue > 1e-3


# --- one after the other ---------------------------------------------------------------------------------


def test_a_chain_is_one_after_the_other_each_with_its_own_key():
    parts = [made("brightness"), made("mixup"), made("brightness"), made("shift", pixels=1)]

    def both(inputs):
        one_by_one, keys = [inputs], [jax.random.fold_in(KEY, number) for number in range(4)]
        for part, key in zip(parts, keys, strict=True):
            one_by_one.append(part.apply(key, one_by_one[-1]).inputs)
        return apply_augmentations(parts, KEY, inputs), one_by_one, parts[1].apply(keys[1], one_by_one[1])

    found, one_by_one, mixed_alone = jax.jit(both)(drawn(SIGNAL, 8))
    np.testing.assert_array_equal(found.inputs, one_by_one[-1])
    np.testing.assert_array_equal(found.partner, mixed_alone.partner)
    np.testing.assert_array_equal(found.share, mixed_alone.share)
    once, again = one_by_one[1] - one_by_one[0], one_by_one[3] - one_by_one[2]
    assert np.abs(once - again).max() > 0.01, "the same change a second time"


def test_a_chain_of_none_leaves_all_as_it_is():
    inputs = jnp.asarray(drawn(SIGNAL))
    assert apply_augmentations([], KEY, inputs) == (inputs, None, None)


def test_a_chain_mixes_once():
    check_mixing([])
    check_mixing([made("noise"), made("mixup"), made("noise")])
    with pytest.raises(InvalidValue, match="mixed already") as caught:
        check_mixing([made("mixup"), made("noise"), made("mixup")])
    assert caught.value.at == (2,)


# --- the gallery -----------------------------------------------------------------------------------------

SIGNALS = {"type": "gaussian", "examples": 30, "features": 9, "classes": 2}
RUNS = {
    "shifted": {"augment": [{"type": "shift", "pixels": 1, "fill": "wrap"}]},
    "flipped": {
        "augment": [{"type": "flip"}],
        "data": SIGNALS | {"features": [4, 5, 3]},
        "model": ["flatten", {"type": "dense", "units": 2}],
    },
    "none": {},
}


def bound(name, **changes):
    tree = {
        "name": name,
        "data": SIGNALS,
        "model": [{"type": "dense", "units": 2}],
        "train": {"steps": 1},
        "record": {"every": {"steps": 1}, "layers": False},
        "phenomena": [{"type": "augmentations", "examples": 3, "versions": 5}],
    }
    return build_experiment(check_tree(Document(tree | RUNS.get(name, {}) | changes, {}, {}, "test")))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """name -> (its first training examples, the finished run), trained at the first call."""
    home = tmp_path_factory.mktemp("runs")

    @functools.cache
    def one(name):
        experiment = bound(name)
        run(experiment, RunDirectory(home / name))
        return experiment.data.train.inputs[:3], open_run(home / name)

    return one


def test_the_table_holds_the_first_examples_and_changes_of_them(trained):
    inputs, seen = trained("shifted")
    pictures = augmentations.version_images(seen.tables["augmentations"])
    assert pictures.shape == (3, 6, 1, 9, 1)
    shown = pictures.reshape(3, 6, 9)
    np.testing.assert_allclose(shown[:, 0], inputs, rtol=1e-6)
    rolls = np.stack([np.roll(inputs, by, axis=1) for by in (-1, 0, 1)], axis=1)
    distances = np.abs(shown[:, 1:, None] - rolls[:, None]).max(-1)
    assert (distances.min(-1) < 1e-5).all()
    assert len(np.unique(distances.argmin(-1))) == 3, "all three of them among fifteen"
    found = seen.summary["augmentations"]
    assert found["changed_fraction"] == (distances.argmin(-1) != 1).mean()
    by_hand = np.abs(shown[:, 1:] - shown[:, :1]).mean() / shown[:, 0].std()
    assert found["mean_change"] == pytest.approx(by_hand)


def test_without_augmentation_nothing_is_changed(trained):
    assert trained("none")[1].summary["augmentations"] == {"mean_change": 0, "changed_fraction": 0}


def test_images_keep_their_axes(trained):
    inputs, seen = trained("flipped")
    pictures = augmentations.version_images(seen.tables["augmentations"])
    np.testing.assert_allclose(pictures[:, 0], inputs, rtol=1e-6)
    for version in pictures[:, 1:].swapaxes(0, 1):
        for one, original in zip(version, inputs, strict=True):
            assert np.allclose(one, original) or np.allclose(one, original[:, ::-1])


@pytest.mark.parametrize(
    ("names", "rows"),
    [
        (["shifted"], ["example 1", "example 2", "example 3"]),
        (["flipped"], ["example 1", "example 2", "example 3"]),
        (["shifted", "flipped", "none"], ["shifted", "flipped", "none"]),
    ],
    ids="+".join,
)
def test_the_gallery_names_its_rows_and_columns(trained, names, rows):
    runs = [trained(name)[1] for name in names]
    figure = figure_for_people(runs, "augmentations")
    grid = np.reshape(figure.axes, (len(rows), 6))
    assert [ax.get_ylabel() for ax in grid[:, 0]] == rows
    assert [ax.get_title() for ax in grid[0]] == ["original", "1", "2", "3", "4", "5"]
    assert all(ax.has_data() for ax in figure.axes)
    in_colour = [name == "flipped" for name in (names if len(names) > 1 else names * len(rows))]
    assert [bool(ax.images) for ax in grid[:, 0]] == in_colour
    assert figure.get_suptitle()


def test_a_damaged_table_is_refused(trained):
    table = trained("shifted")[1].tables["augmentations"]
    for damaged in (
        table.iloc[:-1],
        table.iloc[:0],
        table[table["version"] == 0],
        table.assign(value=np.inf),
        table.drop(columns="row"),
    ):
        with pytest.raises(InvalidValue):
            augmentations.version_images(damaged)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"data": SIGNALS | {"features": [4, 5, 2]}}, r"the inputs are \[4, 5, 2\]"),
        ({"data": SIGNALS | {"features": 80_000}}, "1,440,000 values are too many"),
        ({"augment": ["noise", "rotate"]}, r"augment\[1\]: rotate takes images"),
        ({"augment": ["mixup", "noise", "mixup"]}, r"augment\[2\]: the examples are mixed already"),
        ({"augment": [{"type": "shift", "pixels": 9}]}, r"augment\[0\].pixels: 9 can move all"),
    ],
)
def test_what_cannot_be_augmented_or_shown_is_a_line(changes, says):
    model = ["flatten", {"type": "dense", "units": 2}]
    with pytest.raises(ConfigError, match=says) as caught:
        bound("refused", model=model, **changes)
    assert len(caught.value.lines) == 1
