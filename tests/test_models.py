"""Sizes, arguments, layers and dropout of the models."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxcompare.models import build_model, convolution
from jaxcompare.models.convolution import direct, im2col, max_pool_2x2, winograd
from jaxcompare.models.layers import Dropout, keep_mask
from jaxcompare.models.vit import gelu
from jaxcompare.torch_side import models as torch_models

KEY = jax.random.key(0)
IMAGES = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype(np.float32)


def shapes_of(model, images=IMAGES):
    """Of logits and activations, and of the parameters; nothing is compiled."""
    found, variables = jax.eval_shape(functools.partial(model.init_with_output, train=False), KEY, images)
    return *found, variables["params"]


@pytest.mark.parametrize(("name", "count"), [("cnn", 620_362), ("vit", 809_354)])
def test_parameter_counts_are_the_recipes(name, count):
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes_of(build_model(name))[-1])) == count
    assert sum(p.numel() for p in torch_models.build_model(name).parameters()) == count


@pytest.mark.parametrize("name", ["cnn", "vit"])
def test_other_sizes_channels_and_classes(name):
    images = np.zeros((2, 24, 40, 1), np.float32)
    model = build_model(name, num_classes=7, patch=8, width=32, heads=2, layers=3)
    logits, activations, _ = shapes_of(model, images)
    assert logits.shape == (2, 7)
    if name == "cnn":
        assert set(activations) == {"block_0", "block_1", "block_2", "hidden"}
    else:
        assert set(activations) == {"embedding", "layer_0", "layer_1", "layer_2", "norm"}
        assert activations["layer_2"].shape == (2, 3 * 5 + 1, 32)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("vit", {"patch": 5}, "32x32 .* patch 5"),
        ("vit", {"heads": 3}, "width 128 .* heads 3"),
        ("mlp", {}, "'mlp' .* cnn, vit"),
    ],
)
def test_wrong_models_say_what_is_wrong(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        shapes_of(build_model(name, **arguments))


def test_on_cpus_the_later_convolutions_are_winograds_and_below_float32_none(monkeypatch):
    calls = []
    for name in ("winograd", "im2col"):
        real = getattr(convolution, name)
        monkeypatch.setattr(
            convolution, name, lambda x, kernel, name=name, real=real: calls.append(name) or real(x, kernel)
        )
    jax.eval_shape(lambda: build_model("cnn").init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False))
    assert calls == ["im2col", "winograd", "winograd"]
    assert build_model("cnn", dtype=jnp.dtype(jnp.bfloat16)).lowering == "im2col"


@pytest.mark.parametrize("convolve", [im2col, winograd])
@pytest.mark.parametrize("shape", [(3, 6, 8, 4), (3, 5, 7, 4), (1, 1, 1, 4)])
@pytest.mark.parametrize("seeds", [1, 2])
def test_lowerings_are_the_convolution_in_value_and_gradients(convolve, shape, seeds):
    generator = np.random.default_rng(0)
    with jax.enable_x64(True):
        x, kernels = (jnp.asarray(generator.normal(size=(seeds, *one))) for one in (shape, (3, 3, 4, 8)))
        ours, theirs = (
            jax.vmap(jax.value_and_grad(lambda x, kernel, f=function: jnp.sum(jnp.sin(f(x, kernel))), (0, 1)))(
                x, kernels
            )
            for function in (convolve, direct)
        )
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12), ours, theirs)


def test_winograd_rounds_no_more_than_the_convolution():
    """In float32, against float64, at the second convolution's sizes."""
    generator = np.random.default_rng(0)
    x, g = generator.normal(size=(8, 16, 16, 32)), generator.normal(size=(8, 16, 16, 64))
    kernel = generator.uniform(-1, 1, (3, 3, 32, 64)) / np.sqrt(9 * 32)

    def results(convolve, dtype):
        y, vjp = jax.vjp(convolve, *(jnp.asarray(a, dtype) for a in (x, kernel)))
        return [np.asarray(a, np.float64) for a in (y, *vjp(jnp.asarray(g, dtype)))]

    with jax.enable_x64(True):
        exact = results(direct, np.float64)
    errors = [
        [np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(results(convolve, np.float32), exact, strict=True)]
        for convolve in (winograd, direct)
    ]
    assert (np.array(errors[0]) < 3 * np.array(errors[1])).all(), errors


@pytest.mark.parametrize("shape", [(2, 6, 8, 3), (2, 5, 7, 3)])
def test_max_pool_is_pytorchs_with_ties_and_odd_sizes(shape):
    # Few distinct values: most windows have ties, where the first maximum takes the gradient.
    x = np.random.default_rng(0).integers(0, 3, shape).astype(np.float32)
    theirs = torch.from_numpy(x).permute(0, 3, 1, 2).requires_grad_()
    pooled = torch.nn.functional.max_pool2d(theirs, 2)
    weights = np.random.default_rng(1).normal(size=pooled.permute(0, 2, 3, 1).shape).astype(np.float32)
    (pooled.permute(0, 2, 3, 1) * torch.from_numpy(weights)).sum().backward()
    ours, vjp = jax.vjp(max_pool_2x2, jnp.asarray(x))
    np.testing.assert_array_equal(ours, pooled.detach().permute(0, 2, 3, 1))
    np.testing.assert_array_equal(vjp(jnp.asarray(weights))[0], theirs.grad.permute(0, 2, 3, 1))


def record_calls(model, **kwargs):
    """(module, path, first argument, result) of every module of one forward pass, in order of calls."""
    modules = []

    @jax.jit
    def run(params):
        calls = []

        def interceptor(call, args, kwargs, context):
            result = call(*args, **kwargs)
            # Flax checks parameters by tracing their initialisation; those calls compute nothing.
            if context.method_name == "__call__" and not context.module.is_initializing():
                modules.append((type(context.module), "/".join(context.module.path)))
                calls.append((args[0], result))
            return result

        with nn.intercept_methods(interceptor):
            model.apply({"params": params}, IMAGES, **kwargs)
        return calls

    params = jax.jit(functools.partial(model.init, train=False))(KEY, IMAGES)["params"]
    return [(*module, *call) for module, call in zip(modules, jax.device_get(run(params)), strict=True)]


@pytest.mark.parametrize("generator", ["hash", "threefry"])
def test_dropout_is_at_its_four_places_with_its_rate_and_scale(generator):
    model = build_model("vit", dropout_generator=generator, layers=2)
    calls = record_calls(model, train=True, rngs={"dropout": jax.random.key(1)})
    # The layers run one after another, so calls come in the order of the recipe's description.
    drops = [(x, y) for module, _, x, y in calls if module is Dropout]
    assert [x.shape for x, _ in drops] == 2 * [(4, 4, 65, 65), (4, 65, 128), (4, 65, 512), (4, 65, 128)]
    made = {name: [y for _, path, _, y in calls if path.endswith(name)] for name in ("out_proj", "linear1", "linear2")}
    for layer in range(2):
        attention, projection, hidden, output = (x for x, _ in drops[4 * layer : 4 * layer + 4])
        np.testing.assert_allclose(attention.sum(-1), 1, atol=1e-5)
        np.testing.assert_array_equal(projection, made["out_proj"][layer])
        np.testing.assert_allclose(hidden, gelu(jnp.asarray(made["linear1"][layer])), rtol=0, atol=1e-6)
        np.testing.assert_array_equal(output, made["linear2"][layer])
    for x, y in drops:
        dropped = y == 0
        assert abs(dropped.mean() - 0.1) < 5 * np.sqrt(0.1 * 0.9 / x.size)
        np.testing.assert_allclose(y[~dropped], x[~dropped] / 0.9, rtol=1e-6)
    masks = [np.ravel(y == 0) for x, y in drops if x.shape == (4, 65, 128)]
    assert all((a != b).any() for i, a in enumerate(masks) for b in masks[:i])


def test_dropout_is_off_in_evaluation():
    drops = [(x, y) for module, _, x, y in record_calls(build_model("vit", layers=1), train=False) if module is Dropout]
    assert len(drops) == 4
    for x, y in drops:
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("generator", ["hash", "threefry"])
def test_the_dropout_rate_is_exact(generator):
    mask = np.asarray(keep_mask(jax.random.key(3), 0.9, (1 << 23,), generator))
    assert abs(mask.mean() - 0.9) < 3 * np.sqrt(0.09 / mask.size)
    # Neighbours are independent: 0.81 of pairs are both kept.
    for lag in (1, 2, 64, 65, 128):
        assert abs((mask[:-lag] & mask[lag:]).mean() - 0.81) < 5 * np.sqrt(0.81 * 0.19 / mask.size)
