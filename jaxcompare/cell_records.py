"""What fresh processes measured of speed cells.

`cells.jsonl` holds everything, a process a line, and is read strictly; `cells.csv` is its frame, see `cell_frame`.
"""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from jaxcompare.cells import RECIPE_STEPS, Cell
from jaxcompare.fields import STRICT, Classes, Count, FromZero, Phases, Positive, WholeFromZero
from jaxcompare.lines import load_lines, save_lines
from jaxcompare.measurements import LINES

MUST_AGREE = ("tf32", "bfloat16", "threads", "malloc")
"""What the manifests of two cells of one precision must have in common for a ratio of their times to mean anything. The
rest differs between the frameworks by nature (layout, dropout generator, donation) and is there to be read."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Timing:
    """What one fresh process measured of a cell."""

    __pydantic_config__: ClassVar[Any] = STRICT

    import_time_s: FromZero | None = None
    """Of the framework and this package, in a process that has Python alone. None: an older record."""
    build_time_s: FromZero | None = None
    """From there to the first epoch, but for compilation: device, images on it, model, optimiser."""
    epoch_time_s: list[Positive] = dataclasses.field(default_factory=list)
    """Of each turn after the warm-up, the mean of its epochs; all seeds together. Evaluation and compilation are not in
    it."""
    warm_up_time_s: list[Positive] = dataclasses.field(default_factory=list)
    """Of each epoch before that."""
    first_step_time_s: list[Positive] = dataclasses.field(default_factory=list)
    """Of each step of the first epoch, the device waited for after each. Empty
    for compiled JAX, whose programs are compiled ahead; JAX op by op finds its operations in the usual cache, once one
    process has compiled them."""
    input_wait_s: list[FromZero] = dataclasses.field(default_factory=list)
    """Of each turn, an epoch's mean: how long the device had nothing to do for want of a batch, as far as known; of
    PyTorch, how long the next batch took to come. Empty for plain JAX."""
    page_faults: list[WholeFromZero] = dataclasses.field(default_factory=list)
    """Of each turn, an epoch's mean: pages that the process touched for the first time, or anew after giving them
    back."""
    energy_j: list[FromZero] = dataclasses.field(default_factory=list)
    """Of each turn, an epoch's mean: joules that the GPU took, see `measure.energy`. Empty: nothing counts them."""
    others_share: FromZero | None = None
    """Of the cores that the process may run on, the share that other work took during its timed epochs."""
    compile_times: Phases = dataclasses.field(default_factory=dict)
    """Of each program compiled ahead (JAX): see `measure.timing.CompileTimes`. torch.compile compiles in its first
    step."""
    programs: WholeFromZero = 0
    """Compiled programs: ahead and in the first epoch, counted. A later one ends the measurement."""
    ceiling_flops_per_s: FromZero = 0.0
    """Of a large matrix product in the same process and precision."""
    copy_bytes_per_s: FromZero = 0.0
    """Of a large copy within the device's memory, each byte counted as read and written."""
    memory: dict[str, WholeFromZero | None] = dataclasses.field(default_factory=dict)
    """Bytes: `allocator` (the device's, at most in use), `plan` (XLA's, of the largest training program) and `process`
    (largest resident set, by the operating system). None: there is none."""
    manifest: dict[str, Any] = dataclasses.field(default_factory=dict)
    """The fairness manifest: every setting that decides a time, read back where the framework has it; see
    MUST_AGREE. What it says of rounding is proved by the parity gate."""
    environment: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def quickest_epoch_s(self) -> float:
        """Seconds an epoch of the quickest turn: what else a machine does only ever adds to a turn."""
        return min(self.epoch_time_s)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CellRecord(Timing):
    """A cell's timing, and what it is a timing of."""

    cell: Cell
    repeat: WholeFromZero
    started_at: str
    """ISO 8601, UTC. Within a repeat, what was interrupted goes on later: ratios are best where these are near."""
    command: str
    """That measured it, but for where the images and the results are."""
    epochs: Count
    """Asked for, the warm-up among them; each other is a turn, which may have more. Epochs of the recipe's length are
    timed once."""
    train_images: Count
    epoch_images: Count
    """That an epoch shows: as many, but for controls that go through them again and again."""
    image_size: Count
    num_classes: Classes
    seed: int
    dataset_title: str
    data_fingerprint: str
    git_commit: str | None
    parity: dict[str, FromZero]
    """How far the cell's side was from the float64 reference before it was timed; see `measure.parity.Deviation`."""
    warm_compile_times: Phases = dataclasses.field(default_factory=dict)
    """As `compile_times`, of a second fresh process that found every program in the first one's cache. torch.compile:
    under `first step`, the whole of its first step. Empty where it was not measured: in later repeats, and of inputs
    that a cell with batches on the device stands for."""
    message: str = ""
    """Why the cell was not measured; its times are empty then."""

    @property
    def image_time_s(self) -> float:
        """Seconds per training image and seed, of the quickest turn."""
        return self.quickest_epoch_s / self.epoch_images / self.cell.seeds

    @property
    def steps(self) -> int:
        """Optimiser steps of an epoch."""
        return math.ceil(self.epoch_images / self.cell.batch_size)

    @property
    def step_time_s(self) -> float:
        """Seconds per optimiser step of all seeds."""
        return self.quickest_epoch_s / self.steps

    @property
    def compile_time_s(self) -> float | None:
        """Tracing, lowering and compiling what training needs, ahead of time; None for PyTorch and for JAX without
        jit, which compile, if at all, in the first epoch."""
        return _total(self.compile_times)

    @property
    def warm_compile_time_s(self) -> float | None:
        """The same where every program is in the cache; None where it was not measured."""
        return _total(self.warm_compile_times)

    @property
    def cold_compile_s(self) -> float | None:
        """Every program of training compiled ahead (JAX), or the whole first step, which compiles it (torch.compile).
        None: there is none."""
        if self.cell.framework == "torch" and self.cell.compiled and self.first_step_time_s:
            return self.first_step_time_s[0]
        return self.compile_time_s

    @property
    def first_run_s(self) -> float:
        """What the first epoch took beyond a later one."""
        return max(0.0, self.warm_up_time_s[0] - self.quickest_epoch_s)

    @property
    def startup_s(self) -> float | None:
        """From the framework's import to the end of the first step, with an empty cache."""
        return self._startup_s(self.compile_time_s or 0.0, self.first_step_time_s)

    @property
    def warm_startup_s(self) -> float | None:
        """The same where every program is in the cache; None where that was not measured."""
        if (compiled := self.warm_compile_time_s) is None:
            return None
        if self.cell.framework == "torch":  # which compiles in its first step
            return self._startup_s(0.0, [compiled])
        return self._startup_s(compiled, [])

    def _startup_s(self, compile_s: float, first_steps: Sequence[float]) -> float | None:
        if self.import_time_s is None or self.build_time_s is None:
            return None
        first_step_s = first_steps[0] if first_steps else self.first_run_s + self.step_time_s
        return self.import_time_s + self.build_time_s + compile_s + first_step_s

    @property
    def one_time_s(self) -> float:
        """What is paid once: compilation ahead of time, and the first run."""
        return (self.compile_time_s or 0.0) + self.first_run_s


def _total(programs: dict[str, dict[str, Any]]) -> float | None:
    if not programs:
        return None
    return sum(value for times in programs.values() for name, value in times.items() if name.endswith("_s"))


def save_cells(path: Path, records: Sequence[CellRecord]) -> None:
    """Write a file of cell records, whole."""
    save_lines(path, [dataclasses.asdict(record) for record in records])


def load_cells(path: Path) -> list[CellRecord]:
    """Read every record; see `lines.load_lines`."""
    return load_lines(path, CellRecord, "cell record", _check_timing, lambda record: (record.cell, record.repeat))


def load_measurements(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Of each of LINES what a folder holds, perhaps nothing."""
    paths = {name: folder / f"{name}.jsonl" for name in LINES}
    return {name: load_lines(path, LINES[name], "measurement") if path.exists() else [] for name, path in paths.items()}


def _check_timing(record: CellRecord) -> None:
    """Raise ValueError where a process that measured something lacks a number that every one has, or where numbers do
    not go together."""
    if record.message:
        return
    for name in ("epoch_time_s", "warm_up_time_s", "page_faults", "ceiling_flops_per_s", "copy_bytes_per_s"):
        if not getattr(record, name):
            raise ValueError(f"{name} holds {getattr(record, name)}")
    shown = RECIPE_STEPS * record.cell.batch_size if record.cell.control == "long-epochs" else record.train_images
    if record.epoch_images != shown:
        raise ValueError(f"epoch_images is {record.epoch_images}, {shown} are shown")
    for name, needed in (
        ("manifest", {*MUST_AGREE, "dropout_generator"}),
        ("environment", {"cpu", "cpu_cores", "device", "versions"}),
        ("parity", {"logits", "gradients", "losses"}),
    ):
        if missing := needed - set(getattr(record, name)):
            raise ValueError(f"{name} lacks {sorted(missing)}")
    for precision in ("tf32", "bfloat16"):
        if record.manifest[precision] != (record.cell.precision == precision):
            raise ValueError(f"a cell in {record.cell.precision} whose manifest has {precision} otherwise")
