"""One run of several processes, on the loopback interface: the same numbers, and one line for whatever ends it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import hosts
from jaxcompare.config import DataConfig
from jaxcompare.data.datasets import load_dataset
from jaxcompare.records import load_records

EXPERIMENTS, SCRIPT = Path(hosts.__file__).parent, "full_comparison.py"
WORDS = ["--dataset", "digits", "--models", "cnn", "--train-size", "300", "--batch-size", "32", "--epochs"]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Started:
    """A process of a run, with devices of its own."""

    def __init__(self, out: Path, *words: object, devices: int = 1, toy: bool = False):
        script = [*([str(Path(__file__).with_name("toy_script.py"))] if toy else []), str(EXPERIMENTS / SCRIPT)]
        command = [sys.executable, *script, *WORDS, *map(str, words), "--out", str(out)]
        flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}", "JAX_PLATFORMS": "cpu"}
        self.process = subprocess.Popen(
            command, env=os.environ | flags, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        self.lines.extend(self.process.stdout)

    def wait_for(self, text: str, seconds: float = 120) -> None:
        end = time.monotonic() + seconds
        while not any(text in line for line in self.lines):
            assert time.monotonic() < end, f"{text!r} is not among {self.lines}"
            assert self.process.poll() is None, self.process.communicate()[1]
            time.sleep(0.05)

    def end(self, seconds: float = 240) -> tuple[int, str]:
        """Exit status and standard error."""
        self.process.wait(seconds)
        self._reader.join(5)
        assert self.process.stdout
        assert self.process.stderr
        with self.process.stdout, self.process.stderr:
            return self.process.returncode, self.process.stderr.read().strip()


def start_two(
    tmp_path: Path,
    *words: object,
    second: tuple[object, ...] | None = None,
    devices: tuple[int, int] = (1, 1),
    toy: bool = False,
) -> list[Started]:
    """Of one run; process 1 is given an OUT of its own, in which it must write nothing."""
    together = ("--coordinator", f"127.0.0.1:{free_port()}", "--processes", 2, "--process")
    both = [words, words if second is None else second]
    return [Started(tmp_path / f"out{n}", *both[n], *together, n, devices=devices[n], toy=toy) for n in range(2)]


def history(out: Path) -> list[dict]:
    """What no clock decides, and the final parameters."""
    found = []
    for record in load_records(out / "runs.jsonl"):
        assert record.status == "complete"
        found.append(
            {name: getattr(record.history, name) for name in ("train_loss", "train_accuracy", "test_accuracy")}
        )
        found.append({"weights": record.execution["weights"]})
    return found


@pytest.mark.parametrize(
    ("words", "toy"),
    [
        ((2,), True),
        pytest.param((2,), False, marks=pytest.mark.slow),
        pytest.param((2, "--input", "host"), False, marks=pytest.mark.slow),
        pytest.param((2, "--seeds", 2), False, marks=pytest.mark.slow),
    ],
    ids=["toy", "device input", "host input", "two seeds"],
)
def test_two_processes_are_one(words, toy, tmp_path):
    alone = Started(tmp_path / "alone", *words, devices=2, toy=toy)
    assert alone.end() == (0, "")
    both = start_two(tmp_path, *words, toy=toy)
    assert [process.end() for process in both] == [(0, "")] * 2
    assert history(tmp_path / "out0") == history(tmp_path / "alone")
    (record, *_) = load_records(tmp_path / "out0" / "runs.jsonl")
    assert (record.execution["processes"], record.execution["devices"]) == (2, 2)
    assert not (tmp_path / "out1").exists()
    assert both[1].lines == []


@pytest.mark.slow
def test_two_processes_of_two_devices_are_one_of_four(tmp_path):
    """Up to rounding: two processes add their sums in another order."""
    assert Started(tmp_path / "alone", 2, devices=4).end() == (0, "")
    assert [process.end() for process in start_two(tmp_path, 2, devices=(2, 2))] == [(0, "")] * 2
    (together,), (alone,) = (load_records(tmp_path / name / "runs.jsonl") for name in ("out0", "alone"))
    assert (together.execution["processes"], together.execution["devices"]) == (2, 4)
    np.testing.assert_allclose(together.history.train_loss, alone.history.train_loss, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_one_that_is_killed_ends_the_other_and_the_same_commands_go_on(killed, tmp_path):
    words = (12, "--checkpoint-every", 0)
    both = start_two(tmp_path, *words)
    both[0].wait_for("epoch  3/12")
    both[killed].process.kill()
    both[killed].end()
    begun = time.monotonic()
    status, errors = both[1 - killed].end(30)
    assert time.monotonic() - begun < 30
    assert status == 1
    assert len(errors.splitlines()) == 1, errors
    assert "the same commands go on" in errors
    shutil.copytree(tmp_path / "out0", tmp_path / "one", ignore=shutil.ignore_patterns(".*"))
    assert [process.end() for process in start_two(tmp_path, *words)] == [(0, "")] * 2
    (record,) = load_records(tmp_path / "out0" / "runs.jsonl")
    assert record.execution["resumed"][0]["after_epoch"] >= 2
    assert Started(tmp_path / "alone", 12, devices=2).end() == (0, "")
    assert history(tmp_path / "out0") == history(tmp_path / "alone")
    # One process goes on with what two have left.
    assert Started(tmp_path / "one", *words, devices=2).end() == (0, "")
    assert history(tmp_path / "one") == history(tmp_path / "alone")


@pytest.mark.slow
@pytest.mark.parametrize("hanging", [0, 1])
def test_one_that_hangs_ends_the_other(hanging, tmp_path):
    both = start_two(tmp_path, 50)
    both[0].wait_for("epoch  2/50")
    both[hanging].process.send_signal(signal.SIGSTOP)
    try:
        status, errors = both[1 - hanging].end(30)
    finally:
        both[hanging].process.kill()
        both[hanging].end()
    assert status == 1
    assert errors == f"error: process {hanging} gives no sign; the same commands go on"


def check_named(both, message):
    """In the one line of each, found by itself or heard of the other."""
    for n, end in enumerate([process.end(60) for process in both]):
        assert end in ((2, f"error: {message}"), (1, f"error: process {1 - n}: {message}"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("second", "message"),
    [
        ((3,), "--epochs: process 1 has 3, process 0 has 2"),
        ((2, "--train-size", 299), "--train-size: process 1 has 299, process 0 has 300"),
    ],
)
def test_what_differs_is_named_by_both(second, message, tmp_path):
    check_named(start_two(tmp_path, 2, second=second), message)


@pytest.mark.slow
def test_devices_that_differ_are_named_by_both(tmp_path):
    check_named(start_two(tmp_path, 2, devices=(1, 2)), "devices of a process: process 1 has 2, process 0 has 1")


@pytest.mark.slow
def test_images_that_differ_are_named_by_both(tmp_path):
    for host in (0, 1):
        for part in ("train/a", "train/b", "test/a", "test/b"):
            (tmp_path / f"{host}" / part).mkdir(parents=True)
            Image.new("RGB", (32, 32), (host, 0, 0)).save(tmp_path / f"{host}" / part / "one.png")
    words = [(2, "--train-size", 2, "--dataset", "folder", "--data-dir", tmp_path / f"{host}") for host in (0, 1)]
    prints = [load_dataset(DataConfig("folder", tmp_path / f"{host}")).fingerprint for host in (0, 1)]
    both = start_two(tmp_path, *words[0], second=words[1])
    check_named(both, f"images: process 1 has {prints[1]}, process 0 has {prints[0]}")


@pytest.mark.slow
def test_a_commands_devices_are_those_it_uses(tmp_path):
    """As many as are asked for, of more; more than there are is a mistake."""
    assert Started(tmp_path / "two", 1, "--devices", 2, devices=4).end() == (0, "")
    (record,) = load_records(tmp_path / "two" / "runs.jsonl")
    assert record.execution["devices"] == 2
    refused = Started(tmp_path / "eight", 1, "--devices", 8, devices=4).end()
    assert refused == (2, "error: --devices 8: there are 4 (cpu); take as many at most")


@pytest.mark.slow
def test_a_checkpoint_of_two_devices_goes_on_on_others(tmp_path):
    """Up to rounding: the sums of a batch are added in another order."""
    words = (8, "--checkpoint-every", 0)
    first = Started(tmp_path / "out", *words, devices=2)
    first.wait_for("epoch 4/8")
    first.process.send_signal(signal.SIGINT)
    assert first.end()[0] == 130
    for devices in (1, 2, 4):
        shutil.copytree(tmp_path / "out", tmp_path / f"{devices}")
        assert Started(tmp_path / f"{devices}", *words, devices=devices).end() == (0, "")
    (alone,) = load_records(tmp_path / "2" / "runs.jsonl")
    for devices in (1, 4):
        (record,) = load_records(tmp_path / f"{devices}" / "runs.jsonl")
        assert record.execution["resumed"][0]["devices"] == devices
        np.testing.assert_allclose(record.history.train_loss, alone.history.train_loss, rtol=1e-4)
