"""The engine whose batches come from the host, one by one."""

import itertools
import time
from collections.abc import Sequence

import jax
import numpy as np

from jaxcompare.config import RunConfig
from jaxcompare.data.batch import Batch, Loader
from jaxcompare.data.split import Dataset
from jaxcompare.training.engine import InFlight, OnStep, StackedEngine, call_lengths, train_name
from jaxcompare.training.learner import Learner
from jaxcompare.training.step import Metrics, TrainState


class HostEngine(StackedEngine):
    """Batches of a loader, copied to the device as they come. One seed."""

    def __init__(self, config: RunConfig, learner: Learner, dataset: Dataset, loader: Loader):
        super().__init__(config, learner, dataset)
        self._loader = loader
        step = learner.build_train_step()
        train = learner.placement.over_seeds(lambda state, batches: jax.lax.scan(step, state, batches), batch_axis=1)
        states, blank = self.init(), blank_batch(learner, config.training.batch_size)
        self._train = {}
        for length in call_lengths(self.batches, self.steps_per_call):
            batches = learner.placement.put_batch(_stack([blank] * length), config.training.batch_size, axis=1)
            self._train[length] = self.programs.compile(
                train_name(length),
                train,
                states,
                batches,
                donate_argnums=0,
                out_shardings=(None, learner.placement.readable),
            )

    def train_epoch(self, state: TrainState, epoch: int, on_step: OnStep) -> tuple[TrainState, list[Metrics], float]:
        queue = InFlight(self.steps_per_call)
        metrics, waited, done = [], 0.0, 0
        batches = self._loader.epoch(epoch)
        while True:
            asked = time.perf_counter()
            chunk = list(itertools.islice(batches, self.steps_per_call))
            if not chunk:
                return state, metrics, waited
            on_device = self.learner.placement.put_batch(_stack(chunk), self.config.training.batch_size, axis=1)
            # If the device has finished all it was given, it waited for this batch: at most since we asked for it.
            if queue.is_idle():
                waited += time.perf_counter() - asked
            state, call_metrics = self._train[len(chunk)](state, on_device)
            metrics.append(call_metrics)
            done += len(chunk)
            queue.add(call_metrics)
            on_step(done)

    def __enter__(self) -> "HostEngine":
        self._loader.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._loader.__exit__(*exception)


def blank_batch(learner: Learner, batch_size: int) -> Batch:
    """This process's part of a host batch, to compile for: every one has its shapes."""
    size = len(learner.placement.part_of_process(batch_size))
    images = np.zeros((size, *learner.image_shape), np.float32)
    return Batch(images, np.zeros(size, np.int32), np.ones(size, np.float32))


def _stack(batches: Sequence[Batch]) -> Batch:
    """Batches along a new first axis; one batch is not copied."""
    if len(batches) == 1:
        return jax.tree.map(lambda part: part[None], batches[0])
    return jax.tree.map(lambda *parts: np.stack(parts), *batches)
