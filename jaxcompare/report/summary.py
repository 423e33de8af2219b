"""The few numbers that a reader wants first: a row for each model."""

from collections.abc import Sequence

from jaxcompare.analysis.comparison import LABELS, by_model, executed_alike, seconds_text, summarise
from jaxcompare.analysis.speed_study import SpeedStudy
from jaxcompare.records import RunRecord
from jaxcompare.report.tables import Table
from jaxcompare.report.text import device_text, percent_text, ratio_text, verdict_word


def summary_table(comparison: Sequence[RunRecord], speed: SpeedStudy | None) -> Table:
    """Size, accuracy and time of each model of a full comparison and, where a speed study has it, the best time of JAX
    over the best of PyTorch. Without rows if there is no comparison."""
    runs, models = by_model(comparison), summarise(comparison)["models"]
    # In the precision that the study has first.
    ratios = {one.cell.model: one for one in reversed(speed.of("best"))} if speed else {}
    rows = []
    for model, found in models.items():
        unfinished = "" if found["status"] == "complete" else f" ({found['status']})"
        best_epoch, last = (_percent(found[f"{epoch}_test_accuracy"]) for epoch in ("best", "final"))
        row = [LABELS[model] + unfinished, f"{found['params']:,}", f"{best_epoch} ({last})"]
        row.append(_seconds(found["epoch_time_s"]) if executed_alike(comparison) else "executed differently")
        one = ratios.get(model)
        row += [f"{ratio_text(one.ratio)}: {verdict_word(one.ratio)}" if one else "-"] if ratios else []
        place = device_text(runs[model][0].environment)
        other = device_text(speed.frame.iloc[0]) if speed and one else place
        rows.append([*row, place if other == place else f"{place}; ratio: {other}"])
    header = ["Model", "Parameters", "Test accuracy, best (last) epoch", "Seconds an epoch"]
    header += ["JAX's time over PyTorch's, best of each"] if ratios else []
    notes = [_note(comparison), _ratio_note(speed) if speed and ratios else ""] if rows else []
    return Table([*header, "Machine"], rows, [" ".join(filter(None, notes))])


def _note(comparison: Sequence[RunRecord]) -> str:
    first = comparison[0]
    seeds = len({record.config.training.seed for record in comparison})
    shared = first.execution.get("seeds", 1)
    return (
        f"{first.dataset_title}, {first.train_images:,} training images, {first.config.training.epochs} epochs, "
        f"{'one seed' if seeds == 1 else f'mean of {seeds} seeds'}; JAX, {first.config.execution.engine} engine. Best "
        f"epoch: chosen on the test images. Seconds: training alone{f', a share of {shared} seeds' * (shared > 1)}."
    )


def _ratio_note(speed: SpeedStudy) -> str:
    cell, repeats = speed.of("best")[0].cell, speed.repeats
    interval = " (95 % interval)" if repeats > 1 else ""
    processes = f"{repeats} fresh processes" if repeats > 1 else "one fresh process"
    return (
        f"Ratio{interval}: the quickest way of each framework, {processes} each, batches of {cell.batch_size}, "
        f"{cell.precision}; below 1, JAX takes less time."
    )


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else percent_text(fraction)


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else seconds_text(seconds)
