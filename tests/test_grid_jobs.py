"""An experiment as independent jobs: their names, how their ends are told, and that together they are the plain
command."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from submitit.core.utils import FailedJobError, UncompletedJobError

import data_efficiency
import full_comparison
import grid
import jobs
import training_speed
from jaxcompare.config import DataConfig, RunConfig, TrainingConfig
from jaxcompare.records import load_records

ROOT = Path(__file__).parents[1]
CONFIGS = [
    RunConfig("jax", model, DataConfig("digits", train_size=size), TrainingConfig())
    for size in (100, None)
    for model in ("cnn", "vit")
]

# Names, and what each trains.


def test_a_job_is_a_program_of_the_plain_command_or_some_of_its_seeds():
    seeds = [7, 8, 9]
    whole = grid.list_programs(grid.Grid(), CONFIGS, seeds)
    assert list(whole) == ["cnn-100", "vit-100", "cnn-all", "vit-all"]
    assert list(whole.values()) == [(config, seeds) for config in CONFIGS]
    pairs = grid.list_programs(grid.Grid(seeds_per_job=2), CONFIGS[:1], seeds)
    assert pairs == {"cnn-100-seed7-8": (CONFIGS[0], [7, 8]), "cnn-100-seed9": (CONFIGS[0], [9])}
    assert list(grid.list_programs(grid.Grid(seeds_per_job=1), CONFIGS[:1], [7])) == ["cnn-100-seed7"]
    assert grid.choose_programs(grid.Grid(), CONFIGS, seeds) == list(whole.values())
    assert grid.choose_programs(grid.Grid(job="cnn-100-seed9", seeds_per_job=2), CONFIGS, seeds) == [(CONFIGS[0], [9])]


@pytest.mark.parametrize(
    ("module", "words", "names"),
    [
        (data_efficiency, ("--preset", "quick"), [f"{m}-{n}" for n in (100, 400, 1400) for m in ("cnn", "vit")]),
        (
            full_comparison,
            ("--seeds", "2", "--seeds-per-job", "1", "--models", "vit"),
            ["vit-all-seed42", "vit-all-seed43"],
        ),
        (training_speed, (), ["cnn", "vit"]),
    ],
)
def test_jobs_are_listed_and_nothing_is_done(module, words, names, run_script, capsys, tmp_path):
    run_script(module, *words, "--list-jobs", "--out", tmp_path / "out")
    assert capsys.readouterr().out.split() == names
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("module", "words", "message"),
    [
        (data_efficiency, ("--job", "rnn-5"), "--job rnn-5: is none of this command's jobs: cnn-1000, vit-1000"),
        (data_efficiency, ("--at-once", "0"), "--at-once: must be at least 1"),
        (data_efficiency, ("--seeds-per-job", "0"), "--seeds-per-job: must be at least 1"),
        (data_efficiency, ("--time-limit", "1"), "--time-limit: must be at least 5 minutes"),
        (data_efficiency, ("--slurm", "partition="), "--slurm partition=: give NAME=VALUE"),
        (data_efficiency, ("--slurm", "partition=gpu"), "--slurm: is of jobs; give it with --executor"),
        (data_efficiency, ("--at-once", "2"), "--at-once: is of jobs; give it with --executor"),
        (data_efficiency, ("--time-limit", "30"), "--time-limit: is of jobs; give it with --executor"),
        (data_efficiency, ("--executor", "local", "--time-limit", "9"), "--time-limit: give it with --executor slurm"),
        (data_efficiency, ("--executor", "slurm"), "--executor slurm: there is no srun here"),
        (training_speed, ("--executor", "local", "--at-once", "2"), "--at-once: what is timed needs the machine"),
        (full_comparison, ("--executor", "local", "--predict"), "--predict: no job or process of several can ask"),
        (full_comparison, ("--distributed", "--predict"), "--predict: no job or process of several can ask"),
        (data_efficiency, ("--executor", "local", "--distributed"), "--executor: each process of this run would start"),
    ],
)
def test_mistakes_are_one_line(module, words, message, fail_script, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    monkeypatch.setenv("PYTHONPATH", "")
    assert message in fail_script(module, *words, "--out", tmp_path / "out")


def test_jobs_do_not_measure_beside_the_plain_command(fail_script, tmp_path):
    (tmp_path / "cells.jsonl").touch()
    error = fail_script(training_speed, "--executor", "local", "--out", tmp_path)
    assert f"--executor: {tmp_path} holds what no job measured" in error


def make_commands(folder, monkeypatch, **bodies):
    for name, body in bodies.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


# How they are followed.


class Ended:
    """A job that has ended; not submitit's."""

    paths = SimpleNamespace(stderr="log.err")

    state = "RUNNING"

    def __init__(self, status=0, line="", error=None):
        self.outcome, self.error = (status, line), error

    def done(self):
        return True

    def result(self):
        if self.error:
            raise self.error
        return self.outcome


class Starter:
    """Of jobs that are there."""

    cancelled = False

    def __init__(self, there):
        self.there = there

    def start(self, name, place):
        return self.there[name]

    def cancel(self):
        self.cancelled = True


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr(jobs, "POLL_S", 0)


def test_every_end_is_told_and_failures_named(capsys):
    running = {
        "good": Ended(),
        "refused": Ended(2, "error: --out: full"),
        "silent": Ended(1),
        "killed": Ended(error=UncompletedJobError("lost")),
        "broken": Ended(error=FailedJobError("Traceback")),
    }
    failed = jobs.follow(list(running), Starter(running), 5)
    assert failed == {
        "refused": "--out: full",
        "silent": "exit status 1, see log.err",
        "killed": "its process was killed, see log.err",
        "broken": "its process was killed, see log.err",
    }
    out = capsys.readouterr().out
    assert "good: begun\n[1/5] good: complete" in out
    assert "[2/5] refused: failed: --out: full" in out


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_jobs_end_with_a_command_that_is_interrupted_or_fails(error, monkeypatch):
    job = Ended()
    starter = Starter({"one": job})

    def start(name, place):
        if name == "two":
            raise error
        return job

    monkeypatch.setattr(starter, "start", start)
    monkeypatch.setattr(job, "done", lambda: starter.cancelled)
    monkeypatch.setattr(jobs.guard, "hold_interrupts", lambda: None)
    with pytest.raises(error):
        jobs.follow(["one", "two"], starter, 2)
    assert starter.cancelled


def test_here_no_more_jobs_run_than_may_and_each_has_a_gpu(monkeypatch):
    submitted = []

    def submit(job):
        submitted.append(job)
        ended = len(submitted) > 1
        done = SimpleNamespace(done=lambda: ended or len(submitted) == 3, result=lambda: (0, ""))
        return SimpleNamespace(**vars(done), state="RUNNING")

    executor = SimpleNamespace(submit=submit)
    jobs.follow(["a", "b", "c"], jobs.Here(executor, Path(), ["3", "5"], shared=False), 2)
    assert [job.command[1] for job in submitted] == [f"CUDA_VISIBLE_DEVICES={n}" for n in (3, 5, 5)]
    assert submitted[0].command[-2:] == ["--job", "a"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # hidden they stay
    jobs.Here(executor, Path(), [], shared=True).start("a", 0)
    assert submitted[-1].command[1:3] == ["CUDA_VISIBLE_DEVICES=", sys.executable]
    jobs.Here(executor, Path(), ["3"], shared=True).start("a", 1)
    assert submitted[-1].command[1:3] == ["CUDA_VISIBLE_DEVICES=3", "XLA_PYTHON_CLIENT_PREALLOCATE=false"]


def test_how_many_jobs_run_here_at_a_time(monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", "")
    for gpus, at_once, alone, places in (("3,5", None, 0, 2), ("", None, 0, 1), ("3,5", 4, 0, 4), ("3,5", None, 1, 1)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", gpus)
        starter, found = jobs.prepare("local", ["a"], tmp_path, at_once=at_once, time_limit=5, slurm=(), alone=alone)
        assert (found, starter.shared) == (places, places > len(jobs.visible_gpus()))


@pytest.mark.slow
def test_jobs_run_here_are_the_plain_command(tmp_path):
    words = "data_efficiency.py --dataset digits --image-size 8 --sizes 40 60 --epochs 1 --batch-size 32 --seeds 2"

    def call(*more):
        command = [sys.executable, str(ROOT / "experiments" / words.split()[0]), *words.split()[1:], *map(str, more)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def numbers(folder):
        records = load_records(tmp_path / folder / "runs.jsonl")
        return [(r.identity, r.history.train_loss, r.history.test_accuracy, r.started_at) for r in records]

    plain = call("--out", tmp_path / "plain")
    assert plain.returncode == 0, plain.stderr
    begun = numbers("plain")
    passes = []
    for _ in range(2):  # what is complete is not repeated
        ended = call("--out", tmp_path / "jobs", "--executor", "local", "--at-once", "2")
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.count(": complete") == 4
        passes.append(numbers("jobs"))
    assert [run[:3] for run in passes[0]] == [run[:3] for run in begun]
    assert passes[0] == passes[1]
    summaries = [json.loads((tmp_path / folder / "summary.json").read_text()) for folder in ("plain", "jobs")]
    assert summaries[0].keys() == summaries[1].keys()
    weights = [sorted(p.name for p in (tmp_path / folder / "weights").iterdir()) for folder in ("plain", "jobs")]
    assert weights[0] == weights[1]
    # Nor what the plain command has completed.
    assert call("--out", tmp_path / "plain", "--executor", "local", "--seeds-per-job", "1").returncode == 0
    assert numbers("plain") == begun
