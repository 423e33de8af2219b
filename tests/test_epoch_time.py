"""An epoch's time is its training alone, in both frameworks."""

import dataclasses
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from jaxcompare.config import DataConfig, RunConfig, TrainingConfig
from jaxcompare.torch_side import fit as torch_fit
from jaxcompare.training import fit as fit_module
from jaxcompare.training.fit import fit_seeds
from jaxcompare.training.programs import Programs
from jaxcompare.training.step import (
    Metrics,
    TrainState,
)

pytestmark = pytest.mark.usefixtures("shallow")

SMALL = TrainingConfig(epochs=2, batch_size=32, seed=1)
DATA = DataConfig("digits", image_size=8)


def config(framework="jax", model="cnn", **training):
    return RunConfig(framework, model, DATA, dataclasses.replace(SMALL, **training))


class Clock:
    """Time that passes only where a test says so: at once, or on a device, whose work is waited for."""

    def __init__(self):
        self.now, self.under_way = 100.0, 0.0

    def perf_counter(self):
        return self.now

    def wait(self):
        self.now, self.under_way = self.now + self.under_way, 0.0


class Late:
    """An array that is there when the device's work is done."""

    def __init__(self, clock, value):
        self._clock, self._value = clock, np.asarray(value)

    def block_until_ready(self):
        self._clock.wait()
        return self

    def __array__(self, *_, **__):
        self._clock.wait()
        return self._value


INIT_S, CALL_S, DEVICE_S, EVALUATION_S, BETWEEN_S = 7.0, 0.5, 10.0, 3.0, 1000.0


class EngineOfWholeEpochs:
    """Its calls return at once, or nearly, and the device works on. It evaluates too."""

    def __init__(self, clock, seeds):
        self.clock = clock
        self.learner = SimpleNamespace(seeds=seeds, count_params=lambda: 1)
        self.programs, self.epoch_images, self.facts = Programs("float32", jax.devices()), 70, {}

    def init(self):
        self.clock.under_way += INIT_S
        return TrainState(*(Late(self.clock, [0.0]) for _ in TrainState._fields))

    def train_epoch(self, state, epoch, on_step):
        self.clock.now += CALL_S
        self.clock.under_way += DEVICE_S
        made = Late(self.clock, np.ones((len(self.learner.seeds), 3)))
        return TrainState(*(Late(self.clock, [0.0]) for _ in state)), [Metrics(made, made)], 0.25

    def fetch(self, tree):
        return tree

    def evaluate(self, params):
        self.clock.wait()
        self.clock.now += EVALUATION_S
        return np.ones(len(self.learner.seeds))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


@pytest.mark.parametrize("seeds", [[1], [1, 2, 3, 4]])
def test_an_epochs_time_is_its_training_alone_and_each_seeds_share(seeds, tiny_dataset, monkeypatch):
    """Initialisation before it, evaluation and what is done with the record after it are not in it."""
    clock = Clock()
    monkeypatch.setattr(fit_module, "time", clock)
    engine = EngineOfWholeEpochs(clock, seeds)
    monkeypatch.setattr(fit_module, "build_engine", lambda *_: (engine, engine.evaluate))

    def on_epoch(_):
        clock.now += BETWEEN_S

    records, _ = fit_seeds(config(epochs=3), tiny_dataset, seeds, on_epoch=on_epoch)
    assert len(records) == len(seeds)
    for record in records:
        assert record.history.epoch_time_s == pytest.approx([(CALL_S + DEVICE_S) / len(seeds)] * 3)
        assert record.history.evaluation_time_s == pytest.approx([EVALUATION_S / len(seeds)] * 3)
        assert record.history.input_wait_s == [0.25] * 3


def test_pytorchs_epochs_time_is_its_training_alone(tiny_dataset, monkeypatch):
    """Three batches: each is made, then trained on."""
    clock = Clock()
    monkeypatch.setattr(torch_fit, "time", clock)

    def taking(seconds, function):
        def slow(*args):
            clock.now += seconds
            return function(*args)

        return slow

    monkeypatch.setattr(torch_fit, "to_tensors", taking(0.5, torch_fit.to_tensors))
    monkeypatch.setattr(torch_fit, "train_step", taking(2.0, torch_fit.train_step))
    monkeypatch.setattr(torch_fit, "evaluate", taking(EVALUATION_S, lambda *_: 7))
    record, _ = torch_fit.fit(config("torch", epochs=3), tiny_dataset, on_epoch=taking(BETWEEN_S, lambda _: None))
    assert record.history.epoch_time_s == pytest.approx([7.5] * 3)
    assert record.history.input_wait_s == pytest.approx([1.5] * 3)
    assert record.history.evaluation_time_s == pytest.approx([EVALUATION_S] * 3)
