"""A framework's side of a speed study: what it is asked for, and what all that is asked has in common.

`jax_side` and `torch_side` each are one. A side runs in a fresh process, which imports its framework alone.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from jaxcompare.cell_records import Timing
from jaxcompare.cells import RECIPE_STEPS, Cell
from jaxcompare.config import DropoutGenerator, TrainingConfig
from jaxcompare.data.batch import Batch, load_batches
from jaxcompare.data.split import Dataset
from jaxcompare.measure.clock import Phases
from jaxcompare.measure.parity import Outcome, Reference
from jaxcompare.options import Option


@dataclasses.dataclass(frozen=True)
class Setup:
    """What every cell of a study has in common."""

    dataset: Dataset
    """The training images of the study, all of them used; a few test images."""
    training: TrainingConfig
    """But for its batch size, number of epochs and dropout generator, which may be a cell's."""
    batches: Path
    """Folder of the batches that `study.worker.prepare_batches` made."""
    gpu: bool = False
    """Whether the frameworks run on something else than a CPU."""
    command: str = ""
    """See `CellRecord.command`."""

    def training_of(self, cell: Cell) -> TrainingConfig:
        """A cell's. Epochs of the recipe's length are long enough for one to be timed."""
        epochs = 2 if cell.control == "long-epochs" else self.training.epochs
        generators: dict[Option, DropoutGenerator] = {"threefry": "threefry"}
        return dataclasses.replace(
            self.training,
            batch_size=cell.batch_size,
            epochs=epochs,
            dropout_generator=cell.choose(generators, self.training.dropout_generator),
        )

    def epoch_images_of(self, cell: Cell) -> int:
        """How many images an epoch of a cell shows."""
        return RECIPE_STEPS * cell.batch_size if cell.control == "long-epochs" else len(self.dataset.train)

    def batches_of(self, cell: Cell) -> list[Batch]:
        """A cell's, which are prepared."""
        return load_batches(self.batches / str(cell.batch_size))

    def seeds_of(self, cell: Cell) -> list[int]:
        """The first of them is every other cell's."""
        return list(range(self.training.seed, self.training.seed + cell.seeds))


Pause = Callable[[], Any]
"""Called before each turn of epochs; returns when it has come."""


class Side(Protocol):
    """What is measured of a framework's cells, each call the first of its process.

    Raises:
        InputError: the device lacks the precision or the memory, or the loss is no longer finite.
    """

    def find_backend(self) -> str:
        """Where the framework runs: "cpu", or the name of something else."""
        ...

    def time_epochs(self, cell: Cell, setup: Setup, cache: Path, *, cold: bool, pause: Pause) -> Timing:
        """Train epochs in turns and time each, see `measure.clock.time_epochs`; programs are compiled into a cache,
        which is empty if they are to be compiled `cold`.

        Raises:
            RuntimeError: a program came from a cache where it was to be compiled cold, or was compiled after the first
                epoch, or a clock was read too early.
        """
        ...

    def compile_warm(self, cell: Cell, setup: Setup, cache: Path) -> dict[str, dict[str, Any]]:
        """What compiling takes where `time_epochs` has left every program in the cache; see
        `CellRecord.warm_compile_times`.

        Raises:
            RuntimeError: a program was compiled anew.
        """
        ...

    def run_gate(self, cell: Cell, setup: Setup, reference: Reference) -> Outcome:
        """What the cell's way to run the model makes of a reference's weights and batches, compiler, precision and
        layout included. Dropout is off."""
        ...

    def measure_phases(self, cell: Cell, setup: Setup) -> Phases:
        """Where a step's time goes, on batches of the host's pipeline."""
        ...

    def save_trace(self, cell: Cell, setup: Setup, folder: Path) -> None:
        """Write a profiler's trace of the second epoch, and of compiled JAX the optimised HLO of every program."""
        ...
