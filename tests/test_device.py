"""Batches made on the device, and what both pipelines have in common: torchvision's pixels, its distribution."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms
from torchvision.transforms import functional as F

from jaxcompare.data import device, host
from jaxcompare.data.datasets import RECIPE
from jaxcompare.data.split import Split

RANDOM = np.random.default_rng(0)
AS_THEY_ARE = ((0.0,) * 3, (1.0,) * 3)


def put(images, statistics=RECIPE):
    split = Split(images, np.arange(len(images), dtype=np.int32) % 10)
    return device.put_split(split, statistics, jax.device_put)


def images(count):
    return RANDOM.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)


def crop_on_host(source, *draws):
    cropped = host.crop_and_flip(torch.from_numpy(source).permute(0, 3, 1, 2), *map(torch.from_numpy, draws))
    return host.normalise(cropped, RECIPE).permute(0, 2, 3, 1).numpy()


def crop_on_device(source, *draws):
    crop = jax.jit(lambda split, *draws: device.normalise(device.crop_and_flip(split.images, *draws), split))
    return crop(put(source), *map(jnp.asarray, draws))


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("crop", [crop_on_host, crop_on_device])
def test_every_crop_and_flip_is_torchvisions_to_the_bit(crop, flip):
    source = images(81)
    top, left = (a.ravel() for a in np.mgrid[0:9, 0:9])
    ours = np.asarray(crop(source, top, left, np.full(81, flip)))
    to_normalised = transforms.Compose([transforms.ToTensor(), transforms.Normalize(*RECIPE)])
    for i in range(81):
        cropped = F.crop(F.pad(Image.fromarray(source[i]), [4]), int(top[i]), int(left[i]), 32, 32)
        theirs = to_normalised(F.hflip(cropped) if flip else cropped)
        np.testing.assert_array_equal(ours[i], theirs.permute(1, 2, 0).numpy(), err_msg=f"offset {top[i], left[i]}")


def draw_on_host(source):
    split = Split(source, np.zeros(len(source), np.int32))
    with host.HostLoader(split, 1000, AS_THEY_ARE, augment=True) as loader:
        return np.concatenate([batch.images for batch in loader.epoch(0)])


def draw_on_device(source):
    return device.random_crop_and_flip(jax.random.key(0), jnp.asarray(source), 0.5)


@pytest.mark.parametrize("draw", [draw_on_host, draw_on_device])
def test_crops_and_flips_are_drawn_evenly_and_independently(draw):
    # One pixel's position and its mirror image's tell the offset and the flip of every image.
    source = np.zeros((20_000, 32, 32, 3), np.uint8)
    source[:, 15, 10] = 255
    found = np.argwhere(np.asarray(draw(source))[..., 0] > 0)[:, 1:]
    assert len(found) == 20_000
    flipped = found[:, 1] >= 16
    assert abs(flipped.mean() - 0.5) < 4 * 0.5 / np.sqrt(20_000)
    column = np.where(flipped, 31 - found[:, 1], found[:, 1])
    offsets = np.stack([19 - found[:, 0], 14 - column])
    counts = np.histogram2d(*offsets, bins=(np.arange(10) - 0.5,) * 2)[0]
    assert counts.sum() == 20_000  # every offset lies in 0..8
    expected = 20_000 / 81
    assert ((counts - expected) ** 2 / expected).sum() < 130  # chi-squared of 80 degrees: exceeded once in 3,000
    assert np.abs(np.corrcoef([*offsets, flipped]) - np.eye(3)).max() < 4 / np.sqrt(20_000)


train_batch = jax.jit(device.train_batch, static_argnums=3)


def all_batches(split, key, epoch, subset, size):
    plan = device.plan_epoch(key, epoch, jnp.asarray(subset))
    numbers = range(device.count_batches(len(subset), size))
    return [train_batch(split, plan, jnp.int32(number), size) for number in numbers]


def test_an_epoch_shows_every_image_of_the_subset_once():
    # The middle pixel survives any crop of an image of one colour, and says which image it is.
    source = np.broadcast_to(np.arange(70, dtype=np.uint8)[:, None, None, None], (70, 32, 32, 3)).copy()
    split = put(source, ((0.0,) * 3, (1 / 255,) * 3))
    subset = np.arange(0, 70, 2, dtype=np.int32)

    def shown(seed, epoch):
        batches = all_batches(split, jax.random.key(seed), epoch, subset, 16)
        assert [int(batch.mask.sum()) for batch in batches] == [16, 16, 3]
        counted = [np.asarray(batch.images)[np.asarray(batch.mask) == 1, 16, 16, 0] for batch in batches]
        labels = np.concatenate([np.asarray(batch.labels)[np.asarray(batch.mask) == 1] for batch in batches])
        order = np.concatenate(counted).round().astype(int)
        np.testing.assert_array_equal(labels, order % 10)
        return order.tolist()

    orders = [shown(0, 0), shown(0, 1), shown(1, 0)]
    assert all(sorted(order) == subset.tolist() for order in orders)
    assert orders[0] != orders[1] != orders[2] != orders[0]
    assert shown(0, 0) == orders[0]


def test_augmentation_differs_between_batches_and_epochs():
    split = put(np.broadcast_to(images(1), (64, 32, 32, 3)).copy())
    subset = np.arange(64, dtype=np.int32)
    batches = [b for epoch in (0, 1) for b in all_batches(split, jax.random.key(0), epoch, subset, 32)]
    for i, a in enumerate(batches):
        assert all((np.asarray(a.images) != np.asarray(b.images)).any() for b in batches[:i])


def test_test_batches_are_the_hosts():
    source = images(21)
    split = put(source)
    with host.HostLoader(Split(source, np.arange(21, dtype=np.int32) % 10), 8, RECIPE) as loader:
        for number, theirs in enumerate(loader.epoch(0)):
            ours = device.test_batch(split, jnp.int32(number), 8)
            counts = theirs.mask == 1
            np.testing.assert_array_equal(ours.mask, theirs.mask)
            np.testing.assert_array_equal(np.asarray(ours.images)[counts], theirs.images[counts])
            np.testing.assert_array_equal(np.asarray(ours.labels)[counts], theirs.labels[counts])


def test_an_epoch_of_more_images_than_there_are_goes_through_all_of_them_again():
    subset = jnp.array([3, 5, 8, 9])
    ordinary = device.plan_epoch(jax.random.key(1), 0, subset)
    np.testing.assert_array_equal(device.plan_epoch(jax.random.key(1), 0, subset, 4).order, ordinary.order)
    order = np.asarray(device.plan_epoch(jax.random.key(1), 0, subset, 10).order)
    assert len(order) == 10
    passes = [order[:4], order[4:8]]
    assert all(sorted(one) == [3, 5, 8, 9] for one in passes)
    later = np.asarray(device.plan_epoch(jax.random.key(1), 1, subset, 400).order).reshape(100, 4)
    assert len({tuple(one) for one in later}) > 20  # every pass has an order of its own: 24 there are
