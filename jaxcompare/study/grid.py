"""Which cells a speed study measures: the default matrix, or every combination of the axes that are asked for."""

import dataclasses
from collections.abc import Sequence
from itertools import product
from typing import get_args

from jaxcompare.cells import PLAIN, Cell, CellEngine, CellInput, Control
from jaxcompare.config import EngineName, InputError, ModelName, Precision, TrainingConfig
from jaxcompare.options import Option

DEFAULT: list[tuple[CellEngine, CellInput]] = [
    ("eager", "recipe"),
    ("eager", "prepared"),
    ("eager", "resident"),
    ("compile", "resident"),
    ("traced", "prepared"),
    ("jit", "prepared"),
    ("step", "resident"),
    ("epoch", "resident"),
]
"""In the order of a table."""

MORE_ON_GPUS: list[tuple[CellEngine, CellInput]] = [
    ("eager", "host"),
    ("eager", "arrays"),
    ("step", "recipe"),
    ("step", "host"),
    ("step", "arrays"),
]
"""More of them where there is a GPU: on a CPU what is in host memory is on the device, and a pipeline is measured by
itself."""

WHOLE_EPOCHS: tuple[CellEngine, CellInput] = ("epoch", "resident")
"""What trains several seeds in one program."""

SWEPT: list[tuple[CellEngine, CellInput]] = [("eager", "resident"), ("step", "resident")]
"""What is measured at every batch size."""

CONTROLLED: dict[Control, tuple[ModelName, tuple[CellEngine, ...]]] = {
    "no-dropout": ("vit", ("eager", "compile", "traced", "jit", "step")),
    "long-epochs": ("cnn", ("step", "epoch")),
}
"""The model that a control changes, and the engines that it is measured with, on the device; their opponents too. Long
epochs are the CNN's, whose short steps show dispatch most."""

OPPONENTS_ON_CPUS: list[tuple[ModelName, CellEngine, tuple[Option, ...]]] = [
    ("cnn", "eager", ("channels-last", "fused", "replicas")),
    ("vit", "eager", ("dropout-bits", "fused", "replicas")),
]
OPPONENTS_ON_GPUS: list[tuple[ModelName, CellEngine, tuple[Option, ...]]] = [
    ("cnn", "eager", ("channels-last", "fused")),
    ("cnn", "compile", ("channels-last", "fused", "reduce-overhead")),
    ("cnn", "compile", ("channels-last", "fused", "max-autotune")),
    ("vit", "eager", ("fused",)),
    ("vit", "compile", ("fused", "reduce-overhead")),
    ("vit", "compile", ("fused", "max-autotune")),
]
"""Measured wherever their engine is, without a search: PyTorch may be at its fastest there."""

STAGES_ON_CPUS: list[tuple[ModelName, CellEngine, tuple[Option, ...]]] = [("cnn", "step", ("im2col",))]
"""Of the default matrix: between plain jit and this package's step. In float32: below it this package's convolutions
are products as it is."""
STAGES_ON_GPUS: list[tuple[ModelName, CellEngine, tuple[Option, ...]]] = [("cnn", "epoch", ("im2col",))]
"""There convolutions are direct; of several seeds in a program they are products, with direct ones measured beside."""


@dataclasses.dataclass(frozen=True)
class Axes:
    """The values of each axis, named as the command's flags. None: the default matrix's."""

    models: tuple[ModelName, ...]
    engines: tuple[CellEngine, ...] | None = None
    inputs: tuple[CellInput, ...] | None = None
    precisions: tuple[Precision, ...] = ("float32",)
    batch_sizes: tuple[int, ...] = (TrainingConfig.batch_size,)
    seeds: tuple[int, ...] | None = None
    controls: tuple[Control, ...] | None = None


def build_grid(axes: Axes, *, gpu: bool, tuned: Sequence[Cell] | None = None) -> list[Cell]:
    """Every cell, model by model, in the order of a table.

    With neither engines nor inputs given: the default matrix at the first batch size, with whole epochs of the numbers
    of seeds that are given; at the other sizes PyTorch eager and JAX's step. With either: every combination, those that
    no machine can run among them: each is to say why. On a GPU the CNN's several seeds have direct convolutions too.
    Opponents and controls come beside the first batch size's, of these engines on the device.

    Args:
        tuned: what a search found, in place of the opponents; without dropout too, if that is a control.

    Raises:
        InputError: no engine that is measured can carry a control.
    """
    default, cells = DEFAULT + (MORE_ON_GPUS if gpu else []), []
    guesses = [] if tuned is not None else OPPONENTS_ON_GPUS if gpu else OPPONENTS_ON_CPUS
    stages = [] if axes.engines or axes.inputs else STAGES_ON_GPUS if gpu else STAGES_ON_CPUS
    opponents, of_float32 = (
        [Cell(model, engine, options=options) for model, engine, options in ways] for ways in (guesses, stages)
    )
    beside = list(opponents)
    for name in axes.controls or ():
        of, engines = CONTROLLED[name]
        changed = [Cell(of, engine) for engine in engines]
        changed += [cell for cell in opponents if cell.model == of and cell.engine in engines]
        beside += [under(name, cell) for cell in changed]
    for model, precision, size in product(axes.models, axes.precisions, axes.batch_sizes):
        ways: list[tuple[CellEngine, CellInput, int]] = []
        if axes.engines is not None or axes.inputs is not None:
            engines = axes.engines or tuple(dict.fromkeys(engine for engine, _ in default))
            ways += [
                (engine, place, count)
                for engine in engines
                for place in axes.inputs or ("prepared" if engine in PLAIN else "resident",)
                for count in axes.seeds or (1,)
            ]
        elif size == axes.batch_sizes[0]:
            ways += [(engine, place, 1) for engine, place in default]
            ways += [(*WHOLE_EPOCHS, count) for count in axes.seeds or () if count > 1]
        else:
            ways += [(engine, place, 1) for engine, place in SWEPT]
        cells += [Cell(model, engine, place, precision, size, count) for engine, place, count in ways]
        if gpu and model == "cnn":
            cells += [
                Cell(model, engine, place, precision, size, count, options=("direct",))
                for engine, place, count in ways
                if count > 1 and engine in get_args(EngineName)
            ]
        if size == axes.batch_sizes[0]:
            cells += [
                dataclasses.replace(cell, input=place, precision=precision, batch_size=size)
                for cell in beside + (of_float32 if precision == "float32" else [])
                if cell.model == model and (place := _place(cell.engine, ways))
            ]
            cells += with_controls([cell for cell in tuned or () if cell.group == (model, precision)], axes)
    for control in axes.controls or ():
        if not any(cell.control == control for cell in cells):
            of, engines = CONTROLLED[control]
            raise InputError(
                f"--controls {control}: is of the {of}'s {', '.join(engines)} on the device, and none of these is "
                "measured; leave it out"
            )
    return list(dict.fromkeys(cells))


def with_controls(tuned: Sequence[Cell], axes: Axes) -> list[Cell]:
    """The same, and without dropout where that is a control of their model."""
    name: Control = "no-dropout"
    of, _ = CONTROLLED[name]
    bare = [under(name, cell) for cell in tuned if cell.model == of]
    return [*tuned, *(bare if name in (axes.controls or ()) else ())]


def under(control: Control, cell: Cell) -> Cell:
    """A cell with this changed. Without dropout nothing keeps PyTorch from its fused attention."""
    fused: dict[Option, Option] = {"dropout-bits": "sdpa"} if control == "no-dropout" else {}
    options = tuple(fused.get(option, option) for option in cell.options)
    return dataclasses.replace(cell, control=control, options=options)


def _place(engine: CellEngine, ways: list[tuple[CellEngine, CellInput, int]]) -> CellInput | None:
    """An engine's input on the device in some ways: resident where it has that. None: it has neither."""
    inputs: tuple[CellInput, ...] = ("resident", "prepared")
    return next((place for place in inputs if (engine, place, 1) in ways), None)


def check_padding(cells: list[Cell], images: int) -> None:
    """Raise InputError where JAX would compute more than PyTorch: it pads the last, short batch of an epoch."""
    for size in dict.fromkeys(cell.batch_size for cell in cells):
        padding = -images % size
        if padding > images / 100:
            raise InputError(
                f"--train-size {images}: JAX pads its last batch of {images % size} to {size}, PyTorch does not; "
                f"take a multiple of {size}"
            )
