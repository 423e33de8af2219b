"""What every test runs under: the CPU alone; shapes and dtypes checked; no rank promoted, no random key used twice."""

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

# Before JAX or PyTorch start, here and in every child: a GPU of this machine is no part of what is tested.
os.environ |= {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
# Compiled programs are kept from session to session, by kind of CPU; `pytest --cache-clear` removes them. The checkout
# may be read-only.
os.environ["XDG_CACHE_HOME"] = str(
    Path(__file__).parents[1] / ".pytest_cache" / "d"
    if os.access(Path(__file__).parents[1], os.W_OK)
    else Path(tempfile.gettempdir()) / "jaxcompare-tests"
)

import jax
from jaxtyping import install_import_hook

from jaxcompare.measure.runtime import configure_jax

configure_jax()
# Two devices on any machine: what several devices share out is tested everywhere.
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)

ARRAY_CODE = ["jaxcompare.models.layers", "jaxcompare.models.cnn", "jaxcompare.models.vit", "jaxcompare.training.step"]
install_import_hook([*ARRAY_CODE, "jaxcompare.data", "jaxcompare.representations"], "beartype.beartype")

import functools  # noqa: E402
import multiprocessing  # noqa: E402

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from toy import build_toy  # noqa: E402

import console  # noqa: E402
from jaxcompare import models  # noqa: E402
from jaxcompare.data.split import Dataset, Split  # noqa: E402
from jaxcompare.measure.ceiling import Ceilings  # noqa: E402
from jaxcompare.measure.malloc import KEEP, PREFIXES  # noqa: E402
from jaxcompare.torch_side import models as torch_models  # noqa: E402
from jaxcompare.training import learner, placement  # noqa: E402

# The server that loaders' workers are forked from has imported what each of them would.
multiprocessing.set_forkserver_preload(["jaxcompare.data.host"])


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    """The batches here are small: threads would cost more than they bring, and far more beside another process's."""
    torch.set_num_threads(1)
    monkeypatch.setattr("jaxcompare.torch_side.cell_step.cpu_cores", lambda: 1)


@pytest.fixture
def toy(monkeypatch):
    """Engines, this package's and the plain ones, train the toy."""
    monkeypatch.setattr(learner, "build_model", build_toy)


@pytest.fixture(scope="module")
def shallow():
    """ViTs of one encoder layer, in both frameworks: more take longer to compile, and that is all."""

    def one_layer(classes, patch, width, heads, layers, *rest):
        return models.vit.ViT(classes, patch, width, heads, 1, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "ViT", one_layer)
        # The class stays: replicas find it by its name.
        patch.setattr(torch_models.ViT, "__init__", functools.partialmethod(torch_models.ViT.__init__, layers=1))
        yield


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
    monkeypatch.setattr("jaxcompare.measure.others._busy_s", lambda: None)  # the system's clock is another
    monkeypatch.setattr(jax, "block_until_ready", lambda tree: (block(tree), clock.wait())[0])
    return clock


@pytest.fixture
def unset_malloc(monkeypatch):
    """An environment without a setting of the allocator; what a test adds goes again."""
    for name in [*KEEP, *(name for name in os.environ if name.startswith(PREFIXES))]:
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    return monkeypatch


@pytest.fixture(scope="session")
def prepared_batches():
    """Those of `timed.SETUP`'s cells."""
    import timed

    from jaxcompare.study import worker

    worker.prepare_batches([8, 32], timed.SETUP)
    yield
    shutil.rmtree(timed.SETUP.batches)


@pytest.fixture
def no_ceilings(monkeypatch):
    """Cells are timed for no longer than their epochs, and nothing else is."""
    monkeypatch.setattr("jaxcompare.measure.clock.TURN_S", 0.0)
    monkeypatch.setattr("jaxcompare.jax_side.epochs.measure_ceilings", lambda *_: Ceilings(1.0, 1.0))
    monkeypatch.setattr("jaxcompare.torch_side.epochs._measure_ceilings", lambda *_: (1.0, 1.0))


@pytest.fixture
def run_script(monkeypatch):
    """Call an experiment as its command line does, in this process."""

    def run(module, *words):
        monkeypatch.setattr(sys, "argv", [f"{module.__name__}.py", *map(str, words)])
        console.run(module.Args, module.main, getattr(module, "PRESETS", None))

    return run


@pytest.fixture
def fail_script(run_script, capsys):
    """The one line on standard error of a call that ends with status 2."""

    def fail(module, *words):
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            run_script(module, *words)
        error = capsys.readouterr().err
        assert (end.value.code, error[:7], error.count("\n")) == (2, "error: ", 1)
        return error

    return fail


@pytest.fixture(scope="session")
def tiny_dataset() -> Dataset:
    """70 training and 21 test images, of 8x8 pixels and three colours: sizes that no batch divides."""
    generator = np.random.default_rng(0)

    def split(count: int) -> Split:
        labels = generator.integers(0, 3, count).astype(np.int32)
        noise = generator.integers(0, 120, (count, 8, 8, 3))
        return Split((noise + 120 * np.eye(3, dtype=int)[labels][:, None, None]).astype(np.uint8), labels)

    return Dataset("tiny", ("red", "green", "blue"), split(70), split(21), ((0.4,) * 3, (0.2,) * 3), "fingerprint")


@pytest.fixture
def small(monkeypatch):
    """A third model, the toy; and micro-batches so small that these batches have several to share out."""

    def build(name, **arguments):
        return (build_toy if name == "toy" else models.build_model)(name, **arguments)

    monkeypatch.setattr(learner, "build_model", build)
    monkeypatch.setattr(placement, "CPU_MICRO_BATCH_SIZES", dict.fromkeys(("toy", "cnn", "vit"), 3))


@pytest.fixture
def small_dataset():
    """37 training images: four batches of 8 and one of 5."""
    generator = np.random.default_rng(0)

    def split(count):
        images = generator.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
        return Split(images, np.arange(count, dtype=np.int32) % 3)

    return Dataset("small", ("a", "b", "c"), split(37), split(11), ((0.4,) * 3, (0.2,) * 3), "fingerprint")
