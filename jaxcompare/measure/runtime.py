"""Settings of a JAX process, to be made before its first array."""

import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

from jaxcompare.compat import jax as compat
from jaxcompare.config import InputError, Precision
from jaxcompare.measure.environment import cpu_cores, cpu_kind

MATMUL_PRECISION: dict[Precision, str] = {"float32": "float32", "tf32": "tensorfloat32", "bfloat16": "default"}
"""JAX's names for how matrix products are to be computed."""

DEVICE_COUNT = "--xla_force_host_platform_device_count"

MAX_CPU_DEVICES = 8
"""Each device holds its own copy of device-resident images, and takes whole micro-batches."""


REQUIRED = {
    "jax_enable_x64": False,
    "jax_default_prng_impl": "threefry2x32",
    "jax_random_seed_offset": 0,
    "jax_threefry_partitionable": True,
    "jax_numpy_dtype_promotion": "standard",
    "jax_default_matmul_precision": None,
    "jax_disable_jit": False,
    "jax_debug_nans": False,
    "jax_debug_infs": False,
}
"""Settings of JAX that decide which numbers a run gives, or whether it can run: with others, equal configs would not be
equal runs."""


def configure_jax(*, cache: bool | Path = True, split_cores: bool = True, deterministic: bool = False) -> None:
    """Make each CPU core a device of its own (`split_cores`), keep compiled programs between processes (`cache`), and
    have a GPU's be `deterministic`.

    Cores that compute micro-batches of their own beat cores that share every small matrix product. The cache lies in
    the user's cache folder, or in JAX_COMPILATION_CACHE_DIR, or in the folder given; a program that is not in it is
    compiled as ever, and `CompileTimes.from_cache` says so. Has no effect on devices and flags once JAX has
    started.

    Raises:
        InputError: the environment asks JAX for something that changes a run's numbers, or that it does not know.
    """
    if deterministic:
        compat.choose_deterministic_operations()
    check_settings()
    # What the user says of devices stays.
    if DEVICE_COUNT not in os.environ.get("XLA_FLAGS", ""):
        compat.set_cpu_devices(min(cpu_cores(), MAX_CPU_DEVICES) if split_cores else 1)
    folder = find_cache() if cache is True else cache
    compat.keep_jax_programs(str(folder) if folder else None)


def find_cache() -> Path | None:
    """Where compiled programs are kept: a folder that can be written to, or None."""
    try:
        if named := compat.cache_folder():
            folder = Path(named)
        else:
            user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
            # A folder for each kind of CPU: executables for one may be illegal instructions on another, and homes are
            # shared.
            folder = user / "jaxcompare" / "xla" / cpu_kind()
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except (OSError, RuntimeError) as error:
        warnings.warn(f"compiled programs are not kept between processes: {error}", stacklevel=2)
        return None


def check_settings() -> None:
    """Raise InputError where the environment changes a run's numbers, or has XLA abort this process."""
    for name, value in REQUIRED.items():
        if (found := compat.jax_setting(name)) != value:
            raise InputError(f"{name.upper()} is {found}: runs are made with {value}; unset it")
    if not (flags := os.environ.get("XLA_FLAGS")):
        return
    tried = subprocess.run([sys.executable, "-c", "import jax; jax.devices()"], capture_output=True, text=True)
    if tried.returncode:
        reason = tried.stderr.strip().rpartition("] ")[2].rpartition("\n")[2]
        raise InputError(f"XLA_FLAGS={flags}: JAX does not start with it ({reason}); mend or unset it")
