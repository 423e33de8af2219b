"""Choosing how to execute: every "auto" of a command line, and what the device cannot do."""

import dataclasses

import jax

from jaxcompare.compat import jax as compat
from jaxcompare.config import ExecutionConfig, InputError, Precision
from jaxcompare.data.split import Split
from jaxcompare.measure.memory import available_bytes


def choose_execution(
    requested: ExecutionConfig, split: Split, *, seeds: int = 1, workers: int = 0
) -> tuple[ExecutionConfig, str]:
    """Replace every "auto" by what is fastest on this backend; the second result says what was picked and why.

    Raises:
        InputError: the device lacks the precision, or the input cannot serve several seeds.
    """
    check_precision(requested.precision)
    backend, reasons = jax.default_backend(), []
    place, engine = requested.input, requested.engine
    if place == "auto":
        # Each of a CPU's devices holds them, in one memory.
        copies = (requested.devices or jax.local_device_count()) if backend == "cpu" else 1
        room, needed = available_bytes(), split.images.nbytes * copies
        if engine == "epoch" or seeds > 1:
            place, reason = "device", "whole epochs and several seeds need it"
        elif workers:
            place, reason = "host", "--workers asks for it"
        elif room is not None and needed > room / 2:
            place, reason = "host", f"{needed / 1e9:,.1f} GB of images would fill the device"
        else:
            place, reason = "device", f"{needed / 1e6:,.0f} MB of images fit in its memory"
        reasons.append(f"{place} input: {reason}")
    if place == "host" and seeds > 1:
        raise InputError("--input host: serves one seed at a time; use --input device, or --seeds 1")
    if place == "device" and workers:
        raise InputError("--workers: device input has no use for them; leave it out")
    if engine == "auto":
        if place == "host":
            engine, reason = "step", "its batches come one by one"
        elif backend == "cpu":
            engine, reason = "chunk", "as fast as whole epochs on a CPU, and it can show progress and be interrupted"
        else:
            engine, reason = "epoch", "the fewest calls"
        reasons.append(f"{engine} engine: {reason}")
    return dataclasses.replace(requested, engine=engine, input=place), "; ".join(reasons)


def check_precision(precision: Precision) -> None:
    """Raise InputError where the device cannot compute in this precision."""
    device = jax.local_devices()[0]
    capability = compat.nvidia_capability(device)
    if precision == "tf32" and capability is None:
        raise InputError(
            f"--precision tf32: {device.device_kind} has no TF32, NVIDIA GPUs have; use float32 or bfloat16"
        )
    if precision != "float32" and capability is not None and capability < 8:
        raise InputError(
            f"--precision {precision}: {device.device_kind} (compute capability {capability}) lacks it, which came "
            "with 8.0; use float32"
        )
