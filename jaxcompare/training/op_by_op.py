"""JAX without jit: every operation dispatched, and compiled once, by itself. What jit is measured against."""

import time
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxcompare.config import RunConfig
from jaxcompare.data.batch import Batch
from jaxcompare.data.datasets import Dataset, training_subset
from jaxcompare.data.host import build_loaders
from jaxcompare.measure.runtime import MATMUL_PRECISION
from jaxcompare.models import build_model
from jaxcompare.training.optimiser import build_optimiser
from jaxcompare.training.step import build_train_step, init_state


def build(config: RunConfig, num_classes: int) -> tuple[nn.Module, optax.GradientTransformation]:
    """Model and optimiser. Convolutions are XLA's own, which are its fastest outside a program."""
    model = build_model(
        config.model,
        num_classes=num_classes,
        dropout_generator=config.training.dropout_generator,
        lowering="direct",
        dtype=jnp.dtype(jnp.bfloat16) if config.execution.precision == "bfloat16" else None,
    )
    return model, build_optimiser(config.training)


def time_epochs(config: RunConfig, dataset: Dataset) -> list[float]:
    """Train `config.training.epochs` epochs on host batches, and time each, in seconds.

    The device is waited for at the start and the end of an epoch only. The first epoch holds all compilation.
    """
    subset, training = training_subset(dataset, config.data, config.training.seed), config.training
    model, tx = build(config, len(dataset.class_names))
    shape = (1, *subset.train.images.shape[1:])
    state = init_state(model, tx, jax.random.key(training.seed), jnp.zeros(shape, jnp.float32))
    train_step = build_train_step(model, tx)
    loader, _ = build_loaders(subset, training, workers=0)
    times = []
    with jax.default_matmul_precision(MATMUL_PRECISION[config.execution.precision]):
        for epoch in range(training.epochs):
            jax.block_until_ready(state)
            start = time.perf_counter()
            for batch in loader.epoch(epoch):
                state, _ = train_step(state, to_device(batch))
            jax.block_until_ready(state)
            times.append(time.perf_counter() - start)
    return times


def to_device(batch: Batch) -> Batch:
    """A host batch as JAX arrays."""
    parts: Any = map(jnp.asarray, batch)
    return Batch(*parts)
