"""Start a Slurm of this machine alone, and run an experiment's jobs on it: `python tests/slurm_node.py`, as root, with
Debian's slurmctld, slurmd and munge installed; 8 minutes, of which Slurm waits for two before a job begins again.

An array of 4 jobs, of which one is put into the queue again while it trains, and one is cancelled and goes on with the
second command; then all must equal the plain command's. There is no accounting.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from kills import without_times

from jaxcompare.records import load_records

ROOT = Path(__file__).parents[1]
COMMAND = (
    *(sys.executable, "-u", str(ROOT / "experiments" / "data_efficiency.py"), "--dataset", "digits"),
    *("--sizes", "100", "200", "--epochs", "60", "--checkpoint-every", "0", "--seeds", "1"),
)
SLURM = ("--executor", "slurm", "--slurm", "cpus-per-task=1")

CONFIG = """
ClusterName=one
SlurmctldHost=localhost
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldPort=16817
SlurmdPort=16818
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
NodeName=localhost CPUs={cores} State=UNKNOWN
PartitionName=all Nodes=localhost Default=YES MaxTime=INFINITE State=UP
"""


def start(folder: Path) -> list[subprocess.Popen]:
    """The three services, in the foreground; clients find them by SLURM_CONF."""
    for name in ("state", "spool"):
        (folder / name).mkdir()
    (folder / "key").write_bytes(os.urandom(1024))
    (folder / "key").chmod(0o400)
    (folder / "slurm.conf").write_text(CONFIG.format(folder=folder, cores=os.cpu_count()))
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    munge = [f"--{name}-file={folder}/munge.{name}" for name in ("log", "pid", "seed")]
    services = [
        ["munged", "--foreground", f"--socket={folder}/munge.socket", f"--key-file={folder}/key", "--force", *munge],
        ["slurmctld", "-D"],
        ["slurmd", "-D"],
    ]
    running = []
    for words in services:
        with (folder / f"{words[0]}.out").open("w") as log:
            running.append(subprocess.Popen(words, stdout=log, stderr=subprocess.STDOUT))
        time.sleep(2)
    return running


def ask(*words: str) -> str:
    """What a command of Slurm's says."""
    said = subprocess.run(words, check=False, capture_output=True, text=True)
    if said.returncode:
        raise SystemExit(f"{' '.join(words)}: {said.stderr}{subprocess.getoutput('squeue -r')}")
    return said.stdout


def trained(job: Path) -> list[float]:
    """Losses of a job's run so far."""
    records = load_records(job / "runs.jsonl") if (job / "runs.jsonl").exists() else []
    return records[0].history.train_loss if records else []


def numbers(out: Path) -> list[object]:
    """Of the runs: what no clock decides."""
    runs = load_records(out / "runs.jsonl")
    return [(run.identity, run.status, without_times(vars(run.history)), run.execution["weights"]) for run in runs]


def check(what: str, good: bool) -> None:
    print(f"{'good' if good else 'BAD'}: {what}", flush=True)
    if not good:
        raise SystemExit(1)


def call(out: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *more, "--out", str(out)], capture_output=True, text=True, check=False)


def begin(out: Path, log: Path) -> subprocess.Popen:
    """The command with Slurm."""
    with log.open("w") as said:
        return subprocess.Popen([*COMMAND, *SLURM, "--out", str(out)], stdout=said, stderr=subprocess.STDOUT)


def wait_for_epochs(job: Path, before: int = 0) -> None:
    """Until it has trained for three more."""
    while len(trained(job)) < before + 3:
        time.sleep(0.1)


def main(folder: Path) -> None:
    out, plain, log = folder / "out", folder / "plain", folder / "log"
    one, other = (out / "jobs" / name for name in ("cnn-100", "vit-100"))
    check("the node is idle", "idle" in ask("sinfo", "-h", "-o", "%T"))

    command = begin(out, log)
    wait_for_epochs(one)
    command.kill()
    command.wait()
    refused, array = call(out, *SLURM).stderr, (out / "jobs" / "array").read_text()
    ask("scancel", array)
    check("a second array is refused", f"array {array} of an earlier command is in the queue" in refused)
    while ask("squeue", "-h"):
        time.sleep(1)

    # Two run at a time: the first to be put into the queue again, the second to be lost.
    before = len(trained(one))
    command = begin(out, log)
    wait_for_epochs(one, before)
    array = (out / "jobs" / "array").read_text()
    # It goes on asking, and finds a job that waits.
    asking = subprocess.Popen(["scancel", "--signal=USR2", f"{array}_0"], stderr=subprocess.DEVNULL)
    wait_for_epochs(other)
    ask("scancel", f"{array}_1")
    asking.wait()
    status, said = command.wait(600), log.read_text()
    print(said)
    check("what was cancelled is named", status == 2 and "1 of 4 jobs failed (vit-100: its process was killed" in said)
    check("the others are complete", said.count(": complete") == 3)
    (again,) = load_records(out / "jobs" / "cnn-100" / "runs.jsonl")
    check("one was ended twice, and went on", len(again.execution["resumed"]) == 2)

    check("the same command ends the rest", call(out, *SLURM).returncode == 0)
    check("the plain command", call(plain).returncode == 0)
    check("both came to the same", numbers(out) == numbers(plain))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        services = start(Path(name))
        try:
            main(Path(name))
        finally:
            subprocess.run(["scancel", f"--user={os.getuid()}"], check=False)
            time.sleep(15)
            for service in services[::-1]:
                service.terminate()
                service.wait()
