"""What a fresh process does: one cell, one gate, one phase table. It trains in one framework, imported only here."""

import dataclasses
import itertools
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxcompare import compat
from jaxcompare.cells import RECIPE_STEPS, Cell, Timing
from jaxcompare.config import DataConfig, ModelName, RunConfig, TrainingConfig

if TYPE_CHECKING:
    from jaxcompare.data.batch import Batch, Loader
    from jaxcompare.data.host import HostLoader
    from jaxcompare.data.recipe import RecipeStream
    from jaxcompare.data.split import Dataset

PASSES = 4
"""Over the training images: what an input pipeline is timed for."""


@dataclasses.dataclass(frozen=True)
class Setup:
    """What every cell of a study has in common."""

    dataset: "Dataset"
    """The training images of the study, all of them used; a few test images."""
    training: TrainingConfig
    """But for its batch size and number of epochs, which may be a cell's."""
    batches: Path
    """Folder of the batches that `prepare_batches` made."""
    command: str = ""
    """See `CellRecord.command`."""

    def training_of(self, cell: Cell) -> TrainingConfig:
        """A cell's. Epochs of the recipe's length are long enough for one to be timed."""
        epochs = 2 if cell.control == "long-epochs" else self.training.epochs
        return dataclasses.replace(self.training, batch_size=cell.batch_size, epochs=epochs)

    def epoch_images_of(self, cell: Cell) -> int:
        """How many images an epoch of a cell shows."""
        return RECIPE_STEPS * cell.batch_size if cell.control == "long-epochs" else len(self.dataset.train)

    def batches_of(self, cell: Cell) -> "list[Batch] | None":
        """A cell's, where they are prepared."""
        if not cell.prepared:
            return None
        from jaxcompare.data.batch import load_batches

        return load_batches(self.batches / str(cell.batch_size))

    def seeds_of(self, cell: Cell) -> list[int]:
        """The first of them is every other cell's."""
        return list(range(self.training.seed, self.training.seed + cell.seeds))

    def run_config(self, cell: Cell) -> RunConfig:
        """A JAX cell's. A plain one passes for a step a call."""
        from jaxcompare.training.speed import build_execution

        packaged = cell if cell.packaged else dataclasses.replace(cell, engine="step")
        size = self.dataset.train.images.shape[1]
        return RunConfig(
            "jax",
            cell.model,
            DataConfig(image_size=size, subsets="independent"),
            self.training_of(cell),
            build_execution(packaged),
            self.epoch_images_of(cell),
        )


def time_cell(cell: Cell, setup: Setup, cache: Path) -> Timing:
    """Its epochs, compiled into an empty cache.

    Raises:
        RuntimeError: a program came from a cache.
    """
    if cell.framework == "torch":
        from jaxcompare.twin.speed import time_epochs

        compat.keep_torch_programs(str(cache))
        return time_epochs(cell, setup.dataset, setup.training_of(cell), setup.batches_of(cell))
    from jaxcompare.training.speed import time_epochs

    config = _start_jax(cell, setup, cache)
    timing = time_epochs(cell, config, setup.dataset, setup.seeds_of(cell), _build_loader(cell, setup))
    if warm := [name for name, times in timing.compile_times.items() if times["from_cache"]]:
        raise RuntimeError(f"not compiled anew: {', '.join(warm)}")
    return timing


def time_warm_compilation(cell: Cell, setup: Setup, cache: Path) -> dict[str, dict[str, Any]]:
    """What compiling takes where `time_cell` has left every program in the cache; see `CellRecord.warm_compile_times`.

    Raises:
        RuntimeError: a program was compiled anew.
    """
    if cell.framework == "torch":
        from jaxcompare.twin.speed import time_first_step

        compat.keep_torch_programs(str(cache))
        training, batches = setup.training_of(cell), setup.batches_of(cell)
        return {"first step": {"step_s": time_first_step(cell, setup.dataset, training, batches)}}
    from jaxcompare.training.speed import compile_cold_or_warm

    config = _start_jax(cell, setup, cache)
    programs = compile_cold_or_warm(cell, config, setup.dataset, setup.seeds_of(cell), _build_loader(cell, setup))
    if cold := [name for name, times in programs.items() if not times["from_cache"]]:
        raise RuntimeError(f"compiled anew, though it had been compiled before: {', '.join(cold)}")
    return programs


def prepare_batches(sizes: Sequence[int], setup: Setup) -> None:
    """One epoch of the host pipeline for each batch size, on disk: the processes that train on it need neither
    torchvision nor, where JAX runs, PyTorch."""
    from jaxcompare.data.batch import save_batches
    from jaxcompare.data.host import build_loaders

    for size in sizes:
        loader, _ = build_loaders(setup.dataset, dataclasses.replace(setup.training, batch_size=size), workers=0)
        save_batches(setup.batches / str(size), list(loader.epoch(0)))


def save_trace(cell: Cell, setup: Setup, folder: Path) -> None:
    """A profiler's trace of one epoch, and of compiled JAX the optimised HLO."""
    if cell.framework == "torch":
        from jaxcompare.twin.speed import save_trace

        save_trace(cell, setup.dataset, setup.training_of(cell), setup.batches_of(cell), folder)
        return
    from jaxcompare.training.speed import save_trace

    config = _start_jax(cell, setup, False)
    save_trace(cell, config, setup.dataset, setup.seeds_of(cell), _build_loader(cell, setup), folder)


def make_reference(model: ModelName, setup: Setup, path: Path) -> None:
    """PyTorch's float64 outcome, on disk for the gates. Of batches of the recipe's size, whatever the cells': of few
    images, one max-pool's tie is a large part of a gradient."""
    _sleep_when_idle()
    from jaxcompare.measure.parity import save_reference
    from jaxcompare.twin.reference import compute_reference

    training = dataclasses.replace(setup.training, batch_size=TrainingConfig.batch_size)
    save_reference(path, compute_reference(model, setup.dataset, training))


def pass_gate(cell: Cell, setup: Setup, path: Path) -> dict[str, float]:
    """How far the cell's side is from the reference, as `measure.parity.Deviation` has it."""
    _sleep_when_idle()
    from jaxcompare.measure.parity import load_reference, measure_deviation

    reference = load_reference(path)
    if cell.framework == "torch":
        from jaxcompare.twin.speed import run_gate

        outcome = run_gate(cell, reference, setup.training_of(cell))
    else:
        from jaxcompare.training.engines import build_engine
        from jaxcompare.training.execution import check_precision
        from jaxcompare.training.gate import run_plain, run_side

        config = _start_jax(cell, setup, True)
        check_precision(cell.precision)
        if not cell.packaged:
            outcome = run_plain(cell.engine, config, reference)
        else:
            engine = build_engine(config, setup.dataset, setup.seeds_of(cell), compiled=False, dropout=False)
            outcome = run_side(engine, reference)
    return dataclasses.asdict(measure_deviation(reference.outcome[cell.framework], outcome))


def measure_phases(cell: Cell, setup: Setup) -> dict[str, Any]:
    """Where a step's time goes; see `measure.clock.Phases`."""
    if cell.framework == "torch":
        from jaxcompare.twin.phases import measure_phases

        return dataclasses.asdict(measure_phases(cell, setup.dataset, setup.training_of(cell)))
    from jaxcompare.training.engines import build_engine
    from jaxcompare.training.phases import measure_phases

    config = _start_jax(cell, setup, True)
    engine = build_engine(config, setup.dataset, setup.seeds_of(cell), compiled=False, dropout=cell.dropout)
    return dataclasses.asdict(measure_phases(engine, setup.dataset))


def count_costs(model: ModelName, setup: Setup) -> dict[str, Any]:
    """By formula and by XLA; see `training.costs.Costs`."""
    from jaxcompare.measure.runtime import configure_jax
    from jaxcompare.training.costs import count_costs

    configure_jax(cache=False)
    dataset, size = setup.dataset, setup.training.batch_size
    return dataclasses.asdict(count_costs(model, dataset.train.images.shape[1], len(dataset.class_names), size))


def measure_inputs(workers: int, setup: Setup) -> list[dict[str, Any]]:
    """Images per second of each input pipeline in its steady state, over PASSES passes after one of warm-up. No model
    is run."""
    from jaxcompare.data.host import HostLoader
    from jaxcompare.data.recipe import RecipeStream
    from jaxcompare.measure.environment import describe_environment

    dataset, size = setup.dataset, setup.training.batch_size
    host = HostLoader(
        dataset.train,
        size,
        dataset.statistics,
        augment=True,
        shuffle=True,
        epoch_images=(PASSES + 2) * len(dataset.train),  # one epoch; more than is taken, so that workers never run out
        workers=workers,
    )
    # The recipe's workers are forked: first, from a process without threads.
    pipelines = {"recipe": RecipeStream(dataset, size, workers=workers), "jaxcompare": host}
    environment = describe_environment("torch")
    return [
        {"pipeline": name, **_time_passes(loader, setup), "environment": environment}
        for name, loader in pipelines.items()
    ]


def _time_passes(loader: "HostLoader | RecipeStream", setup: Setup) -> dict[str, float]:
    images, size = len(setup.dataset.train), setup.training.batch_size
    with loader:
        batches = itertools.chain.from_iterable(loader.epoch(epoch) for epoch in itertools.count())
        per_pass = round(images / size)
        for _ in itertools.islice(batches, per_pass):
            pass
        start = time.perf_counter()
        for _ in itertools.islice(batches, PASSES * per_pass):
            pass
        seconds = time.perf_counter() - start
    return {"images": PASSES * per_pass * size, "images_per_s": PASSES * per_pass * size / seconds}


def find_backend(framework: str) -> str:
    """Where a framework runs: "cpu", or the name of something else."""
    if framework == "torch":
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"
    import jax

    return jax.default_backend()


def _start_jax(cell: Cell, setup: Setup, cache: Path | bool) -> RunConfig:
    """JAX as the cell has it, its programs in a cache; True: the usual one, where compilation is not what is measured.
    Must come before the process's first array."""
    from jaxcompare.measure.runtime import configure_jax

    # Op by op, each operation is such a program: seconds of them in every process.
    configure_jax(cache=cache if cell.compiled else True, split_cores=cell.packaged)
    return setup.run_config(cell)


def _sleep_when_idle() -> None:
    """For processes that are not timed and have another beside them: the idle threads of PyTorch, imported after this,
    would spin on the cores that the other needs."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def _build_loader(cell: Cell, setup: Setup) -> "Loader | None":
    """Where a JAX cell's batches come from; None: from the engine itself, which has the images on the device."""
    batches = setup.batches_of(cell)
    if batches is not None:
        from jaxcompare.training.speed import ready_batches

        return ready_batches(batches, on_device=cell.input == "device")
    dataset, training = setup.dataset, setup.training_of(cell)
    if cell.input == "recipe":
        from jaxcompare.data.recipe import RecipeLoader

        return RecipeLoader(dataset, training)
    if cell.input == "host":
        from jaxcompare.data.host import build_loaders

        return build_loaders(dataset, training, workers=0, beside_jax=True)[0]
    return None
