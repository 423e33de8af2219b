"""Speed cells: what one timed process ran, and what came out. JSON Lines, written whole, read strictly."""

import dataclasses
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from jaxcompare.config import Engine, Framework, InputPlace, ModelName, Precision
from jaxcompare.records import build_exactly, load_lines, save_lines

TorchEngine = Literal["eager", "compile", "cudagraphs"]
TorchInput = Literal["memory", "recipe"]


MUST_AGREE = ("tf32", "bfloat16", "threads")
"""What two cells' manifests must have in common for a ratio of their times to mean anything. The rest differs between
the frameworks by nature (layout, dropout generator, donation) and is there to be read."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """One way to train one model."""

    framework: Framework
    model: ModelName
    engine: Engine | Literal["op"] | TorchEngine
    """JAX: see `training.engines`, and `op`: without jit, operation by operation. PyTorch: eager, `torch.compile`, or
    that with CUDA graphs."""
    input: InputPlace | TorchInput
    """`memory`: batches made before the clock starts, on the device; `recipe`: the recipe's own loader, two workers."""
    precision: Precision = "float32"
    seeds: int = 1
    """Runs in one program."""

    @property
    def title(self) -> str:
        """As a person reads it."""
        framework = {"jax": "JAX", "torch": "PyTorch"}[self.framework]
        engine = "op by op" if self.engine == "op" else self.engine
        return f"{framework} {engine}, {self.input} input" + (f", {self.seeds} seeds" if self.seeds > 1 else "")


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
    manifest: dict[str, Any]
    """The fairness manifest: every setting that decides a time, read back from the framework; see MUST_AGREE."""
    environment: dict[str, Any]
    git_commit: str | None
    parity: dict[str, float]
    """How far the cell's side was from the float64 reference before it was timed; see `measure.parity.Deviation`."""
    message: str = ""
    """Why the cell was not measured; its times are empty then."""

    @property
    def image_time_s(self) -> float:
        """Median over epochs of the seconds per training image and seed."""
        return statistics.median(self.epoch_time_s) / self.train_images / self.cell.seeds

    @property
    def step_time_s(self) -> float:
        """Seconds per optimiser step of all seeds: of an epoch, short last batch included."""
        return statistics.median(self.epoch_time_s) / math.ceil(self.train_images / self.batch_size)

    @property
    def one_time_s(self) -> float:
        """What is paid once: compilation ahead of time, and what the first epoch took beyond a later one (in PyTorch,
        compilation is a part of that)."""
        return (self.compile_time_s or 0.0) + max(0.0, self.warm_up_time_s[0] - statistics.median(self.epoch_time_s))


def save_cells(path: Path, records: Sequence[CellRecord]) -> None:
    """Write a file of cell records, whole."""
    save_lines(path, [dataclasses.asdict(record) for record in records])


def load_cells(path: Path) -> list[CellRecord]:
    """Read every record; see `records.load_lines`."""

    def parse(value: dict[str, Any]) -> CellRecord:
        return build_exactly(CellRecord, value | {"cell": build_exactly(Cell, value["cell"])})

    return load_lines(path, parse, "cell record")
