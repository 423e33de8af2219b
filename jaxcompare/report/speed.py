"""Speed cells as tables: medians, ranges, ratios taken repeat by repeat, and what the best comes to."""

import dataclasses
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jaxcompare.analysis.comparison import LABELS
from jaxcompare.analysis.speed import break_even_steps, by_repeat, interaction
from jaxcompare.cells import MUST_AGREE, Cell, CellRecord
from jaxcompare.config import InputError
from jaxcompare.measure.cost import layer_costs
from jaxcompare.report.tables import Table, machine

TRAINING_FLOPS = 3
"""Of a training step over its forward pass, by convention: the backward pass multiplies twice as much."""

NOT_COMPILED = ("eager", "op")
"""Engines that pay nothing for a step as a whole, so that nothing can break even."""


def speed_table(records: Sequence[CellRecord]) -> Table:
    """A row per cell, beside PyTorch eager of the same model; then the best JAX engine beside the best of PyTorch.

    Raises:
        InputError: the records are no one measurement: different data, batches, machines or commits, or cells of which
            a repeat is missing.
    """
    failed = {record.cell: record.message for record in records if record.message}
    all_cells = list(dict.fromkeys(record.cell for record in records))
    records = [record for record in records if record.cell not in failed]
    check_one_measurement(records)
    cells = list(dict.fromkeys(record.cell for record in records))
    rows, sentences = [], []
    for cell in all_cells:
        if cell in failed:
            rows.append((LABELS[cell.model], cell.title, *["-"] * 5))
            sentences.append(f"{LABELS[cell.model]}, {cell.title}: not measured ({failed[cell]}).")
            continue
        times = image_times(records, cell)
        eager = baseline(cells, cell)
        share = [
            TRAINING_FLOPS * flops_per_image(record) / record.image_time_s / record.ceiling_flops_per_s
            for record in records
            if record.cell == cell
        ]
        compile_time = [r.compile_time_s for r in records if r.cell == cell and r.compile_time_s is not None]
        rows.append(
            (
                LABELS[cell.model],
                cell.title,
                spread((1e6 * t for t in times), ",.0f"),
                spread(ratios(times, image_times(records, eager)), ".2f") if eager else "-",
                spread((100 * s for s in share), ".0f"),
                spread(compile_time, ".1f") if compile_time else "-",
                spread(peak_megabytes(records, cell), ",.0f"),
            )
        )
    for model in dict.fromkeys(cell.model for cell in cells):
        sentences += conclusions(records, [cell for cell in cells if cell.model == model])
    first = records[0]
    header = (
        "Model",
        "Execution",
        "Time per image, µs",
        "Over PyTorch eager",
        "Share of ceiling, %",
        "Compile, s",
        "Peak, MB",
    )
    repeats = len({record.repeat for record in records})
    note = (
        f"Median (and range) of {repeats} fresh processes, interleaved; ratios are taken repeat by repeat. "
        f"{first.dataset_title}, {first.train_images:,} images, batches of {first.batch_size}, {first.cell.precision}, "
        "dropout on; the first epoch, evaluation and compilation excluded; of several seeds, the time per image and "
        "seed. PyTorch's batches are ready in memory before its clock starts; JAX's times hold their preparation. "
        "Ceiling: a large matrix product in the same process; three forward passes' worth of floating-point "
        "operations a training image. Compile: all programs, cold. Peak: of the device by its allocator, on a CPU of "
        f"the process. {_gate_note(records)} {machine(first.environment)}"
    )
    return Table(header, rows, [" ".join(sentences), note], "Speed: every engine beside PyTorch")


def _gate_note(records: Sequence[CellRecord]) -> str:
    """How near the sides were to float64 before they were timed: the farthest of all."""
    if not all(record.parity for record in records):
        return "Parity gate: these cells were measured before there was one."
    worst = {name: max(record.parity[name] for record in records) for name in records[0].parity}
    found = ", ".join(f"{name} {value:.0e}" for name, value in worst.items())
    return (
        "Parity gate: from shared weights and batches, dropout off, each side came within "
        f"{found} of PyTorch in float64 before it was timed (share of the largest logit; relative norm of the worst "
        "parameter; nats over 10 AdamW steps)."
    )


def break_even_table(records: Sequence[CellRecord]) -> Table:
    """What each compiled way of one run costs once, and after how many steps it has caught up with PyTorch eager; then
    whether compiling speeds up the two models alike."""
    failed = {record.cell for record in records if record.message}
    records = [record for record in records if record.cell not in failed]
    cells = list(dict.fromkeys(record.cell for record in records if record.cell.seeds == 1))
    rows = []
    for cell in (cell for cell in cells if cell.engine not in NOT_COMPILED):
        reference = baseline(cells, cell)
        if reference is None:
            continue
        runs, eager = by_repeat(records, cell), by_repeat(records, reference)
        steps = [break_even_steps(one, other) for one, other in zip(runs, eager, strict=True)]
        seconds = [n * run.step_time_s + run.one_time_s for n, run in zip(steps, runs, strict=True)]
        rows.append(
            (
                LABELS[cell.model],
                cell.title,
                spread([run.one_time_s for run in runs], ".1f"),
                spread([1e3 * run.step_time_s for run in runs], ".1f"),
                _never(steps, ",.0f"),
                _never(seconds, ",.0f"),
            )
        )
    header = ("Model", "Execution", "Paid once, s", "Step, ms", "Break-even, steps", "Break-even, s")
    note = (
        "Against PyTorch eager of the same model and repeat. Paid once: compilation, cold, and what the first epoch "
        "took beyond a later one. Break-even: where the two cumulative times meet; never: a step takes no less time."
    )
    return Table(header, rows, [*_interactions(records, cells), note], "What compiling costs, and when it has paid")


def _never(values: Sequence[float], form: str) -> str:
    """Spread of what may be infinite."""
    finite = [value for value in values if value < float("inf")]
    if len(finite) == len(values):
        return spread(values, form)
    return "never" if not finite else f"never in {len(values) - len(finite)} of {len(values)} repeats"


def _interactions(records: Sequence[CellRecord], cells: Sequence[Cell]) -> list[str]:
    """For each way that both models were run in: is its speed-up over PyTorch eager the same for both?"""
    sentences = []
    for cnn in (cell for cell in cells if cell.model == "cnn" and cell.engine not in NOT_COMPILED):
        vit = dataclasses.replace(cnn, model="vit")
        eager, other_eager = baseline(cells, vit), baseline(cells, cnn)
        if vit not in cells or eager is None or other_eager is None:
            continue
        ratio, interval = interaction(records, ((vit, eager), (cnn, other_eager)))
        text = f"Over PyTorch eager, {cnn.title} speeds up the ViT {ratio:.2f} times as much as the CNN"
        if interval is None:
            sentences.append(f"{text} (one repeat, no interval).")
            continue
        shown = "more" if interval.low > 1 else "less" if interval.high < 1 else "undecided which"
        sentences.append(f"{text} (95 % interval {interval.low:.2f} to {interval.high:.2f}: {shown}).")
    return [" ".join(sentences)] if sentences else []


def conclusions(records: Sequence[CellRecord], cells: Sequence[Cell]) -> list[str]:
    """Of one model: the best JAX engine over the best of PyTorch and over the recipe's loop; seeds over single runs."""
    label, sentences = LABELS[cells[0].model], []

    def best(some: Iterable[Cell]) -> Cell:
        return min(some, key=lambda cell: statistics.median(image_times(records, cell)))

    jax_cells = [cell for cell in cells if cell.framework == "jax" and cell.seeds == 1]
    torch_cells = [cell for cell in cells if cell.framework == "torch" and cell.input == "memory"]
    if not jax_cells or not torch_cells:
        return []
    ours, theirs = best(jax_cells), best(torch_cells)
    over = spread(ratios(image_times(records, ours), image_times(records, theirs)), ".2f")
    sentences.append(f"{label}: the best JAX engine ({ours.title}) takes {over} of the time of {theirs.title}.")
    for recipe in (cell for cell in cells if cell.input == "recipe"):
        times = spread(ratios(image_times(records, recipe), image_times(records, ours)), ".1f")
        sentences.append(f"The recipe's own loop takes {times} times as long as it.")
    for several in (cell for cell in cells if cell.seeds > 1):
        single = dataclasses.replace(several, seeds=1)
        if single not in cells:
            continue
        per_seed = ratios(image_times(records, several), image_times(records, single))
        sentences.append(
            f"{several.seeds} seeds in one program take {spread(per_seed, '.2f')} of the time of {several.seeds} "
            f"single runs, {spread((several.seeds * r for r in per_seed), '.2f')} times one run's."
        )
    return sentences


PHASES = {
    "input_ms": "Input",
    "copy_ms": "Copy",
    "forward_ms": "Forward",
    "backward_ms": "Backward",
    "update_ms": "Update",
    "step_ms": "Step",
    "dispatch_ms": "Call returns after",
}


def phases_table(records: Sequence[Mapping[str, Any]]) -> Table:
    """Where a step's time goes in PyTorch eager and in JAX's compiled step; without rows if nothing was measured."""
    if not records:
        return Table((), (), ())
    cells = [Cell(**cell) for cell in map(dict, dict.fromkeys(tuple(record["cell"].items()) for record in records))]
    rows = []
    for cell in cells:
        of_cell = [record for record in records if record["cell"] == dataclasses.asdict(cell)]
        values = [spread((record[name] for record in of_cell), ".2f") for name in PHASES]
        rows.append((LABELS[cell.model], cell.title.partition(",")[0], *values))
    header = ("Model", "Execution", *(f"{title}, ms" for title in PHASES.values()))
    note = (
        f"Batches of {records[0]['batch_size']}, median of 20 steps, then median (and range) over processes; the "
        "device is waited for after each phase. Input: the next batch of the host's pipeline. Forward and backward "
        "have dropout on. In JAX they are programs of their own: backward is what the gradient takes beyond the loss, "
        "update what the step takes beyond the gradient. Step: all three in one call."
    )
    return Table(header, rows, [note], "Where a step's time goes")


def input_table(records: Sequence[Mapping[str, Any]]) -> Table:
    """The host pipeline beside the recipe's, in images per second."""
    rows = []
    for workers in (0, 2):
        ours, recipe = (
            [r["images_per_s"] for r in records if (r["pipeline"], r["workers"]) == (pipeline, workers)]
            for pipeline in ("jaxcompare", "recipe")
        )
        if len(ours) != len(recipe) or not ours:
            raise InputError("inputs.jsonl: a measurement is missing; measure anew")
        rows.append((str(workers), spread(ours, ",.0f"), spread(recipe, ",.0f"), spread(ratios(ours, recipe), ".1f")))
    header = ("Workers", "Host pipeline, images/s", "Recipe's pipeline, images/s", "Ratio")
    note = (
        f"The second pass over {records[0]['images']:,} images; the recipe's loader starts its workers anew every "
        "pass, as a plain DataLoader does, ours keeps them."
    )
    return Table(header, rows, [note], "Input pipelines")


def check_one_measurement(records: Sequence[CellRecord]) -> None:
    """Raise InputError, naming what differs, unless ratios between the records mean something."""
    if not records:
        raise InputError("cells.jsonl: holds no measurement; measure anew")
    facts = [
        {
            "data": (record.data_fingerprint, record.train_images, record.image_size, record.seed),
            "batch size": record.batch_size,
            "precision": record.cell.precision,
            "cpu": (record.environment["cpu"], record.environment["cpu_cores"]),
            "device": record.environment["device"],
            "versions": record.environment["versions"],
            **{name: record.manifest[name] for name in MUST_AGREE},
            "commit": record.git_commit,
        }
        for record in records
    ]
    for other in facts[1:]:
        for name, value in other.items():
            if value != facts[0][name]:
                raise InputError(
                    f"cells of different measurements: {name} is {facts[0][name]} in one, {value} in another"
                )
    repeats = {cell: sorted(r.repeat for r in records if r.cell == cell) for cell in {r.cell for r in records}}
    for cell, found in repeats.items():
        if found != max(repeats.values(), key=len):
            raise InputError(
                f"{cell.model} {cell.title}: repeats {found} only; the measurement did not come to its end"
            )


def baseline(cells: Sequence[Cell], cell: Cell) -> Cell | None:
    """PyTorch eager of the same model, on batches in memory; None if it was not measured."""
    for other in cells:
        if (other.framework, other.engine, other.input, other.model) == ("torch", "eager", "memory", cell.model):
            return other
    return None


def flops_per_image(record: CellRecord) -> int:
    """Of the forward pass."""
    costs = layer_costs(record.cell.model, image_size=record.image_size, num_classes=record.num_classes)
    return sum(cost.flops_per_image for cost in costs)


def peak_megabytes(records: Sequence[CellRecord], cell: Cell) -> list[float]:
    """The most memory in use at once, by repeat."""
    peaks = [r.execution["peak_bytes"] for r in records if r.cell == cell]
    return [(peak["device"] or peak["process"]) / 1e6 for peak in peaks]


def image_times(records: Sequence[CellRecord], cell: Cell) -> list[float]:
    """Seconds per training image and seed, by repeat."""
    return [r.image_time_s for r in sorted(records, key=lambda r: r.repeat) if r.cell == cell]


def ratios(times: Sequence[float], reference: Sequence[float]) -> list[float]:
    """Repeat by repeat, so that a machine that drifts slows both sides of each."""
    return [time / other for time, other in zip(times, reference, strict=True)]


def spread(values: Iterable[float], form: str) -> str:
    """Median, and range if there are several."""
    numbers = list(values)
    middle = format(statistics.median(numbers), form)
    return middle if len(numbers) == 1 else f"{middle} ({min(numbers):{form}} to {max(numbers):{form}})"
