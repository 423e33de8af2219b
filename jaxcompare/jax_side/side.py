"""JAX's side of a study."""

import time
from pathlib import Path
from typing import Any

import jax

from jaxcompare.cell_records import Timing
from jaxcompare.cells import Cell
from jaxcompare.jax_side import epochs
from jaxcompare.jax_side.cell_engine import build_cells_learner, build_engine
from jaxcompare.jax_side.gate import run_gate
from jaxcompare.measure.clock import Phases
from jaxcompare.measure.environment import start_jax
from jaxcompare.measure.parity import Outcome, Reference
from jaxcompare.measure.runtime import check_settings, configure_jax
from jaxcompare.side import Pause, Setup
from jaxcompare.training.execution import check_precision


class JaxSide:
    """See `side.Side`."""

    def find_backend(self) -> str:
        check_settings()
        start_jax()
        return jax.default_backend()

    def time_epochs(self, cell: Cell, setup: Setup, cache: Path, *, cold: bool, pause: Pause) -> Timing:
        begun = time.perf_counter()
        start(cell, cache)
        timing = epochs.time_cell(cell, setup, pause, device_s=time.perf_counter() - begun)
        if cold and (warm := [name for name, times in timing.compile_times.items() if times["from_cache"]]):
            raise RuntimeError(f"not compiled anew: {', '.join(warm)}")
        return timing

    def compile_warm(self, cell: Cell, setup: Setup, cache: Path) -> dict[str, dict[str, Any]]:
        start(cell, cache)
        programs = build_engine(cell, setup).programs.describe_times()
        if cold := [name for name, times in programs.items() if not times["from_cache"]]:
            raise RuntimeError(f"compiled anew, though it had been compiled before: {', '.join(cold)}")
        return programs

    def run_gate(self, cell: Cell, setup: Setup, reference: Reference) -> Outcome:
        start(cell, True)
        return run_gate(cell, setup, reference)

    def measure_phases(self, cell: Cell, setup: Setup) -> Phases:
        # Imported here: the host's pipeline is PyTorch's.
        from jaxcompare.jax_side.phases import measure_phases

        start(cell, True)
        return measure_phases(build_cells_learner(cell, setup), setup.dataset, setup.training_of(cell))

    def save_trace(self, cell: Cell, setup: Setup, folder: Path) -> None:
        start(cell, False)
        epochs.save_trace(build_engine(cell, setup), folder)


def start(cell: Cell, cache: Path | bool) -> None:
    """JAX as the cell has it, its programs in a cache; True: the usual one, where compilation is not what is measured.
    Must come before the process's first array.

    Raises:
        InputError: the device lacks the precision.
    """
    # Op by op, each operation is such a program: seconds of them in every process.
    configure_jax(cache=cache if cell.compiled else True, split_cores=cell.packaged)
    check_precision(cell.precision)
