"""Settings of a JAX process, to be made before its first array."""

import os
from pathlib import Path

from jaxcompare.compat import jax as compat
from jaxcompare.config import Precision
from jaxcompare.measure.environment import cpu_cores, cpu_kind

MATMUL_PRECISION: dict[Precision, str] = {"float32": "float32", "tf32": "tensorfloat32", "bfloat16": "default"}
"""JAX's names for how matrix products are to be computed."""

MAX_CPU_DEVICES = 8
"""Each device holds its own copy of device-resident images, and takes whole micro-batches."""


def configure_jax(*, cache: bool | Path = True, split_cores: bool = True) -> None:
    """Make each CPU core a device of its own (`split_cores`), and keep compiled programs between processes (`cache`).

    Cores that compute micro-batches of their own beat cores that share every small matrix product. The cache lies in
    the user's cache folder, or in JAX_COMPILATION_CACHE_DIR, or in the folder given; a program that is not in it is
    compiled as ever, and `CompileTimes.from_cache` says so. Has no effect on devices once JAX has started.
    """
    compat.set_cpu_devices(min(cpu_cores(), MAX_CPU_DEVICES) if split_cores else 1)
    if cache is False:
        compat.keep_jax_programs(None)
        return
    default = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxcompare" / "xla"
    # A folder for each kind of CPU: executables for one may be illegal instructions on another, and homes are shared.
    # Every program counts here, the small and quick ones too: a warm start is to be wholly warm.
    compat.keep_jax_programs(
        str(cache) if isinstance(cache, Path) else compat.cache_folder() or str(default / cpu_kind())
    )
