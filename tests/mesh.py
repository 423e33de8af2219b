"""What tests of meshes train, each in a process of its own: JAX's devices and its precision are what they are once it
has started."""

from typing import NamedTuple

import jax
import numpy as np
from toy import build_toy

from jaxcompare.compat import jax as compat
from jaxcompare.config import DataConfig, ExecutionConfig, ModelName, RunConfig, TrainingConfig
from jaxcompare.data.split import Dataset, Split
from jaxcompare.models import build_model
from jaxcompare.training import learner, placement
from jaxcompare.training.engines import build_engine

STEPS = 20


class Case(NamedTuple):
    """What is trained, in float64."""

    model: ModelName | str = "toy"
    images: int = 37
    batch_size: int = 16
    seeds: int = 1
    micro_batch: int | None = 4
    execution: ExecutionConfig = ExecutionConfig("chunk", "device", chunk_size=2)


class Outcome(NamedTuple):
    """Of one number of devices."""

    mesh: tuple[int, int]
    losses: np.ndarray
    """(seeds, steps)."""
    params: list[np.ndarray]
    """By leaf, (seeds, values)."""
    hits: list[int]
    """Of the test images, by seed."""


def random_dataset(images: int) -> Dataset:
    """8x8 pixels, three classes, 13 test images."""
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (images + 13, 8, 8, 3), np.uint8), rng.integers(0, 3, images + 13)
    train, test = (Split(pixels[part], labels[part].astype(np.int32)) for part in (slice(13, None), slice(13)))
    return Dataset("random pixels", ("a", "b", "c"), train, test, ((0.5,) * 3, (0.25,) * 3), "fingerprint")


def train_on(case: Case, counts: list[int]) -> list[Outcome]:
    """The same on each of these numbers of devices."""
    compat.set_cpu_devices(max(counts))
    jax.config.update("jax_enable_x64", True)
    placement.CPU_MICRO_BATCH_SIZES[case.model] = case.micro_batch
    if case.model == "toy":
        learner.build_model = build_toy
    else:
        learner.build_model = lambda name, **options: build_model(
            name, **options, **({"layers": 1} if name == "vit" else {})
        )
    return [_train(case, count) for count in counts]


def _train(case: Case, devices: int) -> Outcome:
    dataset = random_dataset(case.images)
    config = RunConfig("jax", case.model, DataConfig(), TrainingConfig(batch_size=case.batch_size), case.execution)
    engine, evaluate = build_engine(config, dataset, range(case.seeds), jax.devices()[:devices])
    losses: list[np.ndarray] = []
    with engine:
        state = engine.init()
        for epoch in range(-(-STEPS // engine.batches)):
            state, metrics, _ = engine.train_epoch(state, epoch, lambda done: None)
            losses += [np.asarray(call.loss) for call in metrics]
        hits = [int(count) for count in evaluate(state.params)]
    mesh = engine.learner.placement.mesh
    leaves = [np.asarray(leaf).reshape(case.seeds, -1) for leaf in jax.tree.leaves(state.params)]
    return Outcome(tuple(mesh.devices.shape), np.concatenate(losses, 1), leaves, hits)
