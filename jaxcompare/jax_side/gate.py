"""How JAX's side of the parity gate computes: by a cell's own step, as its engine compiles it."""

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxcompare.cells import Cell
from jaxcompare.data.batch import Batch, full_batches
from jaxcompare.jax_side import plain
from jaxcompare.jax_side.cell_engine import build_cells_learner
from jaxcompare.measure.parity import Outcome, Reference, compute_outcome
from jaxcompare.measure.runtime import MATMUL_PRECISION
from jaxcompare.side import Setup
from jaxcompare.training.learner import Learner
from jaxcompare.training.programs import Programs
from jaxcompare.training.step import TrainState, build_gradient


def run_gate(cell: Cell, setup: Setup, reference: Reference) -> Outcome:
    """In micro-batches, shared out, vmapped, lowered and rounded as when the cell trains. Of several seeds, each has
    the same weights here, and the first's outcome is returned."""
    learner = build_cells_learner(cell, setup, dropout_rate=0.0)
    placement, programs = learner.placement, Programs(cell.precision, learner.placement.devices)
    state, put, put_whole = _initial_state(learner, reference), plain.to_device, plain.to_device
    if cell.packaged:
        put, put_whole = placement.put_batch, placement.put
        state = placement.put_stacked(jax.tree.map(lambda leaf: jnp.stack([leaf] * cell.seeds), state))
    batches = full_batches(reference.images, reference.labels)
    first = batches[0]

    def prepare(name: str, function: Callable, shared_out: bool = True, **options: Any) -> Callable:
        if cell.packaged:
            at_once = placement.seeds_at_once(cell.seeds)
            mapped = placement.over_seeds(function, at_once, batch_axis=0 if shared_out else None)
            return programs.compile(name, mapped, state, (put if shared_out else put_whole)(first), **options)
        return plain.prepare(cell.engine, programs, name, function, state, put(first), **options)

    def of_one_seed(value: Any) -> np.ndarray:
        return np.asarray(value[0] if cell.packaged else value, np.float64)

    def differentiate(batch: Batch) -> tuple[np.ndarray, Mapping[str, np.ndarray]]:
        grads, _ = compute_grads(state, put(batch))
        flat = {"/".join(path): of_one_seed(grad) for path, grad in flatten_dict(grads).items()}
        return of_one_seed(compute_logits(state, put_whole(batch))), flat

    def train(batch: Batch) -> float:
        nonlocal state
        state, metrics = train_step(state, put(batch))
        return float(of_one_seed(metrics.loss))

    # Operations by themselves are compiled when they are first called.
    with jax.default_matmul_precision(MATMUL_PRECISION[cell.precision]):
        compute_logits = prepare("logits", _logits_of(learner.model), shared_out=False)
        compute_grads = prepare("gradient", build_gradient(learner.model, placement.micro_batching))
        train_step = prepare("train_step", learner.build_train_step(), donate_argnums=0)
        return compute_outcome(batches, differentiate, train)


def _logits_of(model: nn.Module) -> Callable[[TrainState, Batch], jax.Array]:
    def compute_logits(state: TrainState, batch: Batch) -> jax.Array:
        return model.apply({"params": state.params}, batch.images, train=False)[0]

    return compute_logits


def _initial_state(learner: Learner, reference: Reference) -> TrainState:
    flat = {tuple(name.split("/")): jnp.asarray(value) for name, value in reference.params["jax"].items()}
    params, keys = unflatten_dict(flat), jax.random.split(jax.random.key(0), 2)
    return TrainState(params, learner.tx.init(params), jnp.zeros((), jnp.int32), keys[0], keys[1])
