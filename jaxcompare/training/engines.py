"""Engines: how the pure steps are executed. Every engine computes the same numbers; they differ in what a call covers.

    step    one call of a compiled program per batch
    chunk   one call per `chunk_size` batches, scanned inside the program
    epoch   one call per epoch, the shuffle included

Host input is prepared by torchvision and copied batch by batch; device input (`data.device`) never leaves the device.
States are stacked: axis 0 of every leaf is the seed, also where there is one.
"""

from collections.abc import Sequence

import jax

from jaxcompare.config import RunConfig
from jaxcompare.data.batch import Loader
from jaxcompare.data.split import Dataset
from jaxcompare.models.vit import DROPOUT_RATE
from jaxcompare.training.device_engine import DeviceEngine
from jaxcompare.training.engine import Engine
from jaxcompare.training.host_engine import HostEngine


def build_engine(
    config: RunConfig,
    dataset: Dataset,
    seeds: Sequence[int],
    devices: Sequence[jax.Device] | None = None,
    loader: Loader | None = None,
    compiled: bool = True,
    evaluation: bool = True,
    dropout: bool = True,
) -> Engine:
    """The engine that `config.execution` names (nothing in it may be "auto"), for `seeds`.

    Args:
        config: what to run; its seed gives way to `seeds`.
        devices: by default all of this process's.
        loader: of host input, by default the host pipeline; with another, `evaluation` must be off.
        compiled: ready to run; without, for what a step is made of.
        evaluation: ready to evaluate too.
        dropout: at the recipe's rate.
    """
    assert loader is None or not (compiled and evaluation), "another loader has no test images"
    devices, rate = devices or jax.local_devices(), DROPOUT_RATE if dropout else 0.0
    engine: Engine
    if config.execution.input == "device":
        engine = DeviceEngine(config, dataset, seeds, devices, rate)
    else:
        (seed,) = seeds
        engine = HostEngine(config.with_seed(seed), dataset, devices, loader, rate)
    if compiled:
        engine.compile_programs(evaluation=evaluation)
    return engine
