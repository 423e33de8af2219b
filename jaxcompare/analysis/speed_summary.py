"""The speed study's numbers for `summary.json`: of every model what its executions come to, and of the two together."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any, get_args

from jaxcompare.analysis.attribution import attributions
from jaxcompare.analysis.dispatch import fixed_cost, swept
from jaxcompare.analysis.repeated_study import repeat_ratios
from jaxcompare.analysis.speed import (
    Ratio,
    baseline,
    best,
    best_eager,
    break_even_steps,
    cells_of,
    comparable,
    costs_of,
    execution,
    in_matrix,
    interactions,
    measured,
    median_cost,
    time_ratio,
)
from jaxcompare.analysis.statistics import Estimate, Interval
from jaxcompare.cells import CellRecord
from jaxcompare.config import Framework, ModelName


def summarise_speed(
    records: Sequence[CellRecord], again: Sequence[CellRecord] = (), other_malloc: Sequence[CellRecord] = ()
) -> dict[str, Any]:
    """By model, and `interaction`: the ViT's times as fast as PyTorch eager over the CNN's; `repeated`: how
    many ratios another study confirms; `other_malloc`: ratios under the allocator's other settings. None: no finite
    number."""
    models = dict.fromkeys(record.cell.model for record in records)
    found: dict[str, Any] = {model: _model(records, model) for model in models}
    found["interaction"] = {execution(cell): _ratio(ratio) for cell, ratio in interactions(records).items()}
    if again:
        ratios = repeat_ratios(records, again)
        found["repeated"] = {
            "ratios": len(ratios),
            "confirmed": sum(one.confirmed for one in ratios),
            "confirmed_backwards": sum(one.confirmed_backwards for one in ratios),
        }
    if other_malloc:
        timed = measured(in_matrix(other_malloc))
        found["other_malloc"] = {model: _over_eager([r for r in timed if r.cell.model == model]) for model in models}
    return found


def _over_eager(timed: Sequence[CellRecord]) -> dict[str, Any]:
    cells = cells_of(timed)
    pairs = ((cell, baseline(cells, cell)) for cell in cells)
    return {execution(cell): _ratio(time_ratio(timed, cell, eager)) for cell, eager in pairs if eager}


def _model(records: Sequence[CellRecord], model: ModelName) -> dict[str, Any]:
    at_size = [record for record in in_matrix(records) if record.cell.model == model]
    timed, ours = measured(at_size), [record for record in comparable(records) if record.cell.model == model]
    paid = {
        cell: {
            "steps": _finite(break_even_steps(*(median_cost(costs_of(ours, one)) for one in (cell, eager)))),
            "decided": time_ratio(ours, cell, eager).direction != 0,
        }
        for cell in cells_of(ours)
        if cell.compiled and (eager := best_eager(ours, cell))
    }
    fits = {cells[0]: fixed_cost(records, cells) for (of, _, _), cells in swept(records).items() if of == model}
    best_of = {name: best(records, at_size[0].cell, name) for name in get_args(Framework)}
    ours_best, theirs_best = best_of["jax"], best_of["torch"]
    return {
        "best": {name: execution(cell) for name, cell in best_of.items() if cell},
        "best_of_jax_over_best_of_pytorch": _ratio(time_ratio(timed, ours_best, theirs_best))
        if ours_best and theirs_best
        else None,
        "over_pytorch_eager": _over_eager(timed),
        "controls": {
            execution(cell): _ratio(time_ratio(records, cell, stated))
            for cell in cells_of(measured(records))
            if cell.control
            and cell.model == model
            and (stated := dataclasses.replace(cell, control=None)) in cells_of(measured(records))
        },
        "not_measured": {execution(record.cell): record.message for record in at_size if record.message},
        "attribution": {
            one.precision: {
                "total": _ratio(one.total),
                **{
                    stage.name: _ratio(stage.factor) | {"share": _share(stage.share)}
                    for stage in (*one.stages, *one.beside)
                },
            }
            for one in attributions(records)
            if one.model == model
        },
        "break_even_steps": {execution(cell): found for cell, found in paid.items()},
        "half_fixed_batch_size": {
            f"{cell.engine}, {cell.precision}": _estimate(fit.half_size) for cell, fit in fits.items() if fit
        },
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _ratio(ratio: Ratio) -> dict[str, Any]:
    return {"ratio": ratio.value, "interval": _ends(ratio.interval)}


def _share(share: Ratio | None) -> dict[str, Any] | None:
    return {"value": share.value, "interval": _ends(share.interval)} if share else None


def _estimate(estimate: Estimate) -> dict[str, Any] | None:
    if not math.isfinite(estimate.mean):
        return None
    return {"mean": estimate.mean, "interval": _ends(estimate.interval)}


def _ends(interval: Interval | None) -> list[float] | None:
    return [interval.low, interval.high] if interval else None
