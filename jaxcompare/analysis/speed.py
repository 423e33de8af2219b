"""What compiling buys, what it costs, and when it has paid for itself: cell records in, numbers out.

A time is the median over repeats, and a ratio is one of medians: a burst on the machine moves neither, and factors
along a path multiply to the whole. Intervals pair what ran in one repeat: a machine that drifts slows both sides.
"""

import dataclasses
import math
import statistics
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from jaxcompare.analysis.comparison import LABELS
from jaxcompare.analysis.statistics import Interval, contrast_of_medians
from jaxcompare.cells import MUST_AGREE, Cell, CellRecord
from jaxcompare.config import Framework, InputError, ModelName, Precision
from jaxcompare.measure.parity import Deviation

RECIPE_IMAGES = 50_000
"""Of an epoch of the recipe."""

STEADY = 1.1
"""Times a later step, at most, that a first step takes once it is steady."""


class Ratio(NamedTuple):
    """Of medians over repeats."""

    value: float
    interval: Interval | None
    """None: one repeat."""

    @property
    def direction(self) -> Literal[-1, 0, 1]:
        """Above 1 or below it by the interval or, of one repeat, by the value; 0: not shown."""
        low, high = (self.interval.low, self.interval.high) if self.interval else (self.value, self.value)
        return 1 if low > 1 else -1 if high < 1 else 0


def measured(records: Sequence[CellRecord]) -> list[CellRecord]:
    """The records of cells of which no repeat failed."""
    failed = {record.cell for record in records if record.message}
    return [record for record in records if record.cell not in failed]


def cells_of(records: Sequence[CellRecord]) -> list[Cell]:
    """Each cell once, in the order of the records."""
    return list(dict.fromkeys(record.cell for record in records))


def execution(cell: Cell) -> str:
    """A cell's title, and the precision where it is not float32."""
    return cell.title + ("" if cell.precision == "float32" else f", {cell.precision}")


def by_repeat(records: Sequence[CellRecord], cell: Cell) -> list[CellRecord]:
    """A cell's records in the order of their repeats: what stands at one place ran side by side."""
    return sorted((record for record in records if record.cell == cell), key=lambda record: record.repeat)


def in_matrix(records: Sequence[CellRecord]) -> list[CellRecord]:
    """Without controls that change what is trained, and without other batch sizes than the first record's: a study
    measures its matrix there, and sweeps over the others."""
    return [r for r in records if r.cell.same_step and r.cell.batch_size == records[0].cell.batch_size]


def comparable(records: Sequence[CellRecord]) -> list[CellRecord]:
    """The matrix's single runs on device input: their ratios hold nothing of the host's pipelines."""
    return [r for r in measured(in_matrix(records)) if (r.cell.input, r.cell.seeds) == ("device", 1)]


def groups(records: Sequence[CellRecord]) -> list[tuple[ModelName, Precision]]:
    """Model and precision, each pair once."""
    return list(dict.fromkeys((record.cell.model, record.cell.precision) for record in records))


def check_one_measurement(records: Sequence[CellRecord]) -> None:
    """Raise InputError, naming what differs or has passed no gate, unless ratios between the records mean something.

    Precision and batch size are part of a cell and may differ; manifests are compared within a precision.
    """
    if not records:
        raise InputError("cells.jsonl: holds no measurement; measure anew")
    for record in records:
        if shut := Deviation(**record.parity).exceeds(record.cell.precision):
            raise InputError(f"{LABELS[record.cell.model]} {execution(record.cell)}: its gate is shut: {shut[0]}")
    first_of: dict[Precision | None, dict[str, Any]] = {}
    for record in records:
        for group, found in ((None, facts(record)), (record.cell.precision, manifest(record))):
            for name, value in first_of.setdefault(group, found).items():
                if value != found[name]:
                    within = f", both {group}" if group else ""
                    raise InputError(
                        f"cells of different measurements: {name} is {value} in one, {found[name]} in another{within}"
                    )
    repeats = {cell: [record.repeat for record in by_repeat(records, cell)] for cell in cells_of(records)}
    whole = max(repeats.values(), key=lambda of_cell: len(set(of_cell)))
    for cell, of_cell in repeats.items():
        if len(set(of_cell)) < len(of_cell):
            raise InputError(f"{LABELS[cell.model]} {execution(cell)}: a repeat is there twice, of {of_cell}")
        if of_cell != whole:
            raise InputError(
                f"{LABELS[cell.model]} {execution(cell)}: repeats {of_cell} only; the measurement did not come to its "
                "end"
            )


def facts(record: CellRecord) -> dict[str, Any]:
    """What all cells of a study have in common."""
    environment = record.environment
    return {
        "data": (record.data_fingerprint, record.train_images, record.image_size, record.num_classes, record.seed),
        "cpu": (environment["cpu"], environment["cpu_cores"]),
        "device": environment["device"],
        "versions": environment["versions"],
        "commit": record.git_commit,
    }


def manifest(record: CellRecord) -> dict[str, Any]:
    """What all cells of a precision have in common."""
    return {name: record.manifest[name] for name in MUST_AGREE}


def baseline(cells: Sequence[Cell], cell: Cell) -> Cell | None:
    """PyTorch eager as the recipe has it, of the same model, precision and batch size, on device input; of a cell that
    trains something else, under the same control. None if it was not measured."""
    control = None if cell.same_step else cell.control
    eager = dataclasses.replace(cell, engine="eager", input="device", seeds=1, control=control)
    return eager if eager in cells else None


def best(records: Sequence[CellRecord], like: Cell, framework: Framework, *engines: str) -> Cell | None:
    """The quickest way of a framework to train a cell's model: by the median, of all in the matrix that passed the gate
    and take the same steps, a single run whose batches are there before they are needed. None: none was measured.

    Args:
        like: gives model and precision.
        engines: only these; all if not given.
    """
    records = measured(in_matrix(records))
    found = [
        cell
        for cell in cells_of(records)
        if (cell.model, cell.precision, cell.framework) == (like.model, like.precision, framework)
        and cell.seeds == 1
        and cell.input in ("device", "arrays")
        and (not engines or cell.engine in engines)
    ]
    return min(found, key=lambda cell: statistics.median(image_times(records, cell)), default=None)


def best_eager(records: Sequence[CellRecord], like: Cell) -> Cell | None:
    """What compiling has to beat: PyTorch eager in its quickest layout."""
    return best(records, like, "torch", "eager")


def image_times(records: Sequence[CellRecord], cell: Cell) -> list[float]:
    """Seconds per training image and seed, by repeat."""
    return [record.image_time_s for record in by_repeat(records, cell)]


def time_ratio(records: Sequence[CellRecord], cell: Cell, other: Cell) -> Ratio:
    """A cell's time per image over another's."""
    return ratio_of_medians([image_times(records, cell)], [image_times(records, other)])


def ratio_of_medians(above: Sequence[Sequence[float]], below: Sequence[Sequence[float]] = ()) -> Ratio:
    """Product of medians over repeats, over a product of others, and the 95 % interval: of the logarithm, in which they
    add; see `statistics.contrast_of_medians`.

    Args:
        above: values by repeat, a list a factor.
        below: the same of the divisors.
    """
    logs = [[math.log(value) for value in row] for row in (*above, *below)]
    value, interval = contrast_of_medians(logs, [1] * len(above) + [-1] * len(below))
    if interval is None:
        return Ratio(math.exp(value), None)
    return Ratio(math.exp(value), Interval(math.exp(interval.low), math.exp(interval.high), interval.method))


class Cost(NamedTuple):
    """Cumulative time of training is `once_s` + steps * `step_s`."""

    once_s: float
    step_s: float


def costs_of(records: Sequence[CellRecord], cell: Cell) -> list[Cost]:
    """Of a cell, by repeat."""
    return [Cost(record.one_time_s, record.step_time_s) for record in by_repeat(records, cell)]


def median_cost(costs: Sequence[Cost]) -> Cost:
    """The medians over repeats."""
    return Cost(*map(statistics.median, zip(*costs, strict=True)))


def break_even_steps(compiled: Cost, eager: Cost) -> float:
    """After how many optimiser steps a compiled cell has cost as little as the eager one; 0 where the compiled side is
    never behind, infinite where it never catches up."""
    paid, saved = compiled.once_s - eager.once_s, eager.step_s - compiled.step_s
    if saved <= 0:
        return math.inf if paid > 0 or saved < 0 else 0.0
    return max(0.0, paid / saved)


def interaction(records: Sequence[CellRecord], ways: tuple[tuple[Cell, Cell], tuple[Cell, Cell]]) -> Ratio:
    """Ratio of ratios: times as fast as eager one model is over times as fast the other is.

    Args:
        ways: (compiled cell, eager cell) of the one model, and of the other.
    """
    (fast, slow), (other_fast, other_slow) = ([image_times(records, cell) for cell in way] for way in ways)
    return ratio_of_medians([slow, other_fast], [fast, other_slow])


def interactions(records: Sequence[CellRecord]) -> dict[Cell, Ratio]:
    """For each compiled way that both models were run in, by the CNN's cell: the ViT's times as fast as PyTorch eager
    over the CNN's, in one layout."""
    records = comparable(records)
    cells, found = cells_of(records), {}
    for cnn in (cell for cell in cells if cell.model == "cnn" and cell.compiled):
        vit = dataclasses.replace(cnn, model="vit")
        eager, other_eager = baseline(cells, vit), baseline(cells, cnn)
        if vit in cells and eager and other_eager:
            found[cnn] = interaction(records, ((vit, eager), (cnn, other_eager)))
    return found


def cold_compile_s(record: CellRecord) -> float | None:
    """Every program of training compiled ahead (JAX), or the whole first step, which compiles it (torch.compile). None:
    there is none, or it was not measured."""
    if record.cell.framework == "torch" and record.cell.compiled and record.first_step_time_s:
        return record.first_step_time_s[0]
    return record.compile_time_s


def slow_first_steps(record: CellRecord) -> float | None:
    """Steps before the first that takes at most STEADY times a later one; infinite if none in the first epoch does.
    None: they were not timed."""
    if not record.first_step_time_s:
        return None
    steady = (i for i, seconds in enumerate(record.first_step_time_s) if seconds <= STEADY * record.step_time_s)
    return next(steady, math.inf)
