"""The theoretical field by closed form, the gradient's support exactly within it, widths of planted fields."""

import functools

import jax
import numpy as np
import pytest

from jaxcompare.models import build_model
from jaxcompare.representations.receptive_field import Field, effective_field, theoretical_field

IMAGES = np.random.default_rng(0).normal(size=(20, 32, 32, 3)).astype(np.float32)


@functools.cache
def network(name):
    model = build_model(name, layers=1, width=16, heads=2)
    return model, jax.jit(functools.partial(model.init, train=False))(jax.random.key(0), IMAGES[:1])["params"]


def test_theoretical_fields():
    assert [theoretical_field(block).size for block in range(3)] == [4, 10, 22]
    assert theoretical_field(0) == Field(4, 2, -1)
    assert theoretical_field(2) == Field(22, 8, -7)


@pytest.mark.parametrize("block", [0, 1, 2])
def test_a_cnns_gradient_fills_its_theoretical_field_and_nothing_beyond(block):
    model, params = network("cnn")
    found = effective_field(model, params, IMAGES, f"block_{block}")
    size, stride, first = theoretical_field(block)
    start = stride * (32 // stride // 2) + first
    expected = np.zeros((32, 32), bool)
    expected[start : start + size, start : start + size] = True
    np.testing.assert_array_equal(found.weights > 0, expected)
    assert found.weights.sum() == pytest.approx(1)
    assert found.centre == (start + (size - 1) / 2,) * 2
    rows, columns = np.mgrid[:32, :32] - found.centre[0]
    assert found.width < np.hypot(rows, columns)[expected].mean()


def test_width_is_a_weighted_mean_distance():
    # Convolutions that pass the middle pixel on: a unit of the second block sees one pixel of a 4x4 cell, the
    # largest; the gradient's mean over images is then uniform over the cell.
    model, params = network("cnn")
    passing = jax.tree.map(np.zeros_like, params)
    for name in ("conv_0", "conv_1"):
        kernel = np.zeros(params[name]["kernel"].shape, np.float32)
        kernel[1, 1, 0, 0] = 1
        passing[name] = {"kernel": kernel, "bias": params[name]["bias"] * 0}
    images = np.zeros((16, 32, 32, 3), np.float32)
    for i, (row, column) in enumerate(np.ndindex(4, 4)):
        images[i, 16 + row, 16 + column, 0] = 1
    found = effective_field(model, passing, images, "block_1")
    expected = np.zeros((32, 32))
    expected[16:20, 16:20] = 1 / 16
    np.testing.assert_allclose(found.weights, expected, atol=1e-7)
    offsets = np.arange(4) - 1.5
    assert found.width == pytest.approx(np.hypot(offsets[:, None], offsets).mean())


def test_a_vits_unit_sees_its_own_patch_before_attention_and_all_after_it():
    model, params = network("vit")
    before, after = (effective_field(model, params, IMAGES, layer) for layer in ("embedding", "layer_0"))
    own = np.zeros((32, 32), bool)
    own[16:20, 16:20] = True
    np.testing.assert_array_equal(before.weights > 0, own)
    assert before.centre == (17.5, 17.5)
    assert (after.weights > 0).all()
    assert after.width > before.width


def test_a_dead_unit_has_no_field():
    model, params = network("cnn")
    assert effective_field(model, jax.tree.map(lambda p: 0 * p, params), IMAGES, "block_2") is None


@pytest.mark.parametrize(
    ("layer", "scale", "message"),
    [("hidden", 1, "'hidden' has no places; choose one of block_0"), ("block_2", np.nan, "'block_2' is not finite")],
)
def test_layers_without_places_and_diverged_ones_are_said(layer, scale, message):
    model, params = network("cnn")
    with pytest.raises(ValueError, match=message):
        effective_field(model, jax.tree.map(lambda p: p * scale, params), IMAGES, layer)
