"""Records of a speed study that never was, with the times that a test asks for."""

import dataclasses

from synthetic import record

from jaxcompare.analysis.speed_study import SpeedStudy
from jaxcompare.cell_frame import to_frame
from jaxcompare.cell_records import CellRecord, Timing
from jaxcompare.cells import Cell

IMAGES = 1536
COMMAND = "python experiments/training_speed.py --dataset folder --data-dir DIR"
EAGER = Cell("cnn", "eager")
STEP = Cell("cnn", "step")
EPOCH = Cell("cnn", "epoch")
RECIPE = Cell("cnn", "eager", "recipe")
COMPILE = Cell("cnn", "compile")
OP = Cell("cnn", "op")
TRACED = Cell("cnn", "traced")
JIT = Cell("cnn", "jit")
LAST = Cell("cnn", "eager", options=("channels-last",))
GRAPHS = Cell("cnn", "compile", "resident", options=("reduce-overhead",))

MILLISECONDS = {
    RECIPE: 800.0,
    EAGER: 100.0,
    COMPILE: 75.0,
    OP: 500.0,
    TRACED: 400.0,
    JIT: 80.0,
    Cell("cnn", "step", "recipe"): 750.0,
    Cell("cnn", "step", "host"): 70.0,
    Cell("cnn", "step", "arrays"): 60.0,
    STEP: 50.0,
    Cell("cnn", "chunk"): 50.0,
    EPOCH: 50.0,
    Cell("cnn", "epoch", seeds=4): 160.0,
}
"""Of a step of all seeds, the default matrix: input is worth a factor 8, the library 1 / 4, compilation 5, this
package's step 1.6, dispatch nothing."""

SCATTER = (1.0, 1.02, 0.98)
"""By repeat, of every cell alike: what a machine that drifts does."""


def timed(cell: Cell, step_ms: float, repeat: int = 0, **changes) -> CellRecord:
    """A cell's process with epochs of one length; compiled cells pay 6 s before the first, eager ones 0.2 s."""
    images = changes.get("epoch_images", changes.get("train_images", IMAGES))
    epoch_s = step_ms / 1e3 * -(-images // cell.batch_size)
    ahead = cell.framework == "jax" and cell.compiled
    first_run_s = 0.5 if ahead else 6.0 if cell.compiled else 0.2
    first_step = {"first step": {"step_s": 1.5}}
    torch_steps = [first_run_s, step_ms / 500, *[step_ms / 1e3] * 8]
    fields = {
        "import_time_s": 2.0,
        "build_time_s": 1.0,
        "epoch_time_s": [epoch_s] * 2,
        "warm_up_time_s": [epoch_s + first_run_s],
        "first_step_time_s": torch_steps if cell.framework == "torch" else [],
        "page_faults": [7] * 2,
        "others_share": 0.0,
        "input_wait_s": [epoch_s / 4] * 2 if cell.input in ("recipe", "host") else [],
        "compile_times": _programs(1.0) if ahead else {},
        "warm_compile_times": {} if repeat else _programs(0.2) if ahead else first_step if cell.compiled else {},
        "programs": 2 if cell.compiled else 0,
        "ceiling_flops_per_s": 3e11 if cell.framework == "jax" else 1.5e11,
        "copy_bytes_per_s": 1e10 if cell.framework == "jax" else 2e10,
        "memory": {"allocator": None, "plan": 10**8 if ahead else None, "process": 10**9},
        "manifest": {
            "tf32": False,
            "bfloat16": cell.precision == "bfloat16",
            "threads": 2,
            "malloc": "",
            "dropout_generator": "hash" if cell.framework == "jax" else "Mersenne Twister",
        },
        "environment": record().environment,
        "train_images": IMAGES,
        "epoch_images": images,
        "image_size": 32,
        "num_classes": 10,
        "seed": 42,
        "dataset_title": "some images",
        "data_fingerprint": "abc",
        "git_commit": None,
        "command": COMMAND,
        "started_at": "2026-01-02T03:04:05+00:00",
        "epochs": 2,
        "parity": {"logits": 1e-6 if cell.precision == "float32" else 1e-3, "gradients": 1e-5, "losses": 1e-5},
    }
    return CellRecord(cell=cell, repeat=repeat, **fields | changes)


def _programs(scale: float) -> dict:
    times = {"trace_s": 1.0, "lower_s": 0.5, "compile_s": 4.0}
    return {"train": {name: scale * value for name, value in times.items()} | {"from_cache": scale < 1}}


def study(milliseconds=None, repeats=3, scatter=SCATTER) -> list[CellRecord]:
    """A process a repeat of each cell, repeat by repeat."""
    cells = MILLISECONDS if milliseconds is None else milliseconds
    return [timed(cell, ms * scatter[repeat], repeat) for repeat in range(repeats) for cell, ms in cells.items()]


def both_models(vit=3.0) -> list[CellRecord]:
    """The CNN's study, and a ViT's whose eager steps take 4 times as long, and its compiled ones 4 / `vit` times."""
    slower = {
        dataclasses.replace(cell, model="vit"): 4 * ms / (vit if cell.compiled else 1)
        for cell, ms in MILLISECONDS.items()
    }
    return study() + study(slower)


def failed(cell: Cell, message: str, repeat: int = 0) -> CellRecord:
    """A process that measured nothing."""
    nothing = {field.name: getattr(Timing(), field.name) for field in dataclasses.fields(Timing)}
    return dataclasses.replace(timed(cell, 1.0, repeat), **nothing, warm_compile_times={}, message=message)


def sweep(engine: str = "step", fixed_ms=10.0, image_ms=0.1, sizes=(32, 128, 512), model="cnn", **kwargs):
    """A step of fixed_ms + image_ms * batch, over batch sizes."""
    return study({Cell(model, engine, batch_size=size): fixed_ms + image_ms * size for size in sizes}, **kwargs)


def phases(cell: Cell) -> dict:
    """Milliseconds of 1 to 8."""
    names = ("input", "copy", "forward", "backward", "update", "step", "dispatch", "evaluation")
    values = {f"{name}_ms": float(i) for i, name in enumerate(names, 1)}
    return {"repeat": 0, "cell": dataclasses.asdict(cell)} | values


def inputs(repeats=3) -> list[dict]:
    """Four times as many images a second from the host pipeline as from the recipe's."""
    return [
        {"repeat": repeat, "workers": workers, "pipeline": name, "images_per_s": speed * (1 + repeat), "images": 9}
        for repeat in range(repeats)
        for workers in (0, 2)
        for name, speed in (("jaxcompare", 4000.0), ("recipe", 1000.0))
    ]


def costs(model="cnn", xla=0.9) -> dict:
    """XLA's counts are `xla` times the formulas'."""
    formulas = {"forward_flops": 2e7, "training_flops": 6e7, "training_bytes": 4e6}
    counts = {
        f"{by}_{name}": value * scale
        for by, scale in (("formula", 1), ("xla", xla))
        for name, value in formulas.items()
    }
    return {"model": model, "image_size": 32, "num_classes": 10, "batch_size": 128} | counts


def speed(records, again=(), other_malloc=(), **others) -> SpeedStudy:
    """What is computed from such records."""
    return SpeedStudy(*map(to_frame, (records, again, other_malloc)), **others)


def scattered(times: dict[Cell, tuple[float, ...]]) -> list[CellRecord]:
    """Cells with steps of so many milliseconds, a repeat each."""
    return [timed(cell, ms, repeat) for cell, of_cell in times.items() for repeat, ms in enumerate(of_cell)]


def under_malloc(records):
    """The same under another allocator's settings."""
    return [dataclasses.replace(r, manifest=r.manifest | {"malloc": "X=1"}) for r in records]
