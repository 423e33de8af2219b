"""Records and numbers as tables, for a page or as Markdown."""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxcompare.analysis.comparison import (
    LABELS,
    Metric,
    by_model,
    executed_alike,
    mean,
    seconds_text,
    time_to_accuracy,
)
from jaxcompare.analysis.data_efficiency import Efficiency, Sweep
from jaxcompare.analysis.predictions import Score
from jaxcompare.analysis.statistics import Estimate, Interval
from jaxcompare.config import InputError, ModelName
from jaxcompare.records import RunRecord
from jaxcompare.report.crossover_text import describe_crossover
from jaxcompare.report.text import device_text, versions_text

METRIC_TITLES: dict[Metric, str] = {
    "best": "Test accuracy in per cent, best epoch, chosen on the test images",
    "final": "Test accuracy in per cent, last epoch",
}


@dataclasses.dataclass(frozen=True)
class Table:
    """Cells and notes as a person reads them; plain text, in which nothing is markup."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str]
    """Paragraphs below the table; empty ones are left out."""
    title: str = ""

    def markdown(self) -> str:
        """As Markdown: title, table, notes."""
        lines = [self.header, ["---"] * len(self.header), *self.rows]
        table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        parts = (f"{self.title}:" if self.title else "", table, *self.notes)
        return "\n\n".join(part for part in parts if part)


def _share(record: RunRecord) -> str:
    seeds = record.execution.get("seeds", 1)
    return f"; a run's share of a program of {seeds} seeds" if seeds > 1 else ""


def comparison_table(records: Sequence[RunRecord]) -> Table:
    """One row per model: the full comparison."""
    rows, seeds, alike = [], sorted({r.config.training.seed for r in records}), executed_alike(records)

    def percent(values: Sequence[float]) -> str:
        spread = f" ({100 * min(values):.2f} to {100 * max(values):.2f})" if len(values) > 1 else ""
        return f"{100 * mean(values):.2f}{spread} %"

    for model, runs in by_model([r for r in records if r.history.test_accuracy]).items():
        epochs = min(len(r.history.test_accuracy) for r in runs)
        unfinished = [f"seed {r.config.training.seed} {r.status}" for r in runs if r.status != "complete"]
        rows.append(
            (
                LABELS[model],
                f"{runs[0].params:,}",
                f"{epochs} of {runs[0].config.training.epochs}" + (f" ({'; '.join(unfinished)})" if unfinished else ""),
                percent([r.best_test_accuracy for r in runs]),
                percent([r.final_test_accuracy for r in runs]),
                seconds_text(mean(r.epoch_time_s for r in runs)) if alike else "executed differently",
                f"{mean(r.compile_time_s for r in runs):.1f} ({runs[0].compiled})",
            )
        )
    header = ("Model", "Parameters", "Epochs", "Best test accuracy¹", "Final", "Seconds per epoch²", "Compile, s³")
    first = records[0]
    execution = first.config.execution
    one = len(seeds) == 1
    repeats = (
        f"seed {seeds[0]}, one run a model, so no interval"
        if one
        else f"mean (and range) of seeds {', '.join(map(str, seeds))}"
    )
    data = (
        f"Data: {first.dataset_title}, {first.train_images:,} training and {first.test_images:,} test images; "
        f"{repeats}. AdamW, learning rate {first.config.training.lr:g}, weight decay "
        f"{first.config.training.weight_decay:g}, batches of {first.config.training.batch_size}. Execution: "
        f"{execution.engine} engine, {execution.input} input, {execution.precision}. {machines(records)}"
    )
    footnotes = (
        "¹ Of the best epoch, chosen on the test images, as the recipe does: optimistic. "
        f"² Mean, training only, evaluation and compilation excluded{_share(first)}. "
        "³ Trace, lower and compile of all programs, before the first epoch; cold: compiled anew, warm: from the "
        "cache, partly warm: some of both."
    )
    return Table(header, rows, [data, footnotes], "The full comparison")


TARGETS = (0.3, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 0.8, 0.9, 0.95)
"""Test accuracies whose times are shown, where a run reached them."""


def accuracy_time_table(records: Sequence[RunRecord]) -> Table:
    """Seconds of training until a test accuracy is first reached, without and with compilation; empty if the runs were
    executed differently, so that their times cannot stand beside each other."""
    models = by_model(records)
    rows = []
    for target in TARGETS if executed_alike(records) else ():
        times = {
            model: [(time_to_accuracy(r, target), r.compile_time_s) for r in runs] for model, runs in models.items()
        }
        if all(math.isinf(seconds) for of_model in times.values() for seconds, _ in of_model):
            continue
        rows.append([f"{100 * target:g} %", *(_seconds(of_model) for of_model in times.values())])
    header = ["Test accuracy", *(f"{LABELS[model]}, s (with compilation)" for model in models)]
    note = (
        "Until the first epoch whose accuracy on the test images is at least that: whole epochs, evaluation excluded. "
        "Of several seeds, the mean of those that reached it, and how many did."
    )
    return Table(header, rows, [note], "Time to accuracy")


def _seconds(times: Sequence[tuple[float, float]]) -> str:
    reached = [(seconds, compile_s) for seconds, compile_s in times if math.isfinite(seconds)]
    if not reached:
        return "not reached"
    share = f", {len(reached)} of {len(times)} seeds" if len(reached) < len(times) else ""
    return f"{mean(s for s, _ in reached):,.1f} ({mean(s + c for s, c in reached):,.1f}){share}"


def chance_note(intervals: int, level: float = 0.95) -> str:
    """Of so many intervals in one table, how many miss the truth by chance on average; empty for none."""
    if not intervals:
        return ""
    each = "interval" if intervals == 1 else "intervals"
    return (
        f"{intervals} {each} of {100 * level:.0f} %: on average {intervals * (1 - level):.2g} of them miss by chance."
    )


def efficiency_rows(efficiency: Efficiency) -> tuple[list[str], list[list[str]]]:
    """Header, and a row per size: mean and 95 % interval of each model in per cent, and their difference in points."""
    sweep = efficiency.sweep
    columns = [*(efficiency.accuracy[model] for model in sweep.models)]
    header = ["Training images", *(LABELS[model] for model in sweep.models)]
    if efficiency.difference:
        columns.append(efficiency.difference)
        header.append("CNN - ViT, points")
    forms = ["{:.2f}"] * len(sweep.models) + ["{:+.2f}"]
    rows = [
        [f"{size:,}", *(_with_interval(column[i], form) for column, form in zip(columns, forms, strict=False))]
        for i, size in enumerate(sweep.sizes)
    ]
    return header, rows


def _with_interval(estimate: Estimate, form: str) -> str:
    middle = form.format(100 * estimate.mean)
    if estimate.interval is None:
        return middle
    low, high = (form.format(100 * end) for end in (estimate.interval.low, estimate.interval.high))
    return f"{middle} ({low} to {high})"


def efficiency_tables(sweep: Sweep) -> list[Table]:
    """Accuracies by size and their differences, of the best epoch and of the last, and where the lead changes."""
    first, tables = sweep.first, []
    training = first.config.training
    images = first.config.epoch_images
    shown = f" of {images:,} images, whatever the size" if images else ""
    for metric, title in METRIC_TITLES.items():
        efficiency = sweep.analyses[metric]
        header, rows = efficiency_rows(efficiency)
        estimates = [*efficiency.accuracy.values(), efficiency.difference]
        counted = chance_note(sum(e.interval is not None for column in estimates for e in column))
        notes = [describe_crossover(efficiency) if efficiency.crossover else "", counted]
        tables.append(Table(header, rows, notes, title))
    laws = sweep.analyses["best"].power_law
    law_rows = [
        (LABELS[model], f"{law.a:.2f}", _interval_of(law.b, law.b_interval), f"{100 * law.max_residual:.1f} %")
        for model, law in laws.items()
    ]
    if law_rows:
        header = ("Model", "a", "b (95 % interval)", "Largest residual")
        counted = chance_note(sum(law.b_interval is not None for law in laws.values()))
        note = "Fitted to each seed in log-log, of the best epoch's error as a fraction; residual: mean error over fit."
        tables.append(
            Table(
                header,
                law_rows,
                [note, counted],
                "Power law of the test error, a · images^(-b)",
            )
        )
    note = (
        f"{_repeats(sweep.analyses['best'])} Data: {first.dataset_title}, {first.test_images:,} test images; "
        f"{first.config.data.subsets} subsets, {training.epochs} epochs{shown}, batches of {training.batch_size}. "
        f"{machines(list(sweep.runs.values()))}"
    )
    left_out = [f"Left out: {'; '.join(sweep.left_out)}."] if sweep.left_out else []
    tables[-1] = dataclasses.replace(tables[-1], notes=[*tables[-1].notes, note, *left_out])
    return tables


def _repeats(efficiency: Efficiency) -> str:
    """How many seeds, and by which method their interval."""
    seeds, interval = efficiency.sweep.seeds, efficiency.accuracy[efficiency.sweep.models[0]][0].interval
    if interval is None:
        return f"Seed {seeds[0]} alone, so no interval."
    return f"Mean and 95 % interval ({interval.method}: {', '.join(map(str, seeds))}); differences are paired by seed."


def _interval_of(value: float, interval: Interval | None) -> str:
    return f"{value:.3f}" + (f" ({interval.low:.3f} to {interval.high:.3f})" if interval else "")


def score_rows(score: Score) -> list[tuple[str, str, str, str]]:
    """A prediction: question, what was predicted, what was measured, and how the two compare."""
    words = {True: "right", False: "wrong", None: "not decided by these runs"}
    prediction, gap, measured = score.prediction, score.gap_error_points, score.measured_gap_points

    def name(model: ModelName | None) -> str:
        return LABELS[model] if model else "-"

    return [
        (
            "More accurate",
            name(prediction.more_accurate),
            name(score.measured_more_accurate),
            words[score.more_accurate_is_right],
        ),
        ("Faster per epoch", name(prediction.faster), name(score.measured_faster), words[score.faster_is_right]),
        (
            "Gap, points",
            f"{prediction.gap_points:.2f}",
            "-" if measured is None else f"{measured:.2f}",
            words[None] if gap is None else f"{abs(gap):.2f} too {'large' if gap > 0 else 'small'}",
        ),
    ]


def machines(records: Sequence[RunRecord]) -> str:
    """A sentence for each machine and set of versions that runs were made on."""
    return " ".join(dict.fromkeys(machine(record.environment) for record in records))


def machine(environment: Mapping[str, Any]) -> str:
    """One sentence: what a number was measured on."""
    return f"Machine: {device_text(environment)}; {versions_text(environment, 'jax', 'flax', 'torch')}."


MARK = re.compile(r"^<!-- (/?)(\w+) -->$", re.MULTILINE)
"""A line of a Markdown file that opens or closes the block of a name."""


def replace_blocks(document: Path, blocks: Mapping[str, str]) -> str:
    """A Markdown file's text with new blocks between its lines `<!-- NAME -->` and `<!-- /NAME -->`, of whichever of
    `blocks` it has. Nothing is written.

    Raises:
        InputError: the file has no block, one that is not closed, or one that is not among `blocks`.
    """
    try:
        text = document.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InputError(f"{document}: cannot be read ({reason})") from error
    marks, names = list(MARK.finditer(text)), ", ".join(blocks)
    if not marks:
        raise InputError(f"{document}: has no block; put <!-- NAME --> and <!-- /NAME --> on two lines, of {names}")
    parts, end = [], 0
    for opening, closing in zip(marks[::2], [*marks[1::2], None], strict=False):
        name = opening[2]
        if opening[1] or closing is None or closing.groups() != ("/", name):
            raise InputError(f"{document}: <!-- {name} --> and <!-- /{name} --> do not enclose a block; mend the marks")
        if name not in blocks:
            raise InputError(f"{document}: nothing fills <!-- {name} -->; give the folder of its records ({names})")
        parts += [text[end : opening.end()], "\n", blocks[name], "\n"]
        end = closing.start()
    return "".join([*parts, text[end:]])
