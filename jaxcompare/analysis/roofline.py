"""What the machine reaches at best, and what a training image asks of it."""

import statistics
from collections.abc import Sequence
from typing import NamedTuple, get_args

from jaxcompare.analysis.speed import measured
from jaxcompare.cells import CellRecord
from jaxcompare.config import Framework, Precision
from jaxcompare.measure.cost import LayerCost, layer_costs, training_bytes, training_flops


class Roofs(NamedTuple):
    """What the machine reaches at best."""

    flops_per_s: float
    bytes_per_s: float

    @property
    def ridge(self) -> float:
        """FLOP a byte from which on arithmetic is the limit, not memory."""
        return self.flops_per_s / self.bytes_per_s


def roofs_by_framework(records: Sequence[CellRecord], precision: Precision) -> dict[Framework, Roofs]:
    """Of each framework that was measured in a precision: the medians over its processes.

    Args:
        records: all of a study's, wherever a roof is asked for: of some alone it could be another.
    """
    found: dict[Framework, Roofs] = {}
    for framework in get_args(Framework):
        of_it = [r for r in measured(records) if (r.cell.framework, r.cell.precision) == (framework, precision)]
        if of_it:
            found[framework] = Roofs(
                statistics.median(record.ceiling_flops_per_s for record in of_it),
                statistics.median(record.copy_bytes_per_s for record in of_it),
            )
    return found


def common_roofs(records: Sequence[CellRecord], precision: Precision) -> Roofs:
    """The larger of the frameworks': beside a roof of its own, the slower library would look the better used."""
    return Roofs(*map(max, zip(*roofs_by_framework(records, precision).values(), strict=True)))


def flops_per_s(record: CellRecord) -> float:
    """What a process did of the formulas' floating-point operations."""
    return training_flops(_layers(record)) / record.image_time_s


def intensity(record: CellRecord) -> float:
    """FLOP a byte of a training step, by the formulas: of the least traffic in float32, were every layer one kernel."""
    layers = _layers(record)
    return training_flops(layers) / training_bytes(layers, record.cell.batch_size)


def _layers(record: CellRecord) -> list[LayerCost]:
    return layer_costs(record.cell.model, image_size=record.image_size, num_classes=record.num_classes)
