"""Jobs as a Slurm array: what sbatch is given, and how the queue says that they have ended."""

import os
import time
from pathlib import Path

import pytest
import synthetic

import data_efficiency
import slurm
from jaxcompare.config import InputError
from jaxcompare.records import save_records

LIMITS = {"at_once": 1, "time_limit": 30, "alone": False}


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Make commands of the shell."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def make(name, body):
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
        time.sleep(0.01)  # submitit asks once a millisecond at most

    make("srun", "")
    make("squeue", "exit 1")
    return make


def test_slurm_is_given_an_array_of_jobs_that_may_be_put_into_the_queue_again(command, tmp_path, capsys):
    command("sbatch", f"cp $1 {tmp_path}/script; echo Submitted batch job 77")
    array = slurm.Array(["a", "b"], tmp_path / "jobs", {"partition": "gpu", "exclusive": True}, **LIMITS)
    assert [array.start(name, 0).job_id for name in "ab"] == ["77_0", "77_1"]
    assert "2 jobs are in Slurm's queue, as array 77" in capsys.readouterr().out
    script = (tmp_path / "script").read_text()
    for line in ("requeue", "partition=gpu", "exclusive", "array=0-1%1", "time=30"):
        assert f"#SBATCH --{line}\n" in script
    assert script.index("export SRUN_CPUS_PER_TASK=") < script.index("\nsrun ")


def test_what_sbatch_refuses_is_one_line(command, tmp_path, capfd):
    command("sbatch", "echo two lines >&2; echo no such partition >&2; exit 1")
    logs = tmp_path / "out" / "jobs" / "logs"
    with pytest.raises(InputError, match=r"--slurm: sbatch refuses the jobs \(no such partition\)"):
        slurm.Array(["a"], logs.parent, {}, **LIMITS).start("a", 0)
    assert not logs.parents[1].exists()
    logs.mkdir(parents=True)
    (logs / "of an earlier array").touch()
    with pytest.raises(InputError, match="no such partition"):
        slurm.Array(["a"], logs.parent, {}, **LIMITS).start("a", 0)
    assert [path.name for path in logs.iterdir()] == ["of an earlier array"]
    assert capfd.readouterr().err == ""


def test_without_slurm_it_is_refused(fail_script, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", "/usr/nowhere")
    monkeypatch.setenv("PYTHONPATH", "")
    error = fail_script(data_efficiency, "--executor", "slurm", "--out", tmp_path / "out")
    assert "--executor slurm: there is no srun here" in error


def test_a_job_has_ended_when_the_queue_has_it_no_more(command, tmp_path):
    """Put into the queue again, it has not; nor if the queue does not answer."""
    queue = slurm.Queue(0)
    for job in ("77_0", "77_1"):
        queue.register_job(job)
    assert not queue.is_done("77_0", "force")
    command("squeue", "echo 77_0 RUNNING; echo 77_1 REQUEUE_HOLD; echo 8 PENDING")
    assert queue.get_state("77_0", "force") == "RUNNING"
    assert not queue.is_done("77_1", "force")
    command("squeue", "echo 77_1 PENDING")
    assert queue.is_done("77_0", "force")
    assert not queue.is_done("77_1", "force")


def test_a_second_array_is_refused_while_the_first_is_in_the_queue(command, tmp_path):
    command("sbatch", "echo Submitted batch job 77")
    slurm.Array(["a"], tmp_path / "jobs", {}, **LIMITS).start("a", 0)
    command("squeue", "echo 77_0 PENDING")
    with pytest.raises(InputError, match="array 77 of an earlier command is in the queue"):
        slurm.Array(["a"], tmp_path / "jobs", {}, **LIMITS)
    command("squeue", "echo slurm_load_jobs error: Invalid job id specified >&2; exit 1")
    slurm.Array(["a"], tmp_path / "jobs", {}, **LIMITS)


def test_nothing_moves_aside_for_an_array_that_may_not_be(command, fail_script, tmp_path):
    out = tmp_path / "out"
    save_records(out / "runs.jsonl", [synthetic.run("cnn", 1000, 1, 0.5)])
    (out / "jobs").mkdir()
    (out / "jobs" / slurm.ARRAY).write_text("77")
    command("squeue", "echo 77_0")
    error = fail_script(data_efficiency, "--executor", "slurm", "--fresh", "--out", out)
    assert "array 77 of an earlier command is in the queue" in error
    assert (out / "runs.jsonl").exists()


def test_all_jobs_are_cancelled_at_once(command, tmp_path):
    command("sbatch", "echo Submitted batch job 77")
    command("scancel", f'echo "$@" >> {tmp_path}/cancelled')
    array = slurm.Array(["a", "b"], tmp_path / "jobs", {}, **LIMITS)
    array.cancel()
    array.start("a", 0)
    array.cancel()
    assert Path(tmp_path, "cancelled").read_text() == "77\n"
