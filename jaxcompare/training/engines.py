"""Engines: how the pure steps are executed. Every engine computes the same numbers; they differ in what a call covers.

    step    one call of a compiled program per batch
    chunk   one call per `chunk_size` batches, scanned inside the program
    epoch   one call per epoch, the shuffle included

Host input is prepared by torchvision and copied batch by batch; device input (`data.device`) never leaves the device.
States are stacked: axis 0 of every leaf is the seed, also where there is one.
"""

import abc
import contextlib
import functools
import itertools
import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxcompare.config import InputError, RunConfig
from jaxcompare.data.batch import Batch, Loader
from jaxcompare.data.datasets import Dataset, training_subset
from jaxcompare.data.device import DeviceSplit, EpochPlan, count_batches, plan_epoch, put_split, test_batch, train_batch
from jaxcompare.data.host import build_loaders
from jaxcompare.data.subsets import draw_subset
from jaxcompare.measure.memory import MemoryPlan, available_bytes, plan_memory
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
    init_state,
)

CPU_SLICE_SIZES = {"cnn": 8, "vit": 4}
"""Examples per slice of a batch on CPUs, few enough for their activations to stay in a core's cache."""

STEPS_IN_FLIGHT = 16
"""Dispatched steps that the device may be behind: enough that it never waits for Python, few enough that batches do not
pile up in its memory."""

MEMORY_SHARE = 0.9
"""Of the memory that is free, the part that a program of several seeds may be planned to take."""

AXIS = "devices"
EVERYWHERE = PartitionSpec()

OnStep = Callable[[int], None]


class Engine(abc.ABC):
    """Programs compiled ahead of time for one config, and the data that they train on. Use as a context manager."""

    def __init__(self, config: RunConfig, dataset: Dataset, seeds: Sequence[int], devices: Sequence[jax.Device]):
        training = config.training
        self.config, self.seeds = config, seeds
        self._place(devices)
        self.epoch_images = config.epoch_images or config.data.train_size or len(dataset.train)
        self.batches = count_batches(self.epoch_images, training.batch_size)
        self.model = build_model(
            config.model,
            num_classes=len(dataset.class_names),
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

    def compile_programs(self) -> None:
        """Compile everything that a run needs, ahead of time."""
        self._init = self.compile("init", self.over_seeds(self.init_one), self.seed_array)
        self._compile()

    @abc.abstractmethod
    def _compile(self) -> None:
        """The programs that train and evaluate."""

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


class HostEngine(Engine):
    """Batches of the torchvision pipeline, or of another loader, copied to the device as they come. One seed."""

    def __init__(
        self, config: RunConfig, dataset: Dataset, devices: Sequence[jax.Device], loader: Loader | None = None
    ):
        super().__init__(config, dataset, (config.training.seed,), devices)
        dataset = training_subset(dataset, config.data, config.training.seed)
        pipeline, self._test_loader = build_loaders(dataset, config.training, config.data.workers, config.epoch_images)
        self._train_loader = loader or pipeline

    def _compile(self) -> None:
        state, size = self.init(), self.config.training.batch_size
        batch = Batch(
            np.zeros((size, *self.image_shape), np.float32), np.zeros(size, np.int32), np.ones(size, np.float32)
        )
        train = self.over_seeds(lambda state, batches: jax.lax.scan(self.train_step, state, batches))
        self._train = {
            length: self.compile(
                _train_name(length), train, state, self.put(_stack([batch] * length)), donate_argnums=0
            )
            for length in _call_lengths(self.batches, self.steps_per_call)
        }
        self._evaluate = self.compile("evaluate", self.over_seeds(self.eval_step), state.params, self.put(batch))

    def train_epoch(self, state: TrainState, epoch: int, on_step: OnStep) -> tuple[TrainState, list[Metrics], float]:
        queue = _InFlight(self.steps_per_call)
        metrics, waited, done = [], 0.0, 0
        batches = self._train_loader.epoch(epoch)
        while True:
            asked = time.perf_counter()
            chunk = list(itertools.islice(batches, self.steps_per_call))
            if not chunk:
                return state, metrics, waited
            on_device = self.put(_stack(chunk))
            # If the device has finished all it was given, it waited for this batch: at most since we asked for it.
            if queue.is_idle():
                waited += time.perf_counter() - asked
            state, call_metrics = self._train[len(chunk)](state, on_device)
            metrics.append(call_metrics)
            done += len(chunk)
            queue.add(call_metrics)
            on_step(done)

    def evaluate(self, params: Params) -> np.ndarray:
        correct = [self._evaluate(params, self.put(batch)) for batch in self._test_loader.epoch(0)]
        return np.sum(jax.device_get(correct), axis=0)

    def __enter__(self) -> "HostEngine":
        self._train_loader.__enter__()
        # PyTorch only prepares batches here. Its threads, done with one, spin on the cores that XLA computes on.
        self._torch_threads = torch.get_num_threads()
        torch.set_num_threads(1)
        return self

    def __exit__(self, *exception: object) -> None:
        torch.set_num_threads(self._torch_threads)
        self._train_loader.__exit__(*exception)


class DeviceEngine(Engine):
    """Both splits in device memory; any number of seeds in one program, vmapped `seeds_per_call` at a time."""

    def __init__(self, config: RunConfig, dataset: Dataset, seeds: Sequence[int], devices: Sequence[jax.Device]):
        super().__init__(config, dataset, seeds, devices)
        subsets = [draw_subset(dataset.train.labels, config.data, seed) for seed in seeds]
        self._train_split, self._test_split = (
            put_split(split, dataset.statistics, self.put) for split in (dataset.train, dataset.test)
        )
        self._subsets = self.put(np.stack(subsets).astype(np.int32), self.per_seed)

    def _compile(self) -> None:
        states, first = self.init(), np.int32(0)
        most = len(self.seeds) // self.devices if self.shared_out == "seeds" else len(self.seeds)
        if self.config.execution.engine == "epoch":
            args = (states, self._subsets, self._train_split, first)
            self.seeds_per_call, self._epoch = self._compile_to_fit("train_epoch", self._train_whole_epoch, most, *args)
        else:
            plan = self.over_seeds(self._plan_one, stacked=2)
            self._plan = self.compile("plan", plan, states, self._subsets, first)
            args = (states, self._plan(states, self._subsets, first), self._train_split, first)
            self.seeds_per_call, self._train = most, {}
            for length in _call_lengths(self.batches, self.steps_per_call):
                function = functools.partial(self._train_batches, count=length)
                self.seeds_per_call, self._train[length] = self._compile_to_fit(
                    _train_name(length), function, self.seeds_per_call, *args
                )
        evaluate = self.over_seeds(self._evaluate_one, self.seeds_per_call)
        self._evaluate = self.compile("evaluate", evaluate, states.params, self._test_split)

    @property
    def facts(self) -> dict[str, Any]:
        return super().facts | {"seeds_per_call": self.seeds_per_call}

    def _compile_to_fit(self, name: str, function: Callable, most: int, *args: Any) -> tuple[int, jax.stages.Compiled]:
        """Compile for as many seeds at a time as memory holds, `most` at most, and say how many that is."""
        # A CPU gains nothing from several seeds at once: their activations leave its cache.
        preferred = 1 if jax.default_backend() == "cpu" else most
        size = min(most, self.config.execution.seeds_per_call or preferred)
        while True:
            try:
                compiled = self.compile(name, self.over_seeds(function, size, stacked=2), *args, donate_argnums=0)
            except jax.errors.JaxRuntimeError as error:
                if not is_out_of_memory(error) or size == 1:
                    raise
                smaller = size // 2
            else:
                plan, room = self.memory_plans.get(name), available_bytes()
                # The arguments are in memory already.
                if size == 1 or plan is None or room is None or plan.more <= MEMORY_SHARE * room:
                    return size, compiled
                smaller = max(1, min(size - 1, int(size * MEMORY_SHARE * room / plan.more)))
            # Groups of equal size, or as nearly as can be: a smaller last group is a second body to compile.
            size = math.ceil(most / math.ceil(most / smaller))

    def _train_batches(
        self, state: TrainState, plan: EpochPlan, split: DeviceSplit, start: jax.Array, count: int
    ) -> tuple[TrainState, Metrics]:
        def body(state: TrainState, number: jax.Array) -> tuple[TrainState, Metrics]:
            return self.train_step(state, train_batch(split, plan, number, self.config.training.batch_size))

        return jax.lax.scan(body, state, start + jnp.arange(count, dtype=jnp.int32))

    def _train_whole_epoch(
        self, state: TrainState, subset: jax.Array, split: DeviceSplit, epoch: jax.Array
    ) -> tuple[TrainState, Metrics]:
        return self._train_batches(state, self._plan_one(state, subset, epoch), split, jnp.int32(0), self.batches)

    def _plan_one(self, state: TrainState, subset: jax.Array, epoch: jax.Array) -> EpochPlan:
        return plan_epoch(state.data_key, epoch, subset, self.epoch_images)

    def _evaluate_one(self, params: Params, split: DeviceSplit) -> jax.Array:
        size = self.config.training.batch_size

        def body(correct: jax.Array, number: jax.Array) -> tuple[jax.Array, None]:
            return correct + self.eval_step(params, test_batch(split, number, size)), None

        numbers = jnp.arange(count_batches(len(split.labels), size), dtype=jnp.int32)
        return jax.lax.scan(body, jnp.zeros(()), numbers)[0]

    def train_epoch(self, state: TrainState, epoch: int, on_step: OnStep) -> tuple[TrainState, list[Metrics], float]:
        if self.config.execution.engine == "epoch":
            state, metrics = self._epoch(state, self._subsets, self._train_split, np.int32(epoch))
            on_step(self.batches)
            return state, [metrics], 0.0
        queue = _InFlight(self.steps_per_call)
        plans = self._plan(state, self._subsets, np.int32(epoch))
        metrics, done = [], 0
        while done < self.batches:
            length = min(self.steps_per_call, self.batches - done)
            state, call_metrics = self._train[length](state, plans, self._train_split, np.int32(done))
            metrics.append(call_metrics)
            done += length
            queue.add(call_metrics)
            on_step(done)
        return state, metrics, 0.0

    def evaluate(self, params: Params) -> np.ndarray:
        return jax.device_get(self._evaluate(params, self._test_split))


def build_engine(
    config: RunConfig,
    dataset: Dataset,
    seeds: Sequence[int],
    devices: Sequence[jax.Device] | None = None,
    loader: Loader | None = None,
    compiled: bool = True,
) -> Engine:
    """The engine that `config.execution` names (nothing in it may be "auto"), for `seeds`.

    Args:
        config: what to run; its seed gives way to `seeds`.
        devices: by default all of this process's.
        loader: of host input, by default the host pipeline.
        compiled: ready to run; without, for what a step is made of.
    """
    devices = devices or jax.local_devices()
    engine: Engine
    if config.execution.input == "device":
        engine = DeviceEngine(config, dataset, seeds, devices)
    else:
        (seed,) = seeds
        engine = HostEngine(config.with_seed(seed), dataset, devices, loader)
    if compiled:
        engine.compile_programs()
    return engine


def is_out_of_memory(error: jax.errors.JaxRuntimeError) -> bool:
    """Whether XLA failed for want of memory."""
    return "RESOURCE_EXHAUSTED" in str(error)


@contextlib.contextmanager
def explain_memory(seeds: int) -> Iterator[None]:
    """Turn running out of device memory into one line that says what to lower."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if not is_out_of_memory(error):
            raise
        lower = "--batch-size, --seeds-per-call or --seeds" if seeds > 1 else "--batch-size, or use --input host"
        raise InputError(f"out of memory on {jax.local_devices()[0].device_kind}; lower {lower}") from error


class _InFlight:
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
        return all(metrics.loss.is_ready() for metrics in self._calls)


def _call_lengths(batches: int, steps_per_call: int) -> Sequence[int]:
    """Every number of batches that a call of an epoch covers: the usual one, and the last call's if it is shorter."""
    rest = batches % steps_per_call
    return (steps_per_call, rest) if rest else (steps_per_call,)


def _train_name(length: int) -> str:
    return f"train_{length}_steps" if length > 1 else "train_step"


def _stack(batches: Sequence[Batch]) -> Batch:
    """Batches along a new first axis; one batch is not copied."""
    if len(batches) == 1:
        return jax.tree.map(lambda part: part[None], batches[0])
    return jax.tree.map(lambda *parts: np.stack(parts), *batches)
