"""Everything that decides a run's numbers: frozen, hashable dataclasses, saved with every record.

This module imports nothing heavy, so that a command line can answer `--help` at once.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

Framework = Literal["jax", "torch"]
ModelName = Literal["cnn", "vit"]
DatasetName = Literal["cifar10", "cifar100", "svhn", "fashion-mnist", "digits", "folder"]
Normalisation = Literal["published", "data"]
Subsets = Literal["independent", "nested"]
DropoutGenerator = Literal["hash", "threefry"]
EngineName = Literal["step", "chunk", "epoch"]
InputPlace = Literal["host", "device"]
Precision = Literal["float32", "tf32", "bfloat16"]


class InputError(ValueError):
    """A mistake in what the user gave. The message is one line: what is wrong, where, what to do."""

    def __init__(self, message: str, lines: Sequence[str] = ()):
        super().__init__(message)
        self.lines = lines
        """What the message has no room for; a script writes it to a file."""


def choose(flag: str, value: str, literal: object, *more: str) -> None:
    """Raise InputError unless `value` is one of the strings of a `Literal` type, or of `more`."""
    choices = (*get_args(literal), *more)
    if value not in choices:
        raise InputError(f"{flag}: {value!r} is unknown; choose one of {', '.join(choices)}")


def _at_least(flag: str, value: float, least: float) -> None:
    # `not >=` rather than `<`, so that NaN is refused as well.
    if not value >= least or value == float("inf"):
        raise InputError(f"{flag}: must be a finite number of at least {least}, not {value}")


UNWRITTEN = ("data_dir", "skip_bad_images", "deterministic", "devices")
"""Fields of a config that a record says in its own words: where images come from and which are left out (its
fingerprint, and `execution.skipped_images`), flags of XLA (`environment.xla_flags`) and devices
(`execution.devices`)."""


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which images a run sees."""

    dataset: DatasetName = "cifar10"
    """The data set. `digits` needs no download; `folder` reads DATA_DIR/train/<class>/* and DATA_DIR/test/<class>/*
    (or val/; docs/use.md has the other layouts)."""
    data_dir: Path = dataclasses.field(default=Path("data"), compare=False)
    """Folder that holds the data set, or into which it is downloaded."""
    train_size: int | None = None
    """Train on this many images, drawn at random with the seed (all of them if not given)."""
    subsets: Literal[Subsets, "auto"] = "auto"
    """How they are drawn: `independent` draws every size anew, as the recipe does; `nested` takes the first of one
    order, stratified by class, so that a larger subset holds a smaller one. `auto`: nested for several seeds."""
    image_size: int = 32
    """Side of the images that the models see, in pixels; others are stretched to it. A multiple of 4, at least 8."""
    normalisation: Normalisation = "published"
    """Channel mean and standard deviation: the published constants, or computed from the training split."""
    workers: int = 0
    """Processes that prepare training batches; 0 prepares them in the training process. Changes no batch."""
    skip_bad_images: bool = dataclasses.field(default=False, compare=False)
    """Of a folder, go on without the files that are no readable images. Records have their names."""

    def __post_init__(self) -> None:
        choose("--dataset", self.dataset, DatasetName)
        choose("--subsets", self.subsets, Subsets, "auto")
        choose("--normalisation", self.normalisation, Normalisation)
        if self.train_size is not None:
            _at_least("--train-size", self.train_size, 1)
        _at_least("--workers", self.workers, 0)
        _at_least("--image-size", self.image_size, 8)
        if self.image_size % 4:
            raise InputError(f"--image-size: must be a multiple of 4, the ViT's patch, not {self.image_size}")
        if self.skip_bad_images and self.dataset != "folder":
            raise InputError("--skip-bad-images: goes with --dataset folder only")

    def resolve(self, seeds: int) -> "DataConfig":
        """The same with "auto" replaced, for an experiment of so many seeds. Without a size nothing is drawn."""
        if self.subsets != "auto":
            return self
        return dataclasses.replace(self, subsets="nested" if seeds > 1 and self.train_size else "independent")


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How a run trains: AdamW (Loshchilov and Hutter, 2019) at a constant learning rate, on every parameter."""

    epochs: int = 20
    """Passes over the training images."""
    batch_size: int = 128
    """Images per optimiser step. The last, shorter batch of an epoch is kept."""
    lr: float = 3e-4
    """Learning rate of AdamW."""
    weight_decay: float = 0.05
    """Decoupled weight decay of AdamW, on every parameter."""
    seed: int = 42
    """Decides initialisation, data order, augmentation, dropout and the subset drawn by --train-size."""
    dropout_generator: DropoutGenerator = "hash"
    """Where the ViT's dropout masks come from: a counter-based hash (fast on CPU), or JAX's own threefry bits."""

    def __post_init__(self) -> None:
        _at_least("--epochs", self.epochs, 1)
        _at_least("--batch-size", self.batch_size, 1)
        _at_least("--lr", self.lr, 0)
        _at_least("--weight-decay", self.weight_decay, 0)
        if not 0 <= self.seed < 2**32:
            raise InputError(f"--seed: must be between 0 and {2**32 - 1}, not {self.seed}")
        choose("--dropout-generator", self.dropout_generator, DropoutGenerator)


@dataclasses.dataclass(frozen=True)
class ExecutionConfig:
    """How a run's steps are executed. Engines differ in speed only; input and precision change the numbers too."""

    engine: Literal[EngineName, "auto"] = "auto"
    """Steps per call of a compiled program: one (`step`), CHUNK_SIZE (`chunk`) or a whole epoch's (`epoch`)."""
    input: Literal[InputPlace, "auto"] = "auto"
    """`host`: the torchvision pipeline, batch by batch; `device`: the images live on the device as uint8 and are
    shuffled, cropped, flipped and normalised inside the program, with draws of its own."""
    chunk_size: int = 16
    """Steps per call of the `chunk` engine."""
    seeds_per_call: int | None = dataclasses.field(default=None, compare=False)
    """Of several seeds in one program, how many are computed at once (not given: one on CPUs, elsewhere as many as
    memory holds). Changes no number beyond rounding."""
    precision: Precision = "float32"
    """`float32` is true float32, on GPUs too. `tf32` rounds the inputs of matrix products (GPUs only). `bfloat16`
    computes in bfloat16, but for normalisation statistics, softmax, loss, parameters and optimiser."""
    devices: int | None = dataclasses.field(default=None, compare=False)
    """Devices that share the seeds and each batch; by default all CPU cores, or as many GPUs as the seeds divide among.
    Changes no number beyond rounding."""
    deterministic: bool = dataclasses.field(default=False, compare=False)
    """On GPUs, have XLA take only operations that give the same bits every time. On CPUs all do: it changes nothing."""

    def __post_init__(self) -> None:
        choose("--engine", self.engine, EngineName, "auto")
        choose("--input", self.input, InputPlace, "auto")
        choose("--precision", self.precision, Precision)
        _at_least("--chunk-size", self.chunk_size, 1)
        if self.seeds_per_call is not None:
            _at_least("--seeds-per-call", self.seeds_per_call, 1)
        if self.devices is not None:
            _at_least("--devices", self.devices, 1)
        if self.engine == "epoch" and self.input == "host":
            raise InputError(
                "--engine epoch: cannot be fed by --input host, whose batches come one by one; "
                "use --input device, or --engine chunk"
            )


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """One training run. Two runs with equal configs have equal numbers (times aside) on one machine."""

    framework: Framework
    model: ModelName
    data: DataConfig
    training: TrainingConfig
    execution: ExecutionConfig = ExecutionConfig("step", "host")
    """PyTorch runs are of one kind: a step a call, host input, float32."""
    epoch_images: int | None = None
    """Images shown per epoch (None: as many as are trained on). More go through them several times, each time in a new
    order; fewer show a part of them, drawn anew every epoch."""

    def with_seed(self, seed: int) -> "RunConfig":
        """The same run from another seed."""
        return dataclasses.replace(self, training=dataclasses.replace(self.training, seed=seed))
