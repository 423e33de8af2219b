"""Resident input in PyTorch: the images lie on the device as uint8, and a step makes its batch of them.

The host pipeline's distribution, from torch's generator. Tensor operations alone: torch.compile takes them into the
step's graph.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch.nn.functional import pad

from jaxcompare.compat import torch as compat
from jaxcompare.data.batch import CROP_PADDING
from jaxcompare.data.split import Split, Statistics


class Draws(NamedTuple):
    """Of each image of a batch."""

    top: Int[torch.Tensor, " n"]
    left: Int[torch.Tensor, " n"]
    """Where its crop begins in the padded image."""
    flip: Bool[torch.Tensor, " n"]


class Resident(NamedTuple):
    """A training split in device memory."""

    padded: UInt8[torch.Tensor, "images h+8 w+8 c"]
    """With the crop's padding around each image."""
    labels: Int[torch.Tensor, " images"]
    mean: Float[torch.Tensor, " c"]
    std: Float[torch.Tensor, " c"]
    flip_probability: float


def put_split(split: Split, statistics: Statistics, device: torch.device) -> Resident:
    """Copy a split to a device, zeros around its images."""
    padded = pad(torch.from_numpy(split.images), (0, 0, *[CROP_PADDING] * 4))
    mean, std = (torch.tensor(values, dtype=torch.float32, device=device) for values in statistics)
    padded, labels = padded.to(device), torch.from_numpy(split.labels.astype(np.int64)).to(device)
    if device.type == "cuda":
        for tensor in (padded, labels, mean, std):
            compat.stays_in_place(tensor)
    return Resident(padded, labels, mean, std, split.flip_probability)


def shuffle(images: int, batch_size: int, device: torch.device) -> Iterable[tuple[Int[torch.Tensor, " n"]]]:
    """Indices of an epoch's batches, every image once; the last may be short."""
    return ((indices,) for indices in torch.randperm(images, device=device).split(batch_size))


def draw(resident: Resident, count: int) -> Draws:
    """torchvision's RandomCrop(size, padding=4) and RandomHorizontalFlip(p), drawn for every image."""
    device = resident.labels.device
    top, left = torch.randint(0, 2 * CROP_PADDING + 1, (2, count), device=device)
    return Draws(top, left, torch.rand(count, device=device) < resident.flip_probability)


def make_batch(
    resident: Resident, indices: Int[torch.Tensor, " n"], *draws: torch.Tensor
) -> tuple[Float[torch.Tensor, "n c h w"], Int[torch.Tensor, " n"]]:
    """The images at `indices`, cropped and flipped as `draws` say or else at random, normalised; and their labels.

    In memory a pixel's channels lie side by side: a crop is one gather.
    """
    top, left, flip = Draws(*draws) if draws else draw(resident, len(indices))
    h, w = (side - 2 * CROP_PADDING for side in resident.padded.shape[1:3])
    y, x = (torch.arange(side, device=indices.device) for side in (h, w))
    rows, columns = top[:, None] + y, left[:, None] + torch.where(flip[:, None], w - 1 - x, x)
    pixels = resident.padded[indices[:, None, None], rows[:, :, None], columns[:, None, :]]
    images = (pixels.float() / 255 - resident.mean) / resident.std
    return images.permute(0, 3, 1, 2), resident.labels[indices]
