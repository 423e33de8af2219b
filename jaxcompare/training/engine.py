"""What every engine has in common: the model and its step as the devices take it, compilation, the queue of calls."""

import abc
import contextlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxcompare import compat
from jaxcompare.config import InputError, RunConfig
from jaxcompare.data.device import count_batches
from jaxcompare.data.split import Dataset
from jaxcompare.measure.memory import MemoryPlan, plan_memory
from jaxcompare.measure.runtime import MATMUL_PRECISION
from jaxcompare.measure.timing import CompileTimes, compile_ahead
from jaxcompare.models import build_model
from jaxcompare.training.optimiser import build_optimiser
from jaxcompare.training.step import (
    Metrics,
    Params,
    Slicing,
    TrainState,
    build_eval_step,
    build_train_step,
    count_slices,
    init_state,
)

CPU_SLICE_SIZES = {"cnn": 8, "vit": 4}
"""Examples per slice of a batch on CPUs, few enough for their activations to stay in a core's cache."""

STEPS_IN_FLIGHT = 16
"""Dispatched steps that the device may be behind: enough that it never waits for Python, few enough that batches do not
pile up in its memory."""

AXIS = "devices"
EVERYWHERE = PartitionSpec()

OnStep = Callable[[int], None]


class Engine(abc.ABC):
    """Programs compiled ahead of time for one config, and the data that they train on. Use as a context manager."""

    def __init__(
        self,
        config: RunConfig,
        dataset: Dataset,
        seeds: Sequence[int],
        devices: Sequence[jax.Device],
        dropout_rate: float,
    ):
        training = config.training
        self.config, self.seeds = config, seeds
        self._place(devices)
        self.epoch_images = config.epoch_images or config.data.train_size or len(dataset.train)
        self.batches = count_batches(self.epoch_images, training.batch_size)
        self.model = build_model(
            config.model,
            num_classes=len(dataset.class_names),
            dropout_rate=dropout_rate,
            dropout_generator=training.dropout_generator,
            # Vmapped over seeds, a convolution becomes a grouped one: slow on CPUs, not measured on GPUs.
            lowering="im2col" if len(seeds) > 1 else None,
            dtype=jnp.dtype(jnp.bfloat16) if config.execution.precision == "bfloat16" else None,
        )
        self.tx = build_optimiser(training)
        self.train_step = build_train_step(self.model, self.tx, self.slicing)
        self.eval_step = build_eval_step(self.model, self.slicing)
        self.programs: dict[str, jax.stages.Compiled] = {}
        self.compile_times: dict[str, CompileTimes] = {}
        self.memory_plans: dict[str, MemoryPlan] = {}
        self.image_shape = dataset.train.images.shape[1:]
        self.seed_array = self.put(np.array(seeds, np.uint32), self.per_seed)

    def compile_programs(self, *, evaluation: bool) -> None:
        """Compile everything that training needs, ahead of time, and what `evaluate` needs if that is asked for."""
        # It runs once: XLA's full effort would take a second longer than it saves.
        self._init = self.compile(
            "init",
            self.over_seeds(self.init_one),
            self.seed_array,
            compiler_options=compat.low_effort(),
        )
        states = self.init()
        self._compile_training(states)
        if evaluation:
            self._compile_evaluation(states.params)

    @abc.abstractmethod
    def _compile_training(self, states: TrainState) -> None:
        """The programs of `train_epoch`."""

    @abc.abstractmethod
    def _compile_evaluation(self, params: Params) -> None:
        """The program of `evaluate`."""

    @property
    def facts(self) -> dict[str, Any]:
        """What a record says of the execution beyond its config."""
        return {
            "seeds": len(self.seeds),
            "devices": self.devices,
            "shared_out": self.shared_out,
            "slice_size": self.slicing.size or self.config.training.batch_size,
            "conv_lowering": getattr(self.model, "lowering", None),
            "planned_bytes": {name: sum(plan) for name, plan in self.memory_plans.items()},
        }

    @property
    def computed_batch_size(self) -> int:
        """Examples that a step computes, those included that pad a batch to whole slices on every device."""
        batch = self.config.training.batch_size
        size = min(self.slicing.size or batch, batch)
        return size * count_slices(batch, size, self.devices if self.slicing.axis else 1)

    def count_params(self) -> int:
        """Trainable parameters of one model."""
        shapes = jax.eval_shape(self.init_one, jax.ShapeDtypeStruct((), jnp.uint32))
        return sum(leaf.size for leaf in jax.tree.leaves(shapes.params))

    @property
    def steps_per_call(self) -> int:
        """How many batches one call covers, the last call of an epoch perhaps excepted."""
        execution = self.config.execution
        sizes = {"step": 1, "chunk": execution.chunk_size, "epoch": self.batches}
        return min(sizes[execution.engine], self.batches)

    def _place(self, devices: Sequence[jax.Device]) -> None:
        """Decide what the devices share out: the seeds where that comes out even, else the slices of each batch.

        Only CPUs share batches: their devices are cores of one memory. A GPU has too little to do in a batch of these
        models as it is.
        """
        on_cpu = devices[0].platform == "cpu"
        shares_seeds = len(self.seeds) % len(devices) == 0
        if not shares_seeds and not on_cpu:
            devices = devices[: max(n for n in range(1, len(devices)) if len(self.seeds) % n == 0)]
            shares_seeds = True
        self.devices = len(devices)
        self.shared_out = "nothing" if self.devices == 1 else "seeds" if shares_seeds else "batches"
        self.slicing = Slicing(
            CPU_SLICE_SIZES[self.config.model] if on_cpu else None, AXIS if self.shared_out == "batches" else None
        )
        self._mesh = Mesh(np.array(devices), (AXIS,))
        self.per_seed = PartitionSpec(AXIS) if self.shared_out == "seeds" else EVERYWHERE

    def put(self, tree: Any, spec: PartitionSpec = EVERYWHERE) -> Any:
        """Copy to the engine's devices, by default the whole to each."""
        return jax.device_put(tree, NamedSharding(self._mesh, spec))

    def over_seeds(self, function: Callable, seeds_per_call: int = 1, stacked: int = 1) -> Callable:
        """`function` for all seeds: in groups one after another, vmapped within a group, on all devices.

        Its first `stacked` arguments have a seed axis; the others are shared.
        """

        def mapped(*args: Any) -> Any:
            per_seed, shared = args[:stacked], args[stacked:]
            size = None if seeds_per_call == 1 else seeds_per_call
            return jax.lax.map(lambda one: function(*one, *shared), per_seed, batch_size=size)

        def on_devices(*args: Any) -> Any:
            in_specs = (self.per_seed,) * stacked + (EVERYWHERE,) * (len(args) - stacked)
            shard = jax.shard_map(mapped, mesh=self._mesh, in_specs=in_specs, out_specs=self.per_seed, check_vma=False)
            return shard(*args)

        return mapped if self.devices == 1 else on_devices

    def compile(self, name: str, function: Callable, *args: Any, **jit_options: Any) -> jax.stages.Compiled:
        """Compile a program at the config's precision, and keep it with its times and memory plan."""
        with jax.default_matmul_precision(MATMUL_PRECISION[self.config.execution.precision]):
            compiled, times = compile_ahead(function, *args, **jit_options)
        self.programs[name], self.compile_times[name] = compiled, times
        if plan := plan_memory(compiled):
            self.memory_plans[name] = plan
        return compiled

    def init_one(self, seed: jax.Array) -> TrainState:
        """The state that a run from `seed` starts in."""
        return init_state(self.model, self.tx, jax.random.key(seed), jnp.zeros((1, *self.image_shape), jnp.float32))

    def init(self) -> TrainState:
        """A fresh stacked state, one for each seed."""
        return self._init(self.seed_array)

    @abc.abstractmethod
    def train_epoch(self, state: TrainState, epoch: int, on_step: OnStep) -> tuple[TrainState, list[Metrics], float]:
        """Train on every batch of an epoch. Gives its buffers away: do not use `state` again.

        Returns:
            The new state; the metrics, (seeds, steps) a call; and the seconds that the device had nothing to do for
            want of a batch. Work may still be under way on the device: wait for it before reading a clock.
        """

    @abc.abstractmethod
    def evaluate(self, params: Params) -> np.ndarray:
        """Correct predictions on the test split, dropout off, for each seed."""

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *exception: object) -> None:
        """Release what the engine holds besides memory."""
        del exception


class InFlight:
    """Keeps the device at most STEPS_IN_FLIGHT steps, and at least one call, behind the calls that were made."""

    def __init__(self, steps_per_call: int):
        self._calls: deque[Any] = deque()
        self._most = max(1, STEPS_IN_FLIGHT // steps_per_call)

    def add(self, metrics: Metrics) -> None:
        self._calls.append(metrics)
        if len(self._calls) > self._most:
            jax.block_until_ready(self._calls.popleft())

    def is_idle(self) -> bool:
        """Whether all that was given to the device is done. Does not wait for it."""
        return all(compat.is_ready(metrics.loss) for metrics in self._calls)


def call_lengths(batches: int, steps_per_call: int) -> Sequence[int]:
    """Every number of batches that a call of an epoch covers: the usual one, and the last call's if it is shorter."""
    rest = batches % steps_per_call
    return (steps_per_call, rest) if rest else (steps_per_call,)


def train_name(length: int) -> str:
    return f"train_{length}_steps" if length > 1 else "train_step"


@contextlib.contextmanager
def explain_memory(seeds: int) -> Iterator[None]:
    """Turn running out of device memory into one line that says what to lower."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if not compat.is_out_of_memory(error):
            raise
        lower = "--batch-size, --seeds-per-call or --seeds" if seeds > 1 else "--batch-size, or use --input host"
        raise InputError(f"out of memory on {jax.local_devices()[0].device_kind}; lower {lower}") from error
