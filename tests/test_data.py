"""Images and labels are as their source has them; subsets are drawn as they should be; bad folders are one clear line
each."""

import os
import pickle
from typing import ClassVar

import numpy as np
import pytest
import torch
from filelock import FileLock, Timeout
from PIL import Image
from torchvision import datasets as tv

from jaxcompare.config import DataConfig, InputError
from jaxcompare.data.datasets import PUBLISHED, RECIPE, channel_statistics, load_dataset
from jaxcompare.data.split import training_subset
from jaxcompare.data.subsets import draw_subset, stratified_order

RANDOM = np.random.default_rng(0)


def test_digits_are_fixed_stratified_upscaled_and_not_mirrored():
    data = load_dataset(DataConfig("digits"))
    assert (data.train.images.shape, data.test.images.shape) == ((1437, 32, 32, 3), (360, 32, 32, 3))
    assert data.test.images.dtype == np.uint8
    assert set(np.bincount(data.test.labels)) <= {34, 35, 36, 37}
    assert data.train.flip_probability == 0
    assert load_dataset(DataConfig("digits")).fingerprint == data.fingerprint
    np.testing.assert_allclose(PUBLISHED["digits"], channel_statistics(data.train.images), atol=5e-5)
    assert load_dataset(DataConfig("digits", image_size=16)).train.images.shape[1:] == (16, 16, 3)


def test_the_digits_labels_are_of_their_images_in_both_splits():
    """An image's nearest neighbour, within a split and across, is of its class."""
    data = load_dataset(DataConfig("digits"))
    parts = (data.train, data.test)
    pixels = [part.images[:, ::4, ::4, 0].reshape(len(part), -1).astype(float) for part in parts]
    for one, other in ((0, 0), (1, 1), (0, 1)):
        squares = (pixels[one] ** 2).sum(1)[:, None] + (pixels[other] ** 2).sum(1) - 2 * pixels[one] @ pixels[other].T
        if one == other:
            np.fill_diagonal(squares, np.inf)
        assert (parts[other].labels[squares.argmin(1)] == parts[one].labels).mean() > 0.9


def test_channel_statistics_are_numpys():
    sample = RANDOM.integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)
    np.testing.assert_allclose(channel_statistics(sample), [f(sample / 255, axis=(0, 1, 2)) for f in (np.mean, np.std)])
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
    with pytest.raises(InputError, match=r"--train-size: 1001 .* 1000 "):
        drawn(1001, subsets)
    with pytest.raises(ValueError, match="auto"):
        drawn(100, "auto")


def test_nested_subsets_hold_each_other_and_the_classes_in_proportion():
    order = stratified_order(LABELS, 7)
    for size in range(1, 1001):
        counts = np.bincount(LABELS[order[:size]], minlength=3)
        assert np.abs(counts - size * np.array([0.5, 0.3, 0.2])).max() <= 1, size
    assert set(drawn(50, "nested")) < set(drawn(200, "nested")) < set(drawn(999, "nested"))
    # Which of a class comes first is drawn: over seeds, every image has its turn.
    assert len({stratified_order(LABELS, seed)[0] for seed in range(200)}) > 100


def test_independent_subsets_of_two_sizes_have_no_more_in_common_than_chance():
    common = [len(set(drawn(100, "independent", seed)) & set(drawn(500, "independent", seed))) for seed in range(40)]
    assert 40 < np.mean(common) < 60


def test_auto_is_nested_for_several_seeds():
    for train_size, seeds, resolved in ((100, 1, "independent"), (100, 5, "nested"), (None, 5, "independent")):
        assert DataConfig(train_size=train_size).resolve(seeds).subsets == resolved
        explicit = DataConfig(train_size=train_size, subsets="independent")
        assert explicit.resolve(seeds) == explicit


def make_folder(root, counts=((3, 3), (3, 3)), classes=("cat", "dog"), size=32):
    """So many images of each class in train/ and test/; their colours say which class, image and split."""
    for part, of_part in zip(("train", "test"), counts, strict=True):
        for label, (name, count) in enumerate(zip(classes, of_part, strict=True)):
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", (size, size), (50 * label, i, len(part))).save(root / part / name / f"{i}.png")
    return root


def load_folder(root, **settings):
    return load_dataset(DataConfig("folder", root, **settings))


def test_every_image_of_a_folder_is_in_its_split_and_class(tmp_path):
    root = make_folder(tmp_path / "my pets", ((2, 3, 4), (7, 6, 5)), ("cat", "dog", "wolf"))
    data = load_folder(root)
    assert (data.title, data.class_names, data.statistics) == ("my pets", ("cat", "dog", "wolf"), RECIPE)
    for part, counts, blue in ((data.train, (2, 3, 4), 5), (data.test, (7, 6, 5), 4)):
        assert part.labels.tolist() == [label for label in range(3) for _ in range(counts[label])]
        assert part.images[:, 0, 0].tolist() == [[50 * k, i, blue] for k in range(3) for i in range(counts[k])]
    of_data = load_folder(root, normalisation="data")
    assert of_data.statistics == channel_statistics(data.train.images)
    assert of_data.fingerprint == data.fingerprint
    # The same images in the same order, one of them of another class.
    (root / "test" / "dog" / "0.png").rename(root / "test" / "cat" / "9.png")
    relabelled = load_folder(root)
    np.testing.assert_array_equal(relabelled.test.images, data.test.images)
    assert relabelled.fingerprint != data.fingerprint
    subset = training_subset(data, DataConfig("folder", train_size=4, subsets="nested"), 0).train
    assert (len(subset), subset.flip_probability) == (4, 0.5)


def test_folder_images_are_resized_and_made_rgb(tmp_path):
    root = make_folder(tmp_path, size=20)
    Image.new("L", (50, 10), 7).save(root / "train" / "cat" / "wide.gif")
    data = load_folder(root, image_size=16)
    assert data.train.images.shape == (7, 16, 16, 3)
    assert (data.train.images[3] == 7).all()


# What is done to a folder, and the place that its error names.
DAMAGES = {
    "no folder": (lambda root: root.rename(root.with_name("elsewhere")), "--data-dir .*images: no folder train/"),
    "no test": (lambda root: (root / "test").rename(root / "other"), "no folder test/"),
    "an empty part": (lambda root: [(root / "train" / name).rename(root / name) for name in ("cat", "dog")], "train/"),
    "an empty class": (lambda root: [file.unlink() for file in (root / "train" / "cat").iterdir()], "train/cat: "),
    "a one-sided class": (lambda root: (root / "test" / "dog").rename(root / "test" / "wolf"), "'dog' .*not in test/"),
    "no image": (lambda root: (root / "test" / "dog" / "1.png").write_text("not an image"), "test/dog/1.png: "),
    "a truncated image": (lambda root: os.truncate(root / "test" / "dog" / "1.png", 60), "test/dog/1.png: "),
    "one class": (
        lambda root: [(root / part / "dog").rename(root / f"{part}-dog") for part in ("train", "test")],
        r"one class only \(cat\)",
    ),
    "a stray file": (lambda root: (root / "train" / "labels.txt").write_text("cat dog"), "train/labels.txt: "),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGES.values(), ids=DAMAGES)
def test_bad_folders_say_what_and_where(tmp_path, damage, message):
    root = make_folder(tmp_path / "images")
    damage(root)
    with pytest.raises(InputError, match=message) as caught:
        load_folder(root)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "cls", "label_key"), [("cifar10", tv.CIFAR10, "labels"), ("cifar100", tv.CIFAR100, "fine_labels")]
)
def test_cifar_in_the_official_layout(tmp_path, monkeypatch, name, cls, label_key):
    """Small: pickled batches of rows of 3,072 bytes."""
    folder = tmp_path / cls.base_folder
    folder.mkdir()
    rows = [RANDOM.integers(0, 256, (4, 3072), dtype=np.uint8) for _ in cls.train_list + cls.test_list]
    for (file, _), data in zip(cls.train_list + cls.test_list, rows, strict=True):
        (folder / file).write_bytes(pickle.dumps({"data": data, label_key: [0, 1, 1, 0]}))
    (folder / cls.meta["filename"]).write_bytes(pickle.dumps({cls.meta["key"]: ["a", "b"]}))
    monkeypatch.setattr(cls, "_check_integrity", lambda self: True)  # the checksums are of the real files
    monkeypatch.setattr(tv.cifar, "check_integrity", lambda *_: True)
    data = load_dataset(DataConfig(name, tmp_path))
    assert data.class_names == ("a", "b")
    for part, raw in ((data.train, np.concatenate(rows[:-1])), (data.test, rows[-1])):
        assert part.labels.tolist() == [0, 1, 1, 0] * (len(raw) // 4)
        np.testing.assert_array_equal(part.images, raw.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def test_svhn_and_fashion_mnist_layouts(tmp_path, monkeypatch):
    class Svhn(tv.VisionDataset):
        def __init__(self, root, split, download):
            self.data, self.labels = np.zeros((1001, 3, 32, 32), np.uint8), np.arange(1001) + (split == "train")

    class Fashion(tv.VisionDataset):
        classes: ClassVar = ["shirt", "shoe"]

        def __init__(self, root, train, download):
            self.data, self.targets = torch.full((2, 28, 28), 9, dtype=torch.uint8), torch.tensor([1, train])

    monkeypatch.setattr(tv, "SVHN", Svhn)
    monkeypatch.setattr(tv, "FashionMNIST", Fashion)
    svhn = load_dataset(DataConfig("svhn", tmp_path, image_size=16))
    fashion = load_dataset(DataConfig("fashion-mnist", tmp_path))
    assert [part.labels.tolist() for part in (svhn.train, svhn.test)] == [list(range(1, 1002)), list(range(1001))]
    assert [part.labels.tolist() for part in (fashion.train, fashion.test)] == [[1, 1], [1, 0]]
    assert (svhn.train.images.shape, fashion.train.images.shape) == ((1001, 16, 16, 3), (2, 32, 32, 3))
    assert (svhn.train.flip_probability, fashion.train.flip_probability) == (0, 0.5)
    np.testing.assert_array_equal(fashion.train.images[0, :, :, 1], np.pad(np.full((28, 28), 9), 2))


def test_what_is_there_is_not_downloaded_and_what_is_not_by_one_process_at_a_time(tmp_path, monkeypatch):
    asked = []

    class Svhn(tv.VisionDataset):
        def __init__(self, root, split, download):
            asked.append((split, download))
            if split == "test" and not download:
                raise RuntimeError("Dataset not found")
            if download:
                with pytest.raises(Timeout):
                    FileLock(tmp_path / ".download.lock").acquire(timeout=0)
            self.data, self.labels = np.zeros((2, 3, 32, 32), np.uint8), np.arange(2)

    monkeypatch.setattr(tv, "SVHN", Svhn)
    load_dataset(DataConfig("svhn", tmp_path))
    assert asked == [("train", False), ("test", False), ("test", True)]


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "svhn", "fashion-mnist"])
def test_a_failed_download_says_what_to_do_offline(tmp_path, monkeypatch, name):
    def refuse(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"a corrupt archive is none")
    with pytest.raises(InputError, match=rf"--dataset {name}: .*no route to host.*offline.*--dataset digits"):
        load_dataset(DataConfig(name, tmp_path))
