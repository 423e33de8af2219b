"""The train step without this package's engines: the whole batch at once, on one device, with XLA's own convolutions.

    op      every operation dispatched by itself, the model traced in Python anew at every step: JAX without jit
    traced  the same operations from a jaxpr that was traced once; Python still dispatches each
    jit     one program a step, as `jax.jit` makes it

What JAX has jitted of its own (softmax, random bits) is one operation. What engines are measured against.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxcompare import compat
from jaxcompare.config import RunConfig
from jaxcompare.data.batch import Batch
from jaxcompare.measure.timing import CompileTimes, compile_ahead
from jaxcompare.models import build_model
from jaxcompare.models.vit import DROPOUT_RATE
from jaxcompare.training.optimiser import build_optimiser


def build(
    config: RunConfig, num_classes: int, *, dropout: bool = True
) -> tuple[nn.Module, optax.GradientTransformation]:
    """Model and optimiser. Convolutions are XLA's own, which are its fastest outside a loop; of dropout's generators
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


def prepare(engine: str, function: Callable, *args: Any, **jit_options: Any) -> tuple[Callable, CompileTimes | None]:
    """`function` of pytrees like `args` as an engine runs it; of "jit", what compiling it ahead took.

    Args:
        engine: "op", "traced" or "jit".
        jit_options: of `jax.jit`, such as `donate_argnums`; the others have no use for them.
    """
    if engine == "op":
        return function, None
    if engine == "jit":
        return compile_ahead(function, *args, **jit_options)
    jaxpr, shapes = jax.make_jaxpr(function, return_shape=True)(*args)
    operations, tree = compat.as_function(jaxpr), jax.tree.structure(shapes)
    return lambda *args: jax.tree.unflatten(tree, operations(*jax.tree.leaves(args))), None


def to_device(batch: Batch) -> Batch:
    """A host batch as JAX arrays."""
    parts: Any = map(jnp.asarray, batch)
    return Batch(*parts)
