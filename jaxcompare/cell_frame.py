"""Speed cells as a data frame, a row a process: what `cells.csv` holds, and what every ratio is computed from."""

import dataclasses
import json
import statistics
from collections.abc import Sequence
from typing import Any

import pandas as pd

from jaxcompare.cell_records import MUST_AGREE, CellRecord
from jaxcompare.cells import Cell

COMPILE_PHASES = {"trace_s": "trace_s", "lower_s": "lower_s", "compile_s": "xla_s"}
"""Of a program, and the column: `compile_s` alone is all three."""

SAME_STUDY = (
    *("data_fingerprint", "train_images", "image_size", "num_classes", "seed"),
    *("cpu", "cpu_cores", "device", "versions", "git_commit"),
)
"""Columns in which all processes of a study agree."""

WHOLE = ("programs", "allocator_bytes", "plan_bytes", "process_bytes", "devices", "computed_batch_size")


REAL = (
    *("load_average", "input_wait", "image_energy_j", "cold_compile_s", "warm_compile_s"),
    *("import_time_s", "build_time_s", "startup_s", "warm_startup_s"),
    *(f"{cache}_{name}" for cache in ("cold", "warm") for name in COMPILE_PHASES.values()),
)
"""Columns that may be NA throughout."""


def to_frame(records: Sequence[CellRecord]) -> pd.DataFrame:
    """A row a process, in the order of the records; what was not measured is NA.

    Column `cell` holds the `Cell` itself, and its fields have a column each. Times are in seconds, memory in bytes,
    rates by the second; docs/records.md has every column.
    """
    columns = [field.name for field in dataclasses.fields(Cell)]
    frame = pd.DataFrame([_row(record) for record in records], columns=None if records else ["cell", *columns])
    types = dict.fromkeys(WHOLE, "Int64") | dict.fromkeys(REAL, "float64")
    return frame.astype({name: kind for name, kind in types.items() if name in frame})


def environment_of(row: pd.Series) -> dict[str, Any]:
    """A process's environment, as far as the frame has it."""
    return {**row, "versions": json.loads(row.versions)}


def to_csv(frame: pd.DataFrame) -> str:
    """As a file for a spreadsheet."""
    return frame.drop(columns="cell").to_csv(index=False, lineterminator="\n")


def _row(record: CellRecord) -> dict[str, Any]:
    environment, manifest = record.environment, record.manifest
    facts = {
        "cell": record.cell,
        "framework": record.cell.framework,
        **dataclasses.asdict(record.cell),
        "options": " ".join(record.cell.options),
        "repeat": record.repeat,
        "message": record.message,
        "started_at": record.started_at,
        "command": record.command,
        "dataset": record.dataset_title,
        **{name: getattr(record, name) for name in SAME_STUDY if hasattr(record, name)},
        **{name: environment.get(name) for name in ("cpu", "cpu_cores", "device", "backend", "load_average")},
        "versions": json.dumps(environment.get("versions")),
        "epoch_images": record.epoch_images,
    }
    if record.message:
        return facts
    cold, warm = (_phases(programs) for programs in (record.compile_times, record.warm_compile_times))
    return facts | {
        "image_time_s": record.image_time_s,
        "step_time_s": record.step_time_s,
        "steps": record.steps,
        "turns": len(record.epoch_time_s),
        "one_time_s": record.one_time_s,
        "first_run_s": record.first_run_s,
        **{name: getattr(record, name) for name in ("import_time_s", "build_time_s", "startup_s", "warm_startup_s")},
        "cold_compile_s": record.cold_compile_s,
        "warm_compile_s": record.warm_compile_time_s,
        **{f"cold_{name}": seconds for name, seconds in cold.items()},
        **{f"warm_{name}": seconds for name, seconds in warm.items()},
        "programs": record.programs,
        "input_wait": _median_share(record.input_wait_s, record.epoch_time_s),
        "page_faults": statistics.median(record.page_faults),
        "image_energy_j": _image_energy_j(record),
        "others_share": record.others_share,
        "ceiling_flops_per_s": record.ceiling_flops_per_s,
        "copy_bytes_per_s": record.copy_bytes_per_s,
        **{f"{name}_bytes": record.memory.get(name) for name in ("allocator", "plan", "process")},
        **{name: manifest[name] for name in (*MUST_AGREE, "dropout_generator")},
        **{name: manifest.get(name) for name in ("devices", "computed_batch_size")},
        **{f"gate_{name}": value for name, value in record.parity.items()},
    }


def _phases(programs: dict[str, dict[str, Any]]) -> dict[str, float | None]:
    """Of all programs compiled ahead together; none of torch.compile, which compiles while it runs."""
    ahead = [times for times in programs.values() if "compile_s" in times]
    return {column: sum(times[name] for times in ahead) if ahead else None for name, column in COMPILE_PHASES.items()}


def _image_energy_j(record: CellRecord) -> float | None:
    images = record.epoch_images * record.cell.seeds
    return statistics.median(record.energy_j) / images if record.energy_j else None


def _median_share(parts: Sequence[float], wholes: Sequence[float]) -> float | None:
    return statistics.median(part / whole for part, whole in zip(parts, wholes, strict=True)) if parts else None
