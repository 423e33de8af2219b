"""Weights move between the frameworks exactly."""

import functools

import jax
import numpy as np
import pytest
import torch

from jaxcompare.models import build_model
from jaxcompare.torch_side import convert
from jaxcompare.torch_side import models as torch_models


@pytest.mark.parametrize("image_size", [32, 40])
@pytest.mark.parametrize("name", ["cnn", "vit"])
def test_round_trips_are_exact(name, image_size):
    state_dict = torch_models.build_model(name, num_classes=7, image_size=image_size).state_dict()
    params = convert.to_flax(name, state_dict)
    back = convert.to_torch(name, params)
    assert back.keys() == state_dict.keys()
    for key, value in state_dict.items():
        assert torch.equal(back[key], value), key

    images, generator = np.zeros((1, image_size, image_size, 3), np.float32), np.random.default_rng(0)
    init = functools.partial(build_model(name, num_classes=7).init, train=False)
    shapes = jax.eval_shape(init, jax.random.key(0), images)["params"]
    own = jax.tree.map(lambda leaf: generator.normal(size=leaf.shape).astype(leaf.dtype), shapes)
    assert jax.tree.structure(own) == jax.tree.structure(params)
    assert jax.tree.map(np.shape, own) == jax.tree.map(np.shape, params)
    jax.tree.map(np.testing.assert_array_equal, convert.to_flax(name, convert.to_torch(name, own)), own)


def test_weights_of_the_other_model_are_refused():
    with pytest.raises(ValueError, match=r"missing.*cls_token"):
        convert.to_flax("vit", torch_models.build_model("cnn").state_dict())
    with pytest.raises(ValueError, match=r"missing.*conv_0"):
        convert.to_torch("cnn", convert.to_flax("vit", torch_models.build_model("vit").state_dict()))
