"""The phases of JAX's train step: three programs, of which each holds the one before it."""

import jax

from jaxcompare.data.host import build_loaders
from jaxcompare.data.split import Dataset, training_subset
from jaxcompare.measure.clock import Phases, time_batches, time_calls
from jaxcompare.measure.runtime import MATMUL_PRECISION
from jaxcompare.training.engine import Engine
from jaxcompare.training.step import build_eval_step, build_gradient, build_loss, build_train_step


def measure_phases(engine: Engine, dataset: Dataset) -> Phases:
    """Time the engine's step by phase, on batches of the host's pipeline, of one seed.

    Backward is what the gradient takes beyond the loss, update what the step takes beyond the gradient.
    """
    config = engine.config
    loader, _ = build_loaders(training_subset(dataset, config.data, config.training.seed), config.training, workers=0)
    batches, input_ms = time_batches(loader.epoch(0))
    copy_ms, _ = time_calls(lambda: engine.put(batches[0]), jax.block_until_ready)
    on_device = engine.put(batches[0])
    state = jax.jit(engine.over_seeds(engine.init_one))(engine.seed_array)
    with jax.default_matmul_precision(MATMUL_PRECISION[config.execution.precision]):
        functions = build_loss(engine.model, engine.slicing), build_gradient(engine.model, engine.slicing)
        loss, gradient = (jax.jit(engine.over_seeds(function)) for function in functions)
        train_step = engine.over_seeds(build_train_step(engine.model, engine.tx, engine.slicing))
        step = jax.jit(train_step, donate_argnums=0)
        forward_ms, _ = time_calls(lambda: loss(state, on_device), jax.block_until_ready)
        gradient_ms, _ = time_calls(lambda: gradient(state, on_device), jax.block_until_ready)

        def train() -> object:
            nonlocal state
            state, metrics = step(state, on_device)
            return state, metrics

        step_ms, dispatch_ms = time_calls(train, jax.block_until_ready)
        evaluate = jax.jit(engine.over_seeds(build_eval_step(engine.model, engine.slicing)))
        evaluation_ms, _ = time_calls(lambda: evaluate(state.params, on_device), jax.block_until_ready)
    return Phases(
        input_ms,
        copy_ms,
        forward_ms,
        gradient_ms - forward_ms,
        step_ms - gradient_ms,
        step_ms,
        dispatch_ms,
        evaluation_ms,
    )
