"""What a GPU takes, by NVIDIA's own counter."""

import functools
import importlib
import sys
from typing import Any


def gpu_joules() -> float | None:
    """Energy that the GPU has taken since its driver was loaded, in joules; None where this process computes on none,
    the machine has several, or nothing counts.

    The counter, NVML's total energy consumption of the board, is there from Volta on. It moves some ten times a second:
    of less than half a second it says little.
    """
    if not _computes_on_gpu() or (counter := _counter()) is None:
        return None
    nvml, handle = counter
    return nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3


def _computes_on_gpu() -> bool:
    """Whether a framework of this process does."""
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_initialized():
        return True
    return "jax" in sys.modules and sys.modules["jax"].default_backend() == "gpu"


@functools.cache
def _counter() -> tuple[Any, Any] | None:
    try:
        nvml = importlib.import_module("pynvml")
        nvml.nvmlInit()
        if nvml.nvmlDeviceGetCount() != 1:
            return None  # which of them, and how many, a process uses is not known here
        handle = nvml.nvmlDeviceGetHandleByIndex(0)
        nvml.nvmlDeviceGetTotalEnergyConsumption(handle)
    except Exception:  # no package, no driver, an older GPU: NVML's errors are its own
        return None
    return nvml, handle
