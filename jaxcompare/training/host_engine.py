"""The engine whose batches come from the host, one by one."""

import itertools
import time
from collections.abc import Sequence

import jax
import numpy as np

from jaxcompare.config import RunConfig
from jaxcompare.data.batch import Batch, Loader
from jaxcompare.data.split import Dataset, training_subset
from jaxcompare.training.engine import Engine, InFlight, OnStep, call_lengths, train_name
from jaxcompare.training.step import Metrics, Params, TrainState


class HostEngine(Engine):
    """Batches of the torchvision pipeline, or of another loader, copied to the device as they come. One seed.

    With another loader there are no test images, and no evaluation.
    """

    def __init__(
        self,
        config: RunConfig,
        dataset: Dataset,
        devices: Sequence[jax.Device],
        loader: Loader | None,
        dropout_rate: float,
    ):
        super().__init__(config, dataset, (config.training.seed,), devices, dropout_rate)
        if loader is None:
            # Imported here: PyTorch and torchvision take seconds, and batches that are ready need neither.
            from jaxcompare.data.host import build_loaders

            dataset = training_subset(dataset, config.data, config.training.seed)
            loader, self._test_loader = build_loaders(
                dataset, config.training, config.data.workers, config.epoch_images, beside_jax=True
            )
        self._train_loader = loader

    def _compile_training(self, states: TrainState) -> None:
        batch = self._blank_batch()
        train = self.over_seeds(lambda state, batches: jax.lax.scan(self.train_step, state, batches))
        self._train = {
            length: self.compile(
                train_name(length), train, states, self.put(_stack([batch] * length)), donate_argnums=0
            )
            for length in call_lengths(self.batches, self.steps_per_call)
        }

    def _compile_evaluation(self, params: Params) -> None:
        evaluate = self.over_seeds(self.eval_step)
        self._evaluate = self.compile("evaluate", evaluate, params, self.put(self._blank_batch()))

    def _blank_batch(self) -> Batch:
        size = self.config.training.batch_size
        images = np.zeros((size, *self.image_shape), np.float32)
        return Batch(images, np.zeros(size, np.int32), np.ones(size, np.float32))

    def train_epoch(self, state: TrainState, epoch: int, on_step: OnStep) -> tuple[TrainState, list[Metrics], float]:
        queue = InFlight(self.steps_per_call)
        metrics, waited, done = [], 0.0, 0
        batches = self._train_loader.epoch(epoch)
        while True:
            asked = time.perf_counter()
            chunk = list(itertools.islice(batches, self.steps_per_call))
            if not chunk:
                return state, metrics, waited
            on_device = self.put(_stack(chunk))
            # If the device has finished all it was given, it waited for this batch: at most since we asked for it.
            if queue.is_idle():
                waited += time.perf_counter() - asked
            state, call_metrics = self._train[len(chunk)](state, on_device)
            metrics.append(call_metrics)
            done += len(chunk)
            queue.add(call_metrics)
            on_step(done)

    def evaluate(self, params: Params) -> np.ndarray:
        correct = [self._evaluate(params, self.put(batch)) for batch in self._test_loader.epoch(0)]
        return np.sum(jax.device_get(correct), axis=0)

    def __enter__(self) -> "HostEngine":
        self._train_loader.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._train_loader.__exit__(*exception)


def _stack(batches: Sequence[Batch]) -> Batch:
    """Batches along a new first axis; one batch is not copied."""
    if len(batches) == 1:
        return jax.tree.map(lambda part: part[None], batches[0])
    return jax.tree.map(lambda *parts: np.stack(parts), *batches)
