"""Which devices run a program, and what they share out: seeds, and the examples of each batch."""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxcompare.config import InputError, ModelName
from jaxcompare.data.batch import Batch
from jaxcompare.data.device import Shard
from jaxcompare.training.step import MicroBatching

CPU_MICRO_BATCH_SIZES = {"cnn": 8, "vit": 4}
"""Examples per micro-batch on CPUs, few enough for their activations to stay in a core's cache."""

SEEDS, BATCH = "seeds", "batch"
"""Axes of a mesh of devices."""


@dataclasses.dataclass(frozen=True)
class Placement:
    """Devices as a mesh: seeds along one axis, the examples of each batch along the other. States are stacked: axis 0
    of every leaf is the seed."""

    devices: tuple[jax.Device, ...]
    seed_shards: int = 1
    """Groups of devices, of which each takes as many seeds."""
    micro_batch_size: int | None = None
    """Examples that a device computes at once; None: all of its part of a batch."""

    @functools.cached_property
    def mesh(self) -> Mesh:
        """The devices, (seeds, batch)."""
        return Mesh(np.array(self.devices).reshape(self.seed_shards, -1), (SEEDS, BATCH))

    @property
    def batch_shards(self) -> int:
        """Devices that share out a batch."""
        return len(self.devices) // self.seed_shards

    @functools.cached_property
    def processes(self) -> int:
        """That the devices are of."""
        return len({device.process_index for device in self.devices})

    @property
    def spans_processes(self) -> bool:
        """Whether some of the devices are another process's."""
        return self.processes > 1

    @property
    def micro_batching(self) -> MicroBatching:
        """How the step sums over its part of a batch, and over the devices."""
        return MicroBatching(self.micro_batch_size, BATCH if len(self.devices) > 1 else None)

    @property
    def replicated(self) -> NamedSharding:
        """The whole on each device."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def readable(self) -> NamedSharding | None:
        """Where results are to lie that every process reads; None: where they come to lie."""
        return self.replicated if self.spans_processes else None

    def put(self, tree: Any) -> Any:
        """Copy the whole to each device."""
        return self._put(tree, self.replicated)

    def put_stacked(self, tree: Any) -> Any:
        """Copy what has an axis of seeds, each device's to it."""
        return self._put(tree, NamedSharding(self.mesh, PartitionSpec(SEEDS)))

    def _put(self, tree: Any, sharding: NamedSharding) -> Any:
        if not self.spans_processes:
            return jax.device_put(tree, sharding)
        # Every process has all of it: `device_put` would send it around, to compare.
        return jax.tree.map(
            lambda x: jax.make_array_from_callback(np.shape(x), sharding, np.asarray(x).__getitem__), tree
        )

    def put_batch(self, batch: Batch, batch_size: int | None = None, axis: int = 0) -> Batch:
        """Copy a batch, or this process's part of it, its examples along `axis`, each device's part to it; what is
        missing is padded and masked.

        Args:
            batch_size: of the whole batch; None: of this one.
        """
        size = batch.labels.shape[axis]
        missing = len(self.part_of_process(batch_size or size)) - size
        if missing:
            batch = jax.tree.map(
                lambda x: np.pad(x, [(0, missing if i == axis else 0) for i in range(np.ndim(x))]), batch
            )
        sharding = NamedSharding(self.mesh, PartitionSpec(*[None] * axis, BATCH))
        if self.spans_processes:
            return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)
        return jax.device_put(batch, sharding)

    def shard_size(self, batch_size: int) -> int:
        """Examples of a batch that each device computes: whole micro-batches, the last ones perhaps of padding."""
        size = min(self.micro_batch_size or 1, batch_size)
        return size * math.ceil(batch_size / size / self.batch_shards)

    def part_of_process(self, batch_size: int) -> range:
        """Places of a batch of one seed that this process's devices compute, perhaps past its end."""
        size = self.computed_batch_size(batch_size) // self.processes
        first = jax.process_index() * size
        return range(first, first + size)

    def shard(self, batch_size: int) -> Shard:
        """The calling device's part of a batch, inside a function that `over_seeds` maps."""
        size = self.shard_size(batch_size)
        return Shard(jax.lax.axis_index(BATCH) * size if len(self.devices) > 1 else 0, size)

    def seeds_at_once(self, seeds: int) -> int:
        """How many of `seeds` a device computes at once, memory permitting: a CPU one, so that activations stay in its
        cache; other devices all of their share."""
        return 1 if self.devices[0].platform == "cpu" else seeds // self.seed_shards

    def over_seeds(
        self, function: Callable, seeds_per_call: int = 1, stacked: int = 1, batch_axis: int | None = None
    ) -> Callable:
        """`function` for all seeds: in groups one after another, vmapped within a group, on all devices.

        Its first `stacked` arguments have a seed axis; the others are shared, the last one's examples being shared out
        along `batch_axis` where that is given.
        """

        def mapped(*args: Any) -> Any:
            per_seed, shared = args[:stacked], args[stacked:]
            size = None if seeds_per_call == 1 else seeds_per_call
            return jax.lax.map(lambda one: function(*one, *shared), per_seed, batch_size=size)

        def varying(*args: Any) -> Any:
            # What all seeds share meets what is a seed's own in the carries of loops.
            shared = jax.tree.map(lambda x: jax.lax.pcast(x, SEEDS, to="varying"), args[stacked:])
            return mapped(*args[:stacked], *shared)

        def on_devices(*args: Any) -> Any:
            in_specs = [PartitionSpec(SEEDS)] * stacked + [PartitionSpec()] * (len(args) - stacked)
            if batch_axis is not None:
                in_specs[-1] = PartitionSpec(*[None] * batch_axis, BATCH)
            return jax.shard_map(varying, mesh=self.mesh, in_specs=tuple(in_specs), out_specs=PartitionSpec(SEEDS))(
                *args
            )

        return mapped if len(self.devices) == 1 else on_devices

    def computed_batch_size(self, batch_size: int) -> int:
        """Examples that a step computes, those included that pad a batch to whole micro-batches on every device."""
        return self.shard_size(batch_size) * self.batch_shards


def choose_placement(
    model: ModelName, seeds: int, devices: Sequence[jax.Device], wanted: int | None = None
) -> Placement:
    """Share out the seeds as far as that comes out even, and the batch over the devices that are left.

    Args:
        wanted: devices to take. By default all of a CPU's, which are cores of one memory, and of several processes;
            else as many as share out the seeds: a GPU has too little to do in a batch of these models as it is.

    Raises:
        InputError: there are not as many.
    """
    on_cpu, together = devices[0].platform == "cpu", len({device.process_index for device in devices}) > 1
    if together and wanted not in (None, len(devices)):
        raise InputError(f"--devices {wanted}: several processes take all {len(devices)} that they have; leave it out")
    if wanted is not None and wanted > len(devices):
        raise InputError(
            f"--devices {wanted}: there are {len(devices)} ({devices[0].device_kind}); take as many at most"
        )
    usual = len(devices) if on_cpu or together else max(n for n in range(1, len(devices) + 1) if seeds % n == 0)
    devices = devices[: wanted or usual]
    size = CPU_MICRO_BATCH_SIZES[model] if on_cpu else None
    return Placement(tuple(devices), math.gcd(seeds, len(devices)), size)
