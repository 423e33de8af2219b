"""What does another device bring? Measures a step on one and on two cores as devices, and sets beside it what a ring of
GPUs would take by a stated model; prints the tables of docs/clusters.md: `python tests/scaling.py`."""

import os
import statistics
import time
from collections.abc import Mapping
from typing import NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from jaxcompare.compat import jax as compat
from jaxcompare.config import DataConfig, ExecutionConfig, ModelName, RunConfig, TrainingConfig
from jaxcompare.data.split import Dataset, Split
from jaxcompare.measure.cost import FLOAT32_BYTES, layer_costs, training_flops
from jaxcompare.report.text import LABELS
from jaxcompare.study.process import in_fresh_process
from jaxcompare.training.engines import build_engine

BATCH = 128
ROUNDS = 2
"""Of fresh processes. The quickest epoch of all stands for a way: what else a machine does only ever adds."""
MEASURED_S = 15
"""Epochs are timed for as long in each."""
GPU_FLOPS_PER_S = 30e12
"""What a GPU is taken to compute of these models' float32, in total: half of an H100's 67 TFLOP/s."""


class Link(NamedTuple):
    """Between neighbours of a ring."""

    name: str
    bytes_per_s: float
    latency_s: float


LINKS = (Link("NVLink", 450e9, 5e-6), Link("PCIe 4", 25e9, 10e-6), Link("Ethernet", 1.25e9, 50e-6))


class Measured(NamedTuple):
    step_s: float
    collective_s: float
    """Of one sum of all gradients over the devices."""
    params: int


def measure(model: ModelName, devices: int, batch_size: int) -> Measured:
    """In this process, which starts JAX, on as many cores as devices."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:devices])
    compat.set_cpu_devices(devices)
    rng, images = np.random.default_rng(0), 4 * batch_size
    split = Split(rng.integers(0, 256, (images, 32, 32, 3), np.uint8), rng.integers(0, 10, images).astype(np.int32))
    dataset = Dataset("random pixels", tuple("abcdefghij"), split, split, ((0.5,) * 3, (0.25,) * 3), "fingerprint")
    training = TrainingConfig(batch_size=batch_size)
    config = RunConfig("jax", model, DataConfig(), training, ExecutionConfig("epoch", "device"))
    engine, _ = build_engine(config, dataset, [0])
    state, times = engine.init(), []
    while sum(times[1:]) < MEASURED_S:
        begun = time.perf_counter()
        state, *_ = engine.train_epoch(state, len(times), lambda done: None)
        jax.block_until_ready(state)
        times.append(time.perf_counter() - begun)
    params = engine.learner.count_params()
    return Measured(min(times[1:]) / engine.batches, time_sum(params, devices), params)


def time_sum(values: int, devices: int) -> float:
    """Median seconds until so many numbers of each device are summed over all."""
    mesh = jax.make_mesh((devices,), ("batch",))
    add = jax.jit(
        jax.shard_map(
            lambda x: jax.lax.psum(x, "batch"), mesh=mesh, in_specs=PartitionSpec("batch"), out_specs=PartitionSpec()
        )
    )
    each = jax.device_put(jnp.ones((devices, values)), jax.sharding.NamedSharding(mesh, PartitionSpec("batch")))
    times = []
    for _ in range(20):
        begun = time.perf_counter()
        jax.block_until_ready(add(each))
        times.append(time.perf_counter() - begun)
    return statistics.median(times[1:])


def ring_s(values: int, devices: int, link: Link) -> float:
    """Of a ring all-reduce: each device sends 2(n-1)/n of the bytes, in 2(n-1) messages (Patarasuk and Yuan, 2009)."""
    rounds = 2 * (devices - 1)
    return rounds / devices * FLOAT32_BYTES * values / link.bytes_per_s + rounds * link.latency_s


def main() -> None:
    print("| Model | Step on 1 core, ms | On 2, the same batch | On 2, twice the batch | Sum of gradients over 2, ms |")
    print("| --- | --- | --- | --- | --- |")
    params = {}
    for model in get_args(ModelName):
        ways = ((1, BATCH), (2, BATCH), (2, 2 * BATCH))
        rounds = [[in_fresh_process(measure, model, *way) for way in ways] for _ in range(ROUNDS)]
        one, strong, weak = (min(found) for found in zip(*rounds, strict=True))
        print(
            f"| {LABELS[model]} | {1e3 * one.step_s:.0f} | {one.step_s / strong.step_s:.2f} times as fast | "
            f"{2 * one.step_s / weak.step_s:.2f} times as fast | {1e3 * strong.collective_s:.2f} |",
            flush=True,
        )
        params[model] = one.params
    print_model(params)


def print_model(params: Mapping[ModelName, int]) -> None:
    """What summing the gradients of so many parameters takes GPUs, and how many times as fast they are with it."""
    links = [f"{link.name}, ms" for link in LINKS]
    head = ["Model, GPUs", "Step on one, ms", *links, "The same batch", "A batch each"]
    print("\n| " + " | ".join(head) + " |")
    print("| --- " * len(head) + "|")
    for model, values in params.items():
        step = BATCH * training_flops(layer_costs(model)) / GPU_FLOPS_PER_S
        for devices in (2, 4, 8):
            sums = [ring_s(values, devices, link) for link in LINKS]
            strong = ", ".join(f"{step / (step / devices + more):.2f}" for more in sums)
            weak = ", ".join(f"{devices * step / (step + more):.2f}" for more in sums)
            times = [f"{1e3 * one:.2f}" for one in (step, *sums)]
            print("| " + " | ".join([f"{LABELS[model]}, {devices}", *times, strong, weak]) + " |")


if __name__ == "__main__":
    main()
