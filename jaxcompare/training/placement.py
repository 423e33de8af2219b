"""Which devices run a program of several seeds, and what they share out."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxcompare.config import ModelName
from jaxcompare.training.step import WHOLE, MicroBatching, count_micro_batches

CPU_MICRO_BATCH_SIZES = {"cnn": 8, "vit": 4}
"""Examples per micro-batch on CPUs, few enough for their activations to stay in a core's cache."""

AXIS = "devices"
REPLICATED = PartitionSpec()


@dataclasses.dataclass(frozen=True)
class Placement:
    """Devices, and how they share out seeds or batches. States are stacked: axis 0 of every leaf is the seed."""

    devices: tuple[jax.Device, ...]
    shared_out: Literal["nothing", "seeds", "batches"] = "nothing"
    micro_batching: MicroBatching = WHOLE

    @functools.cached_property
    def mesh(self) -> Mesh:
        """The devices in a row, along AXIS."""
        return Mesh(np.array(self.devices), (AXIS,))

    @property
    def per_seed(self) -> PartitionSpec:
        """Where the seeds of a stacked array lie."""
        return PartitionSpec(AXIS) if self.shared_out == "seeds" else REPLICATED

    def put(self, tree: Any, spec: PartitionSpec = REPLICATED) -> Any:
        """Copy to the devices, by default the whole to each."""
        return jax.device_put(tree, NamedSharding(self.mesh, spec))

    def over_seeds(self, function: Callable, seeds_per_call: int = 1, stacked: int = 1) -> Callable:
        """`function` for all seeds: in groups one after another, vmapped within a group, on all devices.

        Its first `stacked` arguments have a seed axis; the others are shared.
        """

        def mapped(*args: Any) -> Any:
            per_seed, shared = args[:stacked], args[stacked:]
            size = None if seeds_per_call == 1 else seeds_per_call
            return jax.lax.map(lambda one: function(*one, *shared), per_seed, batch_size=size)

        def on_devices(*args: Any) -> Any:
            in_specs = (self.per_seed,) * stacked + (REPLICATED,) * (len(args) - stacked)
            shard = jax.shard_map(mapped, mesh=self.mesh, in_specs=in_specs, out_specs=self.per_seed, check_vma=False)
            return shard(*args)

        return mapped if len(self.devices) == 1 else on_devices

    def computed_batch_size(self, batch_size: int) -> int:
        """Examples that a step computes, those included that pad a batch to whole micro-batches on every device."""
        size = min(self.micro_batching.size or batch_size, batch_size)
        return size * count_micro_batches(batch_size, size, len(self.devices) if self.micro_batching.axis else 1)


def choose_placement(model: ModelName, seeds: int, devices: Sequence[jax.Device]) -> Placement:
    """Share out the seeds where that comes out even, else the micro-batches of each batch.

    Only CPUs share batches: their devices are cores of one memory. A GPU has too little to do in a batch of these
    models as it is.
    """
    on_cpu = devices[0].platform == "cpu"
    shares_seeds = seeds % len(devices) == 0
    if not shares_seeds and not on_cpu:
        devices = devices[: max(n for n in range(1, len(devices)) if seeds % n == 0)]
        shares_seeds = True
    shared_out = "nothing" if len(devices) == 1 else "seeds" if shares_seeds else "batches"
    size = CPU_MICRO_BATCH_SIZES[model] if on_cpu else None
    return Placement(tuple(devices), shared_out, MicroBatching(size, AXIS if shared_out == "batches" else None))
