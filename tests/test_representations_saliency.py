"""Grad-CAM by hand, gradients, and deletion of a network that looks at one pixel."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcompare.models import build_model
from jaxcompare.representations.saliency import deletion, grad_cam, gradient_maps

IMAGES = np.random.default_rng(0).normal(size=(3, 16, 16, 3)).astype(np.float32)
CLASSES = np.array([0, 4, 9])


class OnePixel(nn.Module):
    """Is the pixel in row 1, column 2 bright? Logits of (no, yes)."""

    @nn.compact
    def __call__(self, images, *, train):
        del train
        seen = images[:, 1, 2].sum(axis=-1) * self.param("weight", nn.initializers.ones, ())
        return jnp.stack([jnp.zeros_like(seen), seen], axis=1), {}


BRIGHT = np.full((5, 4, 4, 3), 2, np.float32)
LOOKING, BLIND = {"weight": np.float32(1)}, {"weight": np.float32(0)}


@functools.cache
def cnn():
    model = build_model("cnn")
    return model, jax.jit(functools.partial(model.init, train=False))(jax.random.key(0), IMAGES)["params"]


def test_grad_cam_is_its_formula():
    model, params = cnn()
    found = grad_cam(model, params, IMAGES, CLASSES)
    x = model.apply({"params": params}, IMAGES, train=False)[1]["block_2"]
    hidden, head = params["hidden"], params["head"]

    def logits(x):
        y = jax.nn.relu(x.ravel() @ hidden["kernel"] + hidden["bias"])
        return y @ head["kernel"] + head["bias"]

    for i, cls in enumerate(CLASSES):
        weights = jax.grad(lambda x, cls=cls: logits(x)[cls])(x[i]).mean(axis=(0, 1))
        small = jax.nn.relu(x[i] @ weights)
        assert small.shape == (2, 2)
        np.testing.assert_allclose(found[i], jax.image.resize(small, (16, 16), "bilinear"), rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("layer", ["block_0", "block_1"])
def test_grad_cam_of_earlier_blocks(layer):
    model, params = cnn()
    found = grad_cam(model, params, IMAGES, CLASSES, layer)
    assert found.shape == (3, 16, 16)
    assert found.min() >= 0
    assert found.max() > 0


def test_gradients_find_the_pixel():
    found = gradient_maps(OnePixel(), LOOKING, BRIGHT, np.ones(5, int))
    expected = np.zeros((5, 4, 4))
    expected[:, 1, 2] = 1
    np.testing.assert_array_equal(found, expected)


def test_deletion_of_a_network_that_looks_at_one_pixel():
    right, wrong = np.zeros((2, 5, 4, 4))
    right[:, 1, 2], wrong[:, 1, 2] = 1, -1
    sure, unsure = 1 / (1 + np.exp(-6)), 0.5
    found = deletion(OnePixel(), LOOKING, BRIGHT, right, steps=16)
    np.testing.assert_allclose(found.fractions, np.arange(17) / 16)
    np.testing.assert_allclose(found.probability, np.tile([sure] + 16 * [unsure], (5, 1)), rtol=1e-6)
    # The pixel last: replaced in the last step alone.
    last = deletion(OnePixel(), LOOKING, BRIGHT, wrong, steps=16)
    np.testing.assert_allclose(last.probability, np.tile(16 * [sure] + [unsure], (5, 1)), rtol=1e-6)


def test_a_map_that_says_nothing_deletes_at_random():
    """The probability falls once, of each image elsewhere; and in the same places at every call."""
    first, again = (
        deletion(OnePixel(), LOOKING, BRIGHT, maps, steps=16) for maps in (np.zeros((5, 4, 4)), np.ones((5, 4, 4)))
    )
    np.testing.assert_array_equal(first.probability, again.probability)
    falls = np.diff(first.probability, axis=1) < -1e-6
    assert (falls.sum(axis=1) == 1).all()
    assert len(set(falls.argmax(axis=1))) > 1


def test_no_map_tells_of_a_blind_network():
    found = deletion(OnePixel(), BLIND, BRIGHT, BRIGHT[..., 0], steps=5)
    np.testing.assert_array_equal(found.probability, found.probability[:, :1] * np.ones(6))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: grad_cam(*cnn(), IMAGES, CLASSES, "hidden"), "'hidden' is unknown; choose one of block_0"),
        (lambda: deletion(OnePixel(), LOOKING, BRIGHT, np.full((5, 4, 4), np.nan)), "finite maps"),
        (lambda: deletion(OnePixel(), LOOKING, BRIGHT, np.zeros((5, 4, 4)), steps=17), "between 1 and 16 pixels"),
    ],
)
def test_what_cannot_be_mapped_is_said(call, message):
    with pytest.raises(ValueError, match=message):
        call()
