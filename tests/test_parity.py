"""The JAX models and training are PyTorch's, shown from shared weights: logits, gradients, 50 AdamW steps.

In float64 a wrong epsilon, a tanh GELU or a misplaced decay is millions of times larger than rounding.
"""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from sklearn.datasets import load_sample_images
from torch.nn.functional import cross_entropy

from jaxcompare.config import TrainingConfig
from jaxcompare.data.batch import Batch
from jaxcompare.data.datasets import RECIPE
from jaxcompare.data.host import HostLoader
from jaxcompare.data.split import Split
from jaxcompare.models import build_model
from jaxcompare.torch_side import convert
from jaxcompare.torch_side import fit as torch_fit
from jaxcompare.torch_side import models as torch_models
from jaxcompare.torch_side.cell_step import without_dropout
from jaxcompare.torch_side.reference import without_constants
from jaxcompare.training.optimiser import build_optimiser
from jaxcompare.training.step import MicroBatching, TrainState, build_train_step, sum_losses

PRECISIONS = {
    # dtype: tolerance of logits (absolute), gradients (relative norm per parameter), losses (absolute)
    "float64": (1e-10, 1e-9, 1e-8),
    "float32": (1e-5, 1e-4, 1e-3),
}


@pytest.fixture(params=["float64", pytest.param("float32", marks=pytest.mark.slow)])
def precision(request):
    with jax.enable_x64(request.param == "float64"):
        yield request.param


def torch_model_of(name, precision, size):
    torch.manual_seed(0)
    model = torch_models.build_model(name, image_size=size).to(getattr(torch, precision))
    without_dropout(model)
    without_constants(model)
    return model


@functools.cache
def photographs(count, size):
    """Cuttings of scikit-learn's two photographs, labelled by which: natural images, as CIFAR-10's are.

    Not the digits: where a pixel is the same in all images, gradients are rounding noise, which Adam scales up to
    whole steps, so that PyTorch's own float32 losses leave its float64 losses by 5e-3 within 50 steps.
    """
    generator, originals, cuttings = np.random.default_rng(0), load_sample_images().images, []
    for number in range(count):
        photograph = originals[number % 2]
        top, left = (generator.integers(0, side - 2 * size) for side in photograph.shape[:2])
        cuttings.append(photograph[top : top + 2 * size : 2, left : left + 2 * size : 2])
    return Split(np.stack(cuttings), np.arange(count, dtype=np.int32) % 2)


def fifty_batches(precision, size):
    """Real images as the loader gives them: epochs of 100 in batches of 16, the last of 4."""
    with HostLoader(photographs(100, size), 16, RECIPE, augment=True, shuffle=True) as loader:
        batches = itertools.chain.from_iterable(loader.epoch(epoch) for epoch in itertools.count())
        for images, labels, mask in itertools.islice(batches, 50):
            yield Batch(images.astype(precision), labels, mask.astype(precision))


def jax_params(name, torch_model):
    return jax.tree.map(jnp.asarray, convert.to_flax(name, torch_model.state_dict()))


@pytest.mark.parametrize(
    ("name", "lowering"), [("cnn", "direct"), ("cnn", "im2col"), ("cnn", "winograd"), ("vit", None)]
)
def test_logits_and_gradients_are_pytorchs(name, lowering, precision):
    logits_tolerance, gradient_tolerance, _ = PRECISIONS[precision]
    torch_model = torch_model_of(name, precision, 32)
    model = build_model(name, lowering=lowering, dropout_rate=0.0)
    batch = next(fifty_batches(precision, 32))
    images, labels = torch_fit.to_tensors(batch)
    torch_logits = torch_model(images)
    cross_entropy(torch_logits, labels).backward()

    def loss_fn(params):
        logits, _ = model.apply({"params": params}, batch.images, train=False)
        return sum_losses(logits, batch) / 16, logits

    grads, logits = jax.jit(jax.grad(loss_fn, has_aux=True))(jax_params(name, torch_model))
    assert logits.dtype == precision
    np.testing.assert_allclose(logits, torch_logits.detach().numpy(), rtol=0, atol=logits_tolerance)
    grads = convert.to_torch(name, grads)
    for parameter_name, parameter in torch_model.named_parameters():
        difference = (grads[parameter_name] - parameter.grad).norm() / parameter.grad.norm()
        assert difference < gradient_tolerance, f"{parameter_name}: {difference:.2e}"


@pytest.mark.parametrize("name", ["cnn", "vit"])
def test_steps_of_adamw_are_pytorchs(name, precision):
    """The whole batch at once, and in micro-batches of 5. Of images of 16x16 pixels: 17 tokens."""
    _, _, tolerance = PRECISIONS[precision]
    config, size = TrainingConfig(), 16
    torch_model = torch_model_of(name, precision, size)
    model, tx = build_model(name, dropout_rate=0.0), build_optimiser(config)
    params = jax_params(name, torch_model)
    start = TrainState(params, tx.init(params), jnp.zeros((), jnp.int32), *jax.random.split(jax.random.key(0)))
    steps = [jax.jit(build_train_step(model, tx, MicroBatching(slice_size))) for slice_size in (None, 5)]
    states = [start] * len(steps)
    optimiser = torch_fit.build_optimiser(torch_model, config)

    losses = []
    for number, batch in enumerate(fifty_batches(precision, size)):
        loss, correct = torch_fit.train_step(torch_model, optimiser, *torch_fit.to_tensors(batch))
        for side, step in enumerate(steps):
            states[side], metrics = step(states[side], batch)
            assert abs(float(metrics.loss) - float(loss)) < tolerance, f"step {number}"
            if precision == "float64":
                assert int(metrics.correct) == int(correct)
        losses.append(float(loss))
    assert len(losses) == 50
    assert min(losses) < losses[0] - 0.1  # it learns: the comparison is not of two constants


def test_adamw_is_optax_adamw_but_for_rounding():
    config = TrainingConfig(lr=1e-2)
    generator = np.random.default_rng(0)
    with jax.enable_x64(True):
        params = {"kernel": jnp.asarray(generator.normal(size=(3, 4))), "bias": jnp.asarray(generator.normal(size=4))}
        ours, theirs = params, params
        tx, reference = build_optimiser(config), optax.adamw(config.lr, weight_decay=config.weight_decay)
        state, reference_state = tx.init(params), reference.init(params)
        for _ in range(20):
            grads = jax.tree.map(lambda p: jnp.asarray(generator.normal(size=p.shape)), params)
            updates, state = tx.update(grads, state, ours)
            ours = optax.apply_updates(ours, updates)
            updates, reference_state = reference.update(grads, reference_state, theirs)
            theirs = optax.apply_updates(theirs, updates)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11), ours, theirs)
