"""The parity gates of a study: which side each cell stands on, and whether that side may be timed."""

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jaxcompare.cells import Cell, input_on_device
from jaxcompare.config import TrainingConfig
from jaxcompare.measure.parity import Deviation
from jaxcompare.side import Setup
from jaxcompare.study import worker
from jaxcompare.study.process import CellFailed, in_fresh_process

Gates = dict[Cell, tuple[dict[str, float], str]]
"""By gate: how far its side is from the reference, and why its cells may not be timed, if so."""

Log = Callable[[str], None]
"""Takes a line of what goes on."""


def gate_of(cell: Cell) -> Cell:
    """The cell that passes the gate for this one: how often a program is called, where its batches come from and how
    large they are changes nothing of what a step computes. PyTorch's that makes its batches itself is another."""
    engine = cell.engine
    if cell.packaged:
        engine = "step" if cell.seeds == 1 else "epoch"
    size = TrainingConfig.batch_size
    place = "resident" if cell.input == "resident" else input_on_device(engine)
    # In every gate dropout is off, and epochs play no part.
    return dataclasses.replace(cell, engine=engine, input=place, batch_size=size, control=None)


def open_gates(cells: Sequence[Cell], setup: Setup, log: Log) -> Gates:
    """For each gate of the cells: how far its side is from the reference, and why its cells may not be timed, if so.

    Nothing is timed yet, so several processes run at once: on a CPU, whose cores each would take, two.
    """
    at_once = 6 if setup.gpu else 2
    # The slowest first: none is left alone at the end.
    gates = sorted(dict.fromkeys(map(gate_of, cells)), key=lambda gate: gate.engine not in ("op", "traced", "compile"))
    if gates:
        log(f"parity gates: {len(gates)} sides against PyTorch in float64, {at_once} at a time")
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(at_once) as pool:
        paths = {model: Path(folder) / f"{model}.npz" for model in dict.fromkeys(gate.model for gate in gates)}

        references = {
            model: pool.submit(in_fresh_process, worker.make_reference, model, setup, path)
            for model, path in paths.items()
        }

        def pass_gate(gate: Cell) -> tuple[dict[str, float], str]:
            references[gate.model].result()
            return _pass_gate(gate, setup, paths[gate.model])

        found = []
        passes = pool.map(pass_gate, gates)
        for number, (gate, (parity, message)) in enumerate(zip(gates, passes, strict=True), 1):
            passed = f"not timed: {message}" if message else "passed"
            log(f"[{number}/{len(gates)}] parity gate: {gate.model} {gate.execution}: {passed}")
            found.append((parity, message))
    return dict(zip(gates, found, strict=True))


def _pass_gate(gate: Cell, setup: Setup, path: Path) -> tuple[dict[str, float], str]:
    try:
        parity = in_fresh_process(worker.pass_gate, gate, setup, path)
    except CellFailed as error:
        return {}, str(error)
    exceeds = Deviation(**parity).exceeds(gate.model, gate.precision)
    return parity, f"parity gate: {', '.join(exceeds)}" if exceeds else ""
