"""How a speed study was made, in the words below its main table."""

import statistics
from collections.abc import Sequence
from datetime import datetime

from jaxcompare.analysis.comparison import LABELS
from jaxcompare.analysis.speed import by_repeat, cells_of
from jaxcompare.analysis.statistics import interval_method
from jaxcompare.cells import CellRecord
from jaxcompare.report.tables import machine

BUSY = 2
"""Processes a core, from which on a load average is more than a measurement's own: its threads, a compiler's, and what
has just ended."""


def measurement_note(records: Sequence[CellRecord]) -> str:
    """What the times are of, and on what machine."""
    first, repeats = records[0], len({record.repeat for record in records})
    processes = f"median (and range) of {repeats} fresh processes, interleaved" if repeats > 1 else "one fresh process"
    return (
        f"Time, share and compilation: {processes}. "
        f"{interval_note(records)} {first.dataset_title}, {first.train_images:,} images, batches of "
        f"{first.cell.batch_size}, {', '.join(dict.fromkeys(record.cell.precision for record in records))}, dropout "
        f"on; {_timed_steps(records)} timed steps a process; the first epoch, evaluation and compilation excluded; of "
        "several seeds, the time per image and seed. PyTorch's device batches are prepared before the clock starts; "
        "JAX's device input makes its batches inside the program, so JAX does more work. Ceiling: a large matrix "
        "product, the same for both frameworks: the faster one's median over all its processes of a precision; "
        "floating-point operations a training image by formula. Compile: every program that training needs, ahead of "
        "time, of torch.compile the whole first step, which compiles; warm: a second process with the first one's "
        "cache, in the first repeat alone. Best: by the median of these same repeats, of all that passed the gate and "
        "take the same steps on batches that are there. "
        f"{_malloc_note(first)}{_padding_note(records)}{_noise_note(records)}{_gate_note(records)} "
        f"{machine(first.environment)}"
    )


def setting(records: Sequence[CellRecord]) -> str:
    """What a study's ratios are of, in a few words."""
    first, repeats = records[0], len({record.repeat for record in records})
    processes = f"{repeats} fresh processes" if repeats > 1 else "one process"
    environment = first.environment
    on_cpu = environment["backend"] == "cpu"
    device = f"{environment['cpu_cores']} cores of {environment['cpu']}" if on_cpu else environment["device"]
    return f"{first.dataset_title}, batches of {first.cell.batch_size}, {processes} a cell, {device}"


def _malloc_note(record: CellRecord) -> str:
    """What the allocator was told, which is not what a user has by default."""
    told = record.manifest["malloc"]
    if not told:
        return ""
    return (
        f"Allocator: {told}, in every process, and a single arena for plain jit; not the default, with which PyTorch "
        "eager may take longer (see jaxcompare/measure/malloc.py). "
    )


def _padding_note(records: Sequence[CellRecord]) -> str:
    """Where JAX computes more than PyTorch: whole slices for each of its devices."""
    padded = {
        (record.cell.batch_size, LABELS[record.cell.model], computed, record.manifest["devices"]): None
        for record in records
        if (computed := record.manifest.get("computed_batch_size", 0)) > record.cell.batch_size
    }
    return "".join(
        f"JAX pads the {model}'s batches of {size} to {computed}, whole slices for each of {devices} devices, and its "
        "times hold that work. "
        for size, model, computed, devices in padded
    )


def _noise_note(records: Sequence[CellRecord]) -> str:
    """What may have disturbed the measurement, as far as it was seen."""
    apart = max(_minutes_apart([r for r in records if r.repeat == repeat]) for repeat in {r.repeat for r in records})
    loads = [(load, r.environment["cpu_cores"]) for r in records if (load := r.environment.get("load_average"))]
    most, cores = max(loads, default=(0.0, 1))
    busy = f" Other work ran beside: {most:.1f} processes wanted one of {cores} cores." if most > BUSY * cores else ""
    return f"The processes of a repeat began within {max(apart, 1):,.0f} min of each other.{busy} "


def _minutes_apart(records: Sequence[CellRecord]) -> float:
    started = [datetime.fromisoformat(record.started_at) for record in records]
    return (max(started) - min(started)).total_seconds() / 60


def _timed_steps(records: Sequence[CellRecord]) -> str:
    """From the cell with the fewest to the one with the most: fast cells are timed for more epochs."""
    of_cells = [
        statistics.median(len(run.epoch_time_s) * run.steps for run in by_repeat(records, cell))
        for cell in cells_of(records)
    ]
    low, high = (f"{of(of_cells):,.0f}" for of in (min, max))
    return low if low == high else f"{low} to {high}"


def interval_note(records: Sequence[CellRecord]) -> str:
    """How ratios and their intervals are made."""
    repeats = len({record.repeat for record in records})
    if repeats == 1:
        return "One repeat: ratios have no interval, and what they show may be chance."
    return (
        f"Ratios are of medians over repeats; their 95 % intervals ({interval_method(repeats, 'repeats')}, of the "
        "logarithm) pair what ran in one repeat, and each has its 95 % for itself, not all together; of fewer than "
        "ten repeats they are of the mean, widened to hold the ratio."
    )


def _gate_note(records: Sequence[CellRecord]) -> str:
    """How near the sides were to float64 before they were timed: the farthest of all, in each precision."""
    found = []
    for precision in dict.fromkeys(record.cell.precision for record in records):
        parities = [record.parity for record in records if record.cell.precision == precision]
        worst = ", ".join(f"{name} {max(parity[name] for parity in parities):.0e}" for name in parities[0])
        found.append(f"{worst} in {precision}")
    return (
        "Parity gate: from shared weights and batches, dropout off, each side came within "
        f"{'; '.join(found)} of PyTorch in float64 before it was timed (share of the largest logit; relative norm of "
        "the worst parameter; nats over 10 AdamW steps)."
    )
