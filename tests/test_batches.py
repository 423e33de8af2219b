"""Batches, whoever prepares them: torchvision's pixels and its distribution, every image once, nothing drawn twice."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms import functional as F

from jaxcompare.data import device, host
from jaxcompare.data.batch import Batch
from jaxcompare.data.datasets import RECIPE
from jaxcompare.data.host import HostLoader
from jaxcompare.data.recipe import RecipeStream
from jaxcompare.data.split import Dataset, Split
from jaxcompare.torch_side import resident

BYTES = ((0.0,) * 3, (1 / 255,) * 3)
"""Statistics with which a normalised pixel is what it was in the file."""


def random_split(count):
    images = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return Split(images, np.arange(count, dtype=np.int32) % 10)


def pixel_split(count, flip=0.5):
    """One image many times: the place of its one pixel tells a crop and a flip."""
    images = np.zeros((count, 32, 32, 3), np.uint8)
    images[:, 15, 10] = 255
    return Split(images, np.zeros(count, np.int32), flip)


def host_epoch(split, seed, epoch, batch_size, *, subset=slice(None), examples=None, statistics=BYTES):
    flags = {"augment": True, "shuffle": True, "seed": seed, "epoch_images": examples}
    with HostLoader(split.take(subset), batch_size, statistics, **flags) as loader:
        return list(loader.epoch(epoch))


train_batch = jax.jit(device.train_batch)


def device_epoch(split, seed, epoch, batch_size, *, subset=slice(None), examples=None, statistics=BYTES):
    there = device.put_split(split, statistics, jax.device_put)
    shown = jnp.arange(len(split))[subset]
    plan = device.plan_epoch(jax.random.key(seed), epoch, shown, batch_size, split.flip_probability, examples)
    numbers = range(device.count_batches(len(plan.order), batch_size))
    return [Batch(*map(np.asarray, train_batch(there, plan, jnp.int32(i)))) for i in numbers]


def recipe_epoch(split, seed, epoch, batch_size, *, statistics=BYTES):
    dataset = Dataset("some images", ("one",), split, split, statistics, "fingerprint")
    with RecipeStream(dataset, batch_size, workers=0) as stream:
        return [Batch(images.permute(0, 2, 3, 1).numpy(), labels, None) for images, labels in stream.epoch(epoch)]


def torch_epoch(split, seed, epoch, batch_size, *, statistics=BYTES):
    there = resident.put_split(split, statistics, torch.device("cpu"))
    torch.manual_seed(1000 * seed + epoch)
    batches = [resident.make_batch(there, *of) for of in resident.shuffle(len(split), batch_size, torch.device("cpu"))]
    return [Batch(images.permute(0, 2, 3, 1).numpy(), labels.numpy(), None) for images, labels in batches]


with_torch = pytest.mark.parametrize("epoch_of", [host_epoch, device_epoch, torch_epoch])
both = pytest.mark.parametrize("epoch_of", [host_epoch, device_epoch])


def crop_on_host(source, *draws):
    cropped = host.crop_and_flip(torch.from_numpy(source).permute(0, 3, 1, 2), *map(torch.from_numpy, draws))
    return host.normalise(cropped, RECIPE).permute(0, 2, 3, 1).numpy()


def crop_on_device(source, *draws):
    crop = jax.jit(lambda split, *draws: device.normalise(device.crop_and_flip(split.images, *draws), split))
    return crop(device.put_split(Split(source, np.zeros(81, np.int32)), RECIPE, jax.device_put), *draws)


def crop_in_pytorch(source, *draws):
    there = resident.put_split(Split(source, np.zeros(81, np.int32)), RECIPE, torch.device("cpu"))
    return resident.make_batch(there, torch.arange(81), *map(torch.from_numpy, draws))[0].permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("crop", [crop_on_host, crop_on_device, crop_in_pytorch])
def test_every_crop_and_flip_is_torchvisions_to_the_bit(crop, flip):
    source = random_split(81).images
    top, left = (a.ravel() for a in np.mgrid[0:9, 0:9])
    ours = np.asarray(crop(source, top, left, np.full(81, flip)))
    to_normalised = transforms.Compose([transforms.ToTensor(), transforms.Normalize(*RECIPE)])
    for i in range(81):
        cropped = F.crop(F.pad(Image.fromarray(source[i]), [4]), int(top[i]), int(left[i]), 32, 32)
        theirs = to_normalised(F.hflip(cropped) if flip else cropped)
        np.testing.assert_array_equal(ours[i], theirs.permute(1, 2, 0).numpy(), err_msg=f"offset {top[i], left[i]}")


@with_torch
def test_crops_and_flips_are_drawn_evenly_and_independently(epoch_of):
    count = 10_000
    found = np.concatenate([np.argwhere(batch.images[..., 0] > 0) for batch in epoch_of(pixel_split(count), 0, 0, 500)])
    assert len(found) == count
    row, column = found.T[1:]
    flipped = column >= 16
    assert abs(flipped.mean() - 0.5) < 4 * 0.5 / np.sqrt(count)
    offsets = np.stack([19 - row, 14 - np.where(flipped, 31 - column, column)])
    counts = np.histogram2d(*offsets, bins=(np.arange(10) - 0.5,) * 2)[0]
    assert counts.sum() == count  # every offset lies in 0..8
    expected = count / 81
    assert ((counts - expected) ** 2 / expected).sum() < 130  # chi-squared of 80 degrees: exceeded once in 3,000
    assert np.abs(np.corrcoef([*offsets, flipped]) - np.eye(3)).max() < 4 / np.sqrt(count)


@pytest.mark.parametrize("flip", [0.0, 0.5])
@pytest.mark.parametrize("epoch_of", [host_epoch, device_epoch, recipe_epoch, torch_epoch])
def test_no_input_mirrors_what_must_not_be(epoch_of, flip):
    """A pixel left of the middle stays there, wherever an image is cut."""
    (batch,) = epoch_of(pixel_split(256, flip), 0, 0, 256)
    assert batch.images.shape == (256, 32, 32, 3)
    assert batch.images.max() == pytest.approx(255)
    _, rows, columns = np.nonzero(batch.images[..., 0])
    assert set(rows) == set(range(11, 20))  # every crop
    right = (columns >= 16).sum()
    assert (right == 0) if flip == 0 else (90 < right < 166)


@with_torch
def test_crops_and_flips_differ_between_epochs_batches_seeds_and_images(epoch_of):
    draws = [
        batch.images[..., 0].reshape(64, -1).argmax(1)
        for seed in (0, 1)
        for epoch in (0, 1)
        for batch in epoch_of(pixel_split(128), seed, epoch, 64)
    ]
    assert len(draws) == 8
    for i, one in enumerate(draws):
        assert len(set(one.tolist())) > 32
        # Of 162 equally likely crops and flips, some of which show the pixel in one place.
        assert all((one == other).mean() < 0.1 for other in draws[:i])


@both
def test_an_epoch_holds_every_image_once_and_orders_differ_between_seeds_and_epochs(epoch_of):
    # The middle pixel survives any crop of an image of one colour, and says which image it is.
    colours = np.arange(140, dtype=np.uint8)
    split = Split(np.broadcast_to(colours[:, None, None, None], (140, 32, 32, 3)).copy(), colours.astype(np.int32) % 10)
    subset = np.arange(0, 140, 2)

    def shown(seed, epoch):
        batches = epoch_of(split, seed, epoch, 32, subset=subset)
        assert [batch.images.shape for batch in batches] == [(32, 32, 32, 3)] * 3
        images, labels, mask = map(np.concatenate, zip(*batches, strict=True))
        assert (images.dtype, labels.dtype, mask.dtype) == (np.float32, np.int32, np.float32)
        np.testing.assert_array_equal(mask, np.arange(96) < 70)
        order = images[:70, 16, 16, 0].round().astype(int)
        np.testing.assert_array_equal(labels[:70], order % 10)
        return tuple(order)

    orders = [shown(seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    assert all(sorted(one) == subset.tolist() for one in orders)
    assert len({*orders, tuple(subset)}) == 5
    assert shown(1, 1) == orders[3]


@both
def test_an_epoch_of_more_images_than_there_are_goes_through_all_of_them_again(epoch_of):
    def shown(examples):
        batches = epoch_of(random_split(10), 1, 0, 8, examples=examples)
        assert len(batches) == -(-(examples or 10) // 8)
        return np.concatenate([batch.labels[batch.mask == 1] for batch in batches]).tolist()

    labels = shown(25)
    passes = [labels[:10], labels[10:20]]
    assert all(sorted(one) == list(range(10)) for one in passes)
    assert passes[0] != passes[1]
    assert len(set(labels[20:])) == len(labels[20:]) == 5
    assert shown(10) == shown(None)


def test_test_batches_are_the_splits_own_and_the_same_on_host_and_device():
    split = random_split(21)
    there = device.put_split(split, RECIPE, jax.device_put)
    pixels = host.normalise(torch.from_numpy(split.images).permute(0, 3, 1, 2), RECIPE).permute(0, 2, 3, 1).numpy()
    with HostLoader(split, 8, RECIPE) as loader:
        for number, theirs in enumerate(loader.epoch(0)):
            rows = slice(8 * number, min(8 * number + 8, 21))
            for batch in (theirs, device.test_batch(there, jnp.int32(number), 8, None)):
                counts = np.asarray(batch.mask) == 1
                np.testing.assert_array_equal(counts, np.arange(8) < rows.stop - rows.start)
                np.testing.assert_array_equal(np.asarray(batch.images)[counts], pixels[rows])
                np.testing.assert_array_equal(np.asarray(batch.labels)[counts], split.labels[rows])
        assert number + 1 == len(loader) == 3


def test_batches_do_not_depend_on_the_number_of_workers_and_leave_torchs_own_generator_alone():
    """Whose draws are the dropout of a model that trains in the same process."""
    before, runs = torch.get_rng_state(), []
    for workers in (0, 2):
        with HostLoader(random_split(70), 32, RECIPE, augment=True, shuffle=True, seed=5, workers=workers) as loader:
            runs.append([np.array(part) for epoch in (0, 1) for batch in loader.epoch(epoch) for part in batch])
        assert torch.equal(torch.get_rng_state(), before)
    assert [len(run) for run in runs] == [18, 18]
    for alone, shared in zip(*runs, strict=True):
        np.testing.assert_array_equal(alone, shared)
