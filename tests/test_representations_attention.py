"""Attention is there for the asking and costs training nothing; its distance and rollout by closed forms."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcompare.data.batch import Batch
from jaxcompare.models import build_model
from jaxcompare.representations.attention import (
    attention_distance,
    attention_probabilities,
    mean_attention_distance,
    patch_distances,
    rollout,
    rollout_maps,
)
from jaxcompare.training.step import build_train_step, init_state

IMAGES = np.random.default_rng(0).normal(size=(3, 8, 12, 3)).astype(np.float32)


@functools.cache
def vit():
    model = build_model("vit", layers=2, width=16, heads=2)
    return model, jax.jit(functools.partial(model.init, train=False))(jax.random.key(0), IMAGES)["params"]


def step_program():
    """The train step as JAX gives it to the compiler."""
    model, _ = vit()
    batch = Batch(IMAGES, np.zeros(3, np.int32), np.ones(3, np.float32))
    tx = optax.adamw(1e-3)
    state = jax.eval_shape(lambda key: init_state(model, tx, key, IMAGES), jax.random.key(0))
    return jax.jit(build_train_step(model, tx)).lower(state, batch)


def test_training_is_the_same_program_as_without_attention_to_ask_for(monkeypatch):
    ours = step_program()
    cost = ours.cost_analysis()
    assert cost["flops"] > 0
    monkeypatch.setattr(nn.Module, "sow", lambda *_, **__: False)
    without = step_program()
    assert ours.as_text() == without.as_text()
    assert cost == without.cost_analysis()


def test_initialisation_has_parameters_only():
    model, _ = vit()
    assert set(jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), IMAGES)) == {"params"}


def test_attention_is_a_distribution_for_every_layer_head_and_query():
    model, params = vit()
    found = attention_probabilities(model, params, IMAGES)
    assert found.shape == (3, 2, 2, 7, 7)
    np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-5)
    # By hand, of the first layer.
    first = params["layers"]["0"]
    x = model.apply({"params": params}, IMAGES, train=False)[1]["embedding"]
    y = nn.LayerNorm(epsilon=1e-5).apply({"params": first["norm1"]}, x)
    qkv = y @ first["self_attn"]["in_proj"]["kernel"] + first["self_attn"]["in_proj"]["bias"][None, None]
    q, k = (qkv[..., 16 * i : 16 * i + 16].reshape(3, 7, 2, 8) for i in (0, 1))
    scores = jnp.einsum("nqhd,nkhd->nhqk", q, k) / np.sqrt(8)
    np.testing.assert_allclose(found[:, 0], jax.nn.softmax(scores, axis=-1), atol=1e-5)


def as_attention(table):
    """One image, layer and head."""
    return jnp.asarray(table, jnp.float32)[None, None, None]


def test_distance_of_known_attention():
    distances = patch_distances(2, 3, 4)
    np.testing.assert_allclose(distances[0], [0, 4, 8, 4, np.sqrt(32), np.sqrt(80)], rtol=1e-6)
    uniform = attention_distance(as_attention(np.full((7, 7), 1 / 7)), jnp.asarray(distances))
    np.testing.assert_allclose(uniform.pixels, distances.mean(), rtol=1e-6)
    np.testing.assert_allclose(uniform.class_share, 1 / 7, rtol=1e-6)
    itself = attention_distance(as_attention(np.eye(7)), jnp.asarray(distances))
    assert itself.pixels == itself.class_share == 0
    # All patches look at the last one; half of it at the class token changes nothing.
    one_hot = np.zeros((7, 7))
    one_hot[:, 6] = one_hot[:, 0] = 0.5
    np.testing.assert_allclose(
        attention_distance(as_attention(one_hot), jnp.asarray(distances)).pixels, distances[5].mean(), rtol=1e-6
    )
    # The class token alone: no patch is attended to, and nothing is divided by nothing.
    nowhere = attention_distance(as_attention(np.eye(7)[[0] * 7]), jnp.asarray(distances))
    assert (nowhere.pixels, nowhere.class_share) == (0, 1)


def test_a_network_that_attends_alike_has_the_uniform_distance():
    model, params = vit()
    blind = jax.tree.map(jnp.zeros_like, params)
    found = mean_attention_distance(model, blind, IMAGES)
    assert found.pixels.shape == (2, 2)
    np.testing.assert_allclose(found.pixels, patch_distances(2, 3, 4).mean(), rtol=1e-5)
    # (1 + 1 / 7) / 2 of a token is its own after a layer; a patch's share in the class token is the rest over six.
    own = ((1 + 1 / 7) / 2) ** 2 + 6 * (1 / 14) ** 2
    maps = rollout_maps(model, blind, IMAGES)
    assert maps.shape == (3, 8, 12)
    np.testing.assert_allclose(maps, (1 - own) / 6, rtol=1e-5)


def test_rollout():
    identity = jnp.tile(jnp.eye(5)[None, None, None], (2, 3, 4, 1, 1))
    np.testing.assert_allclose(rollout(identity), np.tile(np.eye(5), (2, 1, 1)), atol=1e-6)
    # The later layer is on the left: token 0 takes from 1, which had taken from 2.
    first, second = np.eye(3), np.eye(3)
    first[1], second[0] = np.eye(3)[2], np.eye(3)[1]
    found = rollout(jnp.asarray(np.stack([first, second]), jnp.float32)[None, :, None])
    np.testing.assert_allclose(found[0, 0], [0.5, 0.25, 0.25], atol=1e-6)


def test_rollout_maps_are_laid_out_as_patches(monkeypatch):
    # The class token looks at the second patch of the second row.
    table = np.eye(7)
    table[0] = np.eye(7)[5]
    fixed = jnp.asarray(np.tile(table, (16, 2, 2, 1, 1)), jnp.float32)
    monkeypatch.setattr(
        "jaxcompare.representations.attention.attention_probabilities", lambda model, params, images: fixed
    )
    (found,) = rollout_maps(build_model("vit", num_classes=3), {}, IMAGES[:1])
    expected = np.zeros((8, 12))
    expected[4:, 4:8] = 0.75
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_cnn_has_no_attention():
    model = build_model("cnn")
    params = jax.eval_shape(functools.partial(model.init, train=False), jax.random.key(0), IMAGES)["params"]
    with pytest.raises(ValueError, match="CNN has no attention"):
        jax.eval_shape(functools.partial(attention_probabilities, model), params, IMAGES)
