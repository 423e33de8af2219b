"""A speed study, read once: every number that its tables, figures and sentences show."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, Literal

import pandas as pd

from jaxcompare.analysis.break_even import BreakEven, break_evens
from jaxcompare.analysis.contrast import Contrast, Pair, Ratio, change, compare, image_times, measured, ratio, share
from jaxcompare.analysis.dispatch import FixedCost, fixed_cost, swept
from jaxcompare.analysis.speed import at_main_size, baseline, cells_of, pairs, verdict_pairs
from jaxcompare.analysis.speed_checks import check_alike, check_one_measurement, repeated_pairs
from jaxcompare.analysis.statistics import Estimate
from jaxcompare.cells import Cell
from jaxcompare.config import ModelName, Precision

NOTHING = pd.DataFrame()


@dataclasses.dataclass(frozen=True)
class Allocated:
    """A cell under two settings of the allocator."""

    cell: Cell
    faults: tuple[pd.Series, pd.Series]
    """Page faults an epoch, by process, here and there."""
    over: tuple[Ratio | None, Ratio | None]
    """Its time over PyTorch eager's, here and there; None of PyTorch eager itself."""
    change: Ratio | None
    """The factor from the one ratio to the other."""


@dataclasses.dataclass(frozen=True, eq=False)
class SpeedStudy:
    """Frames as `cell_frame.to_frame` makes them, and lines of the files beside cells.jsonl.

    Raises:
        InputError: the frames are no one measurement each, or none of the same cells.
    """

    frame: pd.DataFrame
    again: pd.DataFrame = dataclasses.field(default_factory=lambda: NOTHING)
    """Another study of the same cells."""
    other_malloc: pd.DataFrame = dataclasses.field(default_factory=lambda: NOTHING)
    """One under other settings of the allocator."""
    inputs: Sequence[Mapping[str, Any]] = ()
    phases: Sequence[Mapping[str, Any]] = ()
    costs: Sequence[Mapping[str, Any]] = ()

    def __post_init__(self) -> None:
        if len(measured(self.frame)):
            check_one_measurement(self.frame)
            if len(self.again):
                check_alike(self.frame, self.again)
            if len(self.other_malloc):
                check_alike(self.frame, self.other_malloc, "malloc")

    @property
    def repeats(self) -> int:
        """Fresh processes of each cell."""
        return self.frame.repeat.nunique()

    @property
    def failures(self) -> dict[Cell, str]:
        """Why cells were not measured."""
        failed = self.frame[self.frame.message != ""]
        return dict(zip(failed.cell, failed.message, strict=True))

    @property
    def when(self) -> Literal["earlier", "later"]:
        """When the other study began."""
        ours, theirs = (min(map(datetime.fromisoformat, frame.started_at)) for frame in (self.frame, self.again))
        return "later" if theirs > ours else "earlier"

    @cached_property
    def times(self) -> pd.DataFrame:
        """See `contrast.image_times`."""
        return image_times(self.frame)

    @cached_property
    def contrasts(self) -> list[Contrast]:
        """Of every pair of `speed.pairs`, with the other study's; stages with their shares."""
        found = compare(self.times, pairs(self.frame), image_times(self.again))
        wholes = {(one.cell.model, one.cell.precision): one for one in found if one.pair.kind == "whole"}

        def with_share(one: Contrast) -> Contrast:
            whole = wholes.get((one.cell.model, one.cell.precision))
            if one.pair.kind != "stage" or whole is None or not whole.ratio.direction:
                return one
            return dataclasses.replace(one, share=share(self.times, one.pair, whole.pair))

        return [with_share(one) for one in found]

    def of(self, *kinds: str) -> list[Contrast]:
        """The contrasts of some kinds."""
        return [one for one in self.contrasts if one.pair.kind in kinds]

    def ratio_of(self, kind: str, cell: Cell) -> Ratio | None:
        """A cell's, of a kind in which every cell has one at most."""
        return next((one.ratio for one in self.of(kind) if one.cell == cell), None)

    @cached_property
    def verdicts(self) -> list[tuple[Contrast, Contrast | None]]:
        """The best of JAX over the best of PyTorch, and the same of the other study, whose best may be others; None:
        not measured there."""
        theirs = compare(image_times(self.again), verdict_pairs(self.again)) if len(self.again) else []
        of = {(one.cell.model, one.cell.precision): one for one in theirs}
        return [(one, of.get((one.cell.model, one.cell.precision))) for one in self.of("best")]

    @cached_property
    def repeated(self) -> list[Contrast]:
        """Every ratio between two cells that the other study measured too."""
        if not len(self.again):
            return []
        return compare(self.times, repeated_pairs(self.frame, self.again), image_times(self.again))

    @cached_property
    def allocated(self) -> list[Allocated]:
        """Every cell that was measured under the allocator's other settings too."""
        if not len(self.other_malloc):
            return []
        there, found = image_times(self.other_malloc), []
        for cell in (cell for cell in cells_of(at_main_size(self.frame)) if {cell} <= set(self.times) & set(there)):
            eager = baseline(cells_of(self.frame), cell)
            pair = Pair("over eager", "", (cell,), (eager,)) if eager and eager != cell and eager in there else None
            faults = [frame[frame.cell == cell].page_faults for frame in (self.frame, self.other_malloc)]
            over = [ratio(times, pair) if pair else None for times in (self.times, there)]
            changed = change(self.times, there, pair) if pair else None
            found.append(Allocated(cell, (faults[0], faults[1]), (over[0], over[1]), changed))
        return found

    @cached_property
    def break_evens(self) -> list[BreakEven]:
        """Of each compiled way."""
        return break_evens(self.frame)

    @cached_property
    def fits(self) -> dict[tuple[ModelName, str, Precision], FixedCost]:
        """The fixed cost of each way that was measured at three batch sizes or more."""
        fits = {way: fixed_cost(self.frame, cells) for way, cells in swept(self.frame).items()}
        return {way: fit for way, fit in fits.items() if fit}

    def summary(self) -> dict[str, Any]:
        """The numbers as JSON has them; None: no finite number."""
        return {
            "contrasts": [
                {
                    "kind": one.pair.kind,
                    "name": one.pair.name,
                    "model": one.cell.model,
                    "above": [cell.execution for cell in one.pair.above],
                    "below": [cell.execution for cell in one.pair.below],
                    **_numbers("ratio", one.ratio),
                    **_numbers("again", one.again),
                    **_numbers("share", one.share),
                }
                for one in self.contrasts
            ],
            "repeated": {
                name: sum(getattr(one, name) for one in self.repeated)
                for name in ("confirmed", "confirmed_backwards", "same_verdict", "contradicted")
            }
            | {"ratios": len(self.repeated)},
            "allocator": [
                {"model": one.cell.model, "cell": one.cell.execution, **_numbers("there", one.over[1])}
                for one in self.allocated
            ],
            "break_even": [
                {
                    "model": one.cell.model,
                    "cell": one.cell.execution,
                    "steps": one.steps[0] if math.isfinite(one.steps[0]) else None,
                    "decided": one.over.direction != 0,
                }
                for one in self.break_evens
            ],
            "half_fixed_batch_size": [
                {"model": model, "engine": engine, "precision": precision, "size": _finite(fit.half_size)}
                for (model, engine, precision), fit in self.fits.items()
            ],
            "not_measured": [
                {"model": cell.model, "cell": cell.execution, "message": message}
                for cell, message in self.failures.items()
            ],
        }


def _numbers(name: str, found: Ratio | None) -> dict[str, Any]:
    if found is None:
        return {}
    ends = [found.interval.low, found.interval.high] if found.interval else None
    return {name: found.value, f"{name}_interval": ends}


def _finite(estimate: Estimate) -> float | None:
    return estimate.mean if math.isfinite(estimate.mean) else None
