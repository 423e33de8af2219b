"""Speed cells: one way to train one model each."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, TypeVar, get_args

from jaxcompare.config import EngineName, Framework, ModelName, Precision, TrainingConfig
from jaxcompare.fields import STRICT, Count
from jaxcompare.options import ON_GPUS, OPTIONS, Option

T = TypeVar("T")
TorchEngine = Literal["eager", "compile"]
JaxEngine = Literal["op", "traced", "jit", "step", "chunk", "epoch"]
CellEngine = TorchEngine | JaxEngine
CellInput = Literal["recipe", "host", "arrays", "prepared", "resident"]
"""Where training batches come from, the slowest first: the recipe's own DataLoader (PIL images, two workers, each two
batches ahead); this package's host pipeline, in the training process; batches prepared in host memory before the clock
starts; the same on the device; images on the device as uint8, of which each step makes its batch."""
ON_DEVICE: tuple[CellInput, ...] = ("prepared", "resident")
"""Inputs of which nothing is copied while a cell trains."""
Control = Literal["no-dropout", "long-epochs"]

ENGINES: dict[CellEngine, str] = {
    "eager": "PyTorch eager",
    "compile": "torch.compile",
    "op": "JAX op by op",
    "traced": "JAX op by op, traced once",
    "jit": "JAX plain jit",
    "step": "JAX step",
    "chunk": "JAX chunk",
    "epoch": "JAX epoch",
}
"""As a person reads them."""


PLAIN: tuple[CellEngine, ...] = ("op", "traced", "jit")
"""JAX without this package's ways: steps take a batch."""


def input_on_device(engine: CellEngine) -> CellInput:
    """How an engine takes what is on the device before the clock starts: this package's make batches of images."""
    return "resident" if engine in get_args(EngineName) else "prepared"


RECIPE_STEPS = 391
"""Optimiser steps of an epoch of the recipe: 50,000 images in batches of 128."""


CONTROLS: dict[Control, str] = {
    "no-dropout": "no dropout",
    "long-epochs": f"epochs of {RECIPE_STEPS} steps",
}
"""What a control changes, as a person reads it: the ViT trains without dropout, whose masks each framework draws in its
own way; the images are gone through again and again, until an epoch has as many steps as the recipe's."""


@dataclasses.dataclass(frozen=True)
class Cell:
    """One way to train one model."""

    __pydantic_config__: ClassVar[Any] = STRICT

    model: ModelName
    engine: CellEngine
    """PyTorch: eager or `torch.compile`. JAX: as in `jax_side.plain` or `training.engines`."""
    input: CellInput = None  # type: ignore[assignment]
    """By default what is on the device, as the engine takes it."""
    precision: Precision = "float32"
    batch_size: Count = TrainingConfig.batch_size
    seeds: Count = 1
    """Runs in one program."""
    control: Control | None = None
    """What is changed of a cell of the matrix, to see what it has to do with the matrix's ratios."""
    options: tuple[Option, ...] = ()
    """What is changed of how the step is run; none: as the recipe has it, or as this package trains."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", tuple(self.options))
        if self.input is None:
            object.__setattr__(self, "input", input_on_device(self.engine))

    @property
    def framework(self) -> Framework:
        """Whose engine it is."""
        return "torch" if self.engine in get_args(TorchEngine) else "jax"

    @property
    def group(self) -> tuple[ModelName, Precision]:
        """What it is compared within."""
        return self.model, self.precision

    @property
    def compiled(self) -> bool:
        """Whether a step's forward and backward pass, or more, are one program."""
        return self.engine not in ("eager", "op", "traced")

    @property
    def packaged(self) -> bool:
        """Whether one of this package's engines runs it, as it trains: in micro-batches, on every core."""
        return self.engine in get_args(EngineName)

    @property
    def same_step(self) -> bool:
        """Whether its steps, and how many an epoch has, are the recipe's: what it takes may stand for its framework."""
        return self.control is None

    @property
    def dropout(self) -> bool:
        """Whether it trains with the recipe's dropout."""
        return self.control != "no-dropout"

    @property
    def prepared(self) -> bool:
        """Whether its batches are made before its process starts."""
        return self.input in ("arrays", "prepared")

    @property
    def on_device(self) -> bool:
        """Whether nothing is copied to the device while it trains."""
        return self.input in ON_DEVICE

    def choose(self, among: Mapping[Option, T], default: T) -> T:
        """What stands for the one of some options that the cell has; `default` if it has none of them."""
        return next((value for option, value in among.items() if option in self.options), default)

    def by(self, engine: CellEngine) -> "Cell":
        """The same with another engine, which takes what is on the device in its own way."""
        return dataclasses.replace(self, engine=engine, input=input_on_device(engine) if self.on_device else self.input)

    @property
    def resident(self) -> "Cell":
        """The same with images on the device, of which its steps make batches."""
        return dataclasses.replace(self, input="resident")

    @property
    def title(self) -> str:
        """As a person reads it; the batch size where it is not the recipe's."""
        extras = [f"batches of {self.batch_size}"] if self.batch_size != TrainingConfig.batch_size else []
        extras += [f"{self.seeds} seeds"] if self.seeds > 1 else []
        extras += [self.changes] if self.changes else []
        return ", ".join([ENGINES[self.engine], f"{self.input} input", *extras])

    @property
    def changes(self) -> str:
        """Its options and its control as a person reads them."""
        return ", ".join([*map(OPTIONS.__getitem__, self.options), *([CONTROLS[self.control]] if self.control else [])])

    @property
    def execution(self) -> str:
        """The title, and the precision where it is not float32."""
        return self.title + ("" if self.precision == "float32" else f", {self.precision}")

    def refusal(self, gpu: bool) -> str:
        """Why a machine with or without a GPU cannot run it; empty: it can, as far as is known without asking."""
        if not gpu and set(self.options) & set(ON_GPUS):
            return "CUDA graphs need a GPU that PyTorch can use"
        if not gpu and self.precision == "tf32":
            return "tf32 needs a GPU"
        if self.input == "resident" and self.engine in PLAIN:
            return "plain JAX makes no batches; give it prepared input"
        if self.input == "prepared" and self.packaged:
            return "engines of this package stack their batches on the host; give them arrays or resident input"
        if self.engine == "epoch" and self.input != "resident":
            return "a program of whole epochs cannot be fed batch by batch; it needs resident input"
        if self.seeds > 1 and (self.input != "resident" or not self.packaged):
            return "several seeds in one program need an engine of this package, and resident input"
        return ""
