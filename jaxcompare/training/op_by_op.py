"""JAX without jit: every operation dispatched, and compiled once, by itself; what JAX has jitted of its own (softmax,
GELU, random bits) is one. What jit is measured against."""

from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import optax

from jaxcompare.config import RunConfig
from jaxcompare.data.batch import Batch
from jaxcompare.models import build_model
from jaxcompare.models.vit import DROPOUT_RATE
from jaxcompare.training.optimiser import build_optimiser


def build(
    config: RunConfig, num_classes: int, *, dropout: bool = True
) -> tuple[nn.Module, optax.GradientTransformation]:
    """Model and optimiser. Convolutions are XLA's own, which are its fastest outside a program; of dropout's generators
    none is."""
    model = build_model(
        config.model,
        num_classes=num_classes,
        dropout_rate=DROPOUT_RATE if dropout else 0.0,
        dropout_generator=config.training.dropout_generator,
        lowering="direct",
        dtype=jnp.dtype(jnp.bfloat16) if config.execution.precision == "bfloat16" else None,
    )
    return model, build_optimiser(config.training)


def to_device(batch: Batch) -> Batch:
    """A host batch as JAX arrays."""
    parts: Any = map(jnp.asarray, batch)
    return Batch(*parts)
