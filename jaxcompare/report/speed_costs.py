"""Speed cells as tables: what a training image costs, the machine's ceilings, memory."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from jaxcompare.analysis.comparison import LABELS
from jaxcompare.analysis.roofline import common_roofs, roofs_by_framework
from jaxcompare.analysis.speed import by_repeat, cells_of, execution, in_matrix, measured
from jaxcompare.cells import CellRecord
from jaxcompare.config import Framework
from jaxcompare.report.speed_text import known, spread
from jaxcompare.report.tables import Table

Measurements = Sequence[Mapping[str, Any]]

APART = 0.05
"""Difference of two counts of one thing, from which on it is pointed at."""

FRAMEWORKS: dict[Framework, str] = {"jax": "JAX", "torch": "PyTorch"}

MEMORY = {"allocator": "Allocator", "plan": "XLA's plan", "process": "Process"}


def cost_table(records: Sequence[CellRecord], costs: Measurements) -> Table:
    """What a training image costs by formula and by XLA's count, and what the machine reaches."""
    rows = []
    for cost in costs:
        label = LABELS[cost["model"]]
        for title, name, unit in (
            ("Forward, MFLOP", "forward_flops", 1e6),
            ("Training, MFLOP", "training_flops", 1e6),
            ("Training, MB", "training_bytes", 1e6),
        ):
            formula, xla = cost[f"formula_{name}"], cost[f"xla_{name}"]
            flagged = name.endswith("flops") and abs(xla / formula - 1) > APART
            mark = f" (more than {100 * APART:.0f} % apart)" if flagged else ""
            texts = (f"{value / unit:,.3f}" for value in (formula, xla))
            rows.append((label, title, *texts, f"{100 * (xla / formula - 1):+.1f}{mark}"))
        formula, xla = (cost[f"{by}_training_flops"] / cost[f"{by}_training_bytes"] for by in ("formula", "xla"))
        rows.append(
            (label, "Intensity, FLOP a byte", f"{formula:,.1f}", f"{xla:,.1f}", f"{100 * (xla / formula - 1):+.1f}")
        )
    first = next(iter(costs), {"image_size": 0, "num_classes": 0, "batch_size": 0})
    note = (
        f"Per image of {first['image_size']} by {first['image_size']} pixels and {first['num_classes']} classes, "
        f"batches of {first['batch_size']}, float32, dropout off; training: forward and backward. Bytes by formula: "
        "the least traffic, were every layer one kernel, the update included; XLA's: what its kernels read and write, "
        "caches not considered, the update left out. Why the counts of operations differ: the docstring of "
        "jaxcompare/measure/cost.py."
    )
    header = ("Model", "An image", "By formula", "By XLA", "XLA over formula, %")
    return Table(header, rows, [note, *roof_sentences(records)], "What a training image costs")


def roof_sentences(records: Sequence[CellRecord]) -> list[str]:
    """The machine's ceilings in each precision."""
    sentences = []
    for precision in dict.fromkeys(record.cell.precision for record in measured(records)):
        roofs, of = common_roofs(records, precision), roofs_by_framework(records, precision)
        each = ", ".join(
            f"{FRAMEWORKS[name]} {roof.flops_per_s / 1e9:,.0f} and {roof.bytes_per_s / 1e9:,.0f}"
            for name, roof in of.items()
        )
        sentences.append(
            f"Ceilings in {precision}: a large matrix product {roofs.flops_per_s / 1e9:,.0f} GFLOP/s, a large copy "
            f"{roofs.bytes_per_s / 1e9:,.0f} GB/s, the larger of the frameworks' medians ({each}); ridge point "
            f"{roofs.ridge:,.1f} FLOP a byte: work of more is bound by arithmetic, of less by memory."
        )
    return sentences


def matrix_library_sentences(records: Sequence[CellRecord]) -> list[str]:
    """How much faster one framework multiplies large matrices, in each precision that both were measured in: a factor
    that the two libraries put into every ratio of the two, compiled or not."""
    sentences = []
    for precision in dict.fromkeys(record.cell.precision for record in measured(records)):
        of = roofs_by_framework(records, precision)
        if set(of) == set(FRAMEWORKS):
            jax_rate, torch_rate = of["jax"].flops_per_s, of["torch"].flops_per_s
            sentences.append(
                f"In {precision} a large matrix product is {jax_rate / torch_rate:.2g} times as fast in JAX as in "
                f"PyTorch here ({jax_rate / 1e9:,.0f} and {torch_rate / 1e9:,.0f} GFLOP/s): ratios of the two "
                "compare their matrix libraries on this processor too."
            )
    return sentences


def memory_table(records: Sequence[CellRecord]) -> Table:
    """Peak memory as three witnesses have it, and page faults."""
    records = measured(in_matrix(records))
    rows = []
    for cell in cells_of(records):
        peaks = [run.memory for run in by_repeat(records, cell)]
        texts = [spread((b / 1e6 for b in known(peak.get(name) for peak in peaks)), ",.0f") for name in MEMORY]
        faults = spread((statistics.median(run.page_faults) for run in by_repeat(records, cell)), ",.0f")
        rows.append((LABELS[cell.model], execution(cell), *texts, faults))
    header = ("Model", "Execution", *(f"{title}, MB" for title in MEMORY.values()), "Page faults an epoch")
    note = (
        "Median (and range) over repeats. Allocator: most in use on the device at once. XLA's plan: what the largest "
        "training program was compiled to need. Process: largest resident set, by the operating system (where Linux "
        "has VmHWM, that process's own, not what it had of the one that started it); it holds the libraries and the "
        "data set too. Page faults: pages that the process (not a DataLoader's workers) touches for the first "
        "time in an epoch, or anew after giving them back; the system finds, and mostly clears, each. A dash: there is "
        "no such number there."
    )
    return Table(header, rows, [note], "Peak memory and page faults")
