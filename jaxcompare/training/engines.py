"""Engines: how the pure steps are executed. Every engine computes the same numbers; they differ in what a call covers.

    step    one call of a compiled program per batch
    chunk   one call per `chunk_size` batches, scanned inside the program
    epoch   one call per epoch, the shuffle included

Host input is prepared by torchvision and copied batch by batch; device input (`data.device`) never leaves the device.
"""

import dataclasses
from collections.abc import Sequence

import jax

from jaxcompare.config import RunConfig
from jaxcompare.data.split import Dataset, training_subset
from jaxcompare.training.device_engine import DeviceEngine
from jaxcompare.training.engine import StackedEngine
from jaxcompare.training.evaluators import Evaluator, evaluate_on_device, evaluate_on_host_batches
from jaxcompare.training.host_engine import HostEngine
from jaxcompare.training.learner import build_learner
from jaxcompare.training.placement import choose_placement


def build_engine(
    config: RunConfig, dataset: Dataset, seeds: Sequence[int], devices: Sequence[jax.Device] | None = None
) -> tuple[StackedEngine, Evaluator]:
    """What `config.execution` names (nothing in it may be "auto"), for `seeds`, and what evaluates its parameters.

    Args:
        config: what to run; its seed gives way to `seeds`, of which host input serves one.
        devices: by default all that JAX has, other processes' too.
    """
    images = config.epoch_images or config.data.train_size or len(dataset.train)
    # Of a batch larger than an epoch the rest would be padding, computed and masked.
    training = dataclasses.replace(config.training, batch_size=min(config.training.batch_size, images))
    config = dataclasses.replace(config, training=training)
    placement = choose_placement(config.model, len(seeds), devices or jax.devices(), config.execution.devices)
    learner = build_learner(config.model, training, config.execution.precision, dataset, seeds, placement)
    if config.execution.input == "device":
        engine = DeviceEngine(config, learner, dataset)
        return engine, evaluate_on_device(engine, dataset)
    # Imported here: PyTorch and torchvision take seconds, and device input needs neither.
    from jaxcompare.data.host import build_loaders

    (seed,) = seeds
    config = config.with_seed(seed)
    drawn = training_subset(dataset, config.data, seed)
    part = placement.part_of_process(training.batch_size)
    loader, tests = build_loaders(
        drawn, config.training, config.data.workers, config.epoch_images, beside_jax=True, part=part
    )
    engine = HostEngine(config, learner, dataset, loader)
    return engine, evaluate_on_host_batches(engine, tests)
