"""Doors to what JAX does not promise."""

import contextlib
import functools
import logging
import os
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import jax
    import jax.extend


@contextlib.contextmanager
def watch_compilation(report: Callable[[str], object]) -> Iterator[None]:
    """Call `report` for every program that XLA compiles or reads from its cache meanwhile, whoever asks for it.

    Args:
        report: takes the program's name and, where JAX's log has them, the shapes that it is compiled for.

    Relies on a monitoring event, which comes for programs read from the cache too, and on its `fun_name`; shapes, on
    the debug messages of a private module, which JAX shows nowhere else. Seen with jax 0.10.2.
    """
    import jax

    shapes = _ShapeLog()

    def listen(event: str, duration_secs: float, **info: Any) -> None:
        del duration_secs
        if event == "/jax/core/compile/backend_compile_duration":
            name = str(info.get("fun_name", "a program"))
            report(f"{name} for {shapes.last}" if shapes.last else name)

    jax.monitoring.register_event_duration_secs_listener(listen)
    logger = logging.getLogger("jax._src.interpreters.pxla")
    before = logger.level, logger.propagate
    logger.addHandler(shapes)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        yield
    finally:
        logger.removeHandler(shapes)
        logger.setLevel(before[0])
        logger.propagate = before[1]
        jax.monitoring.unregister_event_duration_listener(listen)


class _ShapeLog(logging.Handler):
    """The argument shapes of the program being compiled."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.last = ""

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if message.startswith("Compiling"):
            self.last = ", ".join(re.findall(r"ShapedArray\(([^)]*)\)", message))


@contextlib.contextmanager
def watch_cache() -> Iterator[list[str]]:
    """Gives a list that grows by one for every program which JAX's persistent cache is found to hold meanwhile.

    Relies on a monitoring event. Seen with jax 0.10.2.
    """
    import jax

    hits: list[str] = []

    def listen(event: str, **_: Any) -> None:
        if event == "/jax/compilation_cache/cache_hits":
            hits.append(event)

    jax.monitoring.register_event_listener(listen)
    try:
        yield hits
    finally:
        jax.monitoring.unregister_event_listener(listen)


def as_function(jaxpr: "jax.extend.core.ClosedJaxpr") -> Callable[..., list[Any]]:
    """What `jax.make_jaxpr` traced, as a function of flat arguments: Python dispatches each operation by itself.

    Relies on `jax.extend`, whose names JAX may change with any version. Seen with jax 0.10.2.
    """
    import jax.extend

    return jax.extend.core.jaxpr_as_fun(jaxpr)


class ProgramMemory(NamedTuple):
    """Bytes on one device, by XLA's static plan."""

    arguments: int
    results: int
    temporaries: int
    reused: int
    """Of the results, those that take over a donated argument's place."""


def program_memory(compiled: "jax.stages.Compiled") -> ProgramMemory | None:
    """What one run of a program takes; None where the backend has no plan.

    Relies on the fields of `memory_analysis()`, which JAX calls arbitrary. Seen with jax 0.10.2.
    """
    plan: Any = compiled.memory_analysis()
    if plan is None:
        return None
    return ProgramMemory(
        plan.argument_size_in_bytes, plan.output_size_in_bytes, plan.temp_size_in_bytes, plan.alias_size_in_bytes
    )


class ProgramCosts(NamedTuple):
    """Of one run on one device, the body of a loop counted once."""

    flops: float
    bytes_accessed: float
    """That its kernels read and write."""


def program_costs(compiled: "jax.stages.Compiled") -> ProgramCosts:
    """XLA's own count.

    Relies on the keys of `cost_analysis()`, which JAX calls arbitrary; it was a list once. Seen with jax 0.10.2.
    """
    found: Any = compiled.cost_analysis()
    return ProgramCosts(found["flops"], found["bytes accessed"])


class DeviceMemory(NamedTuple):
    """Bytes, by the device's allocator."""

    peak: int | None
    """The most in use at once since the process began; None: not counted, as on CPUs."""
    free: int | None
    """That may still be taken; None: not known, as on CPUs."""


def device_memory(device: "jax.Device") -> DeviceMemory:
    """What a device's allocator counts.

    Relies on the keys of `memory_stats()`, which are its backend's. Seen with jax 0.10.2 on CPUs alone, which count
    nothing; on a GPU not tried.
    """
    stats: Any = device.memory_stats() or {}
    free = stats["bytes_limit"] - stats["bytes_in_use"] if "bytes_limit" in stats else None
    return DeviceMemory(stats.get("peak_bytes_in_use"), free)


def nvidia_capability(device: "jax.Device") -> float | None:
    """An NVIDIA GPU's compute capability, such as 9.0; None: another device.

    Relies on `compute_capability`, a text that only some devices have, AMD's in another form. Seen with jax 0.10.2 on
    CPUs alone, which have none; on a GPU not tried.
    """
    capability = getattr(device, "compute_capability", "")
    return float(capability) if re.fullmatch(r"\d+\.\d+", capability) else None


def is_out_of_memory(error: "jax.errors.JaxRuntimeError") -> bool:
    """Whether XLA failed for want of memory.

    Relies on the error's text: JAX has one class for all of XLA's errors. Seen with jax 0.10.2.
    """
    return "RESOURCE_EXHAUSTED" in str(error)


def is_ready(array: "jax.Array") -> bool:
    """Whether an array is there. Does not wait for it.

    Relies on a method of jaxlib's arrays that JAX does not document. Seen with jaxlib 0.10.2.
    """
    found: Any = array
    return found.is_ready()


def jax_setting(name: str) -> Any:
    """One of JAX's settings as it is now, by its full name.

    Relies on `jax.config.values`, undocumented, on its seeing the environment and, for matrix products, a
    `with jax.default_matmul_precision(...)`. Seen with jax 0.10.2.
    """
    import jax

    return jax.config.values[name]


def matmul_precision() -> str | None:
    """How matrix products are computed now, by JAX's name for it; None: as the backend likes."""
    return jax_setting("jax_default_matmul_precision")


def cache_folder() -> str | None:
    """Where compiled programs are kept between processes, JAX_COMPILATION_CACHE_DIR's if the user has set it; None:
    nowhere."""
    return jax_setting("jax_compilation_cache_dir")


def keep_jax_programs(folder: str | None) -> None:
    """Have JAX keep every program that it compiles in `folder`, and read it from there; None: do neither.

    Relies on the names and meanings of settings: by default small programs and quick ones are not kept. Seen with jax
    0.10.2.
    """
    import jax

    if folder is None:
        jax.config.update("jax_enable_compilation_cache", False)
        return
    jax.config.update("jax_compilation_cache_dir", folder)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def shorten_cache_warning(text: str) -> str:
    """A warning of JAX's about a program in its cache, so that it is the same for all; other text as it is.

    Relies on the warning's words. Seen with jax 0.10.2.
    """
    found = re.match(r"Error (reading|writing) persistent compilation cache entry for '.*?': (.{1,100})", text)
    if not found:
        return text
    return f"{cache_folder()}: error {found[1]} compiled programs ({found[2]}); compiled anew; mend or empty the folder"


def set_cpu_devices(count: int) -> None:
    """Have JAX see the CPU as `count` devices. Once it has started, they are what they are, and this does nothing.

    Relies on a setting's name, and on its RuntimeError once JAX has started. Seen with jax 0.10.2.
    """
    import jax

    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", count)


def choose_deterministic_operations() -> None:
    """Have XLA compile for GPUs so that each run gives the same bits. To be called before JAX starts.

    Relies on the name of a flag of XLA's, which ends a process whose flags it does not know. Seen with jaxlib 0.10.2 on
    CPUs alone, which take the flag and have no use for it; on a GPU not tried.
    """
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true".strip()


def low_effort() -> dict[str, int]:
    """`compiler_options` with which XLA compiles faster, to slower programs.

    Relies on the name and scale of an option of XLA's, which refuses one that it does not know. Seen with jaxlib
    0.10.2.
    """
    return {"xla_backend_optimization_level": 1}


def keep_layout(array: "jax.Array") -> "jax.Array":
    """The same array, which a compiled program has in memory in the order of its axes, whatever XLA would rather have.

    On a GPU XLA would lay tokens before images, which makes one concatenation cheap, and then transpose before matrix
    products. Holds for the gradient too. Outside jit nothing is done.

    Relies on JAX's interface for primitives and on an experimental module, whose own function copies outside jit. Seen
    with jax 0.10.2 and 0.11.2.
    """
    return _layout_primitive().bind(array)


@functools.cache
def _layout_primitive() -> Any:
    from jax.experimental.layout import Layout, with_layout_constraint
    from jax.extend.core import Primitive
    from jax.interpreters import ad, batching, mlir

    keep = Primitive("keep_layout")
    keep.def_impl(lambda array: array)
    keep.def_abstract_eval(lambda array: array)

    def constrain(array: Any) -> Any:
        return with_layout_constraint(array, Layout(tuple(range(array.ndim))))

    mlir.register_lowering(keep, mlir.lower_fun(constrain, multiple_results=False))
    ad.deflinear2(keep, lambda gradient, _: [keep.bind(gradient)])
    batching.primitive_batchers[keep] = lambda arrays, axes: (keep.bind(*arrays), *axes)
    return keep
