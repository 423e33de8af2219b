"""Images are as their source has them; batches the same whoever prepares them; bad folders are one clear line each."""

import os
import pickle
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets as tv

from jaxcompare.config import DataConfig, InputError
from jaxcompare.data import device
from jaxcompare.data.datasets import PUBLISHED, RECIPE, channel_statistics, load_dataset
from jaxcompare.data.host import HostLoader, normalise
from jaxcompare.data.recipe import RecipeStream
from jaxcompare.data.split import Dataset, Split, training_subset
from jaxcompare.data.subsets import draw_subset, stratified_order

RANDOM = np.random.default_rng(0)


def images(count, size=32):
    return RANDOM.integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def split(count, classes=3):
    return Split(images(count), np.arange(count, dtype=np.int32) % classes)


def all_batches(loader, epochs=(0, 1)):
    return [tuple(np.array(part) for part in batch) for epoch in epochs for batch in loader.epoch(epoch)]


def test_batches_do_not_depend_on_the_number_of_workers_and_leave_torchs_own_generator_alone():
    """Whose draws are the dropout of a model that trains in the same process."""
    data, before = split(70), torch.get_rng_state()
    runs = []
    for workers in (0, 2):
        with HostLoader(data, 32, RECIPE, augment=True, shuffle=True, seed=5, workers=workers) as loader:
            runs.append(all_batches(loader))
        assert torch.equal(torch.get_rng_state(), before)
    assert len(runs[0]) == 6
    for alone, shared in zip(*runs, strict=True):
        for a, b in zip(alone, shared, strict=True):
            np.testing.assert_array_equal(a, b)


def test_orders_differ_between_seeds_and_epochs():
    """Without augmentation, so that nothing else can differ."""
    data = Split(images(64), np.arange(64, dtype=np.int32))

    def order(seed, epoch):
        with HostLoader(data, 32, RECIPE, shuffle=True, seed=seed) as loader:
            return tuple(np.concatenate([batch[1] for batch in all_batches(loader, [epoch])]))

    orders = [order(seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert all(sorted(one) == list(range(64)) for one in orders)
    assert len({*orders, tuple(range(64))}) == 5
    assert order(1, 1) == orders[3]


def test_crops_and_flips_differ_between_epochs_batches_seeds_and_images():
    """Without a shuffle, so that nothing else can differ. One pixel's place tells an image's crop and flip."""
    source = np.zeros((128, 32, 32, 3), np.uint8)
    source[:, 15, 10] = 255
    draws = []
    for seed in (0, 1):
        loader = HostLoader(Split(source, np.zeros(128, np.int32)), 64, RECIPE, augment=True, seed=seed)
        draws += [batch.images[..., 0].reshape(64, -1).argmax(1) for epoch in (0, 1) for batch in loader.epoch(epoch)]
    assert len(draws) == 8
    for i, one in enumerate(draws):
        assert len(set(one.tolist())) > 32
        # Of 162 equally likely crops and flips, some of which show the pixel in one place.
        assert all((one == other).mean() < 0.1 for other in draws[:i])


def test_an_epoch_holds_every_image_once_and_pads_the_last_batch():
    data = split(70)
    with HostLoader(data, 32, RECIPE, shuffle=True) as loader:
        batches = all_batches(loader, [0])
    assert [batch[0].shape for batch in batches] == [(32, 32, 32, 3)] * 3
    assert [batch[0].dtype for batch in batches] == [np.float32] * 3
    assert [(batch[1].dtype, batch[2].dtype) for batch in batches] == [(np.int32, np.float32)] * 3
    assert [int(batch[2].sum()) for batch in batches] == [32, 32, 6]
    np.testing.assert_array_equal(batches[2][2], np.arange(32) < 6)
    assert not batches[2][0][6:].any()
    pixels = np.concatenate([batch[0] for batch in batches])[:70]
    expected = normalise(torch.from_numpy(data.images).permute(0, 3, 1, 2), RECIPE).permute(0, 2, 3, 1).numpy()
    as_rows = [sorted(map(tuple, array.reshape(70, -1)[:, :50])) for array in (pixels, expected)]
    assert as_rows[0] == as_rows[1]


def test_the_recipes_own_loader_has_the_same_shapes_and_statistics():
    data = Split(images(64), np.zeros(64, np.int32))
    whole = Dataset("some images", ("one",), data, data, RECIPE, "fingerprint")
    with RecipeStream(whole, 64, workers=0) as stream:
        theirs, _ = next(stream.epoch(0))
    assert theirs.shape == (64, 3, 32, 32)
    with HostLoader(data, 64, RECIPE, augment=True) as loader:
        (ours,) = (batch[0] for batch in all_batches(loader, [0]))
    assert abs(float(theirs.mean()) - ours.mean()) < 0.1


def test_digits_are_fixed_stratified_and_upscaled():
    data = load_dataset(DataConfig("digits"))
    assert data.train.images.shape == (1437, 32, 32, 3)
    assert data.test.images.shape == (360, 32, 32, 3)
    assert data.test.images.dtype == np.uint8
    assert set(np.bincount(data.test.labels)) <= {34, 35, 36, 37}
    assert load_dataset(DataConfig("digits")).fingerprint == data.fingerprint
    np.testing.assert_allclose(PUBLISHED["digits"], channel_statistics(data.train.images), atol=5e-5)
    assert load_dataset(DataConfig("digits", image_size=16)).train.images.shape[1:] == (16, 16, 3)


def test_channel_statistics_are_numpys():
    sample = images(9)
    mean, std = channel_statistics(sample)
    np.testing.assert_allclose(mean, (sample / 255).mean((0, 1, 2)))
    np.testing.assert_allclose(std, (sample / 255).std((0, 1, 2)))
    assert channel_statistics(np.full((2, 8, 8, 1), 51, np.uint8)) == ((0.2,), (1.0,))


LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [500, 300, 200])).astype(np.int32)


def drawn(size, subsets, seed=3):
    return draw_subset(LABELS, DataConfig(train_size=size, subsets=subsets), seed)


@pytest.mark.parametrize("subsets", ["independent", "nested"])
def test_subsets_are_random_without_repeats_and_by_seed(subsets):
    indices = drawn(100, subsets)
    assert len(set(indices)) == 100
    assert set(indices) != set(drawn(100, subsets, seed=4))
    np.testing.assert_array_equal(indices, drawn(100, subsets))
    np.testing.assert_array_equal(drawn(None, subsets), np.arange(1000))
    assert set(drawn(1000, subsets)) == set(range(1000))
    with pytest.raises(InputError, match="--train-size: 1001 is more than the 1000 training images"):
        drawn(1001, subsets)
    with pytest.raises(ValueError, match="resolved first"):
        drawn(100, "auto")


def test_nested_subsets_hold_each_other_and_the_classes_in_proportion():
    order = stratified_order(LABELS, 7)
    for size in range(1, 1001):
        counts = np.bincount(LABELS[order[:size]], minlength=3)
        assert np.abs(counts - size * np.array([0.5, 0.3, 0.2])).max() <= 1, size
    assert set(drawn(50, "nested")) < set(drawn(200, "nested")) < set(drawn(999, "nested"))
    # Which of a class comes first is drawn: over seeds, every image has its turn.
    firsts = {stratified_order(LABELS, seed)[0] for seed in range(200)}
    assert len(firsts) > 100


def test_independent_subsets_of_two_sizes_have_no_more_in_common_than_chance():
    common = [len(set(drawn(100, "independent", seed)) & set(drawn(500, "independent", seed))) for seed in range(40)]
    assert 40 < np.mean(common) < 60


@pytest.mark.parametrize(
    ("train_size", "seeds", "resolved"),
    [(100, 1, "independent"), (100, 5, "nested"), (None, 5, "independent")],
)
def test_auto_is_nested_for_several_seeds(train_size, seeds, resolved):
    assert DataConfig(train_size=train_size).resolve(seeds).subsets == resolved
    explicit = DataConfig(train_size=train_size, subsets="independent")
    assert explicit.resolve(seeds) == explicit


def test_an_epoch_of_more_images_than_there_are_goes_through_all_of_them_again():
    data = Split(images(10), np.arange(10, dtype=np.int32))
    with HostLoader(data, 8, RECIPE, shuffle=True, epoch_images=25, seed=1) as loader:
        assert len(loader) == 4
        labels = np.concatenate([batch.labels[: int(batch.mask.sum())] for batch in loader.epoch(0)])
    assert len(labels) == 25
    for first in (0, 10):
        assert sorted(labels[first : first + 10]) == list(range(10))
    assert labels[:10].tolist() != labels[10:20].tolist()
    assert len(set(labels[20:])) == 5


def make_folder(root, size=32, classes=("cat", "dog"), parts=("train", "test")):
    for part in parts:
        for label, name in enumerate(classes):
            (root / part / name).mkdir(parents=True)
            for i in range(3):
                Image.new("RGB", (size, size), (label * 200, i, 0)).save(root / part / name / f"{i}.png")
    return root


def folder_config(root, **kwargs):
    return DataConfig("folder", root, **kwargs)


def test_folder(tmp_path):
    data = load_dataset(folder_config(make_folder(tmp_path / "my pets")))
    assert (data.title, data.class_names) == ("my pets", ("cat", "dog"))
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert data.train.images[:, 0, 0].tolist() == [[200 * label, i, 0] for label in range(2) for i in range(3)]
    assert data.statistics == RECIPE
    of_data = load_dataset(folder_config(tmp_path / "my pets", normalisation="data"))
    assert of_data.statistics == channel_statistics(data.train.images)
    assert of_data.fingerprint == data.fingerprint != load_dataset(DataConfig("digits")).fingerprint
    assert len(training_subset(data, DataConfig("folder", train_size=4, subsets="nested"), 0).train) == 4


def test_every_image_of_a_folder_has_its_own_folders_class(tmp_path):
    """In both splits: the colour says which class an image was put in."""
    colours = {"wolf": 90, "cat": 10, "dog": 50}
    for part, most in (("train", 4), ("test", 7)):
        for i, (name, red) in enumerate(colours.items()):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(most - i):
                Image.new("RGB", (32, 32), (red, number, most)).save(tmp_path / part / name / f"{number}.png")
    data = load_dataset(folder_config(tmp_path))
    for images_of, count, most in ((data.train, 9, 4), (data.test, 18, 7)):
        assert len(images_of) == count
        names = [data.class_names[label] for label in images_of.labels]
        assert [colours[name] for name in names] == images_of.images[:, 0, 0, 0].tolist()
        assert set(images_of.images[:, 0, 0, 2]) == {most}


def test_the_digits_labels_are_of_their_images_in_both_splits():
    """An image's nearest neighbour, within a split and across, is of its class."""
    data = load_dataset(DataConfig("digits"))
    pixels, labels = (
        [part.images[:, ::4, ::4, 0].reshape(len(part), -1).astype(float) for part in (data.train, data.test)],
        [part.labels for part in (data.train, data.test)],
    )
    for one, other in ((0, 0), (1, 1), (0, 1)):
        squares = (pixels[one] ** 2).sum(1)[:, None] + (pixels[other] ** 2).sum(1) - 2 * pixels[one] @ pixels[other].T
        if one == other:
            np.fill_diagonal(squares, np.inf)
        assert (labels[other][squares.argmin(1)] == labels[one]).mean() > 0.9


def test_folder_images_are_resized_and_made_rgb(tmp_path):
    root = make_folder(tmp_path, size=20)
    Image.new("L", (50, 10), 7).save(root / "train" / "cat" / "wide.gif")
    data = load_dataset(folder_config(root, image_size=16))
    assert data.train.images.shape == (7, 16, 16, 3)
    assert (data.train.images[3] == 7).all()


DAMAGES = {
    "no folder": (
        lambda root: root.rename(root.with_name("elsewhere")),
        r"--data-dir .*: no folder train/; put images in",
    ),
    "no test": (lambda root: (root / "test").rename(root / "other"), r"no folder test/"),
    "an empty part": (
        lambda root: [(root / "train" / name).rename(root / name) for name in ("cat", "dog")],
        r"train/ is empty; put images in",
    ),
    "an empty class": (
        lambda root: [file.unlink() for file in (root / "train" / "cat").iterdir()],
        r"cat: no images in this class; add some or remove",
    ),
    "a one-sided class": (
        lambda root: (root / "test" / "dog").rename(root / "test" / "wolf"),
        r"class 'dog' is in train/ but not in test/",
    ),
    "no image": (
        lambda root: (root / "test" / "dog" / "1.png").write_text("not an image"),
        r"dog/1.png: not a readable image; remove it or replace it",
    ),
    "a truncated image": (
        lambda root: os.truncate(root / "test" / "dog" / "1.png", 60),
        r"dog/1.png: not a readable image",
    ),
    "one class": (
        lambda root: [(root / part / "dog").rename(root / f"{part}-dog") for part in ("train", "test")],
        r"one class only \(cat\)",
    ),
    "a stray file": (
        lambda root: (root / "train" / "labels.txt").write_text("cat dog"),
        r"labels.txt: a file where a class folder is expected",
    ),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES)
def test_bad_folders_say_what_and_where(tmp_path, damage, message):
    root = make_folder(tmp_path / "images")
    damage(root)
    with pytest.raises(InputError, match=message) as caught:
        load_dataset(folder_config(root))
    assert "\n" not in str(caught.value)


def write_cifar(folder, names, label_key, meta, classes):
    """The official layout, small: pickled batches of rows of 3,072 bytes."""
    folder.mkdir()
    for name in names:
        content = {"data": RANDOM.integers(0, 256, (4, 3072), dtype=np.uint8), label_key: [0, 1, 1, 0]}
        (folder / name).write_bytes(pickle.dumps(content))
    (folder / meta[0]).write_bytes(pickle.dumps({meta[1]: classes}))


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_cifar_in_the_official_layout(tmp_path, monkeypatch, name):
    cls = {"cifar10": tv.CIFAR10, "cifar100": tv.CIFAR100}[name]
    files = [file for file, _ in cls.train_list + cls.test_list]
    label_key = "labels" if name == "cifar10" else "fine_labels"
    write_cifar(tmp_path / cls.base_folder, files, label_key, (cls.meta["filename"], cls.meta["key"]), ["a", "b"])
    monkeypatch.setattr(cls, "_check_integrity", lambda self: True)  # the checksums are of the real files
    monkeypatch.setattr(tv.cifar, "check_integrity", lambda *_: True)
    data = load_dataset(DataConfig(name, tmp_path))
    assert len(data.train) == 4 * len(cls.train_list)
    assert (data.class_names, data.train.labels[:4].tolist()) == (("a", "b"), [0, 1, 1, 0])
    raw = pickle.loads((tmp_path / cls.base_folder / files[0]).read_bytes())["data"][1]
    np.testing.assert_array_equal(data.train.images[1], raw.reshape(3, 32, 32).transpose(1, 2, 0))
    assert data.test.labels.tolist() == [0, 1, 1, 0]
    raw = pickle.loads((tmp_path / cls.base_folder / files[-1]).read_bytes())["data"]
    np.testing.assert_array_equal(data.test.images, raw.reshape(4, 3, 32, 32).transpose(0, 2, 3, 1))


def test_svhn_and_fashion_mnist_layouts(tmp_path, monkeypatch):
    class Svhn(tv.VisionDataset):
        def __init__(self, root, split, download):
            self.data, self.labels = np.zeros((2, 3, 32, 32), np.uint8), np.array([9, 0])

    class Fashion(tv.VisionDataset):
        classes: ClassVar = ["shirt", "shoe"]

        def __init__(self, root, train, download):
            self.data, self.targets = torch.full((2, 28, 28), 9, dtype=torch.uint8), torch.tensor([0, 1])

    monkeypatch.setattr(tv, "SVHN", Svhn)
    monkeypatch.setattr(tv, "FashionMNIST", Fashion)
    svhn = load_dataset(DataConfig("svhn", tmp_path))
    assert (svhn.train.images.shape, svhn.test.labels.tolist()) == ((2, 32, 32, 3), [9, 0])
    fashion = load_dataset(DataConfig("fashion-mnist", tmp_path))
    assert fashion.train.images.shape == (2, 32, 32, 3)
    inside = np.zeros((32, 32), bool)
    inside[2:30, 2:30] = True
    np.testing.assert_array_equal(fashion.train.images[0, :, :, 1] == 9, inside)


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn", "fashion-mnist"])
def test_a_failed_download_says_what_to_do_offline(tmp_path, monkeypatch, name):
    def refuse(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    with pytest.raises(InputError, match=rf"--dataset {name}: .*no route to host.*offline.*--dataset digits"):
        load_dataset(DataConfig(name, tmp_path))


def test_a_corrupt_archive_is_refused(tmp_path, monkeypatch):
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"not the archive")
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: (_ for _ in ()).throw(OSError("offline")))
    with pytest.raises(InputError, match="--dataset cifar10"):
        load_dataset(DataConfig("cifar10", tmp_path))


@pytest.mark.parametrize("flip", [0.0, 0.5])
def test_no_input_mirrors_what_must_not_be(flip):
    """A pixel left of the middle stays there, wherever an image is cut."""
    source = np.zeros((256, 32, 32, 3), np.uint8)
    source[:, 15, 10] = 255
    split = Split(source, np.zeros(256, np.int32), flip)
    plain = ((0.0,) * 3, (1.0,) * 3)
    with HostLoader(split, 256, plain, augment=True) as loader:
        on_host = next(iter(loader.epoch(0))).images
    on_device = device.train_batch(
        device.put_split(split, plain, jax.device_put),
        device.plan_epoch(jax.random.key(0), 0, jnp.arange(256)),
        jnp.int32(0),
        256,
    ).images
    data = Dataset("pixel", ("a", "b"), split, split, plain, "")
    with RecipeStream(data, 256, workers=0) as stream:
        recipes = next(iter(stream.epoch(0)))[0].numpy().transpose(0, 2, 3, 1)
    for images in (on_host, np.asarray(on_device), recipes):
        right = (images[:, :, 16:] > 0).any(axis=(1, 2, 3)).sum()
        assert (right == 0) if flip == 0 else (90 < right < 166)


@pytest.mark.parametrize(("name", "flip"), [("digits", 0.0), ("folder", 0.5)])
def test_digits_are_not_mirrored(name, flip, tmp_path):
    for part in ("train", "test"):
        for label in "ab":
            (tmp_path / part / label).mkdir(parents=True)
            Image.new("RGB", (8, 8)).save(tmp_path / part / label / "one.png")
    data = load_dataset(DataConfig(name, tmp_path, image_size=8, normalisation="data"))
    assert data.train.flip_probability == flip
    assert (
        training_subset(data, DataConfig(name, train_size=2, subsets="independent"), 0).train.flip_probability == flip
    )
