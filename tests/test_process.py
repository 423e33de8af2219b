"""Fresh processes: how they end, and what their allocator is set to."""

import contextlib
import multiprocessing
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import resource_tracker
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import SimpleNamespace

import in_processes
import pytest

from jaxcompare.cells import Cell
from jaxcompare.measure.malloc import keep_freed_memory, malloc_settings, single_arena
from jaxcompare.study.process import CellFailed, fresh_process, in_fresh_process
from jaxcompare.study.turns import arena_of

# Fresh processes.


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        ("dies", "its process was killed: out of memory, or stopped from outside"),
        ("runs_out_of_memory", "RuntimeError: RESOURCE_EXHAUSTED: Out of memory"),
        ("fills_the_disk", f"no space left in {tempfile.gettempdir()}; free some, or set TMPDIR to another folder"),
        ("cannot_be_sent", "Unsendable: neither here nor there"),
    ],
)
def test_a_process_that_fails_is_one_line(failure, message):
    with pytest.raises(CellFailed) as failed:
        in_fresh_process(getattr(in_processes, failure))
    assert str(failed.value) == message


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_until_a_process_is_started(number, tmp_path, capfd, monkeypatch):
    """Half of what a process is to do is a traceback there. Ctrl-C reaches it too, and is its parent's to answer."""
    resource_tracker.ensure_running()  # a process of its own
    order, real, start = [], multiprocessing.util.spawnv_passfds, SpawnProcess.start

    def interrupted(*words):
        process = real(*words)  # which has been sent nothing yet
        os.kill(os.getpid(), number)
        return process

    def note(number, frame):
        order.append("answered")
        raise KeyboardInterrupt

    monkeypatch.setattr("multiprocessing.util.spawnv_passfds", interrupted)
    monkeypatch.setattr(SpawnProcess, "start", lambda process: (start(process), order.append("started")))
    before = signal.signal(number, note)
    try:
        with pytest.raises(KeyboardInterrupt):
            in_fresh_process(in_processes.writes, tmp_path / "said")
    finally:
        signal.signal(number, before)
    monkeypatch.undo()
    assert order == ["started", "answered"]
    assert capfd.readouterr().err == ""
    in_fresh_process(in_processes.writes, tmp_path / "said")
    assert (tmp_path / "said").read_text() == "True"
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_a_process_pauses_until_its_turn_has_come():
    with fresh_process(in_processes.pauses, 2, pausing=True) as process:
        assert [process.work() for _ in range(3)] == [False, False, True]
        pid, group = process.result
        # So what others of a study do is not its own work.
        assert pid == group != os.getpgrp()
        # Leaving would be work beside the others.
        time.sleep(0.5)
        assert pid in [child.pid for child in multiprocessing.active_children()]
    assert pid not in [child.pid for child in multiprocessing.active_children()]
    with fresh_process(in_processes.dies_in_its_turn, pausing=True) as process:
        assert not process.work()
        with pytest.raises(CellFailed, match="its process was killed"):
            process.work()


def test_a_thread_starts_processes_too(tmp_path):
    with ThreadPoolExecutor() as pool:
        pool.submit(in_fresh_process, in_processes.writes, tmp_path / "said").result()
    assert (tmp_path / "said").read_text() == "True"


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator is what is set")
def test_a_fresh_process_keeps_freed_memory(unset_malloc):
    """Pages that are cleared again in every step are a cost by chance."""
    large, small, settings = in_fresh_process(in_processes.faults_of_blocks_taken_again)
    assert settings == ""
    assert min(large, small) > 10_000
    keep_freed_memory()
    large, small, settings = in_fresh_process(in_processes.faults_of_blocks_taken_again)
    assert settings == "MALLOC_MMAP_MAX_=0, MALLOC_TOP_PAD_=67108864, MALLOC_TRIM_THRESHOLD_=17179869184"
    assert max(large, small) < 1_000


def test_what_the_user_sets_of_the_allocator_stays_and_is_said(unset_malloc):
    unset_malloc.setenv("MALLOC_TOP_PAD_", "4096")
    unset_malloc.setenv("GLIBC_TUNABLES", "glibc.malloc.arena_max=1")
    keep_freed_memory()
    assert malloc_settings().startswith("GLIBC_TUNABLES=glibc.malloc.arena_max=1, MALLOC_MMAP_MAX_=0, ")
    assert "MALLOC_TOP_PAD_=4096" in malloc_settings()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator is what is set")
def test_plain_jit_keeps_its_large_blocks(unset_malloc):
    """XLA asks for them from a thread."""
    keep_freed_memory()
    found = {}
    for engine in ("jit", "step"):
        with arena_of(Cell("vit", engine), SimpleNamespace(gpu=False)):
            found[engine] = in_fresh_process(in_processes.faults_of_a_thread, engine)
    assert found["jit"] < 1_000
    assert found["step"] > 10_000
    assert "MALLOC_ARENA_MAX" not in os.environ


def test_the_allocators_settings_are_the_users_where_there_are_any(unset_malloc):
    with single_arena():
        assert malloc_settings() == ""  # as glibc has it by default
    keep_freed_memory()
    unset_malloc.setenv("MALLOC_ARENA_MAX", "2")
    with single_arena():
        assert os.environ["MALLOC_ARENA_MAX"] == "2"
    assert os.environ["MALLOC_ARENA_MAX"] == "2"


def test_any_exception_is_a_cells_failure():
    with pytest.raises(CellFailed, match="KeyError: 'key'"):
        in_fresh_process(in_processes.is_a_bug)


def test_a_process_ends_with_the_one_that_started_it(tmp_path):
    """However that one ends: kill -9 leaves it no time to say so."""
    script = (
        "from jaxcompare.study.process import in_fresh_process; import in_processes, sys\n"
        "if __name__ == '__main__': in_fresh_process(in_processes.sleeps, sys.argv[1])"
    )
    (tmp_path / "parent.py").write_text(script)
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    command = [sys.executable, str(tmp_path / "parent.py"), str(tmp_path / "pid")]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": path}) as parent:
        child = int(_sooner_or_later(lambda: (tmp_path / "pid").read_text()))
        parent.kill()
    try:
        _sooner_or_later(lambda: _gone(child))
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def _gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    # A zombie has ended, and waits for whoever has taken it over to say that it knows.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def _sooner_or_later(look, seconds=600):
    """What `look` finds, once it finds something. The limit only ends a test that fails, on a busy machine too."""
    for _ in range(10 * seconds):
        with contextlib.suppress(OSError):
            if found := look():
                return found
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s")


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        ("jaxcompare.torch_side.side, jaxcompare.torch_side.phases", "jax"),
        ("jaxcompare.jax_side.side, jaxcompare.training.engines", "torch"),
    ],
)
def test_what_a_cell_trains_with_imports_one_framework(modules, absent):
    program = f"import sys, {modules}; sys.exit({absent!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
