"""Every corruption by what it must leave as it is; curves of a blind network and of one that is easily fooled."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcompare.representations.corruptions import (
    CORRUPTIONS,
    corrupt_images,
    robustness_curves,
)

IMAGES = np.random.default_rng(0).random((40, 32, 32, 3)).astype(np.float32)
STATISTICS = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


class Brightness(nn.Module):
    """Class 1 if the upper left quarter is brighter than the rest; blind if its weight is 0, when it says class 0."""

    @nn.compact
    def __call__(self, images, *, train):
        del train
        excess = images[:, :16, :16].mean(axis=(1, 2, 3)) - images.mean(axis=(1, 2, 3))
        return jnp.stack([jnp.zeros_like(excess), excess * self.param("w", nn.initializers.ones, ())], axis=1), {}


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_corrupted_images_stay_images_and_are_the_same_for_all(kind):
    for strength in CORRUPTIONS[kind].strengths:
        found = corrupt_images(IMAGES, kind, strength)
        assert (found.shape, found.dtype) == (IMAGES.shape, np.float32)
        assert 0 <= found.min() <= found.max() <= 1
        assert not np.array_equal(found, IMAGES)
        np.testing.assert_array_equal(found, corrupt_images(IMAGES, kind, strength))


@pytest.mark.parametrize(
    ("kind", "strength"),
    [
        ("translation", 0),
        ("patch shuffle", 1),
        ("low-pass", 23),
        ("high-pass", 0),
        ("contrast", 1),
        ("occlusion", 0),
    ],
)
def test_no_strength_is_the_image(kind, strength):
    np.testing.assert_allclose(corrupt_images(IMAGES, kind, strength), IMAGES, atol=1e-5)


def test_translation_goes_all_ways_and_leaves_black():
    found = corrupt_images(IMAGES, "translation", 3)
    expected = [np.zeros_like(IMAGES) for _ in range(4)]
    expected[0][:, :-3], expected[1][:, 3:] = IMAGES[:, 3:], IMAGES[:, :-3]
    expected[2][:, :, :-3], expected[3][:, :, 3:] = IMAGES[:, :, 3:], IMAGES[:, :, :-3]
    which = [[np.array_equal(image, way[i]) for way in expected].index(True) for i, image in enumerate(found)]
    assert set(which) == {0, 1, 2, 3}
    assert corrupt_images(IMAGES, "translation", 40).max() == 0


def test_shuffling_keeps_every_patch_whole():
    def patches(images):
        cells = images.reshape(40, 4, 8, 4, 8, 3).swapaxes(2, 3).reshape(40, 16, -1)
        return np.sort([[patch.tobytes() for patch in image] for image in cells], axis=1)

    found = corrupt_images(IMAGES, "patch shuffle", 4)
    np.testing.assert_array_equal(patches(found), patches(IMAGES))
    moved = np.array([not np.array_equal(found[i, :8, :8], IMAGES[i, :8, :8]) for i in range(40)])
    assert moved.mean() > 0.8


@pytest.mark.parametrize(("kind", "kept"), [("low-pass", 3), ("high-pass", 9)])
def test_filters_keep_their_frequencies(kind, kept):
    x = np.arange(32) / 32

    def wave(cycles):
        return np.broadcast_to(0.5 + 0.2 * np.cos(2 * np.pi * cycles * x)[None, :, None, None], (1, 32, 32, 3))

    both = (wave(3) + wave(9) - 0.5).astype(np.float32)
    np.testing.assert_allclose(corrupt_images(both, kind, 6), wave(kept), atol=1e-6)


def test_contrast_and_occlusion():
    found = corrupt_images(IMAGES, "contrast", 0.1)
    np.testing.assert_allclose(found.mean(axis=(1, 2)), IMAGES.mean(axis=(1, 2)), atol=1e-6)
    np.testing.assert_allclose(found.std(axis=(1, 2)), 0.1 * IMAGES.std(axis=(1, 2)), atol=1e-6)
    found = corrupt_images(IMAGES, "occlusion", 8)
    covered = (found != IMAGES).all(axis=-1)
    np.testing.assert_array_equal(covered.sum(axis=(1, 2)), 64)
    assert (found[covered] == 0.5).all()


@pytest.mark.parametrize("side", [16, 32])
@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_every_strength_does_more_than_the_one_before(kind, side):
    images = np.random.default_rng(0).random((8, side, side, 3), np.float32)
    found = [images, *(corrupt_images(images, kind, s) for s in CORRUPTIONS[kind].of_side(side))]
    assert len(found) > 2
    for i, one in enumerate(found):
        assert all(np.abs(one - other).max() > 1e-3 for other in found[:i])


def test_curves():
    labels = np.arange(40) % 2
    images = IMAGES / 2
    images[labels == 1, :16, :16] += 0.5
    model = Brightness()
    curves = robustness_curves(
        {"sees": (model, {"w": np.float32(1)}), "blind": (model, {"w": np.float32(0)})},
        images,
        labels,
        STATISTICS,
    )
    for curve in curves["blind"].values():
        np.testing.assert_array_equal(curve.accuracy, 0.5)
    shuffled, faded = curves["sees"]["patch shuffle"], curves["sees"]["contrast"]
    # Bright patches go anywhere, and noise decides about the others; contrast changes no order.
    assert faded.accuracy[0] > 0.7
    np.testing.assert_array_equal(faded.accuracy, faded.accuracy[0])
    assert shuffled.accuracy[1] < faded.accuracy[0]
    assert shuffled.strengths == (None, 2, 4, 8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: corrupt_images(IMAGES, "rain", 1), "'rain' is unknown; choose one of translation"),
        (lambda: corrupt_images(IMAGES * 255, "contrast", 1), r"must be in \[0, 1\]"),
        (lambda: corrupt_images(IMAGES, "patch shuffle", 5), "a grid of 5 does not divide"),
        (lambda: corrupt_images(IMAGES, "occlusion", 33), "a square of 33 pixels is larger"),
    ],
)
def test_what_cannot_be_corrupted_is_said(call, message):
    with pytest.raises(ValueError, match=message):
        call()
