"""How the processes of one run find each other: flags, launchers, addresses, and what each says."""

import json
import os
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from test_hosts import EXPERIMENTS, free_port

import hosts
import peers
from jaxcompare.config import InputError


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"coordinator": "node1:1234"}, "give all three, or none"),
        ({"process": 1}, "give all three, or none"),
        ({"coordinator": "node1:1234", "processes": 2, "process": 2}, "--process 2: must be from 0 to 1"),
    ],
)
def test_flags_that_make_no_sense_are_refused(flags, message):
    with pytest.raises(InputError, match=message):
        hosts.Hosts(**flags)


def test_tasks_of_one_launcher_join_by_themselves(monkeypatch):
    for name in hosts.TASKS:
        monkeypatch.delenv(name, raising=False)
    assert not hosts.Hosts().are_several
    for name in hosts.TASKS:
        monkeypatch.setenv(name, "1")
        assert not hosts.Hosts().are_several
        monkeypatch.setenv(name, "2")
        assert hosts.Hosts().are_several
        monkeypatch.delenv(name)


@pytest.mark.parametrize("address", ["node1", "node1:", ":1234", "node1:port", "node1:70000"])
def test_an_address_is_a_host_and_a_port(address):
    with pytest.raises(InputError, match="is no HOST:PORT"):
        peers.join(address, 2, 1)


def test_an_address_that_cannot_be_reached_or_served_is_named(monkeypatch):
    monkeypatch.setattr(peers, "MEET_S", 0.2)
    monkeypatch.setattr(peers, "POLL_S", 0.1)
    port = free_port()
    with pytest.raises(InputError, match=r"not reached within 0.2 s .*is process 0 started there"):
        peers.join(f"127.0.0.1:{port}", 2, 1)
    with socket.create_server(("", port)), pytest.raises(InputError, match=f"port {port} cannot be served here"):
        peers.join(f"127.0.0.1:{port}", 2, 0)


def test_one_that_says_nothing_is_named_in_time(monkeypatch):
    said = {}
    monkeypatch.setattr(peers, "_company", SimpleNamespace(process=0, count=3))
    monkeypatch.setattr(peers.compat, "store_set", said.__setitem__)
    monkeypatch.setattr(peers.compat, "store_list", lambda folder: {"0": said[f"{folder}/0"]})
    begun = time.monotonic()
    with pytest.raises(InputError, match="jax: 2 of 3 processes do not say theirs"):
        peers.agree({"jax": "1"}, 0)
    assert time.monotonic() - begun < 60


MEETING = "import jax, peers, sys; peers.MEET_S = 10; peers.join(sys.argv[1], 3, int(sys.argv[2]))"


@pytest.mark.slow
@pytest.mark.parametrize("numbers", [[0], [0, 1, 1]], ids=["alone", "one number twice"])
def test_processes_that_do_not_meet_say_so(numbers):
    """And nothing else, though the runtime ends them with many lines of its own."""
    address = f"127.0.0.1:{free_port()}"
    started = [
        subprocess.Popen(
            [sys.executable, "-c", MEETING, address, str(number)],
            env=os.environ | {"PYTHONPATH": str(EXPERIMENTS)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in numbers
    ]
    said = "error: --coordinator: the processes did not meet within 10 s; are all of them started, each once?\n"
    ended = [(process.communicate(timeout=120)[1], process.returncode) for process in started]
    assert ended == [(said, 2)] * len(numbers)


def test_without_a_launcher_nothing_says_who_the_others_are():
    joined = subprocess.run(
        [sys.executable, "-c", "import jax, peers; peers.join(None, None, None)"],
        env={name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "OMPI"))}
        | {"PYTHONPATH": str(EXPERIMENTS)},
        capture_output=True,
        text=True,
    )
    assert "InputError: --distributed: JAX finds no Slurm, Open MPI or Kubernetes" in joined.stderr


ABORTED = """
import os, sys
from jaxcompare.compat.jax_processes import when_aborted
when_aborted(lambda fatal: (print(fatal, flush=True), os._exit(3)))
os.write(2, sys.argv[1].encode())
os.abort()
"""


@pytest.mark.parametrize(
    ("said", "fatal"),
    [
        ("I1 on\nF1 x.cc:1] Check failed: a\n*** stack trace: ***\n", "F1 x.cc:1] Check failed: a\n"),
        ("free(): invalid pointer\n", "free(): invalid pointer\n"),
        ("F1 client.h:80] the JAX distributed service detected fatal errors\n", "\n"),
    ],
)
def test_what_aborts_a_process_is_not_taken_for_another_process(said, fatal):
    ended = subprocess.run([sys.executable, "-c", ABORTED, said], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, fatal, "")


@pytest.mark.parametrize(("failures", "ended"), [(3, []), (4, ["process 0: has ended; the same commands go on"])])
def test_a_store_that_fails_once_has_not_ended(failures, ended, monkeypatch):
    company = peers._Company(1, 2)
    answers = iter([*[OSError] * failures, None])
    said = []

    def store_set(name, value):
        if error := next(answers):
            raise error
        company.leaving.set()

    def end(company, reason):
        said.append(reason)
        company.leaving.set()

    monkeypatch.setattr(peers, "POLL_S", 0.01)
    monkeypatch.setattr(peers, "_end", end)
    monkeypatch.setattr(peers.compat, "store_set", store_set)
    monkeypatch.setattr(peers.compat, "store_list", lambda folder: {})
    peers._listen(company)
    assert said == ended


def test_what_a_folder_is_carried_with(tmp_path):
    (tmp_path / "out" / "checkpoints" / "a").mkdir(parents=True)
    (tmp_path / "out" / "checkpoints" / "a" / "state").write_bytes(b"\0\1")
    (tmp_path / "out" / "runs.jsonl").write_text(json.dumps({}))
    (tmp_path / "out" / "weights").mkdir()
    (tmp_path / "there").mkdir()
    hosts.unpack(hosts.pack(tmp_path / "out"), tmp_path / "there")
    assert sorted(path.name for path in (tmp_path / "there").rglob("*")) == ["a", "checkpoints", "runs.jsonl", "state"]
    assert (tmp_path / "there" / "checkpoints" / "a" / "state").read_bytes() == b"\0\1"
