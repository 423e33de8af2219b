"""A command's end: by signals, exceptions, streams that cannot be written to, and other writers."""

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest
from filelock import FileLock

import console
import guard
from jaxcompare.config import InputError
from jaxcompare.measure.runtime import check_settings, find_cache
from jaxcompare.study import worker
from jaxcompare.study.process import in_fresh_process

EXPERIMENTS = Path(console.__file__).parent

COMMAND = """
import dataclasses, hashlib, os, pathlib, sys, threading, time
import console, guard
from jaxcompare.study.process import in_fresh_process

@dataclasses.dataclass(frozen=True)
class Args:
    out: pathlib.Path = pathlib.Path({out!r})

def started():
    (Args.out / "started").touch()

def main(args):
    console.check_out(args.out)
{body}

if __name__ == "__main__":
    with guard.process():
        console.run(Args, main)
"""


@pytest.fixture
def start(tmp_path):
    """Start a command of its own; `started()` in its body says that a signal may come."""
    processes = []

    def start(body: str, shell: str = "", **options) -> subprocess.Popen:
        script = tmp_path / "command.py"
        lines = "\n".join(f"    {line}" for line in body.splitlines())
        script.write_text(COMMAND.format(out=str(tmp_path / "out"), body=lines))
        path = os.pathsep.join([str(EXPERIMENTS), str(EXPERIMENTS.parent), os.environ.get("PYTHONPATH", "")])
        options["env"] = {**os.environ, "PYTHONPATH": path, **options.get("env", {})}
        options = {"stderr": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, **options}
        # Under nohup a test would otherwise start what ignores SIGHUP.
        options["preexec_fn"] = lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL)
        words = [sys.executable, str(script)]
        if shell:
            words = ["sh", "-c", f"{shell} {shlex.join(words)}"]
        with warnings.catch_warnings():
            # JAX, where another test has started it, warns of a fork: this one is another program at once.
            warnings.simplefilter("ignore", RuntimeWarning)
            process = subprocess.Popen(words, **options)
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def wait_for(path: Path) -> None:
    end = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end, f"{path} does not come"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("number", "body"),
    [
        (signal.SIGINT, "started(); time.sleep(99)"),
        (signal.SIGTERM, "started(); time.sleep(99)"),
        (signal.SIGHUP, "started(); time.sleep(99)"),
        pytest.param(signal.SIGTERM, "started()\nin_fresh_process(time.sleep, 99)", id="a child"),
        pytest.param(
            signal.SIGINT,
            "guard.AGAIN_S = 0.2\nstarted()\ntry: time.sleep(99)\nexcept KeyboardInterrupt: time.sleep(99)",
            id="an interrupt that is lost",
        ),
        pytest.param(
            signal.SIGINT, "guard.GRACE_S = 1\nstarted()\nhashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)",
            id="code that no interrupt reaches",
        ),
    ],
)  # fmt: skip
def test_a_signal_ends_a_command_and_its_children(start, tmp_path, number, body):
    process = start(body)
    wait_for(tmp_path / "out" / "started")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    time.sleep(0.3)
    started = children.read_text().split() if children.exists() else []
    process.send_signal(number)
    assert process.wait(guard.GRACE_S) == guard.INTERRUPTED
    end = time.monotonic() + 5
    while any(Path(f"/proc/{child}").exists() for child in started):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_signal_is_heeded_where_a_shell_had_it_ignored(start, tmp_path):
    process = start("started(); time.sleep(99)", shell="trap '' INT; exec")
    wait_for(tmp_path / "out" / "started")
    process.send_signal(signal.SIGINT)
    assert process.wait(guard.GRACE_S) == guard.INTERRUPTED


def test_a_command_ends_with_the_one_that_started_it(start, tmp_path):
    process = start("time.sleep(99)", env={guard.PARENT: "1"})
    assert process.wait(guard.GRACE_S) == guard.INTERRUPTED


def test_an_exception_is_one_line_and_a_file(start, tmp_path):
    process = start("raise ValueError('no such thing\\nat all')")
    _, error = process.communicate()
    assert process.returncode == 1
    assert error == f"error: ValueError: no such thing; the traceback is in {tmp_path}/out/error.txt\n"
    assert "in main" in (tmp_path / "out" / "error.txt").read_text()


@pytest.mark.parametrize(
    ("shell", "env", "status", "words"),
    [
        ("", {"PYTHONIOENCODING": "ascii"}, 0, ""),
        ("", {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, 0, ""),
        (
            "exec >/dev/full;",
            {"PYTHONUNBUFFERED": ""},
            1,
            "error: standard output cannot be written (No space left on device)",
        ),
        ("exec >/dev/full;", {"PYTHONUNBUFFERED": "1"}, 1, "error: standard output cannot be written (No space left"),
    ],
)
def test_what_cannot_be_printed_costs_nothing(start, shell, env, status, words):
    process = start("print('µ · ¹')", shell, env=env)
    _, error = process.communicate()
    assert (process.returncode, words in error, error.count("\n")) == (status, True, bool(words))


def test_a_mistake_is_one_line_where_nothing_can_be_printed(start):
    process = start(
        "print('held back')\nraise console.InputError('--seeds: no')",
        shell="exec >/dev/full;",
        env={"PYTHONUNBUFFERED": ""},
    )
    assert process.communicate()[1] == "error: --seeds: no\n"
    assert process.returncode == 2


def test_a_closed_pipe_is_one_line(start):
    process = start("started()\nfor _ in range(99999): print('lines')", stdin=subprocess.DEVNULL)
    process.stdout.close()
    process.stdout = None
    assert process.stderr.read() == "error: standard output cannot be written (Broken pipe)\n"


def no_home():
    raise RuntimeError("Could not determine home directory.")


@pytest.mark.parametrize("home", [no_home, lambda: Path("/proc")], ids=["none", "unwritable"])
def test_without_a_home_programs_are_not_kept_which_is_said(monkeypatch, home):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr("jaxcompare.compat.jax.cache_folder", lambda: None)
    monkeypatch.setattr(Path, "home", home)
    with pytest.warns(UserWarning, match="compiled programs are not kept between processes: "):
        assert find_cache() is None


CORRUPT = """
import pathlib, jax, numpy
from jaxcompare.measure.runtime import configure_jax
configure_jax(cache=args.out)
for again in (False, True):
    for number in (1, 2):
        jax.jit(lambda x: x * 2 + number)(numpy.zeros(3))
    jax.clear_caches()
    for program in args.out.glob("*-cache"): program.write_bytes(b"garbage")
"""


def test_a_cache_that_is_damaged_is_said_once(start, tmp_path):
    process = start(CORRUPT)
    _, error = process.communicate()
    assert (process.returncode, error.count("\n")) == (0, 1)
    assert error.startswith(f"warning: {tmp_path / 'out'}: error reading compiled programs (")


def test_figures_are_no_matter_of_the_users_settings(start, tmp_path):
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\n")
    body = "import matplotlib, matplotlib.pyplot as plt\nassert not matplotlib.rcParams['text.usetex']"
    for folder in (tmp_path, "/proc"):  # nothing can be kept in the second
        process = start(body, env={"MPLBACKEND": "module://nowhere", "MPLCONFIGDIR": str(folder)})
        assert process.communicate() == ("", "")


def test_a_folder_has_one_writer(start, tmp_path):
    process = start("started(); time.sleep(99)")
    out = tmp_path / "out"
    wait_for(out / "started")
    with pytest.raises(InputError, match=f"process {process.pid} on .*command.py.* writes there"):
        console.check_out(out)
    process.kill()
    process.wait()
    console.check_out(out)
    guard.release()
    assert [path.name for path in out.iterdir()] == ["started"]


def test_what_a_command_starts_waits_for_what_it_started_before(tmp_path, monkeypatch):
    """Interrupted and called again, a command may be faster than its processes' end."""
    before = FileLock(tmp_path / guard.LOCK, thread_local=False)
    before.acquire()
    threading.Timer(0.3, before.release).start()
    monkeypatch.setenv(guard.PARENT, str(os.getppid()))
    guard.own(tmp_path)
    guard.release()


def test_what_a_killed_process_had_half_written_goes(start, tmp_path):
    body = "import jaxcompare.lines as lines\nlines.os.fsync = lambda _: (started(), time.sleep(99))\n"
    process = start(body + "lines.write_atomically(args.out / 'figures' / 'one.svg', 'half')")
    wait_for(tmp_path / "out" / "started")
    process.kill()
    process.wait()
    assert len(list((tmp_path / "out" / "figures").iterdir())) == 1
    console.check_out(tmp_path / "out")
    guard.release()
    assert not list((tmp_path / "out" / "figures").iterdir())


def test_a_folder_is_of_one_experiment(tmp_path):
    (tmp_path / "cells.jsonl").touch()
    with pytest.raises(InputError, match=r"holds cells.jsonl of another experiment"):
        console.check_out(tmp_path, "runs.jsonl")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("jax_enable_x64", True),
        ("jax_random_seed_offset", 3),
        ("jax_default_prng_impl", "rbg"),
        ("jax_debug_nans", True),
    ],
)
def test_settings_that_decide_numbers_are_refused_by_name(name, value):
    import jax

    before = jax.config.values[name]
    jax.config.update(name, value)
    try:
        with pytest.raises(InputError, match=f"{name.upper()} is {value}"):
            check_settings()
    finally:
        jax.config.update(name, before)


def find_backend():
    in_fresh_process(worker.find_backend, "jax")


@pytest.mark.parametrize("start", [check_settings, find_backend], ids=["a run", "a speed study"])
def test_flags_that_xla_does_not_know_are_refused(monkeypatch, start):
    monkeypatch.setenv("XLA_FLAGS", "--xla_no_such_flag=1")
    with pytest.raises(InputError, match=r"Unknown flag in XLA_FLAGS: --xla_no_such_flag=1"):
        start()
