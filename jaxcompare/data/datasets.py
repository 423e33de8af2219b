"""Where images come from: every data set becomes uint8 NHWC arrays with int32 labels, decoded once."""

import contextlib
import dataclasses
import hashlib
import math
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from filelock import FileLock
from jaxtyping import UInt8
from torchvision import datasets as tv
from torchvision.transforms.v2 import functional as F

from jaxcompare.config import DataConfig, InputError
from jaxcompare.data.image_file import check_files, decode_files, shown
from jaxcompare.data.image_folder import list_images
from jaxcompare.data.split import Dataset, Split, Statistics

T = TypeVar("T", bound=tv.VisionDataset)

# Channel mean and standard deviation of pixels in [0, 1]. cifar10's deviations are the recipe's: the widely copied
# mean of per-image values, not the per-pixel ones. digits' are of its upscaled training split.
RECIPE: Statistics = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
PUBLISHED: dict[str, Statistics] = {
    "cifar10": RECIPE,
    "folder": RECIPE,
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "svhn": ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)),
    "fashion-mnist": ((0.2860,) * 3, (0.3530,) * 3),
    "digits": ((0.3057,) * 3, (0.3235,) * 3),
}

NOT_MIRRORED = ("digits", "svhn")
"""A mirrored digit is another digit, or none."""

DIGIT_NAMES = tuple(str(d) for d in range(10))


def load_dataset(config: DataConfig) -> Dataset:
    """Decode a data set into memory, resized to `config.image_size`. Subsetting is apart: see `split.training_subset`.

    Raises:
        InputError: the data set is missing, incomplete or unreadable, or cannot be downloaded.
    """
    skipped = ()
    if config.dataset == "folder":
        class_names, train, test, skipped = _folder(config)
    else:
        class_names, train, test = LOADERS[config.dataset](config.data_dir, config.image_size)
    train, test = (_resize(split, config.image_size) for split in (train, test))
    if config.dataset in NOT_MIRRORED:
        train = dataclasses.replace(train, flip_probability=0.0)
    statistics = PUBLISHED[config.dataset] if config.normalisation == "published" else channel_statistics(train.images)
    title = shown(config.data_dir.resolve().name) if config.dataset == "folder" else config.dataset
    return Dataset(title, tuple(class_names), train, test, statistics, _fingerprint(train, test), skipped)


def channel_statistics(images: UInt8[np.ndarray, "n h w c"]) -> Statistics:
    """Per-pixel mean and standard deviation of each channel, in [0, 1]. A constant channel gets deviation 1."""
    counts = [np.bincount(images[..., channel].ravel(), minlength=256) for channel in range(images.shape[-1])]
    levels = np.arange(256) / 255
    mean = [float(np.average(levels, weights=count)) for count in counts]
    variance = [float(np.average((levels - m) ** 2, weights=count)) for m, count in zip(mean, counts, strict=True)]
    return tuple(mean), tuple(math.sqrt(v) or 1.0 for v in variance)


def _fingerprint(*splits: Split) -> str:
    digest = hashlib.sha256()
    for split in splits:
        for array in (split.images, split.labels):
            digest.update(repr((array.shape, array.dtype.str)).encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _resize(split: Split, size: int) -> Split:
    if split.images.shape[1:3] == (size, size):
        return split
    parts = [
        F.resize(torch.from_numpy(part).permute(0, 3, 1, 2), [size, size], antialias=True).permute(0, 2, 3, 1).numpy()
        for part in np.array_split(split.images, math.ceil(len(split) / 1000))
    ]
    return Split(np.ascontiguousarray(np.concatenate(parts)), split.labels)


def _torchvision(name: str, root: Path, build: Callable[[bool], T]) -> T:
    """A torchvision data set, built by whether it is to be downloaded: once if it is not there, whoever else asks for
    it. Every way that can fail is said in one line."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(RuntimeError):
            return build(False)
        with FileLock(root / ".download.lock"):
            return build(True)
    except (OSError, RuntimeError, EOFError, tarfile.TarError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"--dataset {name}: not complete in --data-dir {root}, and downloading it failed ({reason}); "
            "offline, copy the official archive there, or use --dataset digits (built in) or --dataset folder"
        ) from error


def _split(images: np.ndarray, labels: object) -> Split:
    return Split(np.ascontiguousarray(images), np.asarray(labels, np.int32))


def _cifar(name: str, cls: type[tv.CIFAR10], root: Path) -> tuple[list[str], Split, Split]:
    train = _torchvision(name, root, lambda download: cls(str(root), train=True, download=download))
    test = _torchvision(name, root, lambda download: cls(str(root), train=False, download=download))
    return train.classes, _split(train.data, train.targets), _split(test.data, test.targets)


def _svhn(root: Path, _: int) -> tuple[tuple[str, ...], Split, Split]:
    splits: list[Split] = []
    for part in ("train", "test"):
        data = _torchvision("svhn", root, lambda download, part=part: tv.SVHN(str(root), part, download=download))
        splits.append(_split(data.data.transpose(0, 2, 3, 1), data.labels))
    return DIGIT_NAMES, splits[0], splits[1]


def _fashion_mnist(root: Path, _: int) -> tuple[list[str], Split, Split]:
    splits: list[Split] = []
    for train in (True, False):
        data = _torchvision(
            "fashion-mnist", root, lambda download, train=train: tv.FashionMNIST(str(root), train, download=download)
        )
        padded = np.pad(data.data.numpy(), ((0, 0), (2, 2), (2, 2)))
        splits.append(_split(np.repeat(padded[..., None], 3, axis=-1), data.targets))
    return data.classes, splits[0], splits[1]


def _digits(_: Path, size: int) -> tuple[tuple[str, ...], Split, Split]:
    """scikit-learn's 1,797 8x8 digits, upscaled; a fixed stratified fifth of them is the test split."""
    # Imported here: its 0.7 s would be paid by every process of a measurement.
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = map(np.asarray, load_digits(return_X_y=True))
    pixels = torch.from_numpy(np.round(images * (255 / 16)).astype(np.uint8).reshape(-1, 1, 8, 8))
    pixels = F.resize(pixels, [size, size], antialias=True)[:, 0].numpy()
    pixels = np.repeat(pixels[..., None], 3, axis=-1)
    train, test = train_test_split(np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=0)
    return DIGIT_NAMES, _split(pixels[train], labels[train]), _split(pixels[test], labels[test])


def _folder(config: DataConfig) -> tuple[list[str], Split, Split, tuple[str, ...]]:
    """See `image_folder.list_images`. Last, the files that were passed over."""
    root = config.data_dir
    class_names, listings = list_images(root)
    decoded = [decode_files([path for path, _ in listing], config.image_size) for listing in listings]
    skipped = check_files(root, [one for _, outcomes in decoded for one in outcomes], skip=config.skip_bad_images)
    splits: list[Split] = []
    for listing, (images, outcomes) in zip(listings, decoded, strict=True):
        good = np.array([not outcome.problem for outcome in outcomes])
        files = [file for file, is_good in zip(listing, good, strict=True) if is_good]
        if lost := set(range(len(class_names))) - {label for _, label in files}:
            part = listing[0][0].relative_to(root).parts[0]
            raise InputError(
                f"--data-dir {shown(root)}: of class {class_names[min(lost)]!r} no image in {part}/ can be used; "
                "replace some"
            )
        splits.append(_split(images if good.all() else images[good], [label for _, label in files]))
    return class_names, splits[0], splits[1], tuple(shown(path.relative_to(root)) for path in skipped)


LOADERS: dict[str, Callable[[Path, int], tuple]] = {
    "cifar10": lambda root, _: _cifar("cifar10", tv.CIFAR10, root),
    "cifar100": lambda root, _: _cifar("cifar100", tv.CIFAR100, root),
    "svhn": _svhn,
    "fashion-mnist": _fashion_mnist,
    "digits": _digits,
}
