"""The phases of JAX's train step: three programs, of which each holds the one before it."""

import functools

import jax

from jaxcompare.config import TrainingConfig
from jaxcompare.data.host import build_loaders
from jaxcompare.data.split import Dataset
from jaxcompare.measure.clock import Phases, time_batches, time_calls
from jaxcompare.measure.runtime import MATMUL_PRECISION
from jaxcompare.training.learner import Learner
from jaxcompare.training.step import build_eval_step, build_gradient, build_loss, build_train_step


def measure_phases(learner: Learner, dataset: Dataset, training: TrainingConfig) -> Phases:
    """Time a packaged step by phase, on batches of the host's pipeline, of one seed.

    Backward is what the gradient takes beyond the loss, update what the step takes beyond the gradient.
    """
    placement, model, micro_batching = learner.placement, learner.model, learner.placement.micro_batching
    loader, _ = build_loaders(dataset, training, workers=0, beside_jax=True)
    with loader:
        batches, input_ms = time_batches(loader.epoch(0))
    copy_ms, _ = time_calls(lambda: placement.put_batch(batches[0]), jax.block_until_ready)
    on_device = placement.put_batch(batches[0])
    state = jax.jit(placement.over_seeds(learner.init_one))(learner.put_seeds())
    over_seeds = functools.partial(placement.over_seeds, batch_axis=0)
    with jax.default_matmul_precision(MATMUL_PRECISION[learner.precision]):
        loss = jax.jit(over_seeds(build_loss(model, micro_batching)))
        gradient = jax.jit(over_seeds(build_gradient(model, micro_batching)))
        step = jax.jit(over_seeds(build_train_step(model, learner.tx, micro_batching)), donate_argnums=0)
        forward_ms, _ = time_calls(lambda: loss(state, on_device), jax.block_until_ready)
        gradient_ms, _ = time_calls(lambda: gradient(state, on_device), jax.block_until_ready)

        def train() -> object:
            nonlocal state
            state, metrics = step(state, on_device)
            return state, metrics

        step_ms, dispatch_ms = time_calls(train, jax.block_until_ready)
        evaluate = jax.jit(over_seeds(build_eval_step(model, micro_batching)))
        evaluation_ms, _ = time_calls(lambda: evaluate(state.params, on_device), jax.block_until_ready)
    backward_ms, update_ms = gradient_ms - forward_ms, step_ms - gradient_ms
    return Phases(input_ms, copy_ms, forward_ms, backward_ms, update_ms, step_ms, dispatch_ms, evaluation_ms)
