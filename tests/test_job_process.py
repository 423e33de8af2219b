"""A job's process: how it ends, what it leaves, and how it makes room."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import synthetic

import guard
import jobs
from jaxcompare.records import save_records


def job_of(code, parent=None, folder=Path("/nowhere"), fruitless=0):
    """In Python."""
    return jobs.Job([sys.executable, "-c", code], folder, parent, fruitless)


def test_a_job_tells_its_status_and_last_words():
    code = "import sys; print('first\\nerror: last', file=sys.stderr); sys.exit(2)"
    assert job_of(code)() == (2, "error: last")
    assert job_of("")() == (0, "")


def test_a_jobs_process_outlives_the_signal_that_asks_for_room():
    """Until submitit has called `checkpoint`."""
    code = "import os, signal; os.kill(os.getpid(), signal.SIGUSR2)"
    assert job_of(code)() == (0, "")
    assert signal.SIGUSR2 not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


@pytest.mark.parametrize(
    ("code", "status"),
    [("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM), ("exit(130)", guard.INTERRUPTED)],
)
def test_a_job_that_slurm_ends_has_no_result(code, status, monkeypatch):
    """It may be put into the queue again."""
    monkeypatch.setattr(signal, "pause", lambda: next(iter(())))
    with pytest.raises(StopIteration):
        job_of(code)()
    assert job_of(code, os.getpid())() == (status, "")


def test_a_job_makes_room_after_its_process_has_saved(tmp_path):
    job = job_of("import time; time.sleep(60)")
    job.child = subprocess.Popen(job.command)
    again = job.checkpoint()
    assert job.child.wait(0) == -signal.SIGTERM
    assert (again.function.command, again.function.parent) == (job.command, None)


def test_a_job_makes_room_where_slurm_has_ended_its_process_before(monkeypatch):
    """SIGTERM to all processes of a job comes first, and then submitit's signal to the one that waits: by then another
    process may have the number."""
    monkeypatch.setattr(os, "kill", None)
    job = job_of("exit(130)")
    monkeypatch.setattr(signal, "pause", lambda: exit(job.checkpoint().function.command[-1]))
    with pytest.raises(SystemExit, match=r"exit\(130\)"):
        job()


def ended_child(ends):
    """A process that Slurm ends, after this."""

    def communicate(timeout):
        ends()
        return "", ""

    return SimpleNamespace(communicate=communicate, returncode=guard.INTERRUPTED)


def test_a_job_that_never_gets_to_a_record_fails(monkeypatch, tmp_path):
    """And does not stand in the queue without end."""
    monkeypatch.setattr(signal, "pause", lambda: next(iter(())))

    def is_ended(job):
        """As the one that begins again then."""
        with pytest.raises(StopIteration):
            job()
        return job.checkpoint().function

    def train(epochs, status):
        save_records(tmp_path / "runs.jsonl", [synthetic.record(status=status, losses=[1.0] * epochs)])

    monkeypatch.setattr(jobs.subprocess, "Popen", lambda *words, **options: child)
    train(1, "running")
    job = job_of("", folder=tmp_path, fruitless=jobs.TRIES - 1)
    child = ended_child(lambda: train(2, "interrupted"))
    job = is_ended(job)
    assert job.fruitless == 0
    for status in ("running", "interrupted", "running"):  # what is rewritten is not new
        child = ended_child(lambda status=status: train(2, status))
        job = is_ended(job)
    assert job() == (1, "error: ended 3 times with nothing new on record; give a longer --time-limit")


def test_a_job_may_be_told_to_make_room_before_it_has_begun():
    assert job_of("").checkpoint().function.fruitless == 0


def test_a_job_ends_with_the_command_that_began_it():
    parent = subprocess.Popen([sys.executable, "-c", ""])
    parent.wait()
    begun = time.monotonic()
    status, _ = job_of("import time; time.sleep(60)", parent.pid)()
    assert status < 0
    assert time.monotonic() - begun < 20
