"""Evaluation: correct predictions on the test split, dropout off. Beside an engine, whose programs it joins."""

from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxcompare.data.batch import Loader
from jaxcompare.data.device import DeviceSplit, count_batches, put_split, test_batch
from jaxcompare.data.split import Dataset
from jaxcompare.training.engine import StackedEngine
from jaxcompare.training.host_engine import blank_batch
from jaxcompare.training.step import Params


class Evaluator(Protocol):
    """Ready to evaluate."""

    def evaluate(self, params: Params) -> np.ndarray:
        """Correct predictions on the test split for each seed, of stacked parameters."""
        ...


class HostEvaluator:
    """Test batches of a loader, copied to the device as they come."""

    def __init__(self, engine: StackedEngine, params: Params, loader: Loader):
        learner, self._put, self._loader = engine.learner, engine.learner.placement.put, loader
        batch = self._put(blank_batch(learner, engine.config.training.batch_size))
        evaluate = learner.placement.over_seeds(learner.build_eval_step())
        self._evaluate = engine.programs.compile("evaluate", evaluate, params, batch)

    def evaluate(self, params: Params) -> np.ndarray:
        correct = [self._evaluate(params, self._put(batch)) for batch in self._loader.epoch(0)]
        return np.sum(jax.device_get(correct), axis=0)


class DeviceEvaluator:
    """The test images in device memory."""

    def __init__(self, engine: StackedEngine, params: Params, dataset: Dataset):
        placement, size = engine.learner.placement, engine.config.training.batch_size
        eval_step = engine.learner.build_eval_step()

        def evaluate(params: Params, split: DeviceSplit) -> jax.Array:
            def body(correct: jax.Array, index: jax.Array) -> tuple[jax.Array, None]:
                return correct + eval_step(params, test_batch(split, index, size)), None

            indices = jnp.arange(count_batches(len(split.labels), size), dtype=jnp.int32)
            return jax.lax.scan(body, jnp.zeros(()), indices)[0]

        self._split = put_split(dataset.test, dataset.statistics, placement.put)
        mapped = placement.over_seeds(evaluate, engine.seeds_per_call)
        self._evaluate = engine.programs.compile("evaluate", mapped, params, self._split)

    def evaluate(self, params: Params) -> np.ndarray:
        return jax.device_get(self._evaluate(params, self._split))
