"""Shapes and dtypes at the boundaries of all array code are checked while the tests run."""

import os
import tempfile
import time

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Compiled programs are kept for these tests only, and shared by them; by both processes that run them.
if "PYTEST_XDIST_WORKER" not in os.environ:
    _cache = tempfile.TemporaryDirectory()
    os.environ["XDG_CACHE_HOME"] = _cache.name

import jax
from jaxtyping import install_import_hook

from jaxcompare.measure.runtime import configure_jax

configure_jax()
# Two devices on any machine: what several devices share out is tested everywhere.
jax.config.update("jax_num_cpu_devices", 2)

ARRAY_CODE = ["jaxcompare.models.layers", "jaxcompare.models.cnn", "jaxcompare.models.vit", "jaxcompare.training.step"]
install_import_hook([*ARRAY_CODE, "jaxcompare.data"], "beartype.beartype")

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

from jaxcompare.data.split import Dataset, Split  # noqa: E402

# The batches here are small: threads would cost more than they bring, and far more beside another process's.
torch.set_num_threads(1)


class FakeClock:
    """Seconds pass where a test says so: on the host at once, on a device when somebody waits for it."""

    def __init__(self):
        self.now = 0.0
        self._owed = []

    def on_host(self, seconds: float) -> None:
        self.now += seconds

    def on_device(self, seconds: float) -> None:
        self._owed.append(seconds)

    def wait(self, _: object = None) -> None:
        self.now += sum(self._owed)
        self._owed.clear()


@pytest.fixture
def fake_clock(monkeypatch) -> FakeClock:
    """What `time.perf_counter` reads; `jax.block_until_ready` waits for its device."""
    clock, block = FakeClock(), jax.block_until_ready
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)
    monkeypatch.setattr(jax, "block_until_ready", lambda tree: (block(tree), clock.wait())[0])
    return clock


@pytest.fixture
def tiny_dataset() -> Dataset:
    """70 training and 21 test images of three classes, noise around a class colour: sizes no batch divides."""
    generator = np.random.default_rng(0)

    def split(count: int) -> Split:
        labels = generator.integers(0, 3, count).astype(np.int32)
        noise = generator.integers(0, 120, (count, 32, 32, 3))
        colours = np.eye(3, dtype=int)[labels][:, None, None] * 120
        return Split((noise + colours).astype(np.uint8), labels)

    return Dataset("tiny", ("red", "green", "blue"), split(70), split(21), ((0.4,) * 3, (0.2,) * 3), "fingerprint")
