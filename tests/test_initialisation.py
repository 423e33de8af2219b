"""Every parameter starts where the recipe, and PyTorch, has it start."""

import functools
import math

import jax
import numpy as np
import pytest
import torch

from jaxcompare.models import build_model
from jaxcompare.torch_side import convert
from jaxcompare.torch_side import models as torch_models

IMAGES = np.zeros((1, 32, 32, 3), np.float32)


@functools.cache
def initialiser(name):
    """A key -> parameters; compiled once."""
    return jax.jit(lambda key: build_model(name).init(key, IMAGES, train=False)["params"])


def expected_bound(name, path):
    """Bound of the uniform distribution by the recipe; 0 for constants, None for the position embedding."""
    if path == "pos_embed":
        return None
    if path.endswith(("in_proj/bias", "out_proj/bias", "cls_token")) or "norm" in path:
        return 0
    if path.endswith("in_proj/kernel"):
        return math.sqrt(6 / (128 + 384))
    fans = {"conv_0": 3 * 9, "conv_1": 32 * 9, "conv_2": 64 * 9, "hidden": 2048, "patch_embed": 3 * 16}
    fans |= {"out_proj": 128, "linear1": 128, "linear2": 512, "head": 256 if name == "cnn" else 128}
    return 1 / math.sqrt(fans[path.split("/")[-2]])


def named(params):
    leaves = jax.tree_util.tree_leaves_with_path(params)
    return {"/".join(key.key for key in path): np.asarray(leaf) for path, leaf in leaves}


@pytest.mark.parametrize("name", ["cnn", "vit"])
def test_bounds_and_deviations(name):
    ours = named(initialiser(name)(jax.random.key(7)))
    torch.manual_seed(7)
    theirs = named(convert.to_flax(name, torch_models.build_model(name).state_dict()))
    assert ours.keys() == theirs.keys()
    for path, value in ours.items():
        bound = expected_bound(name, path)
        for source in (value, theirs[path]):
            # Half a bound of slack for parameters of ten values, a hair for large ones.
            slack = 4 / math.sqrt(source.size)
            if bound == 0:
                np.testing.assert_array_equal(source, 1.0 if path.endswith("scale") else 0.0, err_msg=path)
            elif bound is None:
                assert abs(source.std() / 0.02 - 1) < slack
                assert np.abs(source).max() > 0.06  # not truncated at two or three deviations
            else:
                assert np.abs(source).max() <= bound, path
                assert abs(source.std() / (bound / math.sqrt(3)) - 1) < slack, path
                assert abs(source.mean()) < bound * slack, path


def test_all_encoder_layers_start_alike_and_apart_in_memory():
    layers = initialiser("vit")(jax.random.key(0))["layers"]
    assert set(layers) == {"0", "1", "2", "3"}
    for i in "123":
        jax.tree.map(np.testing.assert_array_equal, layers["0"], layers[i])
    pointers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(layers)]
    assert len(set(pointers)) == len(pointers)  # or donating them would fail


@pytest.mark.parametrize("name", ["cnn", "vit"])
def test_seeds_differ(name):
    a, b = (named(initialiser(name)(jax.random.key(seed))) for seed in (0, 1))
    assert all((a[path] != b[path]).any() for path in a if path.endswith("kernel"))
