"""Accuracy on images that are corrupted ever more: which of position, layout, frequencies, contrast and parts count.

Images are float32 pixels in [0, 1], before normalisation, and stay there. What is random is drawn for each image, from
one seed: every network gets the same corrupted images.
"""

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType

import flax.linen as nn
import numpy as np
from jaxtyping import Float, Int

from jaxcompare.data.split import Statistics
from jaxcompare.representations.forward import Params, predict

Pixels = Float[np.ndarray, "n h w c"]
Strength = int | float
Corrupt = Callable[[Pixels, Strength, np.random.Generator], Pixels]

GREY = 0.5
"""Of an occluding square."""

SIDE = 32
"""Pixels of the images that strengths are given for."""


def translate(images: Pixels, pixels: Strength, generator: np.random.Generator) -> Pixels:
    """Shifted by so many pixels up, down, left or right, at random; what comes in is black.

    Black, as at the edges of the recipe's random crops, which shift by up to 4 pixels.
    """
    shift, result = int(pixels), np.empty_like(images)
    height, width = images.shape[1:3]
    directions = generator.integers(0, 4, len(images))
    for direction, (top, left) in enumerate([(0, 1), (2, 1), (1, 0), (1, 2)]):
        chosen = directions == direction
        padded = np.pad(images[chosen], ((0, 0), (shift, shift), (shift, shift), (0, 0)))
        result[chosen] = padded[:, top * shift : top * shift + height, left * shift : left * shift + width]
    return result


def shuffle_patches(images: Pixels, grid: Strength, generator: np.random.Generator) -> Pixels:
    """Cut into grid x grid patches, which change places at random, in every image anew.

    Of 32x32 pixels a grid of 8 has the ViT's own patches, which then stay whole.

    Raises:
        ValueError: the grid does not divide the image's sides.

    Source: Naseer et al. 2021, Intriguing Properties of Vision Transformers, "shuffle grid size".
    """
    cells = int(grid)
    n, height, width, channels = images.shape
    if height % cells or width % cells:
        raise ValueError(f"a grid of {cells} does not divide images of {height}x{width} pixels")
    h, w = height // cells, width // cells
    patches = images.reshape(n, cells, h, cells, w, channels).swapaxes(2, 3).reshape(n, cells**2, h, w, channels)
    order = generator.permuted(np.tile(np.arange(cells**2), (n, 1)), axis=1)
    shuffled = patches[np.arange(n)[:, None], order].reshape(n, cells, cells, h, w, channels)
    return shuffled.swapaxes(2, 3).reshape(images.shape)


def low_pass(images: Pixels, cycles: Strength, generator: np.random.Generator) -> Pixels:
    """Spatial frequencies of up to so many cycles an image, in any direction, are kept; cut to [0, 1]."""
    del generator
    return _filter(images, lambda frequency: frequency <= cycles)


def high_pass(images: Pixels, cycles: Strength, generator: np.random.Generator) -> Pixels:
    """Spatial frequencies of at least so many cycles an image are kept, and each colour's mean; cut to [0, 1]."""
    del generator
    return _filter(images, lambda frequency: (frequency >= cycles) | (frequency == 0))


def _filter(images: Pixels, keep: Callable[[np.ndarray], np.ndarray]) -> Pixels:
    height, width = images.shape[1:3]
    frequency = np.hypot(np.fft.fftfreq(height, 1 / height)[:, None], np.fft.rfftfreq(width, 1 / width)[None])
    spectrum = np.fft.rfft2(images, axes=(1, 2)) * keep(frequency)[None, :, :, None]
    return np.clip(np.fft.irfft2(spectrum, (height, width), axes=(1, 2)), 0, 1).astype(images.dtype)


def lower_contrast(images: Pixels, factor: Strength, generator: np.random.Generator) -> Pixels:
    """Deviations from each colour's mean over the image, times a factor of at most 1.

    Source: Hendrycks and Dietterich 2019, Benchmarking Neural Network Robustness, their "contrast".
    """
    del generator
    mean = images.mean(axis=(1, 2), keepdims=True)
    return ((images - mean) * np.float32(factor) + mean).astype(images.dtype)


def occlude(images: Pixels, side: Strength, generator: np.random.Generator) -> Pixels:
    """A grey square of this side in pixels, at a random place within the image.

    Raises:
        ValueError: the square is larger than the image.
    """
    n, height, width, _ = images.shape
    if side > min(height, width):
        raise ValueError(f"a square of {side} pixels is larger than images of {height}x{width}")
    top, left = (generator.integers(0, length - int(side) + 1, n)[:, None, None] for length in (height, width))
    rows, columns = np.arange(height)[None, :, None], np.arange(width)[None, None]
    covered = (rows >= top) & (rows < top + side) & (columns >= left) & (columns < left + side)
    return np.where(covered[..., None], np.float32(GREY), images).astype(images.dtype)


@dataclasses.dataclass(frozen=True)
class Corruption:
    """One kind, and its strengths from weak to strong; the image as it is comes before them."""

    corrupt: Corrupt
    unit: str
    strengths: tuple[Strength, ...]

    def of_side(self, side: int) -> tuple[Strength, ...]:
        """The strengths for square images of another side: pixels and cycles in proportion, grids that divide it."""
        # From one cycle on is all that there is.
        for unit, least in (("pixels", 1), ("cycles", 2)):
            if self.unit.startswith(unit):
                return tuple(dict.fromkeys(max(least, round(s * side / SIDE)) for s in self.strengths))
        return tuple(s for s in self.strengths if self.corrupt is not shuffle_patches or side % s == 0)


CORRUPTIONS: Mapping[str, Corruption] = MappingProxyType(
    {
        "translation": Corruption(translate, "pixels", (2, 4, 8, 12)),
        "patch shuffle": Corruption(shuffle_patches, "patches a side", (2, 4, 8)),
        "low-pass": Corruption(low_pass, "cycles an image kept up to", (12, 8, 4, 2)),
        "high-pass": Corruption(high_pass, "cycles an image kept from", (2, 4, 6, 8)),
        "contrast": Corruption(lower_contrast, "contrast kept", (0.5, 0.25, 0.1, 0.05)),
        "occlusion": Corruption(occlude, "pixels a side", (4, 8, 16, 24)),
    }
)
"""For 32x32 pixels; see `Corruption.of_side`. Strengths of different kinds are not alike: compare within a kind."""


@dataclasses.dataclass(frozen=True)
class Curve:
    """Accuracy of one network by strength of one corruption."""

    strengths: tuple[Strength | None, ...]
    """None, first: the images as they are."""
    accuracy: Float[np.ndarray, " strengths"]
    """Share of images classified right."""


def corrupt_images(images: Pixels, kind: str, strength: Strength) -> Pixels:
    """Images corrupted by one of `CORRUPTIONS`. Each call draws the same places, directions and orders.

    Raises:
        ValueError: an unknown kind, pixels beyond [0, 1], or a strength that these images cannot have.
    """
    if kind not in CORRUPTIONS:
        raise ValueError(f"corruption {kind!r} is unknown; choose one of {', '.join(CORRUPTIONS)}")
    if not (images.min() >= 0 and images.max() <= 1):
        raise ValueError(f"pixels must be in [0, 1], not from {images.min()} to {images.max()}")
    return CORRUPTIONS[kind].corrupt(images, strength, np.random.default_rng(0))


def robustness_curves(
    networks: Mapping[str, tuple[nn.Module, Params]],
    images: Pixels,
    labels: Int[np.ndarray, " n"],
    statistics: Statistics,
) -> dict[str, dict[str, Curve]]:
    """Accuracy curves by network and kind of corruption, all networks on the same corrupted images.

    Args:
        networks: model and parameters by a name for them.
        images: pixels in [0, 1].
        statistics: channel means and deviations that the networks' images are normalised with.

    Raises:
        ValueError: see `corrupt_images`.
    """
    mean, deviation = (np.asarray(values, np.float32) for values in statistics)

    def evaluate(pixels: Pixels) -> dict[str, float]:
        normalised = (pixels - mean) / deviation
        return {
            name: float(np.mean(predict(model, params, normalised).argmax(axis=1) == labels))
            for name, (model, params) in networks.items()
        }

    whole = evaluate(images)
    curves: dict[str, dict[str, Curve]] = {name: {} for name in networks}
    for kind, corruption in CORRUPTIONS.items():
        strengths = corruption.of_side(images.shape[1])
        found = [whole, *(evaluate(corrupt_images(images, kind, s)) for s in strengths)]
        for name in networks:
            curves[name][kind] = Curve((None, *strengths), np.array([accuracy[name] for accuracy in found]))
    return curves
