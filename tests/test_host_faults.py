"""Machines with too little memory, and workers that die."""

import itertools
import os
import signal
import time
from collections import namedtuple
from multiprocessing import active_children

import jax
import numpy as np
import pytest
from test_checkpoints import config

from jaxcompare.config import DataConfig, InputError, RunConfig, TrainingConfig
from jaxcompare.data import host
from jaxcompare.data.host import HostLoader
from jaxcompare.training import programs
from jaxcompare.training.checkpoints import Checkpoints
from jaxcompare.training.engines import build_engine
from jaxcompare.training.fit import fit, fit_seeds

Usage = namedtuple("Usage", "total used free")


def test_shared_memory_that_is_too_small_is_said_before_workers_wait_for_it(monkeypatch, tiny_dataset):
    monkeypatch.setattr(host.shutil, "disk_usage", lambda _: Usage(0, 0, 100_000))
    with pytest.raises(InputError, match="--workers 4: their batches need 0 MB of /dev/shm, which has 0 MB free"):
        HostLoader(tiny_dataset.train, 32, tiny_dataset.statistics, workers=4)
    HostLoader(tiny_dataset.train, 32, tiny_dataset.statistics)


def test_a_killed_worker_is_one_line(tiny_dataset):
    with HostLoader(tiny_dataset.train, 4, tiny_dataset.statistics, workers=1) as loader:
        batches = loader.epoch(0)
        next(batches)
        (worker,) = [child for child in active_children() if "worker" in repr(child).lower() or child.daemon]
        os.kill(worker.pid, signal.SIGKILL)
        time.sleep(0.2)
        with pytest.raises(InputError, match="a loader worker was killed"):
            list(batches)


def test_a_program_that_memory_cannot_hold_is_refused(monkeypatch, toy, tiny_dataset):
    monkeypatch.setattr(programs, "available_bytes", lambda: 1000)
    with pytest.raises(InputError, match=r"--batch-size: \w+ needs 0.0 GB of memory"):
        build_engine(config(), tiny_dataset, [1])


def test_memory_is_needed_for_the_devices_that_compute(monkeypatch):
    monkeypatch.setattr(programs, "available_bytes", lambda: 6000)
    one, two = (programs.Programs("float32", jax.devices()[:n]) for n in (1, 2))
    args = ("double", lambda x: 2 * x, np.ones(1000, np.float32))
    one.compile(*args)
    with pytest.raises(InputError, match="double needs"):
        two.compile(*args)


def test_a_clock_that_is_set_back_is_no_matter(monkeypatch, toy, tiny_dataset, tmp_path):
    back = itertools.count(2_000_000_000, -3600)
    monkeypatch.setattr(time, "time", lambda: float(next(back)))
    checkpoints = Checkpoints(tmp_path, every_s=0)
    (record,), _ = fit_seeds(config(), tiny_dataset, [1], checkpoints=checkpoints)
    checkpoints.flush()
    assert record.status == "complete"
    assert min(record.history.epoch_time_s) > 0
    assert (tmp_path / str(record.config.training.epochs)).exists()


def test_a_batch_is_no_larger_than_the_data(toy, tiny_dataset):
    data = DataConfig("digits", image_size=8)
    runs = [RunConfig("jax", "cnn", data, TrainingConfig(2, size), config().execution) for size in (70, 10**9)]
    one, other = (fit(run, tiny_dataset)[0] for run in runs)
    assert one.history.train_loss == other.history.train_loss
    assert other.config.training.batch_size == 10**9
