"""What the machine reaches at best, and what a training image asks of it."""

from typing import NamedTuple, cast, get_args

import pandas as pd

from jaxcompare.analysis.contrast import measured
from jaxcompare.config import Framework, ModelName, Precision
from jaxcompare.measure.cost import LayerCost, layer_costs, training_bytes, training_flops


class Roofs(NamedTuple):
    """What the machine reaches at best."""

    flops_per_s: float
    bytes_per_s: float

    @property
    def ridge(self) -> float:
        """FLOP a byte from which on arithmetic is the limit, not memory."""
        return self.flops_per_s / self.bytes_per_s


def roofs_by_framework(frame: pd.DataFrame, precision: Precision) -> dict[Framework, Roofs]:
    """Of each framework that was measured in a precision: the medians over its processes.

    Args:
        frame: all of a study's, wherever a roof is asked for: of some alone it could be another.
    """
    found = measured(frame)
    found = found[found.precision == precision]
    roofs = {name: found[found.framework == name] for name in get_args(Framework)}
    return {
        cast(Framework, name): Roofs(rows.ceiling_flops_per_s.median(), rows.copy_bytes_per_s.median())
        for name, rows in roofs.items()
        if len(rows)
    }


def common_roofs(frame: pd.DataFrame, precision: Precision) -> Roofs:
    """The larger of the frameworks': beside a roof of its own, the slower library would look the better used."""
    return Roofs(*map(max, zip(*roofs_by_framework(frame, precision).values(), strict=True)))


def flops_per_s(rows: pd.DataFrame) -> pd.Series:
    """What each process of a cell did of the formulas' floating-point operations."""
    return training_flops(_layers(rows)) / rows.image_time_s


def intensity(rows: pd.DataFrame) -> float:
    """FLOP a byte of a cell's training step, by the formulas: of the least traffic in float32, were every layer one
    kernel."""
    layers = _layers(rows)
    return training_flops(layers) / training_bytes(layers, int(rows.batch_size.iloc[0]))


def _layers(rows: pd.DataFrame) -> list[LayerCost]:
    first = rows.iloc[0]
    return layer_costs(cast(ModelName, first.model), image_size=first.image_size, num_classes=first.num_classes)
