"""Speed cells: what one timed process ran, and what came out. JSON Lines, written whole, read strictly."""

import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from jaxcompare.config import Engine, Framework, InputPlace, ModelName, Precision
from jaxcompare.records import build_exactly, load_lines, save_lines

TorchEngine = Literal["eager", "compile", "cudagraphs"]
TorchInput = Literal["memory", "recipe"]


@dataclasses.dataclass(frozen=True)
class Cell:
    """One way to train one model."""

    framework: Framework
    model: ModelName
    engine: Engine | TorchEngine
    """JAX: see `training.engines`. PyTorch: eager, `torch.compile`, or that with CUDA graphs."""
    input: InputPlace | TorchInput
    """`memory`: batches made before the clock starts, on the device; `recipe`: the recipe's own loader, two workers."""
    precision: Precision = "float32"
    seeds: int = 1
    """Runs in one program."""

    @property
    def title(self) -> str:
        """As a person reads it."""
        framework = {"jax": "JAX", "torch": "PyTorch"}[self.framework]
        return f"{framework} {self.engine}, {self.input} input" + (f", {self.seeds} seeds" if self.seeds > 1 else "")


@dataclasses.dataclass(frozen=True)
class CellRecord:
    """What one fresh process measured of a cell."""

    cell: Cell
    repeat: int
    epoch_time_s: list[float]
    """Of each epoch after the warm-up, all seeds together; evaluation and compilation are not in it."""
    warm_up_time_s: list[float]
    """Of each epoch before that."""
    compile_time_s: float | None
    """Ahead-of-time compilation; None for PyTorch, which compiles, if at all, in its warm-up epoch."""
    ceiling_flops_per_s: float
    """Of a large matrix product in the same process and precision."""
    train_images: int
    image_size: int
    num_classes: int
    batch_size: int
    seed: int
    dataset_title: str
    data_fingerprint: str
    execution: dict[str, Any]
    environment: dict[str, Any]
    git_commit: str | None

    @property
    def image_time_s(self) -> float:
        """Median over epochs of the seconds per training image and seed."""
        return statistics.median(self.epoch_time_s) / self.train_images / self.cell.seeds


def save_cells(path: Path, records: Sequence[CellRecord]) -> None:
    """Write a file of cell records, whole."""
    save_lines(path, [dataclasses.asdict(record) for record in records])


def load_cells(path: Path) -> list[CellRecord]:
    """Read every record; see `records.load_lines`."""

    def parse(value: dict[str, Any]) -> CellRecord:
        return build_exactly(CellRecord, value | {"cell": build_exactly(Cell, value["cell"])})

    return load_lines(path, parse, "cell record")
