"""What a GPU takes from the wall, by NVIDIA's own counter."""

import functools
import importlib
import os
import sys
from typing import Any


def gpu_joules() -> float | None:
    """Energy that the first visible GPU has taken since its driver was loaded, in joules; None where this process
    computes on no GPU, or nothing counts.

    The counter, NVML's total energy consumption, is there from Volta on. It moves some ten times a second: of less than
    half a second it says little.
    """
    if not _computes_on_gpu() or (counter := _counter()) is None:
        return None
    nvml, handle = counter
    return nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3


def _computes_on_gpu() -> bool:
    """Whether a framework has started a GPU in this process. Starts none."""
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_initialized():
        return True
    return "jax" in sys.modules and sys.modules["jax"].default_backend() == "gpu"


@functools.cache
def _counter() -> tuple[Any, Any] | None:
    try:
        pynvml = importlib.import_module("pynvml")
        pynvml.nvmlInit()
        first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
        of = pynvml.nvmlDeviceGetHandleByIndex if first.isdigit() else pynvml.nvmlDeviceGetHandleByUUID
        handle = of(int(first) if first.isdigit() else first)
        pynvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except Exception:  # no package, no driver, an older GPU: NVML's errors are its own
        return None
    return pynvml, handle
