"""Evaluation: correct predictions on the test split, dropout off. Beside an engine, whose programs it joins."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxcompare.data.batch import Loader
from jaxcompare.data.device import DeviceSplit, count_batches, put_split, test_batch
from jaxcompare.data.split import Dataset
from jaxcompare.training.engine import InFlight, StackedEngine
from jaxcompare.training.host_engine import blank_batch
from jaxcompare.training.step import Params

Evaluator = Callable[[Params], np.ndarray]
"""Correct predictions on the test split for each seed, of stacked parameters."""


def evaluate_on_host_batches(engine: StackedEngine, loader: Loader) -> Evaluator:
    """Of a loader's test batches, copied to the device as they come."""
    learner, placement, size = engine.learner, engine.learner.placement, engine.config.training.batch_size
    put = functools.partial(placement.put_batch, batch_size=size)
    batch = put(blank_batch(learner, size))
    evaluate = placement.over_seeds(learner.build_eval_step(), batch_axis=0)
    program = engine.programs.compile(
        "evaluate", evaluate, engine.init().params, batch, out_shardings=placement.readable
    )

    def count_correct(params: Params) -> np.ndarray:
        queue, correct = InFlight(1), []
        for batch in loader.epoch(0):
            correct.append(program(params, put(batch)))
            queue.add(correct[-1])
        return np.sum(jax.device_get(correct), axis=0)

    return count_correct


def evaluate_on_device(engine: StackedEngine, dataset: Dataset) -> Evaluator:
    """Of the test images in device memory."""
    placement, size = engine.learner.placement, engine.config.training.batch_size
    eval_step = engine.learner.build_eval_step()

    def evaluate(params: Params, split: DeviceSplit) -> jax.Array:
        shard = placement.shard(size)
        indices = jnp.arange(count_batches(len(split.labels), size), dtype=jnp.int32)
        return jnp.sum(jax.lax.map(lambda index: eval_step(params, test_batch(split, index, size, shard)), indices))

    split = put_split(dataset.test, dataset.statistics, placement.put)
    mapped = placement.over_seeds(evaluate, engine.seeds_per_call)
    program = engine.programs.compile("evaluate", mapped, engine.init().params, split, out_shardings=placement.readable)
    return lambda params: jax.device_get(program(params, split))
