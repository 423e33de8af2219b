"""A model's costs by formula beside XLA's own count of the compiled passes."""

import dataclasses

import jax
import jax.numpy as jnp

from jaxcompare.compat import jax as compat
from jaxcompare.config import ModelName, TrainingConfig
from jaxcompare.data.batch import Batch
from jaxcompare.measure.cost import layer_costs, training_bytes, training_flops
from jaxcompare.models import build_model
from jaxcompare.training.optimiser import build_optimiser
from jaxcompare.training.step import build_gradient, init_state


@dataclasses.dataclass(frozen=True)
class Costs:
    """Per image of a batch; FLOP as `measure.cost` counts them, bytes in float32."""

    model: ModelName
    image_size: int
    num_classes: int
    batch_size: int
    formula_forward_flops: float
    formula_training_flops: float
    """Forward and backward pass; the update is left out, on XLA's side too."""
    formula_training_bytes: float
    """At the least, the update included."""
    xla_forward_flops: float
    xla_training_flops: float
    xla_training_bytes: float
    """What XLA's kernels read and write, by its own count; the update left out."""


def count_costs(model: ModelName, image_size: int, num_classes: int, batch_size: int) -> Costs:
    """Compile the passes of a whole batch on one device, dropout off, convolutions lowered directly, and count.

    XLA counts the body of a loop once, so the engines' own programs, which loop over micro-batches, cannot be counted.
    """
    built = build_model(model, num_classes=num_classes, dropout_rate=0.0, lowering="direct")
    state = jax.eval_shape(
        lambda: init_state(
            built, build_optimiser(TrainingConfig()), jax.random.key(0), jnp.zeros((1, image_size, image_size, 3))
        )
    )
    batch = Batch(
        jax.ShapeDtypeStruct((batch_size, image_size, image_size, 3), jnp.float32),  # type: ignore[arg-type]
        jax.ShapeDtypeStruct((batch_size,), jnp.int32),  # type: ignore[arg-type]
        jax.ShapeDtypeStruct((batch_size,), jnp.float32),  # type: ignore[arg-type]
    )
    compute_logits = jax.jit(lambda state, batch: built.apply({"params": state.params}, batch.images, train=False)[0])
    forward = compat.program_costs(compute_logits.lower(state, batch).compile())
    training = compat.program_costs(jax.jit(build_gradient(built)).lower(state, batch).compile())
    layers = layer_costs(model, image_size=image_size, num_classes=num_classes)
    return Costs(
        model,
        image_size,
        num_classes,
        batch_size,
        float(sum(layer.flops_per_image for layer in layers)),
        float(training_flops(layers)),
        training_bytes(layers, batch_size),
        forward.flops / batch_size,
        training.flops / batch_size,
        training.bytes_accessed / batch_size,
    )
