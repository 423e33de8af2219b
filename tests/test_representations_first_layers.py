"""Pictures of first layers from planted parameters."""

import numpy as np
import pytest

from jaxcompare.representations.first_layers import cnn_filters, patch_components, position_similarity


def test_filters_are_scaled_one_by_one():
    kernel = np.zeros((3, 3, 1, 3), np.float32)
    kernel[0, 1, 0, 0], kernel[2, 2, 0, 1] = -4, 0.5
    found = cnn_filters({"conv_0": {"kernel": kernel}})
    expected = np.full((3, 3, 3, 1), 0.5)
    expected[0, 0, 1], expected[1, 2, 2] = 0, 1
    np.testing.assert_array_equal(found, expected)


def test_components_are_the_planted_ones():
    directions = np.linalg.qr(np.random.default_rng(0).normal(size=(12, 2)))[0]
    directions *= np.sign(directions[np.abs(directions).argmax(axis=0), [0, 1]])
    # Filters that vary 3 : 1 in size along two directions, so 9 : 1 in variance, around a common filter.
    along = np.array([[3, -3, 0, 0], [0, 0, 1, -1]])
    params = {"patch_embed": {"kernel": directions @ along + 5}}
    found = patch_components(params, 2, count=3)
    assert found.filters.shape == (3, 2, 2, 3)
    np.testing.assert_allclose(found.filters[:2].reshape(2, 12), directions.T, atol=1e-9)
    np.testing.assert_allclose(found.explained, [0.9, 0.1, 0], atol=1e-9)
    alike = patch_components({"patch_embed": {"kernel": np.ones((12, 4))}}, 2, count=2)
    np.testing.assert_array_equal(alike.explained, 0)
    assert np.isfinite(alike.filters).all()


def test_position_similarity():
    # Rows point one way each; the last patch has no embedding; the class token comes first.
    x = np.zeros((1, 7, 4), np.float32)
    x[0, 0] = 9
    x[0, 1:4, 0], x[0, 4:6, 1] = (1, 2, -3), (1, 1)
    found = position_similarity({"pos_embed": x}, 2, 3)
    np.testing.assert_array_equal(found[0, 0], [[1, 1, -1], [0, 0, 0]])
    np.testing.assert_array_equal(found[1, 1], [[0, 0, 0], [1, 1, 0]])
    assert found[1, 2, 1, 2] == 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: patch_components({"patch_embed": {"kernel": np.ones((12, 4))}}, 5), "12 values is not one of patches"),
        (lambda: patch_components({"patch_embed": {"kernel": np.ones((12, 4))}}, 2, 5), "between 1 and 4, not 5"),
        (lambda: position_similarity({"pos_embed": np.ones((1, 5, 2))}, 2, 3), "not those of 2x3 patches"),
    ],
)
def test_what_does_not_fit_is_said(call, message):
    with pytest.raises(ValueError, match=message):
        call()
