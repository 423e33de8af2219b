"""Run records: what a run was, what it was measured on, what came out."""

import dataclasses
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from jaxcompare.config import UNWRITTEN, ModelName, RunConfig
from jaxcompare.fields import STRICT, Classes, Count, Fraction, FromZero, FromZeroOrNan, Phases, Points, Positive
from jaxcompare.lines import load_lines, save_lines

SCHEMA = 3

BUSY = 0.05
"""Share of the cores from which on other work counts: what a system does of its own is less."""

Status = Literal["running", "complete", "diverged", "interrupted"]
Experiment = Literal["full_comparison", "data_efficiency", "framework_agreement"]


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a person wrote down before training: the recipe's four questions."""

    __pydantic_config__: ClassVar[Any] = STRICT

    more_accurate: ModelName
    faster: ModelName
    """Which takes less time per epoch."""
    gap_points: Points
    """Between the two best test accuracies, in percentage points, whichever is ahead."""
    reasoning: str = ""


@dataclasses.dataclass(frozen=True)
class History:
    """One value per epoch. Accuracies are fractions; `train_loss` is the mean of the batch means, NaN where it was."""

    __pydantic_config__: ClassVar[Any] = STRICT

    train_loss: list[FromZeroOrNan] = dataclasses.field(default_factory=list)
    train_accuracy: list[Fraction] = dataclasses.field(default_factory=list)
    """On the augmented training batches, dropout on, while training."""
    test_accuracy: list[Fraction] = dataclasses.field(default_factory=list)
    """On the whole test split, dropout off, after the epoch."""
    epoch_time_s: list[Positive] = dataclasses.field(default_factory=list)
    """The training part only: evaluation and compilation are not in it. Of several seeds in one program, each one's
    equal share."""
    evaluation_time_s: list[FromZero] = dataclasses.field(default_factory=list)
    input_wait_s: list[FromZeroOrNan] = dataclasses.field(default_factory=list)
    """Of the epoch's time, at most how much the device had nothing to do for want of a batch; NaN: not measured."""
    others_share: list[FromZeroOrNan] = dataclasses.field(default_factory=list)
    """Of this process's cores, what other work took during the epoch's training; NaN: not measured."""

    def __post_init__(self) -> None:
        lengths = {len(series) for series in dataclasses.asdict(self).values()}
        if len(lengths) > 1:
            raise ValueError(f"series of different lengths: {sorted(lengths)}")

    def times_alone(self, seeds: int = 1) -> list[float]:
        """Each epoch's seconds, NaN where other work took BUSY of the cores or more. Of epochs under a second, shared
        by so many seeds, that is not known, nor of those in which it was not measured: theirs stand."""
        return [
            math.nan if share >= BUSY and time_s * seeds >= 1 else time_s
            for time_s, share in zip(self.epoch_time_s, self.others_share, strict=True)
        ]

    def with_epoch(self, **values: float) -> "History":
        """This history and one more epoch; every series is given a value."""
        return History(**{name: [*series, values[name]] for name, series in dataclasses.asdict(self).items()})


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """One run, complete in itself."""

    __pydantic_config__: ClassVar[Any] = STRICT

    config: RunConfig
    status: Status
    params: Count
    """Number of trainable parameters."""
    dataset_title: str
    """The data set as a reader should see it named: for a folder of images, the folder's name."""
    data_fingerprint: str
    """Of the decoded images and labels of both splits, before any subset is drawn."""
    train_images: Count
    test_images: Count
    num_classes: Classes
    history: History
    compile_times: Phases
    """Seconds to trace, lower and compile each program, and whether it came from the cache; empty for PyTorch eager."""
    execution: dict[str, Any]
    """What the run's config leaves open about its execution: seeds in the program, lowerings, micro-batches, memory."""
    environment: dict[str, Any]
    git_commit: str | None
    started_at: str
    """UTC, ISO 8601."""
    message: str = ""
    """Why a run that is not complete ended."""
    experiment: Experiment | None = None
    """What the run is a part of."""
    prediction: Prediction | None = None
    """Made before the run began."""
    schema: Literal[3] = SCHEMA

    @property
    def identity(self) -> tuple[object, ...]:
        """Equal for two states of one run."""
        return self.experiment, self.config, self.data_fingerprint

    @property
    def best_test_accuracy(self) -> float:
        """The best epoch's: chosen on the test split, as the recipe does, hence optimistic. NaN without an epoch."""
        return max((a for a in self.history.test_accuracy if not math.isnan(a)), default=math.nan)

    @property
    def final_test_accuracy(self) -> float:
        return self.history.test_accuracy[-1] if self.history.test_accuracy else math.nan

    @property
    def epoch_time_s(self) -> float:
        """Of the median epoch, of those trained alone; NaN without one."""
        times = [t for t in self.history.times_alone(self.execution.get("seeds", 1)) if not math.isnan(t)]
        return statistics.median(times) if times else math.nan

    @property
    def compile_time_s(self) -> float:
        """Seconds spent on compiling every program of the run, or on reading it from the cache."""
        return math.fsum(t[phase] for t in self.compile_times.values() for phase in ("trace_s", "lower_s", "compile_s"))

    @property
    def compiled(self) -> Literal["cold", "warm", "partly warm", "not"]:
        """Whether the programs came from the persistent cache (warm), or XLA compiled them (cold)."""
        cached = [times["from_cache"] for times in self.compile_times.values()]
        if not cached:
            return "not"
        return "warm" if all(cached) else "partly warm" if any(cached) else "cold"


def after_epoch(record: RunRecord, **values: float) -> RunRecord:
    """The record with one more epoch in its history, and its status: diverged, complete, or still running."""
    record = dataclasses.replace(record, history=record.history.with_epoch(**values))
    epoch, loss = len(record.history.train_loss), record.history.train_loss[-1]
    if not math.isfinite(loss):
        message = f"the training loss is {'NaN' if math.isnan(loss) else 'infinite'} in epoch {epoch}; try a lower --lr"
        return dataclasses.replace(record, status="diverged", message=message)
    return dataclasses.replace(record, status="complete") if epoch == record.config.training.epochs else record


def short_commit(commit: str) -> str:
    """Seven digits, and whether the source was changed since."""
    digits, changes, _ = commit.partition("+changes")
    return digits[:7] + changes


def complete_runs(path: Path) -> dict[tuple[object, ...], RunRecord]:
    """By identity: the complete runs of a file, or none where there is no file."""
    records = load_records(path) if path.exists() else []
    return {record.identity: record for record in records if record.status == "complete"}


def save_records(path: Path, records: Sequence[RunRecord]) -> None:
    """Add records to a file of records, each in place of an earlier state of the same run.

    The file is replaced as a whole: a reader, or a crash, sees the old records or the new ones.
    """
    runs = {record.identity for record in records}
    kept = [record for record in load_records(path) if record.identity not in runs] if path.exists() else []
    save_lines(path, [run_values(record) for record in [*kept, *records]])


def load_records(path: Path) -> list[RunRecord]:
    """Read every record; see `load_lines`."""
    return load_lines(path, RunRecord, f"run record of schema {SCHEMA}", check_run, lambda run: run.identity)


def check_run(record: RunRecord) -> None:
    """Raise ValueError unless a run's numbers go together: how many epochs and images it has, and which losses."""
    losses, epochs, size = record.history.train_loss, record.config.training.epochs, record.config.data.train_size
    if len(losses) > epochs or (record.status == "complete" and len(losses) < epochs):
        raise ValueError(f"history has {len(losses)} epochs of {epochs}, status is {record.status!r}")
    if any(map(math.isnan, losses[:-1] if record.status == "diverged" else losses)):
        raise ValueError(f"history.train_loss holds null, status is {record.status!r}")
    if size is not None and record.train_images != size:
        raise ValueError(f"train_images is {record.train_images}, config.data.train_size {size}")
    if missing := {"cpu", "cpu_cores", "backend", "device", "versions"} - set(record.environment):
        raise ValueError(f"environment lacks {sorted(missing)}")


def run_values(record: RunRecord) -> dict[str, Any]:
    """A run as JSON has it: NaN is null, and UNWRITTEN is left out."""

    def plain(value: Any) -> Any:
        match value:
            case dict():
                return {key: plain(item) for key, item in value.items()}
            case list() | tuple():
                return [plain(item) for item in value]
            case float() if not math.isfinite(value):
                return None
        return value

    value = dataclasses.asdict(record)
    config = value["config"]
    for part in ("data", "execution"):
        config[part] = {name: one for name, one in config[part].items() if name not in UNWRITTEN}
    return plain(value)
