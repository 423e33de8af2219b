"""The input pipelines by themselves: no model is run."""

import itertools
import time
from typing import Any

from jaxcompare.data.host import HostLoader
from jaxcompare.data.recipe import RecipeStream
from jaxcompare.data.split import Dataset
from jaxcompare.measure.environment import describe_environment

PASSES = 4
"""Over the training images: what an input pipeline is timed for."""


def measure_inputs(dataset: Dataset, batch_size: int, workers: int) -> list[dict[str, Any]]:
    """Images per second of each pipeline in its steady state, over PASSES passes after one of warm-up."""
    host = HostLoader(
        dataset.train,
        batch_size,
        dataset.statistics,
        augment=True,
        shuffle=True,
        epoch_images=(PASSES + 2) * len(dataset.train),  # one epoch; more than is taken, so that workers never run out
        workers=workers,
    )
    # The recipe's workers are forked: first, from a process without threads.
    pipelines = {"recipe": RecipeStream(dataset, batch_size, workers=workers), "jaxcompare": host}
    environment = describe_environment("torch")
    return [
        {"pipeline": name, **_time_passes(loader, len(dataset.train), batch_size), "environment": environment}
        for name, loader in pipelines.items()
    ]


def _time_passes(loader: HostLoader | RecipeStream, images: int, batch_size: int) -> dict[str, float]:
    with loader:
        batches = itertools.chain.from_iterable(loader.epoch(epoch) for epoch in itertools.count())
        per_pass = round(images / batch_size)
        for _ in itertools.islice(batches, per_pass):
            pass
        start = time.perf_counter()
        for _ in itertools.islice(batches, PASSES * per_pass):
            pass
        seconds = time.perf_counter() - start
    shown = PASSES * per_pass * batch_size
    return {"images": shown, "images_per_s": shown / seconds}
