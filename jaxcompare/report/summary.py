"""The few numbers that a reader wants first: a row for each model."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from jaxcompare.analysis.comparison import LABELS, by_model, executed_alike, seconds_text, summarise
from jaxcompare.analysis.speed import Ratio, best, in_matrix, measured, time_ratio
from jaxcompare.cells import CellRecord
from jaxcompare.config import ModelName
from jaxcompare.records import RunRecord
from jaxcompare.report.speed_text import verdict_text
from jaxcompare.report.tables import Table


def summary_table(comparison: Sequence[RunRecord], cells: Sequence[CellRecord]) -> Table:
    """Size, accuracy and time of each model of a full comparison and, where a speed study has it, the best time of JAX
    over the best of PyTorch. Without rows if there is no comparison."""
    timed = measured(in_matrix(cells))
    runs, models = by_model(comparison), summarise(comparison)["models"]
    ratios = {model: ratio for model in models if (ratio := _best_over_best(timed, model))}
    rows = []
    for model, found in models.items():
        unfinished = "" if found["status"] == "complete" else f" ({found['status']})"
        best_epoch, last = (_percent(found[f"{epoch}_test_accuracy"]) for epoch in ("best", "final"))
        row = [LABELS[model] + unfinished, f"{found['params']:,}", f"{best_epoch} ({last})"]
        row.append(_seconds(found["epoch_time_s"]) if executed_alike(comparison) else "executed differently")
        row += [verdict_text(ratios[model]) if model in ratios else "-"] if ratios else []
        place = _place(runs[model][0].environment)
        other = _place(timed[0].environment) if model in ratios else place
        rows.append([*row, place if other == place else f"{place}; ratio: {other}"])
    header = ["Model", "Parameters", "Test accuracy, best (last) epoch", "Seconds an epoch"]
    header += ["JAX's time over PyTorch's, best of each"] if ratios else []
    notes = [_note(comparison), _ratio_note(timed) if ratios else ""] if rows else []
    return Table([*header, "Machine"], rows, [" ".join(filter(None, notes))])


def _best_over_best(timed: Sequence[CellRecord], model: ModelName) -> Ratio | None:
    """In the precision that the study has first. None: it does not have both."""
    if not timed:
        return None
    like = dataclasses.replace(timed[0].cell, model=model)
    ours, theirs = best(timed, like, "jax"), best(timed, like, "torch")
    return time_ratio(timed, ours, theirs) if ours and theirs else None


def _note(comparison: Sequence[RunRecord]) -> str:
    first = comparison[0]
    seeds = len({record.config.training.seed for record in comparison})
    shared = first.execution.get("seeds", 1)
    return (
        f"{first.dataset_title}, {first.train_images:,} training images, {first.config.training.epochs} epochs, "
        f"{'one seed' if seeds == 1 else f'mean of {seeds} seeds'}; JAX, {first.config.execution.engine} engine. Best "
        f"epoch: chosen on the test images. Seconds: training alone{f', a share of {shared} seeds' * (shared > 1)}."
    )


def _ratio_note(timed: Sequence[CellRecord]) -> str:
    cell, repeats = timed[0].cell, len({record.repeat for record in timed})
    interval = " (95 % interval)" if repeats > 1 else ""
    processes = f"{repeats} fresh processes" if repeats > 1 else "one fresh process"
    return (
        f"Ratio{interval}: the quickest way of each framework, {processes} each, batches of {cell.batch_size}, "
        f"{cell.precision}; below 1, JAX takes less time."
    )


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{100 * fraction:.2f} %"


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else seconds_text(seconds)


def _place(environment: Mapping[str, Any]) -> str:
    """The device that times were measured on."""
    on_cpu = environment["backend"] == "cpu"
    return f"{environment['cpu_cores']} cores of {environment['cpu']}" if on_cpu else environment["device"]
