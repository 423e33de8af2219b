"""The learner, the batches and the engine of a cell."""

import dataclasses
from typing import Any

import jax

from jaxcompare.cells import Cell
from jaxcompare.config import DataConfig, ExecutionConfig, RunConfig
from jaxcompare.data.batch import Loader, ReadyBatches
from jaxcompare.jax_side.plain import PlainEngine, to_device
from jaxcompare.models.convolution import ConvLowering
from jaxcompare.options import SLICES, Option
from jaxcompare.side import Setup
from jaxcompare.sizes import DROPOUT_RATE
from jaxcompare.training.device_engine import DeviceEngine
from jaxcompare.training.engine import Engine
from jaxcompare.training.host_engine import HostEngine
from jaxcompare.training.learner import Learner, build_learner
from jaxcompare.training.placement import Placement, choose_placement

LOWERINGS: dict[Option, ConvLowering] = {"im2col": "im2col", "direct": "direct"}


def build_engine(cell: Cell, setup: Setup) -> Engine:
    """Ready to train: what it compiles ahead is compiled."""
    learner = build_cells_learner(cell, setup)
    if not cell.packaged:
        return PlainEngine(cell.engine, learner, build_loader(cell, setup), cell.batch_size)
    config = describe_run(cell, setup)
    if cell.input == "resident":
        return DeviceEngine(config, learner, setup.dataset)
    return HostEngine(config, learner, setup.dataset, build_loader(cell, setup))


def build_cells_learner(cell: Cell, setup: Setup, dropout_rate: float | None = None) -> Learner:
    """A packaged cell's is placed as in training, but for its options. A plain one's is whole on one device, and its
    convolutions are XLA's own, which are its fastest outside a loop; of dropout's generators none is.

    Args:
        dropout_rate: by default the cell's.
    """
    if dropout_rate is None:
        dropout_rate = DROPOUT_RATE if cell.dropout else 0.0
    devices, seeds = jax.local_devices(), setup.seeds_of(cell)
    placement = choose_placement(cell.model, len(seeds), devices) if cell.packaged else Placement((devices[0],))
    return build_learner(
        cell.model,
        setup.training_of(cell),
        cell.precision,
        setup.dataset,
        seeds,
        dataclasses.replace(placement, micro_batch_size=cell.choose(SLICES, placement.micro_batch_size)),
        lowering=cell.choose(LOWERINGS, None if cell.packaged else "direct"),
        dropout_rate=dropout_rate,
    )


def describe_run(cell: Cell, setup: Setup) -> RunConfig:
    """A packaged cell as a run. Every input but resident images comes batch by batch."""
    engine: Any = cell.engine
    return RunConfig(
        "jax",
        cell.model,
        DataConfig(image_size=setup.dataset.train.images.shape[1], subsets="independent"),
        setup.training_of(cell),
        ExecutionConfig(engine, "device" if cell.input == "resident" else "host", precision=cell.precision),
        setup.epoch_images_of(cell),
    )


def build_loader(cell: Cell, setup: Setup) -> Loader:
    """Where a cell's batches come from; of resident images a program makes them."""
    if cell.prepared:
        batches = setup.batches_of(cell)
        return ReadyBatches([to_device(batch) for batch in batches] if cell.input == "prepared" else batches)
    # Imported here: PyTorch and torchvision take seconds, and batches that are ready need neither.
    if cell.input == "recipe":
        from jaxcompare.data.recipe import RecipeLoader

        return RecipeLoader(setup.dataset, setup.training_of(cell))
    from jaxcompare.data.host import build_loaders

    return build_loaders(setup.dataset, setup.training_of(cell), workers=0, beside_jax=True)[0]
