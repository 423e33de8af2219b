"""The recipe's constants, and that the loops use them: what parity between two copies of a mistake would miss."""

import jax
import numpy as np
import optax
import pytest
import torch
from toy import build_toy

from jaxcompare.compat.jax import low_effort
from jaxcompare.config import DataConfig, RunConfig, TrainingConfig
from jaxcompare.data.batch import Batch
from jaxcompare.data.datasets import PUBLISHED
from jaxcompare.data.host import build_loaders, normalise
from jaxcompare.models import build_model
from jaxcompare.torch_side import fit as torch_fit
from jaxcompare.torch_side import models as torch_models
from jaxcompare.training import learner as learner_module
from jaxcompare.training.fit import fit
from jaxcompare.training.optimiser import build_optimiser
from jaxcompare.training.step import build_train_step, init_state


def test_the_recipes_constants():
    training, data = TrainingConfig(), DataConfig()
    assert (training.epochs, training.batch_size, training.seed) == (20, 128, 42)
    assert (training.lr, training.weight_decay) == (3e-4, 0.05)
    assert (data.dataset, data.image_size, data.train_size, data.normalisation) == ("cifar10", 32, None, "published")
    recipe = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
    assert PUBLISHED["cifar10"] == PUBLISHED["folder"] == recipe
    vit = build_model("vit")
    assert (vit.patch, vit.width, vit.heads, vit.layers, vit.dropout_rate) == (4, 128, 4, 4, 0.1)


def test_pytorchs_optimiser_and_dropout_are_the_recipes():
    model = torch_models.build_model("vit")
    (group,) = torch_fit.build_optimiser(model, TrainingConfig()).param_groups
    assert (group["lr"], group["betas"], group["eps"], group["weight_decay"]) == (3e-4, (0.9, 0.999), 1e-8, 0.05)
    assert len(group["params"]) == len(list(model.parameters()))
    rates = [m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)]
    rates += [m.dropout for m in model.modules() if isinstance(m, torch.nn.MultiheadAttention)]
    assert rates == [0.1] * 16


def test_training_batches_are_shuffled_and_augmented_and_test_batches_are_neither(tiny_dataset):
    train, test = build_loaders(tiny_dataset, TrainingConfig(batch_size=32), 0)

    def plain(split):
        images = torch.from_numpy(split.images).permute(0, 3, 1, 2)
        return normalise(images, tiny_dataset.statistics).permute(0, 2, 3, 1).numpy()

    (images, labels), (_, later) = (
        [np.concatenate(parts)[:70] for parts in list(zip(*train.epoch(epoch), strict=True))[:2]] for epoch in (0, 1)
    )
    assert (labels != later).any()
    # No training image survives its crop and flip as it was, but for one in 162.
    originals = {image.tobytes() for image in plain(tiny_dataset.train)}
    assert sum(image.tobytes() in originals for image in images) < 5
    for epoch in (0, 1):
        tested = np.concatenate([batch.images for batch in test.epoch(epoch)])[: len(tiny_dataset.test)]
        np.testing.assert_array_equal(tested, plain(tiny_dataset.test))


def test_fit_trains_the_recipes_model(tiny_dataset, monkeypatch):
    class Seen(Exception):
        pass

    def build(model, tx, micro_batching):
        raise Seen(model)

    monkeypatch.setattr(learner_module, "build_train_step", build)
    with pytest.raises(Seen) as seen:
        fit(RunConfig("jax", "vit", DataConfig(), TrainingConfig()), tiny_dataset)
    assert seen.value.args[0] == build_model("vit", num_classes=3)


def test_every_step_draws_other_dropout_masks():
    images = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype(np.float32)
    batch = Batch(images, np.zeros(4, np.int32), np.ones(4, np.float32))
    model, tx = build_toy(), build_optimiser(TrainingConfig(lr=0.0, weight_decay=0.0))
    state = jax.jit(lambda key: init_state(model, tx, key, images))(jax.random.key(0))
    step = jax.jit(build_train_step(model, tx))
    after, first = step(state, batch)
    again, second = step(after, batch)
    assert (int(after.step), int(again.step)) == (1, 2)
    assert first.loss != second.loss  # at a rate of 0, equal masks give equal bits
    np.testing.assert_array_equal(step(state, batch)[1].loss, first.loss)


GOLDEN = {"cnn": (2.296377, 0.654864, 13.92409), "vit": (2.466053, 7.592842, 54.96432)}
"""By model: loss, norm of the gradient, norm of the parameters after one step."""


@pytest.mark.parametrize("name", GOLDEN)
def test_one_step_comes_to_what_it_always_did(name):
    """At the recipe's sizes, dropout on, from one seed and one batch; rate and decay are large enough to be seen."""
    images = np.sin(1e-3 * np.arange(8 * 32 * 32 * 3.0) ** 2).reshape(8, 32, 32, 3).astype(np.float32)
    batch = Batch(images, np.arange(8, dtype=np.int32), np.ones(8, np.float32))
    model, tx = build_model(name), build_optimiser(TrainingConfig(lr=0.01, weight_decay=1.0))

    def step(key):
        after, metrics = build_train_step(model, tx)(init_state(model, tx, key, images), batch)
        # After one step Adam's first moment is a tenth of the gradient.
        return metrics.loss, 10 * optax.tree.norm(after.opt_state[0].mu), optax.tree.norm(after.params)

    compiled = jax.jit(step).lower(jax.random.key(0)).compile(compiler_options=low_effort())
    found = tuple(map(float, compiled(jax.random.key(0))))
    assert found == pytest.approx(GOLDEN[name], rel=1e-4), (
        f"the {name}'s loss, gradient norm and parameter norm are {found}, and were {GOLDEN[name]}. If they were "
        "changed on purpose, put these numbers into GOLDEN and say why in the commit: what was trained before is no "
        "longer what this code trains"
    )
