"""What the tests of timed cells share: tiny cells, timed in this process."""

import dataclasses
import tempfile
from pathlib import Path

from jaxcompare.cells import Cell
from jaxcompare.config import DataConfig, TrainingConfig
from jaxcompare.data.datasets import load_dataset
from jaxcompare.data.split import training_subset
from jaxcompare.jax_side import epochs as jax_epochs
from jaxcompare.side import Setup
from jaxcompare.torch_side import epochs as torch_epochs

DATA = DataConfig("digits", train_size=64, subsets="independent", image_size=8)
SETUP = Setup(
    training_subset(load_dataset(DATA), DATA, 42),
    TrainingConfig(epochs=3, batch_size=32, lr=1e-3),
    Path(tempfile.mkdtemp()),
)
STEP = Cell("cnn", "step", batch_size=32)
EAGER = Cell("cnn", "eager", batch_size=32)


def setup_of(**training):
    return dataclasses.replace(SETUP, training=dataclasses.replace(SETUP.training, **training))


def jax_timing(cell, epochs=3):
    return jax_epochs.time_cell(cell, setup_of(epochs=epochs), lambda: None)


def torch_timing(cell, epochs=3):
    return torch_epochs.time_epochs(cell, setup_of(epochs=epochs), lambda: None)
