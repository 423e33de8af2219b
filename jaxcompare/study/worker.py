"""What a fresh process does. It trains in one framework, imported only here."""

import dataclasses
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxcompare.cell_records import Timing
from jaxcompare.cells import Cell
from jaxcompare.config import Framework, ModelName, TrainingConfig
from jaxcompare.data.batch import save_batches
from jaxcompare.measure.parity import load_reference, measure_deviation, save_reference
from jaxcompare.side import Pause, Setup, Side


def import_side(framework: Framework) -> Side:
    """A framework's, which is loaded with it."""
    if framework == "torch":
        from jaxcompare.torch_side.side import TorchSide

        return TorchSide()
    from jaxcompare.jax_side.side import JaxSide

    return JaxSide()


def find_backend(framework: Framework) -> str:
    """See `Side`, as of the next four."""
    return import_side(framework).find_backend()


def time_epochs(cell: Cell, setup: Setup, cache: Path, cold: bool = True, pause: Pause = lambda: None) -> Timing:
    begun = time.perf_counter()
    side = import_side(cell.framework)
    import_time_s = time.perf_counter() - begun
    return dataclasses.replace(
        side.time_epochs(cell, setup, cache, cold=cold, pause=pause), import_time_s=import_time_s
    )


def compile_warm(cell: Cell, setup: Setup, cache: Path) -> dict[str, dict[str, Any]]:
    return import_side(cell.framework).compile_warm(cell, setup, cache)


def measure_phases(cell: Cell, setup: Setup) -> dict[str, Any]:
    return dataclasses.asdict(import_side(cell.framework).measure_phases(cell, setup))


def save_trace(cell: Cell, setup: Setup, folder: Path) -> None:
    import_side(cell.framework).save_trace(cell, setup, folder)


def make_reference(model: ModelName, setup: Setup, path: Path) -> None:
    """PyTorch's float64 outcome, on disk for the gates. Of batches of the recipe's size, whatever the cells': of few
    images, one max-pool's tie is a large part of a gradient."""
    _sleep_when_idle()
    from jaxcompare.torch_side.reference import compute_reference

    training = dataclasses.replace(setup.training, batch_size=TrainingConfig.batch_size)
    save_reference(path, compute_reference(model, setup.dataset, training))


def pass_gate(cell: Cell, setup: Setup, path: Path) -> dict[str, float]:
    """How far the cell's side is from the reference, as `measure.parity.Deviation` has it."""
    _sleep_when_idle()
    reference = load_reference(path)
    outcome = import_side(cell.framework).run_gate(cell, setup, reference)
    return dataclasses.asdict(measure_deviation(reference.outcome[cell.framework], outcome))


def prepare_batches(sizes: Sequence[int], setup: Setup) -> None:
    """One epoch of the host pipeline for each batch size, on disk: the processes that train on it need neither
    torchvision nor, where JAX runs, PyTorch."""
    from jaxcompare.data.host import build_loaders

    for size in sizes:
        loader, _ = build_loaders(setup.dataset, dataclasses.replace(setup.training, batch_size=size), workers=0)
        save_batches(setup.batches / str(size), list(loader.epoch(0)))


def count_costs(model: ModelName, setup: Setup) -> dict[str, Any]:
    """By formula and by XLA; see `jax_side.costs.Costs`. On the CPU: what a GPU's libraries do, XLA cannot
    count."""
    os.environ["JAX_PLATFORMS"] = "cpu"
    from jaxcompare.jax_side.costs import count_costs
    from jaxcompare.measure.runtime import configure_jax

    configure_jax(cache=False)
    dataset, size = setup.dataset, setup.training.batch_size
    return dataclasses.asdict(count_costs(model, dataset.train.images.shape[1], len(dataset.class_names), size))


def measure_inputs(workers: int, setup: Setup) -> list[dict[str, Any]]:
    """Images per second of each input pipeline; see `study.inputs`."""
    from jaxcompare.study.inputs import measure_inputs

    return measure_inputs(setup.dataset, setup.training.batch_size, workers)


def _sleep_when_idle() -> None:
    """For processes that are not timed and have another beside them: the idle threads of PyTorch, imported after this,
    would spin on the cores that the other needs."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
