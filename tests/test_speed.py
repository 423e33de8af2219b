"""Timing: what a clock holds, what is compiled when, where a step's time goes, and what a planted fault does to it."""

import dataclasses
import pickle
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, RandomSampler

from jaxcompare import models
from jaxcompare.cell_records import Timing
from jaxcompare.cells import Cell, JaxEngine
from jaxcompare.compat import torch as compat
from jaxcompare.config import DataConfig, InputError, TrainingConfig
from jaxcompare.data import host, recipe
from jaxcompare.data.datasets import load_dataset
from jaxcompare.data.recipe import RecipeLoader, RecipeStream
from jaxcompare.data.split import training_subset
from jaxcompare.jax_side import cell_engine
from jaxcompare.jax_side import epochs as jax_epochs
from jaxcompare.jax_side import phases as jax_phases
from jaxcompare.jax_side import side as jax_side
from jaxcompare.jax_side.costs import count_costs
from jaxcompare.measure import ceiling, clock
from jaxcompare.measure.cost import layer_costs, training_bytes, training_flops
from jaxcompare.measure.environment import process_peak_bytes
from jaxcompare.side import Setup
from jaxcompare.study import worker
from jaxcompare.study.process import CellFailed, in_fresh_process
from jaxcompare.torch_side import cell_step
from jaxcompare.torch_side import epochs as torch_epochs
from jaxcompare.torch_side import phases as torch_phases
from jaxcompare.torch_side.cell_batches import open_batches
from jaxcompare.training import learner
from jaxcompare.training.host_engine import HostEngine
from jaxcompare.training.placement import Placement

pytestmark = pytest.mark.usefixtures("toy")

DATA = DataConfig("digits", train_size=64, subsets="independent", image_size=8)
SETUP = Setup(
    training_subset(load_dataset(DATA), DATA, 42),
    TrainingConfig(epochs=3, batch_size=32, lr=1e-3),
    Path(tempfile.mkdtemp()),
)
STEP = Cell("cnn", "step", batch_size=32)
EAGER = Cell("cnn", "eager", batch_size=32)


@pytest.fixture(autouse=True, scope="module")
def prepared_batches():
    worker.prepare_batches([8, 32], SETUP)
    yield
    shutil.rmtree(SETUP.batches)


@pytest.fixture
def no_ceilings(monkeypatch):
    monkeypatch.setattr(clock, "TIMED_S", 0.0)
    monkeypatch.setattr(jax_epochs, "measure_ceilings", lambda *_: ceiling.Ceilings(1.0, 1.0))
    monkeypatch.setattr(torch_epochs, "_measure_ceilings", lambda *_: (1.0, 1.0))


def setup_of(**training):
    return dataclasses.replace(SETUP, training=dataclasses.replace(SETUP.training, **training))


def jax_timing(cell, epochs=3):
    return jax_epochs.time_cell(cell, setup_of(epochs=epochs))


def torch_timing(cell, epochs=3):
    return torch_epochs.time_epochs(cell, setup_of(epochs=epochs))


# Clocks.


def slowed(function, slow_down):
    def slow(*args, **kwargs):
        slow_down()
        return function(*args, **kwargs)

    return slow


def test_an_epochs_time_is_from_a_settled_device_to_a_device_that_was_waited_for(fake_clock, monkeypatch):
    """Whatever comes after does not count: on a busy machine, asking what is left may take long."""
    monkeypatch.setattr(clock, "count_unfinished", lambda: fake_clock.on_host(64.0) or 0)
    result, seconds = clock.time_epoch(
        lambda: fake_clock.on_host(1.0) or "made", lambda _: fake_clock.on_host(2.0), lambda: fake_clock.on_host(8.0)
    )
    assert (result, seconds) == ("made", 3.0)


def test_a_clock_that_is_read_before_the_work_is_done_is_an_error(monkeypatch):
    monkeypatch.setattr(clock, "count_unfinished", lambda: 3)
    with pytest.raises(RuntimeError, match=r"before the work was done: 3 .* under way"):
        clock.time_epoch(lambda: None, lambda _: None, lambda: None)


def test_a_missing_synchronisation_is_caught_in_jax(monkeypatch, no_ceilings):
    """The device is held up in an epoch's only step until it has been asked."""
    cell = dataclasses.replace(STEP, batch_size=len(SETUP.dataset.train))
    assert len(jax_timing(cell, epochs=2).epoch_time_s) == 1
    asked = threading.Event()
    real = learner.build_train_step

    def build_train_step(*args):
        train_step = real(*args)

        def held_up(*args):
            jax.debug.callback(lambda: asked.wait(60) and None)
            return train_step(*args)

        return held_up

    monkeypatch.setattr(learner, "build_train_step", build_train_step)
    monkeypatch.setattr(jax_epochs, "wait", lambda tree: None)
    try:
        with pytest.raises(RuntimeError, match="before the work was done"):
            jax_timing(cell, epochs=2)
    finally:
        asked.set()


def test_a_missing_synchronisation_is_caught_in_pytorch(monkeypatch, no_ceilings):
    """A GPU that is at work until it is waited for."""
    under_way = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: SimpleNamespace(query=lambda: not under_way))
    loss = slowed(cell_step.cross_entropy, lambda: under_way.append("a step"))
    monkeypatch.setattr(cell_step, "cross_entropy", loss)
    monkeypatch.setattr(torch_epochs, "synchronise", lambda device: under_way.clear())
    assert len(torch_timing(EAGER, epochs=2).epoch_time_s) == 1
    monkeypatch.setattr(torch_epochs, "synchronise", lambda device: None)
    with pytest.raises(RuntimeError, match="before the work was done"):
        torch_timing(EAGER, epochs=2)


@pytest.mark.parametrize(
    "measure",
    [
        lambda: ceiling.measure_ceilings("float32"),
        lambda: torch_epochs._measure_ceilings(EAGER, torch.device("cpu")),
    ],
    ids=["jax", "torch"],
)
def test_ceilings_are_operations_and_bytes_over_the_median_time(measure, monkeypatch):
    monkeypatch.setattr(clock, "ceiling_sizes", lambda _: (64, 2**10))
    monkeypatch.setattr(ceiling, "ceiling_sizes", clock.ceiling_sizes)
    ticks = iter(np.arange(1000.0))  # a call returns after a second, and is done after two
    monkeypatch.setattr(clock.time, "perf_counter", lambda: next(ticks))
    assert measure() == pytest.approx((2 * 64**3 / 2, 2 * 4 * 2**10 / 2))


# What is trained, compiled and counted.


def test_pytorchs_timed_loop_trains(monkeypatch, no_ceilings):
    """As many optimiser steps as batches and epochs, from the loss of the whole batch."""
    losses = []
    real = cell_step.cross_entropy
    monkeypatch.setattr(cell_step, "cross_entropy", lambda *a: losses.append(real(*a)) or losses[-1])
    timing = torch_timing(EAGER, epochs=8)
    assert (len(timing.warm_up_time_s), len(timing.epoch_time_s), len(losses)) == (1, 7, 16)
    assert len(timing.first_step_time_s) == 2
    assert len(timing.page_faults) == 7
    assert all(0 <= wait < epoch for wait, epoch in zip(timing.input_wait_s, timing.epoch_time_s, strict=True))
    assert float(losses[-1].detach()) < float(losses[0].detach())


@pytest.mark.parametrize(
    ("place", "theirs_asked", "ours_asked"),
    [("recipe", [], []), ("host", [0, 1], [0, 1]), ("arrays", [], []), (None, [], [])],
)
def test_every_input_feeds_both_frameworks(place, theirs_asked, ours_asked, monkeypatch, no_ceilings):
    """Of the host pipeline, each epoch is asked for in its time; or none, where batches are prepared or JAX's own."""
    asked = []
    real = host.HostLoader.epoch
    monkeypatch.setattr(host.HostLoader, "epoch", lambda self, epoch: asked.append(epoch) or real(self, epoch))
    monkeypatch.setattr(recipe, "WORKERS", 0)  # they are forked, and JAX runs in this process
    theirs = torch_timing(dataclasses.replace(EAGER, input=place), epochs=2)
    assert asked == theirs_asked
    asked.clear()
    ours = jax_timing(dataclasses.replace(STEP, input=place), epochs=2)
    assert asked == ours_asked
    # Nothing of evaluation, which torch.compile's first step does not hold either.
    assert {"init", "train_step"} == set(ours.compile_times) - {"plan"}
    assert ours.programs == len(ours.compile_times)
    assert theirs.programs == 0


@pytest.mark.parametrize("framework", ["torch", "jax"])
def test_a_batch_that_is_late_is_waited_for(framework, fake_clock, monkeypatch, no_ceilings):
    def late():
        for array in jax.live_arrays():  # so late that the device has nothing left to do
            array.block_until_ready()
        fake_clock.on_host(PLANTED_S)

    monkeypatch.setattr(host._Batches, "__getitem__", slowed(host._Batches.__getitem__, late))
    cell = dataclasses.replace(EAGER if framework == "torch" else STEP, input="host")
    timing = (torch_timing if framework == "torch" else jax_timing)(cell, epochs=2)
    assert timing.input_wait_s == timing.epoch_time_s == [2 * PLANTED_S]


def test_the_recipes_stream_shows_every_image_once_a_pass_in_a_new_order():
    with RecipeStream(SETUP.dataset, 16, workers=0) as stream:
        passes = [np.concatenate([labels.numpy() for _, labels in stream.epoch(epoch)]) for epoch in range(3)]
    for labels in passes:
        assert sorted(labels) == sorted(SETUP.dataset.train.labels)
    assert list(passes[0]) != list(passes[1])


def test_no_pass_of_the_recipes_stream_is_a_gift(monkeypatch):
    """Workers have as much made ahead after a pass as before it: else the last would be had for nothing."""
    drawn = []

    class Counted(RandomSampler):
        def __iter__(self):
            for index in super().__iter__():
                drawn.append(index)
                yield index

    monkeypatch.setattr(recipe, "RandomSampler", Counted)
    ahead, taken = [], 0
    with RecipeStream(SETUP.dataset, 16, workers=2, beside_jax=True) as stream:
        for epoch in range(3):
            ahead.append(len(drawn) / 16 - taken)
            taken += len(list(stream.epoch(epoch)))
        ahead.append(len(drawn) / 16 - taken)
    assert ahead == [4] * 4


@pytest.mark.parametrize(("beside_jax", "method"), [(False, "fork"), (True, "forkserver")])
def test_the_recipes_workers_start_as_its_own_do(beside_jax, method):
    """Forked, but where JAX's threads would not survive it: spawned ones take seconds to start."""
    stream = RecipeStream(SETUP.dataset, 16, workers=2, beside_jax=beside_jax)
    assert stream._loader.multiprocessing_context.get_start_method() == method


def test_the_recipes_loader_gives_jax_its_layout():
    with RecipeLoader(SETUP.dataset, TrainingConfig(batch_size=32)) as loader:
        first, second = loader.epoch(0)
    assert first.images.shape == (32, 8, 8, 3)
    assert (first.images.dtype, first.labels.dtype, first.mask.sum()) == (np.float32, np.int32, 32)
    assert sorted(np.concatenate([first.labels, second.labels])) == sorted(SETUP.dataset.train.labels)


def test_prepared_batches_are_the_pipelines_and_lie_as_xla_takes_them():
    cell = dataclasses.replace(STEP, input="arrays")
    loaded = SETUP.batches_of(cell)
    loader, _ = host.build_loaders(SETUP.dataset, SETUP.training, workers=0)
    for batch, made in zip(loaded, loader.epoch(0), strict=True):
        for part, other in zip(batch, made, strict=True):
            assert part.dtype == other.dtype
            np.testing.assert_array_equal(part, other)
        assert batch.images.ctypes.data % 64 == 0
    assert not STEP.prepared


@pytest.mark.parametrize(
    ("engine", "place"),
    [("eager", "prepared"), ("eager", "arrays"), ("op", "prepared"), ("step", "arrays")],
)
def test_what_a_step_gets_is_the_pipelines(engine, place):
    cell = dataclasses.replace(STEP, engine=engine, input=place)
    loader, _ = host.build_loaders(SETUP.dataset, SETUP.training, workers=0)
    made = list(loader.epoch(0))
    if engine == "eager":
        with open_batches(cell, SETUP, torch.device("cpu")) as batches:
            got = [(images.permute(0, 2, 3, 1).numpy(), labels.numpy()) for images, labels in batches(1)]
    else:
        got = [
            (np.asarray(batch.images), np.asarray(batch.labels))
            for batch in cell_engine.build_loader(cell, SETUP).epoch(1)
        ]
    for (images, labels), batch in zip(got, made, strict=True):
        np.testing.assert_array_equal(images, batch.images)
        np.testing.assert_array_equal(labels, batch.labels)


def test_a_cell_of_jax_whose_batches_are_prepared_needs_no_pytorch(tmp_path):
    (tmp_path / "cell").write_bytes(pickle.dumps((dataclasses.replace(STEP, input="arrays"), SETUP)))
    program = (
        "import os, pickle, sys; from pathlib import Path; from jaxcompare.measure import ceiling, clock\n"
        "from jaxcompare.study import worker; clock.TIMED_S, ceiling.ceiling_sizes = 0.0, lambda _: (64, 1024)\n"
        "folder = Path(sys.argv[1]); "
        "worker.time_epochs(*pickle.loads((folder / 'cell').read_bytes()), folder / 'cache'); "
        "sys.exit('torch' in sys.modules or 'OMP_WAIT_POLICY' in os.environ)"  # the gates' own
    )
    assert subprocess.run([sys.executable, "-c", program, tmp_path], check=False).returncode == 0


def test_pytorch_has_one_thread_where_it_only_prepares_batches():
    torch.set_num_threads(2)
    for beside_jax, threads in ((True, 1), (False, 2)):
        loader, _ = host.build_loaders(SETUP.dataset, SETUP.training, workers=0, beside_jax=beside_jax)
        with loader:
            assert torch.get_num_threads() == threads
        assert torch.get_num_threads() == 2


def test_fast_cells_are_timed_for_a_second(monkeypatch):
    monkeypatch.setattr(clock, "time_epoch", lambda run, *_: (run(), 0.3))
    trained, checked = [], []

    def time_them(epochs):
        return clock.time_epochs(
            epochs, lambda n: (trained.append(n), n / 10), None, None, lambda n, _: checked.append(n)
        )

    timing = time_them(2)
    assert (timing.warm_up_time_s, timing.epoch_time_s) == ([0.3], [0.3] * 4)
    assert timing.input_wait_s == [0.1, 0.2, 0.3, 0.4]
    assert trained == checked == [0, 1, 2, 3, 4]
    assert len(time_them(9).epoch_time_s) == 8


def test_what_a_batch_is_padded_to_is_recorded(no_ceilings):
    """8 images are one micro-batch, and there are 2 devices."""
    assert jax_timing(dataclasses.replace(STEP, batch_size=8)).manifest["computed_batch_size"] == 16
    assert jax_timing(STEP).manifest["computed_batch_size"] == STEP.batch_size


def test_the_peak_of_a_process_is_its_own():
    """Not that of the process which started it."""
    large = np.ones(200_000_000 // 8)
    assert process_peak_bytes() > large.nbytes
    assert in_fresh_process(process_peak_bytes) < 150e6


def test_a_planted_recompilation_ends_a_jax_cell(monkeypatch, no_ceilings):
    real = HostEngine.train_epoch

    def compiles_in_the_second_epoch(self, state, epoch, on_step):
        if epoch == 1:
            jax.jit(lambda x: x * 3 + 1)(jnp.zeros(17 + epoch))
        return real(self, state, epoch, on_step)

    monkeypatch.setattr(HostEngine, "train_epoch", compiles_in_the_second_epoch)
    with pytest.raises(RuntimeError, match=r"program\(s\) compiled during epoch 2, 0 expected"):
        jax_timing(dataclasses.replace(STEP, input="arrays"))


def test_a_planted_recompilation_ends_a_pytorch_cell(monkeypatch, no_ceilings):
    calls = []

    def compile(function, **_):
        return lambda *args: calls.append(args) or function(*args)

    monkeypatch.setattr(torch, "compile", compile)
    # In the first step, and again in the fourth.
    monkeypatch.setattr(compat, "torch_programs", lambda: compat.TorchPrograms(1 + (len(calls) >= 4), 0, 0))
    with pytest.raises(RuntimeError, match=r"compiled 1 program\(s\) in epoch 2"):
        torch_timing(dataclasses.replace(EAGER, engine="compile"))


@pytest.mark.parametrize(
    ("measure", "from_cache", "message"),
    [
        (worker.time_epochs, True, "not compiled anew: train_step"),
        (worker.compile_warm, False, "compiled anew, though it had been compiled before: train_step"),
    ],
)
def test_cold_is_not_read_from_a_cache_and_warm_is(measure, from_cache, message, monkeypatch, tmp_path):
    times = {"train_step": {"trace_s": 1.0, "lower_s": 1.0, "compile_s": 1.0, "from_cache": from_cache}}
    engine = SimpleNamespace(programs=SimpleNamespace(describe_times=lambda: times))
    monkeypatch.setattr(jax_side, "configure_jax", lambda **_: None)
    monkeypatch.setattr(jax_side, "build_engine", lambda *_: engine)
    monkeypatch.setattr(jax_epochs, "time_cell", lambda *_: Timing(compile_times=times))
    with pytest.raises(RuntimeError, match=message):
        measure(STEP, SETUP, tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler on a CPU")
def test_torch_compile_is_cold_then_warm_and_each_is_verified(tmp_path):
    """Real processes and a real compiler."""
    cell = dataclasses.replace(EAGER, engine="compile")
    timing = in_fresh_process(worker.time_epochs, cell, SETUP, tmp_path)
    assert timing.programs == 1
    warm = in_fresh_process(worker.compile_warm, cell, SETUP, tmp_path)
    assert warm["first step"]["step_s"] > 0
    with pytest.raises(CellFailed, match="did not compile anew: it found programs in a cache"):
        in_fresh_process(worker.time_epochs, cell, SETUP, tmp_path)


def test_a_first_step_that_found_no_program_is_not_warm_and_one_that_did_is_not_cold(monkeypatch, no_ceilings):
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    monkeypatch.setattr(compat, "torch_programs", lambda: compat.TorchPrograms(1, 0, 0))
    cell = dataclasses.replace(EAGER, engine="compile")
    with pytest.raises(RuntimeError, match="did not find its programs in the cache"):
        torch_epochs.time_first_step(cell, SETUP)
    monkeypatch.setattr(compat, "torch_programs", lambda: compat.TorchPrograms(1, 1, 0))
    with pytest.raises(RuntimeError, match="did not compile anew: it found programs in a cache"):
        torch_timing(cell)


def test_a_control_changes_what_it_says(no_ceilings):
    vit, step = (dataclasses.replace(cell, model="vit", control="no-dropout") for cell in (EAGER, STEP))
    model, *_ = cell_step.build_training(vit, SETUP, torch.device("cpu"))
    model(images := torch.ones(2, 3, 8, 8))
    assert torch.equal(model(images), model(images))
    stated, *_ = cell_step.build_training(dataclasses.replace(vit, control=None), SETUP, torch.device("cpu"))
    assert not torch.equal(stated(images), stated(images))
    for control, rate in (("no-dropout", 0.0), (None, 0.1)):
        engine = cell_engine.build_engine(dataclasses.replace(step, control=control), SETUP)
        assert engine.learner.model.dropout_rate == rate
    last = dataclasses.replace(EAGER, control="channels-last")
    model, *_ = cell_step.build_training(last, SETUP, torch.device("cpu"))
    assert model.features[3].weight.is_contiguous(memory_format=torch.channels_last)
    with open_batches(last, SETUP, torch.device("cpu")) as batches:
        assert next(iter(batches(0)))[0].is_contiguous(memory_format=torch.channels_last)
    assert torch_timing(last, epochs=2).manifest["layout"] == "NHWC"
    assert torch_timing(EAGER, epochs=2).manifest["layout"] == "NCHW"


def test_a_loss_that_is_no_longer_finite_ends_a_cell(no_ceilings):
    for time_them, cell in ((torch_epochs.time_epochs, EAGER), (jax_epochs.time_cell, STEP)):
        with pytest.raises(InputError, match="no longer finite"):
            time_them(cell, setup_of(lr=1e30))


@pytest.mark.parametrize(("engine", "precision"), [("cudagraphs", "float32"), ("eager", "tf32")])
def test_a_cell_that_needs_a_gpu_says_so_before_anything_runs(engine, precision):
    cell = Cell("cnn", engine, precision=precision, batch_size=32)
    assert "a GPU" in cell.refusal(gpu=False)
    assert cell.refusal(gpu=True) == ""


def test_traces_and_programs_are_written(tmp_path):
    jax_epochs.save_trace(cell_engine.build_engine(STEP, SETUP), tmp_path / "jax")
    assert "HloModule" in (tmp_path / "jax" / "train_step.hlo.txt").read_text()
    assert list((tmp_path / "jax").rglob("*.xplane.pb"))
    torch_epochs.save_trace(EAGER, SETUP, tmp_path / "torch")
    assert "aten::" in (tmp_path / "torch" / "trace.json").read_text()


# Phases: time that is planted is found where it was planted.

PLANTED_S = 0.25


def phases_of(framework):
    if framework == "torch":
        return torch_phases.measure_phases(EAGER, SETUP)
    trained = cell_engine.build_cells_learner(STEP, SETUP)
    return jax_phases.measure_phases(trained, SETUP.dataset, SETUP.training)


def plant_in_jax(phase, clock, monkeypatch):
    """Time on each of the two devices, in every program that holds the phase."""
    builders = {
        "forward": ("build_loss", "build_gradient", "build_train_step"),
        "backward": ("build_gradient", "build_train_step"),
        "update": ("build_train_step",),
        "evaluation": ("build_eval_step",),
    }

    def slowed(build):
        def build_slow(*args):
            function = build(*args)

            def slow(*args):
                jax.debug.callback(lambda: clock.on_device(PLANTED_S / 2), ordered=False)
                return function(*args)

            return slow

        return build_slow

    for name in builders[phase]:
        monkeypatch.setattr(jax_phases, name, slowed(getattr(jax_phases, name)))


def plant_in_torch(phase, clock, monkeypatch):
    """Time on a device that does not keep up with Python, as a GPU does not."""
    monkeypatch.setattr(torch_phases, "synchronise", clock.wait)
    place, name = {
        "copy": (torch.Tensor, "to"),
        "forward": (cell_step, "cross_entropy"),
        "backward": (torch.Tensor, "backward"),
        "update": (torch.optim.AdamW, "step"),
        "evaluation": (torch.Tensor, "argmax"),
    }[phase]
    # A copy is of images and of labels.
    seconds = PLANTED_S / 2 if phase == "copy" else PLANTED_S
    monkeypatch.setattr(place, name, slowed(getattr(place, name), lambda: clock.on_device(seconds)))


@pytest.mark.parametrize("phase", ["input", "copy", "forward", "backward", "update", "evaluation"])
@pytest.mark.parametrize("framework", ["jax", "torch"])
def test_planted_time_is_found_in_its_phase(framework, phase, fake_clock, monkeypatch):
    if phase == "input":
        get = slowed(host._Batches.__getitem__, lambda: fake_clock.on_host(PLANTED_S))
        monkeypatch.setattr(host._Batches, "__getitem__", get)
    elif framework == "torch":
        plant_in_torch(phase, fake_clock, monkeypatch)
    elif phase == "copy":
        monkeypatch.setattr(Placement, "put", slowed(Placement.put, lambda: fake_clock.on_device(PLANTED_S)))
    else:
        plant_in_jax(phase, fake_clock, monkeypatch)
    found = dataclasses.asdict(phases_of(framework))
    expected = {phase} | ({"step"} if phase in ("forward", "backward", "update") else set())
    if (framework, phase) == ("torch", "forward"):
        expected.add("evaluation")  # it computes the loss too
    # Dispatching takes none: the device is at work after it.
    assert found == {name: 1e3 * PLANTED_S * (name.removesuffix("_ms") in expected) for name in found}


# Costs.


@pytest.mark.parametrize(("model", "params"), [("cnn", 620_362), ("vit", 809_354)])
def test_flops_by_formula_are_xlas_but_for_padding(model, params):
    """XLA leaves out multiplications by a convolution's zero padding, and counts what the formulas leave out."""
    costs = count_costs(model, 32, 10, 8)
    layers = layer_costs(model)
    convolutions = {f"3x3 convolution {i + 1}": 32 >> i for i in range(3) if model == "cnn"}
    # Of a row's 3 taps at each of its pixels, the first pixel's left and the last one's right are padding.
    padding = {
        layer.layer: layer.flops_per_image * (1 - ((3 * side - 2) / (3 * side)) ** 2)
        for layer in layers
        if (side := convolutions.get(layer.layer))
    }
    assert sum(padding.values()) == pytest.approx(2_350_336 if model == "cnn" else 0)
    assert costs.xla_forward_flops == pytest.approx(costs.formula_forward_flops - sum(padding.values()), rel=0.02)
    # Three times each, but for the gradient of the images.
    twice = 3 * sum(padding.values()) - padding.get("3x3 convolution 1", 0)
    # Element by element XLA counts more or less with its version: of the ViT 2.6 % with jax 0.12. A layer is more.
    assert costs.xla_training_flops == pytest.approx(costs.formula_training_flops - twice, rel=0.03)
    assert sum(layer.weights for layer in layers) == params
    # The least is less than what XLA's kernels move.
    assert costs.formula_training_bytes < costs.xla_training_bytes


def test_bytes_by_formula_are_those_of_a_hand_count():
    layers = layer_costs("cnn")[-2:]  # 2048 -> 256 -> 10, as if they were a network of their own
    values = (2048 + 256) + (256 + 10) + (256 + 2048) + (10 + 256 + 256)  # forward, backward
    weights = 10 * (2048 * 256 + 256 + 256 * 10 + 10)
    assert training_bytes(layers, 128) == 4 * (values + weights / 128)
    assert training_flops(layers) == 2 * 2 * 2048 * 256 + 3 * 2 * 256 * 10


# What a timed cell trains with.


@pytest.mark.parametrize("control", [None, "no-dropout"])
@pytest.mark.parametrize("engine", get_args(JaxEngine))
def test_every_timed_engine_of_jax_has_the_cells_dropout(engine, control, monkeypatch):
    class Built(Exception):
        pass

    def build(name, **arguments):
        raise Built(models.build_model(name, **arguments).dropout_rate)

    monkeypatch.setattr(learner, "build_model", build)
    with pytest.raises(Built) as built:
        jax_timing(Cell("vit", engine, batch_size=32, control=control))
    assert built.value.args == (0.0 if control else 0.1,)


@pytest.mark.parametrize("control", [None, "no-dropout"])
def test_the_timed_pytorch_has_the_cells_dropout(control, monkeypatch, no_ceilings):
    rates = {torch.nn.Dropout: [], torch.nn.MultiheadAttention: []}
    for layer, seen in rates.items():

        def forward(self, *args, real=layer.forward, seen=seen, **kwargs):
            seen.append((getattr(self, "p", None) or getattr(self, "dropout", 0.0)) if self.training else 0.0)
            return real(self, *args, **kwargs)

        monkeypatch.setattr(layer, "forward", forward)
    torch_timing(dataclasses.replace(EAGER, model="vit", control=control), epochs=2)
    for seen in rates.values():
        assert len(seen) >= 4 * 4  # layers, steps
        assert set(seen) == {0.0 if control else 0.1}


def test_the_timed_pytorch_has_as_many_threads_as_jax_may_use_and_says_so(monkeypatch, no_ceilings):
    seen = []
    real = cell_step.cross_entropy
    monkeypatch.setattr(cell_step, "cpu_cores", lambda: 3)
    monkeypatch.setattr(cell_step, "cross_entropy", lambda *a: seen.append(torch.get_num_threads()) or real(*a))
    timing = torch_timing(EAGER, epochs=2)
    assert set(seen) == {3} == {timing.manifest["threads"]}


@pytest.mark.parametrize("framework", ["torch", "jax"])
def test_the_recipes_loader_has_its_two_workers_where_it_is_timed(framework, monkeypatch, no_ceilings):
    workers = []

    def loader(*args, num_workers, multiprocessing_context, **kwargs):
        workers.append((num_workers, multiprocessing_context is not None))
        return DataLoader(*args, **kwargs)  # none here: PyTorch's are forked, and JAX runs in this process

    monkeypatch.setattr(recipe, "DataLoader", loader)
    cell = dataclasses.replace(EAGER if framework == "torch" else STEP, input="recipe")
    (torch_timing if framework == "torch" else jax_timing)(cell, epochs=2)
    assert workers == [(2, True)]


def test_a_calls_time_ends_when_its_result_is_there(monkeypatch):
    """A call returns after a second, and its result is there two seconds later."""
    now = [0.0]

    def pass_time(seconds):
        now[0] += seconds

    monkeypatch.setattr(clock.time, "perf_counter", lambda: now[0])
    assert clock.time_calls(lambda: pass_time(1.0), lambda _: pass_time(2.0)) == (3e3, 1e3)
