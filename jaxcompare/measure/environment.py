"""What a number was measured on: versions, devices, threads, commit."""

import contextlib
import functools
import hashlib
import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Sequence
from multiprocessing import active_children
from pathlib import Path
from typing import Any

from jaxcompare.compat import jax as compat
from jaxcompare.config import InputError

PACKAGES = ("jax", "jaxlib", "flax", "optax", "torch", "torchvision", "numpy")


def describe_environment(framework: str, *, torch_device: str = "cpu") -> dict[str, object]:
    """Everything about this machine and process that decides a time.

    Args:
        framework: "jax" or "torch": whose device and threads to report. Only that one is initialised.
        torch_device: where PyTorch trains, "cpu" or "cuda".

    Raises:
        InputError: JAX finds no device.
    """
    environment: dict[str, object] = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_name(),
        "cpu_cores": cpu_cores(),
        "memory_gib": _memory_gib(),
        "versions": package_versions(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        # Processes that wanted a core in the minute before: near 0 where nothing else ran.
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "cpu_mhz": _cpu_info("cpu MHz"),
        "gpu_driver_and_clocks": _nvidia("driver_version,clocks.sm,clocks.max.sm,clocks.mem"),
    }
    if framework == "jax":
        import jax

        devices = start_jax()
        environment |= {"backend": jax.default_backend(), "device": devices[0].device_kind, "devices": len(devices)}
        environment["matmul_precision"] = compat.matmul_precision()
        kept = compat.jax_setting("jax_enable_compilation_cache") and compat.cache_folder() is not None
        environment["compilation_cache"] = kept
    else:
        import torch

        gpu = torch_device != "cpu"
        environment |= {"backend": "gpu" if gpu else "cpu", "devices": 1, "threads": torch.get_num_threads()}
        environment["device"] = torch.cuda.get_device_name() if gpu else "cpu"
    return environment


def package_versions() -> dict[str, str]:
    """Of the packages that decide what is computed, and how fast."""
    return {package: importlib.metadata.version(package) for package in PACKAGES}


def start_jax() -> Sequence[Any]:
    """JAX's devices, which it looks for when it is first asked.

    Raises:
        InputError: it finds none.
    """
    import jax

    try:
        return jax.devices()
    except Exception as error:  # an AssertionError without a word among them
        asked = os.environ.get("JAX_PLATFORMS", "")
        reason = " ".join(str(error).split())[:200] or "it finds no device"
        named = f"JAX_PLATFORMS={asked}: " if asked else ""
        raise InputError(f"{named}JAX does not start ({reason}); unset it, or install what it names") from None


PACKAGE = Path(__file__).parents[1]


@functools.cache
def git_commit() -> str | None:
    """`find_commit` as it was when first asked for: a commit made while a run goes on is not what this process runs."""
    return find_commit()


def find_commit(package: Path = PACKAGE) -> str | None:
    """The commit of the source this package lies in now, with "+changes" if files of it or of the experiments differ;
    outside a checkout what JAXCOMPARE_COMMIT says, else None."""

    def git(*args: str) -> str:
        return subprocess.run(["git", *args], cwd=package, check=True, capture_output=True, text=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", "../experiments")
        return git("rev-parse", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("JAXCOMPARE_COMMIT")


def process_peak_bytes(children: bool = False) -> int:
    """The largest resident set of this process so far, by the operating system.

    Args:
        children: and of each that multiprocessing has started from this one and that still runs, where it is Linux's.
    """
    more = sum(_peak_bytes(str(child.pid)) for child in active_children()) if children else 0
    return _peak_bytes("self") + more


def _peak_bytes(process: str) -> int:
    with contextlib.suppress(OSError):
        # Linux's `ru_maxrss` begins with the peak of the process that started this one.
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
        if found := [line for line in lines if line.startswith("VmHWM:")]:
            return 1024 * int(found[0].split()[1])
    if process != "self":
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def available_host_bytes() -> int | None:
    """Memory that programs may still take, by Linux; None: not known."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable")), None)


def page_faults() -> int:
    """Pages that this process has touched for the first time, or anew after giving them back: the system had to find,
    and mostly to clear, each."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def cpu_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_kind() -> str:
    """Architecture and a digest of the instruction sets: equal where compiled code can be shared."""
    instructions = _cpu_info("flags") or _cpu_info("Features") or platform.processor()
    return f"{platform.machine()}-{hashlib.sha256(instructions.encode()).hexdigest()[:8]}"


def _cpu_name() -> str:
    """With family and model where Linux has them: a virtual machine's may say no more than "AMD EPYC", of generations
    that differ by a factor of two."""
    name = _cpu_info("model name") or platform.processor() or platform.machine()
    family, model = _cpu_info("cpu family"), _cpu_info("model\t")
    return f"{name} (family {family}, model {model})" if family and model else name


def _cpu_info(field: str) -> str | None:
    """A field of the first core in /proc/cpuinfo; None where there is none."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return None
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(field)), None)


def _nvidia(fields: str) -> str | None:
    """What nvidia-smi says of the first GPU; None where there is none."""
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return None


def _memory_gib() -> float | None:
    if sys.platform == "win32":
        return None
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
