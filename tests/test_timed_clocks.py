"""What a clock holds, where a step's time goes, and what a planted fault does to it."""

import dataclasses
import sys
import threading
from types import SimpleNamespace

import jax
import numpy as np
import pytest
import torch
from timed import EAGER, SETUP, STEP, jax_timing, torch_timing

from jaxcompare.data import host
from jaxcompare.jax_side import cell_engine
from jaxcompare.jax_side import epochs as jax_epochs
from jaxcompare.jax_side import phases as jax_phases
from jaxcompare.measure import ceiling, clock, energy
from jaxcompare.torch_side import cell_step
from jaxcompare.torch_side import epochs as torch_epochs
from jaxcompare.torch_side import phases as torch_phases
from jaxcompare.training import learner
from jaxcompare.training.placement import Placement

pytestmark = pytest.mark.usefixtures("toy", "prepared_batches")

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


def test_epochs_come_in_turns_of_half_a_second(monkeypatch):
    happened, checked = [], []
    seconds = iter([0.3, 0.3, 0.4, 0.4, 0.7, 0.1, 0.1])
    monkeypatch.setattr(clock, "time_epoch", lambda run, *_: (run(), next(seconds)))
    monkeypatch.setattr(clock, "watch_others", lambda: lambda: happened.append("watched") or next(shares))

    def train(epoch):
        happened.append(epoch)
        return None, epoch / 10

    def time_them(epochs):
        pause, check = lambda: happened.append("pause"), lambda n, _: checked.append(n)
        return clock.time_epochs(epochs, train, None, None, check, pause)

    shares = iter([0.1, 0.3, None])
    timing = time_them(3)
    assert timing.warm_up_time_s == [0.3]
    assert timing.epoch_time_s == pytest.approx([0.35, 0.55])
    assert timing.input_wait_s == pytest.approx([0.15, 0.35])
    assert happened == [0, "pause", 1, 2, "watched", "pause", 3, 4, "watched"]
    assert checked == [0, 1, 2, 3, 4]
    assert timing.others_share == pytest.approx(0.2)
    monkeypatch.setattr(clock, "TURN_S", 0.0)
    timing = time_them(2)
    assert (len(timing.epoch_time_s), timing.others_share) == (1, None)


def test_a_gpus_joules_are_an_epochs(monkeypatch):
    """Of turns of one epoch and of two; not of the warm-up, nor of what happens between turns."""
    seconds, counted = iter([0.3, 0.6, 0.3, 0.3]), iter([100.0, 103.0, 200.0, 210.0])
    monkeypatch.setattr(clock, "time_epoch", lambda run, *_: (run(), next(seconds)))
    monkeypatch.setattr(clock, "gpu_joules", lambda: next(counted))
    nothing = lambda *_: None  # noqa: E731
    assert clock.time_epochs(3, lambda epoch: (None, 0.0), None, None, nothing, nothing).energy_j == [3.0, 5.0]
    monkeypatch.setattr(clock, "gpu_joules", nothing)
    seconds = iter([0.3, 0.6])
    assert clock.time_epochs(2, lambda epoch: (None, 0.0), None, None, nothing, nothing).energy_j == []


@pytest.mark.parametrize(("gpus", "joules"), [(1, 2.5), (2, None), (0, None)])
def test_one_gpus_counter_is_read(gpus, joules, monkeypatch):
    def count(_):
        return 2500  # millijoules

    nvml = SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: gpus,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetTotalEnergyConsumption=count,
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    assert energy.gpu_joules() is None, "this process computes on none"
    monkeypatch.setattr(energy, "_computes_on_gpu", lambda: True)
    energy._counter.cache_clear()
    assert energy.gpu_joules() == joules
    energy._counter.cache_clear()


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
        put = slowed(Placement.put_batch, lambda: fake_clock.on_device(PLANTED_S))
        monkeypatch.setattr(Placement, "put_batch", put)
    else:
        plant_in_jax(phase, fake_clock, monkeypatch)
    found = dataclasses.asdict(phases_of(framework))
    expected = {phase} | ({"step"} if phase in ("forward", "backward", "update") else set())
    if (framework, phase) == ("torch", "forward"):
        expected.add("evaluation")  # it computes the loss too
    # Dispatching takes none: the device is at work after it.
    assert found == {name: 1e3 * PLANTED_S * (name.removesuffix("_ms") in expected) for name in found}


def test_a_calls_time_ends_when_its_result_is_there(monkeypatch):
    """A call returns after a second, and its result is there two seconds later."""
    now = [0.0]

    def pass_time(seconds):
        now[0] += seconds

    monkeypatch.setattr(clock.time, "perf_counter", lambda: now[0])
    assert clock.time_calls(lambda: pass_time(1.0), lambda _: pass_time(2.0)) == (3e3, 1e3)


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
