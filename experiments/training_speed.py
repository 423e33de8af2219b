"""What does each way of executing a training step cost, beside PyTorch?

Shows: time per training image of both models under every engine and input, beside PyTorch eager and torch.compile on
batches that are ready in memory; the ratios; the share of the machine's matrix-product ceiling; several seeds in one
program beside single runs; what compiling costs, after how many steps it has paid, and whether it speeds up both models
alike. And images per second of the host pipeline beside the recipe's own (PIL, one transform chain per image), with 0
and 2 workers.

Before a side is timed it passes a parity gate: from shared weights and batches, its logits, gradients and the losses of
10 steps are PyTorch's in float64, within its precision's tolerance. A side that does not pass has no time. A cell that
fails is a row that says why; the others go on.

    python experiments/training_speed.py --dataset folder --data-dir DIR        about 20 minutes on 2 CPU cores
    python experiments/training_speed.py --precision tf32 --train-size 50000    on a GPU

On a GPU there are more cells: torch.compile with CUDA graphs, and the recipe's own loop with two loader workers. Every
measurement has a fresh process, which runs one framework; repeats are interleaved, so that a machine that drifts slows
every side alike. Keep other work off the machine.
"""

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import console
from jaxcompare.cells import Cell, CellRecord, TorchEngine, TorchInput, load_cells, save_cells
from jaxcompare.config import (
    DataConfig,
    Engine,
    ExecutionConfig,
    InputError,
    InputPlace,
    ModelName,
    Precision,
    RunConfig,
    TrainingConfig,
)
from jaxcompare.records import load_lines, save_lines

if TYPE_CHECKING:
    from jaxcompare.data.datasets import Dataset

WARM_UP_EPOCHS = 1

CELL_FAILURES = (InputError, RuntimeError, MemoryError, OSError, TypeError, ValueError)
"""What ends a cell but not the measurement: the other cells go on. RuntimeError: torch's and XLA's, and a process that
was killed."""

Gates = dict[Cell, tuple[dict[str, float], str]]
"""By gate: how far its side is from the reference, and why its cells may not be timed, if so."""


@dataclasses.dataclass(frozen=True)
class Args:
    """Measure every engine beside PyTorch, and the input pipelines."""

    models: tuple[ModelName, ...] = ("cnn", "vit")
    """Which models to train."""
    data: DataConfig = dataclasses.field(default_factory=lambda: DataConfig(train_size=2000))
    training: TrainingConfig = dataclasses.field(default_factory=lambda: TrainingConfig(epochs=3))
    precision: Precision = "float32"
    """Of both frameworks. `tf32` and `bfloat16` as in full_comparison.py."""
    seeds: int | None = None
    """Seeds of the cell that trains several in one program (not given: 4 on CPUs, 8 on GPUs)."""
    repeats: int = 3
    """Fresh processes per measurement, in turn. The first epoch of each is warm-up and not counted."""
    out: Path = Path("runs/training_speed")
    """Folder for cells.jsonl, inputs.jsonl and phases.jsonl. What is measured there already is not repeated."""


def build_grid(args: Args, gpu: bool) -> list[Cell]:
    """Every cell, in the order of a table: the best engine's single run stands before its several seeds."""
    jax_ways: list[tuple[Engine | Literal["op"], InputPlace]] = [
        ("op", "host"),
        ("step", "host"),
        ("chunk", "host"),
        ("step", "device"),
        ("chunk", "device"),
        ("epoch", "device"),
    ]
    torch_ways: list[tuple[TorchEngine, TorchInput]] = [("eager", "memory"), ("compile", "memory")]
    on_gpus: list[tuple[TorchEngine, TorchInput]] = [("cudagraphs", "memory"), ("eager", "recipe")]
    torch_ways += on_gpus if gpu else []
    cells = []
    for model in args.models:
        cells += [Cell("torch", model, engine, place, args.precision) for engine, place in torch_ways]
        cells += [Cell("jax", model, engine, place, args.precision) for engine, place in jax_ways]
        cells.append(Cell("jax", model, "epoch", "device", args.precision, args.seeds or (8 if gpu else 4)))
    return cells


def measure_cell(
    cell: Cell, repeat: int, args: Args, dataset: "Dataset", parity: dict[str, float], message: str = ""
) -> CellRecord:
    """One fresh process, one framework. With a `message`, the reason not to measure, no process at all."""
    from jaxcompare.measure.environment import git_commit

    shared: dict[str, Any] = {
        "cell": cell,
        "repeat": repeat,
        "train_images": args.data.train_size or len(dataset.train),
        "image_size": args.data.image_size,
        "num_classes": len(dataset.class_names),
        "batch_size": args.training.batch_size,
        "seed": args.training.seed,
        "dataset_title": dataset.title,
        "data_fingerprint": dataset.fingerprint,
        "git_commit": git_commit(),
        "parity": parity,
    }
    measured: dict[str, Any] = {"times": [], "compile_time_s": None, "ceiling_flops_per_s": 0.0}
    measured |= {"execution": {}, "manifest": {}, "environment": {}}
    if not message:
        measure = measure_jax if cell.framework == "jax" else measure_torch
        try:
            measured = in_fresh_process(measure, cell, args, dataset)
        except CELL_FAILURES as error:
            message = explain_failure(error)
    times = measured.pop("times")
    counted = {"warm_up_time_s": times[:WARM_UP_EPOCHS], "epoch_time_s": times[WARM_UP_EPOCHS:]}
    return CellRecord(**shared, **measured, **counted, message=message)


def explain_failure(error: Exception) -> str:
    """One line of why a cell's process did not come to its end."""
    if isinstance(error, BrokenProcessPool):
        return "its process was killed: out of memory, or stopped from outside"
    first = next((line for line in str(error).splitlines() if line.strip()), "")
    return f"{type(error).__name__}: {first[:200]}" if not isinstance(error, InputError) else first


def make_reference(model: ModelName, args: Args, dataset: "Dataset", path: Path) -> None:
    """PyTorch's float64 outcome, on disk for the gates."""
    from jaxcompare.data.datasets import training_subset
    from jaxcompare.measure.parity import save_reference
    from jaxcompare.twin.gate import compute_reference

    subset = training_subset(dataset, args.data, args.training.seed)
    save_reference(path, compute_reference(model, subset, args.training))


def pass_gate(cell: Cell, args: Args, dataset: "Dataset", path: Path) -> dict[str, float]:
    """How far the cell's side is from the reference."""
    from jaxcompare.measure.parity import load_reference, measure_deviation

    reference = load_reference(path)
    if cell.framework == "torch":
        from jaxcompare.twin.speed import run_gate

        outcome = run_gate(cell, reference, args.training)
    else:
        from jaxcompare.measure.runtime import configure_jax
        from jaxcompare.training.engines import build_engine
        from jaxcompare.training.gate import run_op_by_op, run_side

        configure_jax(cache=False, split_cores=cell.engine != "op")
        config = RunConfig("jax", cell.model, args.data, args.training, build_execution(cell))
        if cell.engine == "op":
            outcome = run_op_by_op(config, reference)
        else:
            with build_engine(config, dataset, console.seeds(args.training.seed, cell.seeds)) as engine:
                outcome = run_side(engine, reference)
    return dataclasses.asdict(measure_deviation(reference.outcome[cell.framework], outcome))


def measure_cell_phases(cell: Cell, repeat: int, args: Args, dataset: "Dataset") -> dict[str, Any]:
    """Where a step's time goes, of the cell that stands for its framework."""
    if cell.framework == "torch":
        from jaxcompare.data.datasets import training_subset
        from jaxcompare.twin.phases import measure_phases

        subset = training_subset(dataset, args.data, args.training.seed)
        phases = measure_phases(cell, subset, args.training)
    else:
        from jaxcompare.measure.runtime import configure_jax
        from jaxcompare.training.engines import build_engine
        from jaxcompare.training.phases import measure_phases

        configure_jax(cache=False)
        config = RunConfig("jax", cell.model, args.data, args.training, build_execution(cell))
        with build_engine(config, dataset, [args.training.seed]) as engine:
            phases = measure_phases(engine, dataset)
    return {"repeat": repeat, "cell": dataclasses.asdict(cell), "batch_size": args.training.batch_size} | (
        dataclasses.asdict(phases)
    )


def gate_of(cell: Cell) -> Cell:
    """The cell that passes the gate for this one: how often a program is called, and where its batches come from,
    changes nothing of what a step computes."""
    if cell.framework == "torch":
        return dataclasses.replace(cell, input="memory")
    if cell.engine == "op":
        return cell
    return dataclasses.replace(cell, engine="step" if cell.seeds == 1 else "epoch", input="device")


def build_execution(cell: Cell) -> ExecutionConfig:
    """A JAX cell's; one that is not compiled passes for a step a call."""
    engine = "step" if cell.engine == "op" else cast(Engine, cell.engine)
    return ExecutionConfig(engine, cast(InputPlace, cell.input), precision=cell.precision)


def open_gates(cells: Sequence[Cell], args: Args, dataset: "Dataset") -> Gates:
    """For each gate of the cells: how far its side is from the reference, and why its cells may not be timed, if so."""
    from jaxcompare.measure.parity import Deviation

    gates: Gates = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = {model: Path(folder) / f"{model}.npz" for model in args.models}
        for model in dict.fromkeys(cell.model for cell in cells):
            in_fresh_process(make_reference, model, args, dataset, paths[model])
        for gate in dict.fromkeys(map(gate_of, cells)):
            print(f"parity gate: {gate.model} {gate.title}", flush=True)
            try:
                parity = in_fresh_process(pass_gate, gate, args, dataset, paths[gate.model])
                exceeds = Deviation(**parity).exceeds(args.precision)
                message = f"parity gate: {', '.join(exceeds)}" if exceeds else ""
            except CELL_FAILURES as error:
                parity, message = {}, explain_failure(error)
            if message:
                print(f"  {gate.model} {gate.title} is not timed: {message}", flush=True)
            gates[gate] = parity, message
    return gates


def measure_jax(cell: Cell, args: Args, dataset: "Dataset") -> dict[str, Any]:
    """The engine's epochs, compiled without a cache."""
    from jaxcompare.measure.ceiling import measure_matmul_ceiling
    from jaxcompare.measure.environment import describe_environment
    from jaxcompare.measure.memory import peak_bytes
    from jaxcompare.measure.runtime import configure_jax
    from jaxcompare.training import op_by_op
    from jaxcompare.training.fit import fit_seeds
    from jaxcompare.training.gate import build_manifest

    configure_jax(cache=False, split_cores=cell.engine != "op")
    config = RunConfig("jax", cell.model, args.data, args.training, build_execution(cell))
    if cell.engine == "op":
        return {
            "times": op_by_op.time_epochs(config, dataset),
            "compile_time_s": None,
            "ceiling_flops_per_s": measure_matmul_ceiling(cell.precision),
            "execution": {"peak_bytes": peak_bytes()},
            "manifest": build_manifest(cell, args.training.dropout_generator),
            "environment": describe_environment("jax"),
        }
    records, _ = fit_seeds(config, dataset, console.seeds(args.training.seed, cell.seeds))
    for record in records:
        if record.status != "complete":
            raise InputError(f"{cell.title}, {cell.model}: {record.message}")
    first = records[0]
    return {
        "times": [cell.seeds * seconds for seconds in first.history.epoch_time_s],
        "compile_time_s": first.compile_time_s,
        "ceiling_flops_per_s": measure_matmul_ceiling(cell.precision),
        "execution": first.execution | {"input_wait_s": first.history.input_wait_s},
        "manifest": build_manifest(cell, args.training.dropout_generator),
        "environment": first.environment,
    }


def measure_torch(cell: Cell, args: Args, dataset: "Dataset") -> dict[str, Any]:
    """The twin's epochs."""
    from jaxcompare.data.datasets import training_subset
    from jaxcompare.measure.environment import describe_environment
    from jaxcompare.twin.speed import find_device, time_epochs

    subset = training_subset(dataset, args.data, args.training.seed)
    timing = time_epochs(cell, subset, args.training)
    return {
        "times": timing.epoch_time_s,
        "compile_time_s": None,
        "ceiling_flops_per_s": timing.ceiling_flops_per_s,
        "execution": timing.execution,
        "manifest": timing.manifest,
        "environment": describe_environment("torch", torch_device=find_device()),
    }


def measure_input(pipeline: str, workers: int, repeat: int, args: Args, dataset: "Dataset") -> dict[str, Any]:
    """One process, one pipeline: images per second over a pass, after a pass of warm-up. No model is run."""
    import time

    from jaxcompare.data.datasets import training_subset
    from jaxcompare.data.host import HostLoader
    from jaxcompare.measure.environment import describe_environment, git_commit
    from jaxcompare.twin.recipe_input import build_recipe_loader

    dataset = training_subset(dataset, args.data, args.training.seed)
    split, size = dataset.train, args.training.batch_size
    if pipeline == "jaxcompare":
        loader = HostLoader(split, size, dataset.statistics, augment=True, shuffle=True, workers=workers)
        passes: list[Callable] = [lambda epoch=epoch: loader.epoch(epoch) for epoch in range(2)]
    else:
        recipe = build_recipe_loader(split, size, dataset.statistics, workers=workers)
        passes = [lambda: recipe] * 2
    marks = [time.perf_counter()]
    for batches in passes:
        for _ in batches():
            pass
        marks.append(time.perf_counter())
    return {
        "repeat": repeat,
        "pipeline": pipeline,
        "workers": workers,
        "images": len(split),
        "images_per_s": len(split) / (marks[-1] - marks[-2]),
        "environment": describe_environment("torch"),
        "git_commit": git_commit(),
    }


def main(args: Args) -> None:
    check_args(args)
    args = dataclasses.replace(args, data=args.data.resolve(1))
    from jaxcompare.data.datasets import load_dataset, training_subset
    from jaxcompare.report.speed import break_even_table, input_table, phases_table, speed_table

    dataset = load_dataset(args.data)
    training_subset(dataset, args.data, args.training.seed)  # a size above the data's ends here
    # Evaluation is not what is measured here: a few test images will do.
    dataset = dataclasses.replace(dataset, test=dataset.test.head(args.training.batch_size))
    cells = build_grid(args, gpu=check_devices(args.precision) != "cpu")

    records, inputs, phases = load_measured(args, dataset)
    check_one_commit(records, len(cells) * args.repeats)
    measured = {(record.cell, record.repeat) for record in records}
    missing = [cell for cell in cells if any((cell, repeat) not in measured for repeat in range(args.repeats))]
    gates = open_gates(missing, args, dataset)
    for repeat in range(args.repeats):
        measure_cells([cell for cell in cells if (cell, repeat) not in measured], repeat, args, dataset, gates, records)
        measure_inputs(repeat, args, dataset, inputs)
        failed = {record.cell for record in records if record.message}
        measure_all_phases([cell for cell in cells if cell not in failed], repeat, args, dataset, phases)
    if all(record.message for record in records):
        raise InputError(f"no cell could be measured; the first: {records[0].message}")
    tables = [speed_table(records), break_even_table(records), phases_table(phases), input_table(inputs)]
    print("\n" + "\n\n".join(table.markdown() for table in tables if table.rows))


def check_args(args: Args) -> None:
    """Refuse what can be refused without looking at data or devices."""
    if args.repeats < 1:
        raise InputError(f"--repeats: must be at least 1, not {args.repeats}")
    if args.training.epochs <= WARM_UP_EPOCHS:
        raise InputError(f"--epochs: must be more than {WARM_UP_EPOCHS}: the first is warm-up")
    if args.seeds is not None and args.seeds < 2:
        raise InputError(
            f"--seeds: several in one program are beside single runs; must be at least 2, not {args.seeds}"
        )
    console.check_models(args.models)
    console.check_out(args.out)


def check_devices(precision: Precision) -> str:
    """Where JAX runs, once it is known that PyTorch runs there too and that the device has the precision."""
    backend, torch_backend = (in_fresh_process(find) for find in (find_backend, find_torch_backend))
    if (backend == "cpu") != (torch_backend == "cpu"):
        raise InputError(
            f"JAX runs on {backend}, PyTorch on {torch_backend}: no comparison; install jax's CUDA build "
            '(pip install -e ".[cuda]"), or hide the GPU with CUDA_VISIBLE_DEVICES='
        )
    in_fresh_process(check_jax_precision, precision)
    return backend


def measure_cells(
    cells: Sequence[Cell],
    repeat: int,
    args: Args,
    dataset: "Dataset",
    gates: Gates,
    records: list[CellRecord],
) -> None:
    """Add one record of each cell to `records`, on disk too. What failed once is not tried again."""
    for cell in cells:
        print(f"repeat {repeat + 1}/{args.repeats}: {cell.model} {cell.title}", flush=True)
        failed = next((record.message for record in records if record.cell == cell and record.message), "")
        parity, shut = gates[gate_of(cell)]
        records.append(measure_cell(cell, repeat, args, dataset, parity, shut or failed))
        if records[-1].message and not (shut or failed):
            print(f"  not measured: {records[-1].message}", flush=True)
        save_cells(args.out / "cells.jsonl", records)


def measure_inputs(repeat: int, args: Args, dataset: "Dataset", records: list[dict[str, Any]]) -> None:
    """Add one record of each input pipeline, where it is missing, to `records`, on disk too."""
    measured = {(record["repeat"], record["workers"], record["pipeline"]) for record in records}
    for workers, pipeline in product((0, 2), ("jaxcompare", "recipe")):
        if (repeat, workers, pipeline) in measured:
            continue
        print(f"repeat {repeat + 1}/{args.repeats}: input {pipeline}, {workers} workers", flush=True)
        records.append(in_fresh_process(measure_input, pipeline, workers, repeat, args, dataset))
        save_lines(args.out / "inputs.jsonl", records)


def measure_all_phases(
    cells: Sequence[Cell], repeat: int, args: Args, dataset: "Dataset", records: list[dict[str, Any]]
) -> None:
    """Add the phases of the cell that stands for its framework, where they are missing, to `records`, on disk too."""
    for cell in cells:
        place = {"repeat": repeat, "cell": dataclasses.asdict(cell)}
        stands_for_all = (cell.engine, cell.input) in (("eager", "memory"), ("step", "host"))
        if not stands_for_all or any(place.items() <= record.items() for record in records):
            continue
        print(f"repeat {repeat + 1}/{args.repeats}: phases of {cell.model} {cell.title}", flush=True)
        records.append(in_fresh_process(measure_cell_phases, cell, repeat, args, dataset))
        save_lines(args.out / "phases.jsonl", records)


def load_measured(
    args: Args, dataset: "Dataset"
) -> tuple[list[CellRecord], list[dict[str, Any]], list[dict[str, Any]]]:
    """What an earlier, interrupted call of the same measurement left in --out.

    Raises:
        InputError: another measurement is there.
    """
    path = args.out / "cells.jsonl"
    records = load_cells(path) if path.exists() else []
    for record in records:
        for name, found, asked in (
            ("the images", record.data_fingerprint, dataset.fingerprint),
            ("--train-size", record.train_images, args.data.train_size or len(dataset.train)),
            ("--batch-size", record.batch_size, args.training.batch_size),
            ("--seed", record.seed, args.training.seed),
            (
                "--epochs",
                len(record.warm_up_time_s + record.epoch_time_s) or args.training.epochs,
                args.training.epochs,
            ),
            ("--precision", record.cell.precision, args.precision),
        ):
            if found != asked:
                raise InputError(
                    f"--out {args.out}: holds another measurement, {name} is {found} there and {asked} here; give "
                    "another folder"
                )
    inputs, phases = (
        load_lines(args.out / name, dict, "measurement") if records and (args.out / name).exists() else []
        for name in ("inputs.jsonl", "phases.jsonl")
    )
    return records, inputs, phases


def check_one_commit(records: Sequence[CellRecord], wanted: int) -> None:
    """Refuse to go on with a measurement that another commit began: its cells could not stand beside the new ones."""
    from jaxcompare.measure.environment import git_commit

    for record in records if len(records) < wanted else ():
        if record.git_commit != git_commit():
            raise InputError(
                f"--out: holds a measurement begun at commit {record.git_commit}; this is {git_commit()}. Give another "
                "folder, or go back to that commit"
            )


def find_backend() -> str:
    """Where JAX runs."""
    import jax

    return jax.default_backend()


def find_torch_backend() -> str:
    """Where PyTorch runs."""
    from jaxcompare.twin.speed import find_device

    return find_device()


def check_jax_precision(precision: Precision) -> None:
    """Refuse a precision that the device lacks before anything is measured."""
    from jaxcompare.training.execution import check_precision

    check_precision(precision)


def in_fresh_process(function: Callable, *arguments: Any) -> Any:
    """Call `function` in a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        return fresh.submit(function, *arguments).result()


if __name__ == "__main__":
    console.run(Args, main)
