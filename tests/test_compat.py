"""Every door of `jaxcompare.compat`, opened. Each test says what stops working where JAX or PyTorch has changed it."""

import logging
import multiprocessing
import os
import re
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from jaxcompare.compat import jax as jax_doors
from jaxcompare.compat import torch as torch_doors
from jaxcompare.compat.flax import draw_keys

ROOT = Path(__file__).parents[1]


def compiled(function, *arguments, **options):
    return jax.jit(function, **options).lower(*arguments).compile()


def test_compilations_are_seen_with_their_shapes():
    """Or else a recompilation in a timed epoch is not seen: `CompileGuard` counts none, and has no shape to name."""
    logger = logging.getLogger("jax._src.interpreters.pxla")
    before, seen = (logger.level, logger.propagate, list(logger.handlers)), []

    def seen_twice(x):
        return x * 2 + 1

    with jax_doors.watch_compilation(seen.append):
        jax.jit(seen_twice)(np.zeros((3, 7), np.float32))
        jax.jit(seen_twice)(np.zeros(5, np.int32))
    jax.jit(seen_twice)(np.zeros(6, np.float32))
    assert ["seen_twice" in one for one in seen] == [True, True], f"no event, or no name in it: {seen}"
    assert [one.partition(" for ")[2] for one in seen] == ["float32[3,7]", "int32[5]"], "the log has other words"
    assert (logger.level, logger.propagate, logger.handlers) == before, "JAX's log is not as it was"


def test_a_read_from_the_persistent_cache_is_seen():
    """Or else a warm compilation passes for a cold one, in a record and in `CompileTimes.from_cache`."""

    def build():
        def read_again(x):
            return x * 3 - 5

        compiled(read_again, np.zeros(11, np.float32))

    build()
    with jax_doors.watch_cache() as hits:
        build()
    assert len(hits) == 1
    build()
    assert len(hits) == 1, "still listening"


def test_a_traced_function_runs_operation_by_operation():
    """Or else there is no engine `traced`, which tells Python's tracing from Python's dispatch."""
    jaxpr = jax.make_jaxpr(lambda x, y: (x * 2, x + y))(1.0, 2.0)
    seen = []
    jax.clear_caches()
    with jax_doors.watch_compilation(seen.append):
        results = jax_doors.as_function(jaxpr)(3.0, 4.0)
    assert results == [6.0, 7.0]
    assert len(seen) == 2, "the operations were compiled as one program"


def test_a_programs_memory_is_planned():
    """Or else records have no `planned_bytes`, and seeds are not chunked to fit a device's memory."""
    values = jax.ShapeDtypeStruct((1000,), jnp.float32)
    plan, donated = (
        jax_doors.program_memory(compiled(jnp.add, values, values, donate_argnums=donate)) for donate in ((), 0)
    )
    assert plan == (8000, 4000, 0, 0)
    assert donated.reused == 4000


def test_a_programs_costs_are_counted():
    """Or else the costs' table has no column of XLA's."""
    matrix = jax.ShapeDtypeStruct((64, 64), jnp.float32)
    assert jax_doors.program_costs(compiled(jnp.matmul, matrix, matrix)) == pytest.approx(
        (2 * 64**3, 3 * 4 * 64**2), rel=0.01
    )


def test_a_devices_memory_is_asked_for():
    """Or else a GPU's peak is not in the records, and a run takes more of its memory than is there."""
    assert jax_doors.device_memory(jax.local_devices()[0]) == (None, None)
    stats = {"bytes_limit": 100, "bytes_in_use": 30, "peak_bytes_in_use": 70}
    assert jax_doors.device_memory(SimpleNamespace(memory_stats=lambda: stats)) == (70, 70)


def test_nvidias_devices_are_known_by_their_capability():
    """Or else --precision tf32 is refused where it would work, or not where it would not."""
    assert jax_doors.nvidia_capability(jax.local_devices()[0]) is None
    for text, capability in (("9.0", 9.0), ("12.1", 12.1), ("gfx90a", None)):
        assert jax_doors.nvidia_capability(SimpleNamespace(compute_capability=text)) == capability


def test_running_out_of_memory_is_no_other_error():
    """Or else "out of memory" is a traceback, without a word on what to lower; and several seeds are not halved."""
    with pytest.raises(jax.errors.JaxRuntimeError) as error:
        jax.block_until_ready(jnp.zeros(2**50, jnp.int8))  # a processor has addresses for 2**47
    assert jax_doors.is_out_of_memory(error.value), f"XLA has other words: {error.value}"
    assert not jax_doors.is_out_of_memory(jax.errors.JaxRuntimeError("INTERNAL: something else"))


def test_an_array_says_whether_it_is_there():
    """Or else the wait for batches passes for the device's work, nor a clock that is read too early."""
    asked = threading.Event()

    @jax.jit
    def held_up(x):
        jax.debug.callback(lambda: asked.wait(60) and None)
        return x + 1

    # On one device a program this small would be done when its call returns.
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("devices",))
    values = jax.device_put(jnp.ones(8), jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("devices")))
    array = held_up(values)
    early = jax_doors.is_ready(array)
    asked.set()
    assert (early, jax_doors.is_ready(jax.block_until_ready(array))) == (False, True)


def test_settings_are_read_as_they_hold_here():
    """Or else manifests and environments say of tf32 and of the cache what is not so."""
    with jax.default_matmul_precision("tensorfloat32"):
        assert jax_doors.matmul_precision() == "tensorfloat32"
    assert jax_doors.matmul_precision() is None
    assert jax_doors.cache_folder().startswith(os.environ["XDG_CACHE_HOME"])


def test_the_caches_settings_have_these_names(monkeypatch):
    """Or else no process starts. What they do is in `test_execution.py`: cold is told from warm."""
    for folder in ("a folder", None):
        asked = {}
        monkeypatch.setattr(jax.config, "update", asked.__setitem__)
        jax_doors.keep_jax_programs(folder)
        assert asked.keys() <= jax.config.values.keys()
        assert asked.get("jax_compilation_cache_dir") == folder
        assert asked.get("jax_enable_compilation_cache", True) is (folder is not None)


def test_the_cpus_devices_are_what_they_are_once_jax_has_started():
    """Or else a second call of `configure_jax`, as a notebook makes it, ends in an error."""
    before = jax.local_device_count()
    assert "jax_num_cpu_devices" in jax.config.values
    jax_doors.set_cpu_devices(before + 1)
    assert jax.local_device_count() == before


def test_xla_knows_the_flag_of_deterministic_operations(monkeypatch):
    """Or else `--deterministic` ends in an error."""
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2")
    jax_doors.choose_deterministic_operations()
    done = subprocess.run(
        [sys.executable, "-c", "import jax; print(jax.device_count())"], capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("2\n", "")


def test_xla_takes_the_option_of_low_effort():
    """Or else no engine compiles: XLA refuses an option that it does not know."""
    lowered = jax.jit(lambda x: x - 7).lower(np.float32(9))
    assert lowered.compile(compiler_options=jax_doors.low_effort())(np.float32(9)) == 2
    with pytest.raises(jax.errors.JaxRuntimeError, match="No such compile option"):
        lowered.compile(compiler_options={"xla_no_such_option": 1})


def test_torchs_programs_are_counted():
    """Or else a recompilation in a timed epoch of torch.compile is not seen, nor a program that came from a cache."""
    before = torch_doors.torch_programs().compiled
    double = torch.compile(lambda x: x * 2, backend="eager", dynamic=False)
    for size in (3, 3, 4):
        double(torch.ones(size))
    assert torch_doors.torch_programs().compiled - before == 2
    # Their real use takes a C++ compiler and a minute: `test_timed_cells.py`, cold then warm.
    (folder,) = find_spec("torch").submodule_search_locations
    places = {"fxgraph_cache_hit": "codecache", "fxgraph_cache_miss": "codecache", "cudagraph_skips": "cudagraph_utils"}
    for key, place in places.items():
        source = (Path(folder) / "_inductor" / f"{place}.py").read_text()
        assert f'counters["inductor"]["{key}"] += 1' in source, f"nothing counts {key}"


def test_autotuning_can_be_quiet(monkeypatch):
    """Or else a search prints a table for every product that torch.compile tries kernels for."""
    from torch._inductor import select_algorithm

    monkeypatch.setattr(select_algorithm, "PRINT_AUTOTUNE", select_algorithm.PRINT_AUTOTUNE)  # and afterwards as it was
    monkeypatch.setattr(select_algorithm, "_log_autotune_choices_stats", select_algorithm._log_autotune_choices_stats)
    torch_doors.quiet_autotuning()
    assert select_algorithm.PRINT_AUTOTUNE is False
    source = Path(select_algorithm.__file__).read_text()
    assert "and PRINT_AUTOTUNE" in source, "nothing reads it"
    assert "  _log_autotune_choices_stats(" in source, "nothing calls it"


def test_torchs_programs_are_kept_where_they_are_to_be(monkeypatch, tmp_path):
    """Or else torch.compile is timed with what another study left in the usual place: warm passes for cold."""
    from torch._inductor.runtime.cache_dir_utils import cache_dir

    monkeypatch.setenv(torch_doors.TORCH_CACHE, "before")  # and afterwards as it was
    torch_doors.keep_torch_programs(str(tmp_path))
    assert cache_dir() == str(tmp_path)


def test_workers_end_though_their_iterator_is_held():
    """Or else the workers of one cell's input live on while the next one is timed."""
    workers = {"num_workers": 1, "persistent_workers": True, "multiprocessing_context": "forkserver"}
    loader = torch.utils.data.DataLoader(range(4), **workers)
    torch_doors.end_kept_workers(loader)  # of which there are none yet
    before = set(multiprocessing.active_children())
    batches = iter(loader)
    (worker,) = set(multiprocessing.active_children()) - before
    assert next(batches) == 0
    torch_doors.end_kept_workers(loader)
    worker.join(30)
    assert not worker.is_alive()
    torch_doors.end_workers(iter(torch.utils.data.DataLoader(range(4))))  # without workers


def test_torchs_profiler_keeps_its_events_and_does_not_warn():
    """Or else --trace ends in a warning, or in a trace without events. Warnings are errors here."""
    with torch_doors.profile_torch() as profile:
        torch.ones(3).add(1)
    assert "aten::add" in {event.name for event in profile.events()}


@pytest.mark.parametrize("name", torch_doors.QUIET_LOGGERS)
def test_torch_writes_no_line_of_these(name, caplog):
    """Or else processes of a study write lines on CUDA_HOME, or on the profiler, between the study's own."""
    source = Path(find_spec(name).origin).read_text()
    assert "No CUDA runtime is found" in source or "Profiler record function" in source, "nothing writes it there"
    with caplog.at_level(logging.WARNING, name):  # and afterwards as it was
        torch_doors.quiet_loggers()
        logging.getLogger(name).warning("a line")
    assert not caplog.records


def test_tf32_is_allowed_as_asked():
    """Or else a GPU's float32 is rounded to 10 bits, or its tf32 is not, and the manifest says otherwise."""
    switches = torch.backends.cuda.matmul, torch.backends.cudnn
    newer = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    before = [switch.allow_tf32 for switch in switches]
    try:
        for allowed in (False, True):
            torch_doors.allow_tf32(allowed)
            assert [switch.fp32_precision == "tf32" for switch in newer] == [allowed] * 2
            assert torch_doors.allows_tf32() is allowed
            assert torch.get_float32_matmul_precision() == ("high" if allowed else "highest"), "torch.compile reads it"
        switches[1].allow_tf32 = False
        assert torch_doors.allows_tf32() is False, "one of two is not both"
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.allow_tf32 = value


def test_a_tensor_can_stay_in_its_place():
    """Or else a study on a GPU ends where CUDA graphs would copy all images at every step."""
    images = torch.arange(6)
    torch_doors.stays_in_place(images)
    assert torch.compile(lambda indices: images[indices], backend="eager")(torch.tensor([4])).tolist() == [4]


# Where doors stand.

PRIVATE = re.compile(
    r"jax\._src|jax\.extend|jax\.monitoring|jax\.config|(memory|cost)_analysis|memory_stats|compute_capability|"
    r"(?<!compat)\.is_ready\(|RESOURCE_EXHAUSTED|xla_backend_|torch\._|_shutdown_workers|\._iterator\b|"
    r"TORCHINDUCTOR|(?<!compat)\.allow_tf32\b|acc_events|cpp_extension"
)


def test_all_doors_are_in_one_package():
    """Or else a new version of JAX or PyTorch breaks what nobody looks for."""
    sources = [path for folder in ("jaxcompare", "experiments") for path in (ROOT / folder).rglob("*.py")]
    found = {
        f"{path.relative_to(ROOT)}: {match[0]}"
        for path in sources
        for match in PRIVATE.finditer(path.read_text(encoding="utf-8"))
        if path.parent.name != "compat"
    }
    assert not found


def test_neither_the_doors_nor_a_report_load_a_framework(tmp_path):
    """Or else a process of PyTorch holds JAX's threads, one of JAX PyTorch's; and a report waits for both, and for a
    device."""
    program = (
        "import runpy, sys; import jaxcompare.compat.jax, jaxcompare.compat.torch; "
        "sys.argv = sys.argv[1:]; sys.path[0] = 'experiments'; "
        "runpy.run_path(sys.argv[0], run_name='__main__'); "
        "print(sorted({'jax', 'jaxlib', 'flax', 'optax', 'torch'} & set(sys.modules)))"
    )
    words = [sys.executable, "-c", program, "experiments/report.py", "results/full_comparison", "--out", tmp_path]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.endswith("\n[]\n")
    assert (tmp_path / "report.html").exists()


def test_a_layout_that_is_kept_costs_nothing_outside_jit():
    """Or else JAX op by op would copy, and compile again."""
    x = jnp.ones((2, 3, 4))
    assert jax_doors.keep_layout(x) is x
    again, gradient = jax.value_and_grad(lambda x: jax_doors.keep_layout(x).sum())(x)
    assert not again.committed
    assert not gradient.committed


def test_keys_drawn_at_once_are_those_that_flax_draws():
    class Drop(nn.Module):
        @nn.compact
        def __call__(self):
            return self.make_rng("dropout")

    class Layer(nn.Module):
        deeper: bool = True

        @nn.compact
        def __call__(self):
            below = [Layer(deeper=False, name="below")()[0]] if self.deeper else []
            return [*below, Drop()(), Drop()()]

    keys = jax.random.split(jax.random.key(0), 3)
    drawn = [Layer().apply({}, rngs={"dropout": key}) for key in keys]
    assert jnp.array_equal(draw_keys(keys, ["below/Drop_0", "Drop_0", "Drop_1"]), jnp.array(drawn))
