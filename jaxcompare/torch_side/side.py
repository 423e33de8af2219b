"""PyTorch's side of a study."""

from pathlib import Path
from typing import Any

from jaxcompare.cell_records import Timing
from jaxcompare.cells import Cell
from jaxcompare.compat import torch as compat
from jaxcompare.measure.clock import Phases
from jaxcompare.measure.parity import Outcome, Reference
from jaxcompare.side import Pause, Setup
from jaxcompare.torch_side import epochs
from jaxcompare.torch_side.cell_step import find_device
from jaxcompare.torch_side.gate import run_gate


class TorchSide:
    """See `side.Side`."""

    def find_backend(self) -> str:
        return find_device()

    def time_epochs(self, cell: Cell, setup: Setup, cache: Path, *, cold: bool, pause: Pause) -> Timing:
        compat.keep_torch_programs(str(cache))
        return epochs.time_epochs(cell, setup, pause, cold=cold)

    def compile_warm(self, cell: Cell, setup: Setup, cache: Path) -> dict[str, dict[str, Any]]:
        compat.keep_torch_programs(str(cache))
        return {"first step": {"step_s": epochs.time_first_step(cell, setup)}}

    def run_gate(self, cell: Cell, setup: Setup, reference: Reference) -> Outcome:
        return run_gate(cell, setup, reference)

    def measure_phases(self, cell: Cell, setup: Setup) -> Phases:
        # Imported here: torchvision takes seconds.
        from jaxcompare.torch_side.phases import measure_phases

        return measure_phases(cell, setup)

    def save_trace(self, cell: Cell, setup: Setup, folder: Path) -> None:
        epochs.save_trace(cell, setup, folder)
