"""What does each way of executing a training step cost, beside PyTorch?

Shows: time per training image of both models under every engine and input, beside PyTorch eager and torch.compile; what
compiling costs, cold and from a cache, after how many steps it has paid, and whether it speeds up both models alike;
which share of JAX's speed-up is the input pipeline, the library, plain jit, micro-batches and cores, Winograd;
where a step's time goes; the share of the machine's ceilings, and memory.

Before a side is timed it passes a parity gate: from shared weights and batches, its logits, gradients and the losses of
10 steps are PyTorch's in float64, within its precision's tolerance. A side that does not pass has no time. A cell that
fails is a row that says why; the others go on.

    python experiments/training_speed.py --preset quick                      scikit-learn's digits, 4 minutes on 2 cores
    python experiments/training_speed.py --dataset folder --data-dir DIR     CIFAR-10
    python experiments/training_speed.py --dataset folder --data-dir DIR --tune --repeats 5
                                                                             a search first, and closer intervals
    python experiments/training_speed.py --dataset folder --data-dir DIR --batch-sizes 128 16 32 512 --train-size 512
                                                                             and a sweep
    python experiments/training_speed.py --dataset folder --data-dir DIR --seeds 4
                                                                             and several seeds in a program
    python experiments/training_speed.py --dataset folder --data-dir DIR --controls no-dropout long-epochs
                                                                             and what the ratios owe to those
    python experiments/training_speed.py --precisions tf32 --train-size 49152          on a GPU

--tune searches for the fastest options of each framework first. On a GPU there are more cells: torch.compile with CUDA
graphs, and inputs that are copied. Every cell has a fresh process, which runs one framework. On a CPU the
processes of a model train in turn, so that a machine that drifts slows every side alike. Keep other work off the
machine. If it stops, run the same command again.
"""

import dataclasses
import tempfile
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Literal

import console
import grid
import guard
from jaxcompare.cells import Cell, CellEngine, CellInput, Control
from jaxcompare.config import DataConfig, InputError, ModelName, Precision, TrainingConfig
from jaxcompare.measure.malloc import keep_freed_memory
from jaxcompare.study.grid import Axes, build_grid, check_padding


@dataclasses.dataclass(frozen=True)
class Args:
    """Measure every engine beside PyTorch, and the input pipelines."""

    preset: Literal["full", "quick"] = "full"
    """`full`: the default matrix. `quick`: the main cells on scikit-learn's digits, one repeat, no details. Other flags
    win."""
    models: tuple[ModelName, ...] = ("cnn", "vit")
    """Which models to train."""
    engines: tuple[CellEngine, ...] | None = None
    """PyTorch: eager, torch.compile (`compile`). JAX: without jit
    (`op`), the same traced once (`traced`), plain jit of the whole batch on one device (`jit`), and this package's
    step, compiled, in one call per batch (`step`), per 16 batches (`chunk`), per epoch (`epoch`). Not given, and no
    --inputs either: the default matrix."""
    inputs: tuple[CellInput, ...] | None = None
    """Where batches come from: the recipe's DataLoader (`recipe`), this package's pipeline (`host`), batches prepared
    before the clock starts in host memory (`arrays`) or on the device (`prepared`), or images on the device, of which
    a step makes its batch (`resident`). With --engines or --inputs every combination is measured, and those that cannot
    be say why; without --inputs, `resident` of all engines that can."""
    precisions: tuple[Precision, ...] = ("float32",)
    """What both frameworks compute in. `tf32` (GPUs only) and `bfloat16` as in full_comparison.py."""
    batch_sizes: tuple[int, ...] = (128,)
    """Images per optimiser step, each 1 or more, --train-size a multiple of it. The default matrix is of the first; of
    the others PyTorch eager and JAX's step. With --engines or --inputs, all of those."""
    seeds: tuple[int, ...] | None = None
    """How many runs one program trains (1: one), of step, chunk and epoch with resident input; the first is --seed's.
    Beside the default matrix: of whole epochs."""
    controls: tuple[Control, ...] | None = None
    """Beside the matrix: the ViT without dropout (`no-dropout`), whose masks the frameworks draw in different ways; the
    CNN's step and epoch over epochs of the recipe's 391 steps (`long-epochs`)."""
    data: DataConfig = dataclasses.field(default_factory=lambda: DataConfig(train_size=256))
    epochs: int = 4
    """Epochs of each process, 2 or more. The first is warm-up and not counted; each other is a turn, which has more
    until half a second is timed. The quickest turn counts: on a machine with other tenants take 9."""
    seed: int = 42
    """Of initialisation, data and dropout."""
    details: bool = True
    """Measure the phases of a step, the input pipelines by themselves, and compiling with a cache, too."""
    repeats: int = 3
    """Fresh processes per cell, 1 or more. From 2 on ratios have intervals, from 10 on the bootstrap's."""
    tune: bool = False
    """Before the default matrix, search for the fastest options of each framework, model and precision, by short runs
    of the first batch size; the winners are cells of the study, in place of those that are likely to be the fastest."""
    malloc: Literal["keep", "default"] = "keep"
    """`keep`: glibc's allocator is set to keep freed memory for the next step (the MALLOC_... variables that the
    environment does not set), so that no step has its pages cleared again by chance. `default`: as the environment has
    it."""
    trace: Path | None = None
    """Folder for a profiler's trace of each cell of this call, and the optimised HLO of JAX's programs."""
    jobs: grid.Grid = dataclasses.field(default_factory=grid.Grid)
    out: Path = Path("runs/training_speed")
    """Folder for cells.jsonl, cells.csv, costs.jsonl, figures/ and, of details, inputs.jsonl and phases.jsonl; of a
    search search.jsonl."""


PRESETS = {
    "full": Args(),
    "quick": Args(
        preset="quick",
        engines=("eager", "compile", "step"),
        batch_sizes=(64,),
        epochs=3,
        data=dataclasses.replace(console.DIGITS, train_size=128),
        details=False,
        repeats=1,
        out=Path("runs/training_speed_quick"),
    ),
}


def main(args: Args) -> None:
    check_args(args)
    if args.jobs.executor and (args.out / "cells.jsonl").exists() and not (args.out / "jobs").exists():
        raise InputError(f"--executor: {args.out} holds what no job measured, and goes on without; give another --out")
    if (job := grid.begin(args, args.models, "cells.jsonl", show_merged, alone=True)) is None:
        return
    args = dataclasses.replace(job, models=tuple(model for model in job.models if job.jobs.job in (None, model)))
    if args.malloc == "keep":
        keep_freed_memory()
    from jaxcompare.data.datasets import load_dataset
    from jaxcompare.data.split import training_subset
    from jaxcompare.side import Setup
    from jaxcompare.study.measured import load_measured
    from jaxcompare.study.search import list_candidates, tune
    from jaxcompare.study.study import find_gpu, run_study, save_traces

    training = TrainingConfig(args.epochs, args.batch_sizes[0], seed=args.seed)
    dataset = training_subset(load_dataset(args.data), args.data.resolve(1), args.seed)
    # Evaluation is not what is measured here: a few test images will do.
    dataset = dataclasses.replace(dataset, test=dataset.test.head(training.batch_size))
    axes, gpu = axes_of(args), find_gpu()
    searched = search_of(args)
    candidates = [cell for like in searched for of_one in list_candidates(like, gpu=gpu) for cell in of_one]
    may = build_grid(axes, gpu=gpu, tuned=candidates if args.tune else None)
    check_padding(may, len(dataset.train))
    console.check_out(args.out, "cells.jsonl")
    if args.trace:
        console.check_writable(args.trace, "--trace")

    def log(line: str) -> None:
        print(line, flush=True)

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as batches:
        setup = Setup(dataset, training, Path(batches), gpu, command_of(args))
        measured = load_measured(args.out, setup, may)
        if args.tune and measured.cells and not measured.others["search"]:
            raise InputError(f"--tune: {args.out} holds a measurement without a search; give another --out")
        cells = build_grid(axes, gpu=gpu, tuned=tune(searched, setup, measured, log)) if args.tune else may
        run_study(cells, args.repeats, setup, measured, log, details=args.details)
        if not args.jobs.job:
            show(args.out)
        if args.trace:
            failed = {record.cell for record in measured.cells if record.message}
            save_traces([cell for cell in cells if cell not in failed], setup, args.trace, log)


def show_merged(args: Args, names: Sequence[str]) -> None:
    """What the plain command would have shown, of the jobs' measurements."""
    from jaxcompare.study.measured import merge

    merge(args.out, [folder for name in names if (folder := grid.folder_of(args.out, name)).exists()])
    show(args.out)


def axes_of(args: Args) -> Axes:
    """What the matrix is made of."""
    return Axes(*(getattr(args, field.name) for field in dataclasses.fields(Axes)))


def search_of(args: Args) -> list[Cell]:
    """What the search is for: a cell of each model and precision."""
    groups = product(args.models, args.precisions if args.tune else ())
    return [Cell(model, "step", precision=each, batch_size=args.batch_sizes[0]) for model, each in groups]


NO_PART = ("data", "data_dir", "out", "trace", "jobs")
"""Flags that are no part of what is measured, or are given in another way."""


def command_of(args: Args) -> str:
    """What to type for the same measurement, DIR being the images' place."""
    default, words = PRESETS[args.preset], ["python", "experiments/training_speed.py"]
    words += ["--preset", args.preset] if args.preset != "full" else []
    words += ["--data-dir", "DIR"] if args.data.dataset == "folder" else []
    for now, before in ((args, default), (args.data, default.data)):
        for field in dataclasses.fields(now):
            value = getattr(now, field.name)
            if value != getattr(before, field.name) and field.name not in NO_PART:
                flag = field.name.replace("_", "-")
                if isinstance(value, bool):
                    words.append(f"--{flag}" if value else f"--no-{flag}")
                else:
                    words += [f"--{flag}", *map(str, value if isinstance(value, tuple) else (value,))]
    return " ".join(words)


def show(out: Path) -> None:
    """Every table, and the figures as files."""
    from jaxcompare.measurements import LINES
    from jaxcompare.report.figure import save_figure
    from jaxcompare.report.pictures import draw_pictures
    from jaxcompare.report.results import gather

    results = gather([out])
    assert results.speed
    if results.speed.times.empty:
        raise InputError(f"no cell could be measured; the first: {results.speed.frame.message.iloc[0]}")
    for tables in results.tables.values():
        print("\n" + "\n\n".join(table.markdown() for table in tables))
    for picture in draw_pictures(results):
        save_figure(picture.figure, out / "figures", picture.name)
    files = [
        name for name in ("cells.jsonl", "cells.csv", *(f"{name}.jsonl" for name in LINES)) if (out / name).exists()
    ]
    print(f"\nWritten: {out}/{', '.join(files)}, figures/")
    print(f"A page of it, with every table and figure: python experiments/report.py {out}")


def check_args(args: Args) -> None:
    """Refuse what can be refused without looking at data or devices."""
    if args.repeats < 1:
        raise InputError(f"--repeats: must be at least 1, not {args.repeats}")
    if args.epochs < 2:
        raise InputError("--epochs: must be more than 1: the first is warm-up")
    for flag, values in (("--batch-sizes", args.batch_sizes), ("--seeds", args.seeds or (1,))):
        if values and min(values) < 1:
            raise InputError(f"{flag}: must be at least 1, not {min(values)}")
    for flag in ("engines", "inputs", "precisions", "batch_sizes", "seeds", "controls"):
        values = getattr(args, flag)
        if values is not None and (not values or len(set(values)) < len(values)):
            raise InputError(f"--{flag.replace('_', '-')}: give one or more values, each once")
    if args.tune and (args.engines is not None or args.inputs is not None):
        raise InputError("--tune: searches for cells of the default matrix; leave out --engines and --inputs")
    if args.data.workers:
        raise InputError("--workers: every input of this study has its own number; leave it out")
    console.check_models(args.models)


if __name__ == "__main__":
    with guard.process():
        console.run(Args, main, PRESETS)
