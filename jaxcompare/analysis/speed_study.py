"""A speed study, read once: every number that its tables, figures and sentences show."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, Literal

import pandas as pd

from jaxcompare.analysis.break_even import BreakEven, break_evens
from jaxcompare.analysis.contrast import (
    ITSELF,
    Contrast,
    Pair,
    Ratio,
    change,
    compare,
    image_times,
    measured,
    ratio,
    share,
)
from jaxcompare.analysis.dispatch import FixedCost, Way, fixed_cost, swept
from jaxcompare.analysis.outcome import plain
from jaxcompare.analysis.roofline import common_roofs, flops_per_s
from jaxcompare.analysis.speed import at_main_size, baseline, best, cells_of, in_matrix, pairs, verdict_pairs
from jaxcompare.analysis.speed_checks import check_alike, check_one_measurement, repeated_pairs
from jaxcompare.analysis.statistics import spread
from jaxcompare.cell_frame import COMPILE_PHASES
from jaxcompare.cells import Cell
from jaxcompare.records import BUSY

NOTHING = pd.DataFrame()

NUMBERS = (
    *("import_time_s", "build_time_s", "startup_s", "warm_startup_s"),
    *("image_time_s", "step_time_s", "one_time_s", "first_run_s", "cold_compile_s", "warm_compile_s"),
    *(f"cold_{name}" for name in COMPILE_PHASES.values()),
    *("input_wait", "page_faults", "image_energy_j", "allocator_bytes", "plan_bytes", "process_bytes"),
)
"""Columns of the cells' frame; `ceiling_share` is of the larger of the frameworks' ceilings."""

COUNTS = ("confirmed", "contradicted")
"""Of ratios that another study has too, see `contrast.Contrast`."""


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
    search: Sequence[Mapping[str, Any]] = ()

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

    @cached_property
    def failures(self) -> dict[Cell, str]:
        """Why cells were not measured."""
        failed = self.frame[self.frame.message != ""]
        return dict(zip(failed.cell, failed.message, strict=True))

    @property
    def begun(self) -> list[datetime]:
        """This study, and the other one."""
        return [min(map(datetime.fromisoformat, frame.started_at)) for frame in (self.frame, self.again)]

    @property
    def when(self) -> Literal["", "earlier", "later"]:
        """When the other study began; empty: there is none."""
        if not len(self.again):
            return ""
        return "later" if self.begun[1] > self.begun[0] else "earlier"

    @cached_property
    def times(self) -> pd.DataFrame:
        """See `contrast.image_times`."""
        return image_times(self.frame)

    @cached_property
    def cells(self) -> pd.DataFrame:
        """A row a cell, in the order of the study: `cell`; whether it is at the `main` batch size and in the `matrix`;
        of what was measured a `Spread` over processes of each of NUMBERS; Ratios `over_eager` and `over_best`."""
        matrix, main = (set(cells_of(of(self.frame))) for of in (in_matrix, at_main_size))
        rows = []
        for cell, runs in self.frame.groupby("cell", sort=False):
            row = {"cell": cell, "main": cell in main, "matrix": cell in matrix, "measured": cell not in self.failures}
            if row["measured"]:
                roof = common_roofs(self.frame, cell.precision).flops_per_s
                reached = {"ceiling_share": flops_per_s(runs) / roof}
                row |= {name: spread(values) for name, values in {**runs[list(NUMBERS)], **reached}.items()}
            rows.append(row | {name: self.ratios[name].get(cell) for name in self.ratios})
        return pd.DataFrame(rows)

    @cached_property
    def ratios(self) -> dict[str, dict[Cell, Ratio]]:
        """Over PyTorch eager as the recipe has it, and over the best of PyTorch: of each cell that has one, and of what
        it is over."""
        found = {}
        for name, kind in (("over_eager", "over eager"), ("over_best", "over the best")):
            of_kind = self.of(kind)
            found[name] = {one.other: ITSELF for one in of_kind} | {one.cell: one.ratio for one in of_kind}
        cells = cells_of(measured(at_main_size(self.frame)))
        for cell in cells:
            if baseline(cells, cell) == cell:
                found["over_eager"].setdefault(cell, ITSELF)
            if best(self.frame, cell, "torch") == cell:
                found["over_best"].setdefault(cell, ITSELF)
        return found

    @cached_property
    def contrasts(self) -> list[Contrast]:
        """Of every pair of `speed.pairs`, with the other study's; stages with their shares."""
        found = compare(self.times, pairs(self.frame), image_times(self.again))
        wholes = {one.cell.group: one for one in found if one.pair.kind == "whole"}

        def with_share(one: Contrast) -> Contrast:
            whole = wholes.get(one.cell.group)
            if one.pair.kind not in ("stage", "whole") or whole is None or not whole.ratio.direction:
                return one
            return dataclasses.replace(one, share=ITSELF if one is whole else share(self.times, one.pair, whole.pair))

        return [with_share(one) for one in found]

    def of(self, *kinds: str) -> list[Contrast]:
        """The contrasts of some kinds."""
        return [one for one in self.contrasts if one.pair.kind in kinds]

    @cached_property
    def verdicts(self) -> list[tuple[Contrast, Contrast | None]]:
        """The best of JAX over the best of PyTorch, and the same of the other study, whose best may be others; None:
        not measured there."""
        theirs = compare(image_times(self.again), verdict_pairs(self.again)) if len(self.again) else []
        of = {one.cell.group: one for one in theirs}
        return [(one, of.get(one.cell.group)) for one in self.of("best")]

    def others_share(self, cells: Sequence[Cell]) -> float:
        """The most that other work took of the cores while a process timed one of some cells; 0 where it was less than
        BUSY, or not measured."""
        most = self.frame[self.frame.cell.isin(cells)].others_share.max()
        return most if most >= BUSY else 0.0

    @cached_property
    def repeated(self) -> list[Contrast]:
        """Every ratio between two cells that the other study measured too."""
        if not len(self.again):
            return []
        return compare(self.times, repeated_pairs(self.frame, self.again), image_times(self.again))

    @cached_property
    def repetition(self) -> pd.DataFrame:
        """A row a model and precision: how many ratios there are, how many are COUNTS, the median factor between the
        two studies' ratios, the ratio with the `largest`."""
        rows = []
        for group in dict.fromkeys(one.cell.group for one in self.repeated):
            found = [one for one in self.repeated if one.cell.group == group]
            counts = {name: sum(getattr(one, name) for one in found) for name in COUNTS}
            changes = {"change": statistics.median(one.change for one in found)}
            largest = max(found, key=lambda one: one.change)
            rows.append({"cell": largest.cell, "ratios": len(found), **counts, **changes, "largest": largest})
        return pd.DataFrame(rows)

    @cached_property
    def allocated(self) -> pd.DataFrame:
        """A row a cell that was measured under the allocator's other settings too: Ratios over the best of PyTorch's
        among them `here` and `there`, the factor from the one to the other, page faults an epoch here and there."""
        there, rows = image_times(self.other_malloc), []
        both = at_main_size(self.frame)
        both = both[both.cell.isin(set(self.times) & set(there))]
        for cell in cells_of(both):
            fastest = best(both, cell, "torch")
            pair = Pair("over the best", "", (cell,), (fastest,)) if fastest and fastest != cell else None
            faults = [spread(frame.page_faults[frame.cell == cell]) for frame in (self.frame, self.other_malloc)]
            over = [ratio(times, pair) for times in (self.times, there)] if pair else [ITSELF, ITSELF]
            rows.append((cell, *over, change(self.times, there, pair) if pair else None, *faults))
        return pd.DataFrame(rows, columns=["cell", "here", "there", "change", "faults_here", "faults_there"])

    @cached_property
    def break_evens(self) -> list[BreakEven]:
        """Of each compiled way."""
        return break_evens(self.frame)

    @cached_property
    def fits(self) -> dict[Way, FixedCost]:
        """The fixed cost of each way that was measured at three batch sizes or more."""
        fits = {way: fixed_cost(self.frame, cells) for way, cells in swept(self.frame).items()}
        return {way: fit for way, fit in fits.items() if fit}

    def summary(self) -> dict[str, Any]:
        """The numbers as JSON has them; None: no finite number."""
        return plain(
            {
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
                "repeated": {name: sum(getattr(one, name) for one in self.repeated) for name in COUNTS}
                | {"ratios": len(self.repeated)},
                "allocator": [_name(one.cell) | _numbers("there", one.there) for one in self.allocated.itertuples()],
                "break_even": [
                    _name(one.cell) | {"steps": one.steps[0], "decided": one.over.direction != 0}
                    for one in self.break_evens
                ],
                "half_fixed_batch_size": [
                    {"model": model, "engine": engine, "precision": precision, "size": fit.half_size.mean}
                    for (model, engine, precision, _), fit in self.fits.items()
                ],
                "not_measured": [_name(cell) | {"message": message} for cell, message in self.failures.items()],
            }
        )


def _name(cell: Cell) -> dict[str, Any]:
    return {"model": cell.model, "cell": cell.execution}


def _numbers(name: str, found: Ratio | None) -> dict[str, Any]:
    return {} if found is None or found == ITSELF else {name: found.value, f"{name}_interval": found.interval}
