"""How long the pieces of reproduce_all.py will take here, from a short calibration."""

import dataclasses
import importlib
import itertools
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import console
from jaxcompare.config import DataConfig, ExecutionConfig, Framework, ModelName, RunConfig, TrainingConfig

if TYPE_CHECKING:
    from jaxcompare.data.split import Dataset

IMAGES = 1280
"""That a calibration trains on, twice: the first epoch holds what happens once."""


class Rate(NamedTuple):
    """Of one model in one framework."""

    start_s: float
    """From a fresh process to the second epoch."""
    train_s: float
    """An image in an epoch."""
    test_s: float
    """An image evaluated."""


Rates = dict[tuple[Framework, ModelName], Rate]


class Work(NamedTuple):
    """What one process trains."""

    framework: Framework
    model: ModelName
    images: int
    """In all its epochs."""
    tests: int
    """Images evaluated, in all its epochs."""


def estimate(steps: Sequence[Sequence[str]], data: DataConfig) -> list[float]:
    """Seconds for each step, a script's name and its flags; what is complete already is not left out.

    Args:
        data: the images that the steps train on, which are loaded for their number.
    """
    from jaxcompare.data.datasets import load_dataset

    dataset = load_dataset(data)
    rates = calibrate(dataset)
    return [sum(_seconds(work, rates) for work in _list_work(script, words, dataset)) for script, *words in steps]


def _seconds(work: Work, rates: Rates) -> float:
    rate = rates[work.framework, work.model]
    return rate.start_s + work.images * rate.train_s + work.tests * rate.test_s


def calibrate(dataset: "Dataset") -> Rates:
    """The rates of both models in both frameworks, each in a fresh process, on a few of the images."""
    from jaxcompare.study.process import in_fresh_process

    few = dataclasses.replace(dataset, train=dataset.train.head(IMAGES), test=dataset.test.head(IMAGES))
    rates = {}
    for framework in get_args(Framework):
        for model in get_args(ModelName):
            start = time.perf_counter()
            train_s, test_s = in_fresh_process(train_twice, framework, model, few)
            start_s = time.perf_counter() - start - len(few.train) * train_s
            rates[framework, model] = Rate(start_s, train_s, test_s)
    return rates


def train_twice(framework: Framework, model: ModelName, dataset: "Dataset") -> tuple[float, float]:
    """Seconds an image in the second epoch, and evaluated after it."""
    data = DataConfig(dataset="digits", image_size=dataset.train.images.shape[1])
    if framework == "jax":
        from jaxcompare.measure.runtime import configure_jax
        from jaxcompare.training.fit import fit

        configure_jax()
        execution = ExecutionConfig("chunk", "device")
    else:
        from jaxcompare.torch_side.fit import fit

        execution = ExecutionConfig("step", "host")
    record, _ = fit(RunConfig(framework, model, data, TrainingConfig(epochs=2), execution), dataset)
    history = record.history
    return history.epoch_time_s[-1] / record.train_images, history.evaluation_time_s[-1] / record.test_images


def _list_work(script: str, words: Sequence[str], dataset: "Dataset") -> Iterator[Work]:
    """What a script with these flags trains, process by process."""
    if script == "report.py":
        return
    module = importlib.import_module(script.removesuffix(".py"))
    args = console.parse(module.Args, getattr(module, "PRESETS", {}), words)
    yield from {
        "full_comparison": _compared,
        "data_efficiency": _swept,
        "framework_agreement": _agreeing,
        "training_speed": _timed,
        "representations": _looked_at,
    }[module.__name__](args, dataset)


def _compared(args: Any, dataset: "Dataset") -> Iterator[Work]:
    epochs = args.training.epochs * args.seeds
    images = args.data.train_size or len(dataset.train)
    for model in args.models:
        yield Work("jax", model, epochs * images, epochs * len(dataset.test))


def _swept(args: Any, dataset: "Dataset") -> Iterator[Work]:
    epochs = args.training.epochs * args.seeds
    # On all images the plan has trained before.
    for size in (size for size in args.sizes if not (args.reuse and size == len(dataset.train))):
        images = max(args.sizes) if args.budget == "steps" else size
        for model in args.models:
            yield Work("jax", model, epochs * images, epochs * len(dataset.test))


def _agreeing(args: Any, dataset: "Dataset") -> Iterator[Work]:
    import framework_agreement

    epochs = args.training.epochs
    for framework, _ in framework_agreement.KINDS:
        for model in args.models:
            images = args.data.train_size or len(dataset.train)
            work = Work(framework, model, epochs * images, epochs * len(dataset.test))
            yield from [work] * args.seeds


def _looked_at(args: Any, dataset: "Dataset") -> Iterator[Work]:
    """Of five runs a model, about as often as all measures together evaluate an image."""
    del args
    for model in get_args(ModelName):
        yield Work("jax", model, 0, 5 * 10 * len(dataset.test))


def _timed(args: Any, dataset: "Dataset") -> Iterator[Work]:
    """Cells of plain JAX, whose rate is not calibrated, are taken to be as slow as PyTorch's; candidates of a search
    to train 2 epochs, twice."""
    import training_speed
    from jaxcompare.study.grid import build_grid
    from jaxcompare.study.search import list_candidates
    from jaxcompare.study.study import find_gpu

    axes, gpu = training_speed.axes_of(args), find_gpu()
    for like in training_speed.search_of(args):
        for cell in itertools.chain(*list_candidates(like, gpu=gpu)):
            yield from [Work(cell.framework, cell.model, 2 * args.data.train_size, 0)] * 2
    for cell in build_grid(axes, gpu=gpu):
        work = Work("jax" if cell.packaged else "torch", cell.model, args.epochs * args.data.train_size * cell.seeds, 0)
        yield from [work] * args.repeats
