"""What `auto` picks, what is refused, what is waited for, and what happens when memory runs out."""

import dataclasses
import subprocess
import sys
from types import SimpleNamespace

import jax
import pytest

from jaxcompare.config import DataConfig, ExecutionConfig, InputError, RunConfig, TrainingConfig
from jaxcompare.data import host
from jaxcompare.training import device_engine, evaluators, programs
from jaxcompare.training import execution as execution_module
from jaxcompare.training.engine import InFlight, StackedEngine
from jaxcompare.training.engines import build_engine
from jaxcompare.training.execution import check_precision, choose_execution
from jaxcompare.training.fit import fit, fit_seeds

pytestmark = pytest.mark.usefixtures("shallow", "small")

ONE, BOTH = jax.devices()[:1], jax.devices()[:2]
STEP, CHUNK, EPOCH = (ExecutionConfig(engine, "device", chunk_size=3) for engine in ("step", "chunk", "epoch"))


def config(model="toy", execution=STEP, **training):
    training = TrainingConfig(**{"batch_size": 8, "seed": 5} | training)
    return RunConfig("jax", model, DataConfig(image_size=8), training, execution)


def test_waiting_for_batches_is_recorded(small_dataset, fake_clock, monkeypatch):
    """Of five batches of a second each: of all where the device has done what it was given, else of the first three."""
    real = host.HostLoader.epoch

    def slow(self, epoch):
        for batch in real(self, epoch):
            for array in jax.live_arrays():
                array.block_until_ready()
            fake_clock.on_host(1.0)
            yield batch

    monkeypatch.setattr(host.HostLoader, "epoch", slow)
    step, chunk = (ExecutionConfig(engine, "host", chunk_size=3) for engine in ("step", "chunk"))
    for execution in (step, chunk):
        record, _ = fit(config("toy", execution, epochs=1), small_dataset)
        assert record.history.input_wait_s == record.history.epoch_time_s == [5.0]
    record, _ = fit(config("toy", EPOCH, epochs=1), small_dataset)
    assert record.history.input_wait_s == [0.0]
    monkeypatch.setattr(InFlight, "is_idle", lambda self: not self._calls)
    record, _ = fit(config("toy", chunk, epochs=1), small_dataset)
    assert (record.history.input_wait_s, record.history.epoch_time_s) == ([3.0], [5.0])


def test_a_device_is_idle_when_every_call_is_done():
    done, under_way = (SimpleNamespace(is_ready=lambda ready=ready: ready) for ready in (1, 0))
    for calls, idle in (([], True), ([done, done], True), ([done, under_way], False)):
        queue = InFlight(steps_per_call=1)
        for call in calls:
            queue.add(call)
        assert queue.is_idle() is idle


def test_evaluation_does_not_run_ahead_of_the_device(monkeypatch, small_dataset):
    waited_for, execution = [], ExecutionConfig("step", "host")
    engine, evaluate = build_engine(config("toy", execution), small_dataset, [5], ONE)
    monkeypatch.setattr(evaluators, "InFlight", lambda steps: SimpleNamespace(add=waited_for.append))
    evaluate(engine.init().params)
    assert len(waited_for) == -(-len(small_dataset.test) // 8)


@pytest.mark.slow
def test_seeds_chunk_themselves_to_fit_memory(small_dataset, monkeypatch):
    eight = list(range(5, 13))

    def wanted(at_once):
        execution = dataclasses.replace(EPOCH, seeds_per_call=at_once)
        engine, _ = build_engine(config("toy", execution, batch_size=37), small_dataset, eight, ONE)
        return engine.seeds_per_call, engine.programs.plans["train_epoch"].more

    (_, least), (together, most) = wanted(1), wanted(4)
    assert together == 4
    room = (least + most) / 2 / device_engine.MEMORY_SHARE
    monkeypatch.setattr(device_engine, "available_bytes", lambda: room)
    at_once, bytes_wanted = wanted(4)
    assert at_once < 4
    assert bytes_wanted <= device_engine.MEMORY_SHARE * room


def test_running_out_of_memory_says_what_to_lower(small_dataset, monkeypatch):
    def fail(*_):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 99 bytes")

    monkeypatch.setattr(StackedEngine, "init", fail)
    with pytest.raises(InputError, match=r"out of memory on cpu; lower --batch-size, or use --input host"):
        fit(config(), small_dataset)
    with pytest.raises(InputError, match=r"lower --batch-size, --seeds-per-call or --seeds"):
        fit_seeds(config(), small_dataset, [5, 6])
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"), programs.explain_memory(1):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")


def test_a_compiler_out_of_memory_is_given_fewer_seeds(small_dataset, monkeypatch):
    real, tried = programs.Programs.compile, []

    def compile_small(self, name, function, *args, **options):
        if name == "train_epoch":
            tried.append(name)
            if len(tried) == 1:
                raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while compiling")
        return real(self, name, function, *args, **options)

    monkeypatch.setattr(programs.Programs, "compile", compile_small)
    execution = dataclasses.replace(EPOCH, seeds_per_call=4)
    engine, _ = build_engine(config("toy", execution), small_dataset, [5, 6, 7, 8], ONE)
    assert (engine.seeds_per_call, len(tried)) == (2, 2)


def choose(small_dataset, seeds=1, workers=0, **requested):
    execution, reason = choose_execution(
        ExecutionConfig(**requested), small_dataset.train, seeds=seeds, workers=workers
    )
    return execution.engine, execution.input, reason


def test_auto_picks_and_says_why(small_dataset, monkeypatch):
    assert choose(small_dataset)[:2] == ("chunk", "device")
    assert "chunk engine: " in choose(small_dataset)[2]
    assert choose(small_dataset, input="host")[:2] == ("step", "host")
    assert choose(small_dataset, engine="epoch")[:2] == ("epoch", "device")
    assert choose(small_dataset, workers=2)[:2] == ("step", "host")
    assert choose(small_dataset, engine="epoch", input="device")[2] == ""
    monkeypatch.setattr(execution_module, "available_bytes", lambda: 1000)
    assert choose(small_dataset)[:2] == ("step", "host")
    assert "host input" in choose(small_dataset)[2]
    monkeypatch.setattr(execution_module, "available_bytes", lambda: 2 * small_dataset.train.images.nbytes)
    assert [choose(small_dataset, devices=n)[1] for n in (None, 1)] == ["host", "device"]  # each device holds them
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(execution_module, "available_bytes", lambda: 10**10)
    assert choose(small_dataset)[:2] == ("epoch", "device")


@pytest.mark.parametrize(
    ("requested", "message"),
    [
        ({"precision": "tf32"}, "--precision tf32: cpu has no TF32"),
        ({"input": "host", "seeds": 2}, "--input host: serves one seed at a time"),
        ({"input": "device", "workers": 2}, "--workers: device input has no use for them"),
        ({"engine": "epoch", "input": "host"}, "--engine epoch: cannot be fed by --input host"),
        ({"chunk_size": 0}, "--chunk-size: must be a finite number of at least 1"),
        ({"seeds_per_call": 0}, "--seeds-per-call: must be a finite number of at least 1"),
        ({"precision": "float16"}, "--precision: 'float16' is unknown"),
    ],
)
def test_what_cannot_be_served_is_refused(requested, message, small_dataset):
    with pytest.raises(InputError, match=message):
        choose(small_dataset, **requested)


def test_a_gpu_without_the_precision_is_refused(monkeypatch):
    class OldGpu:
        platform, device_kind, compute_capability = "gpu", "Old GPU", "7.5"

    monkeypatch.setattr(jax, "local_devices", lambda: [OldGpu()])
    for precision in ("tf32", "bfloat16"):
        with pytest.raises(InputError, match=rf"--precision {precision}: Old GPU \(compute capability 7.5\) lacks it"):
            check_precision(precision)
    check_precision("float32")


def test_the_compile_cache_is_on_and_tells_cold_from_warm(tmp_path):
    code = (
        "import jax, numpy as np\n"
        "from jaxcompare.measure.runtime import configure_jax\n"
        "from jaxcompare.measure.timing import compile_ahead\n"
        "configure_jax()\n"
        "print(compile_ahead(lambda x: x @ x, np.ones((8, 8), np.float32))[1].from_cache)\n"
    )
    environment = {"PATH": "/usr/bin", "HOME": str(tmp_path), "JAX_PLATFORMS": "cpu"}
    answers = [
        subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert answers == ["False\n", "True\n"]
    assert list((tmp_path / ".cache" / "jaxcompare" / "xla").glob("*/*"))
