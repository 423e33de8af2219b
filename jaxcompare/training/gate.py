"""JAX's side of what makes a time comparable: the parity gate, an engine's own step on the reference's weights and
batches; and the fairness manifest."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxcompare import compat
from jaxcompare.cells import Cell
from jaxcompare.config import RunConfig
from jaxcompare.data.batch import Batch
from jaxcompare.measure.environment import cpu_cores
from jaxcompare.measure.parity import Outcome, Reference
from jaxcompare.measure.runtime import MATMUL_PRECISION
from jaxcompare.training import plain
from jaxcompare.training.engine import Engine
from jaxcompare.training.step import TrainState, build_gradient, build_train_step


def build_manifest(cell: Cell, config: RunConfig) -> dict[str, Any]:
    """What decides this process's speed, as `cells.MUST_AGREE` compares it with PyTorch's."""
    device = jax.local_devices()[0]
    with jax.default_matmul_precision(MATMUL_PRECISION[cell.precision]):
        products = compat.matmul_precision()
    return {
        "tf32": products == "tensorfloat32",
        "bfloat16": cell.precision == "bfloat16",
        # That may compute: XLA takes what the process has, whatever number of devices the cores are grouped into.
        "threads": cpu_cores(),
        # Of glibc's allocator; empty: as many as it likes.
        "arenas": os.environ.get("MALLOC_ARENA_MAX", ""),
        "devices": jax.local_device_count(),
        "layout": "NHWC",
        "attention": "two products and a softmax",
        "optimiser": "in the step's program" if cell.compiled else "operation by operation",
        "dropout_generator": config.training.dropout_generator,
        "donation": cell.compiled,
        "preallocation": os.environ.get("XLA_PYTHON_CLIENT_PREALLOCATE", "true"),
        "device": device.device_kind,
    }


def run_side(engine: Engine, reference: Reference) -> Outcome:
    """Logits, gradients and the losses of a few steps, by the engine's own step and its own way to compile: sliced,
    shared out, lowered and rounded as when it trains. Its dropout must be off.

    Of several seeds, each has the same weights here, and the first's outcome is returned.
    """
    batches = _batches_of(reference)
    state = jax.tree.map(lambda leaf: jnp.stack([leaf] * len(engine.seeds)), _initial_state(engine.tx, reference))
    state, first = engine.put(state, engine.per_seed), engine.put(batches[0])

    def compile(name: str, function: Callable, **options: Any) -> Callable:
        return engine.compile(name, engine.over_seeds(function), state, first, **options)

    compute_logits = compile("logits", _logits_of(engine.model))
    compute_grads = compile("gradient", build_gradient(engine.model, engine.slicing))
    train_step = compile("train_step", engine.train_step, donate_argnums=0)
    outcome = _compute(state, batches, compute_logits, compute_grads, train_step, engine.put)
    return Outcome(outcome.logits[0], {name: grad[0] for name, grad in outcome.grads.items()}, outcome.losses[:, 0])


def run_plain(engine: str, config: RunConfig, reference: Reference) -> Outcome:
    """The same of an engine of `training.plain`."""
    model, tx = plain.build(config, reference.num_classes, dropout=False)
    batches, state = _batches_of(reference), _initial_state(tx, reference)
    with jax.default_matmul_precision(MATMUL_PRECISION[config.execution.precision]):
        compute_logits, compute_grads, train_step = (
            plain.prepare(engine, function, state, plain.to_device(batches[0]))[0]
            for function in (_logits_of(model), build_gradient(model), build_train_step(model, tx))
        )
        return _compute(state, batches, compute_logits, compute_grads, train_step, plain.to_device)


def _compute(
    state: TrainState,
    batches: Sequence[Batch],
    compute_logits: Callable,
    compute_grads: Callable,
    train_step: Callable,
    put: Callable[[Batch], Batch],
) -> Outcome:
    logits, (grads, _) = compute_logits(state, put(batches[0])), compute_grads(state, put(batches[0]))
    flat = {"/".join(path): np.asarray(grad, np.float64) for path, grad in flatten_dict(grads).items()}
    losses = []
    for batch in batches:
        state, metrics = train_step(state, put(batch))
        losses.append(np.asarray(metrics.loss))
    return Outcome(np.asarray(logits, np.float64), flat, np.array(losses))


def _batches_of(reference: Reference) -> list[Batch]:
    ones = np.ones(reference.labels.shape[1], np.float32)
    return [Batch(images, labels, ones) for images, labels in zip(reference.images, reference.labels, strict=True)]


def _logits_of(model: nn.Module) -> Callable[[TrainState, Batch], jax.Array]:
    def compute_logits(state: TrainState, batch: Batch) -> jax.Array:
        return model.apply({"params": state.params}, batch.images, train=False)[0]

    return compute_logits


def _initial_state(tx: optax.GradientTransformation, reference: Reference) -> TrainState:
    flat = {tuple(name.split("/")): jnp.asarray(value) for name, value in reference.params["jax"].items()}
    params, keys = unflatten_dict(flat), jax.random.split(jax.random.key(0), 2)
    return TrainState(params, tx.init(params), jnp.zeros((), jnp.int32), keys[0], keys[1])
