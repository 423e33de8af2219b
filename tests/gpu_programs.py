"""How many kernels is a step on a GPU? Compiles whole epochs for an NVIDIA H200 on a machine without one, and counts
what the body of the loop starts, for docs/speed.md: `pip install -e ".[cuda]"`, then `python tests/gpu_programs.py`.

Nothing runs, and nothing is tuned, which takes the device: here products go to cuBLAS and convolutions to cuDNN. A
GPU's own program may have other kernels, and need other memory.
"""

import os
import re
from itertools import product
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies

from jaxcompare.config import DataConfig, ExecutionConfig, ModelName, Precision, RunConfig, TrainingConfig
from jaxcompare.data.device import DeviceSplit, count_batches
from jaxcompare.data.split import Dataset, Split
from jaxcompare.measure.memory import plan_memory
from jaxcompare.models.convolution import ConvLowering
from jaxcompare.report.text import LABELS
from jaxcompare.training.device_engine import DeviceEngine
from jaxcompare.training.learner import Learner, build_learner
from jaxcompare.training.placement import choose_placement
from jaxcompare.training.programs import Programs

IMAGES, SIDE = 50_000, 32
FLAGS = "--xla_gpu_autotune_level=0 --xla_gpu_enable_triton_gemm=false"
H200 = """
gpu_device_info {
  name: "NVIDIA H200" device_vendor: "NVIDIA Corporation"
  cuda_compute_capability { major: 9 feature_extension: ACCELERATED_FEATURES }
  core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98 device_memory_size: 151397597184
  memory_bandwidth: 4800000000000 l2_cache_size: 52428800 pcie_bandwidth: 34359738368 device_address_bits: 64
  shared_memory_per_core: 233472 shared_memory_per_block: 49152 shared_memory_per_block_optin: 232448
  registers_per_core_limit: 65536 registers_per_block_limit: 65536 threads_per_core_limit: 2048 threads_per_warp: 32
  threads_per_block_limit: 1024 thread_dim_limit_x: 1024 thread_dim_limit_y: 1024 thread_dim_limit_z: 64
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  driver_version: "13.0.0" runtime_version: "13.0.0" compile_time_toolkit_version: "13.0.0" dnn_version: "9.10.0"
}
platform_name: "CUDA" device_description_str: "NVIDIA H200" dnn_version_info { major: 9 minor: 10 }
"""
"""As XLA reads it; what matters of its own `target_config/specs/h200.txtpb`, with CUDA 13."""

LIBRARIES = r"__cublas|__cudnn|__custom_fusion"
"""In a line of the optimised HLO that calls cuBLAS or cuDNN; the last does so for a part of an array."""

NO_KERNEL = ("parameter", "get-tuple-element", "tuple", "constant", "bitcast", "fusion-done")


class Epoch(DeviceEngine):
    """The engine's program of a whole epoch, without arrays."""

    def __init__(self, config: RunConfig, learner: Learner):
        self.config, self.learner, self.epoch_images = config, learner, IMAGES
        self.batches, self._step = count_batches(IMAGES, config.training.batch_size), learner.build_train_step()
        self._flip_probability = 0.5

    def compile(self) -> jax.stages.Compiled:
        """As the engine does."""
        learner, placement, count = self.learner, self.learner.placement, len(self.learner.seeds)

        def shape(*sizes: int, dtype: jax.typing.DTypeLike = jnp.float32) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct(sizes, dtype, sharding=placement.replicated)

        one = jax.eval_shape(learner.init_one, jax.ShapeDtypeStruct((), jnp.uint32))
        states = jax.tree.map(lambda leaf: shape(count, *leaf.shape, dtype=leaf.dtype), one)
        images = shape(IMAGES, SIDE, SIDE, 3, dtype=jnp.uint8)
        split = DeviceSplit(images, shape(IMAGES, dtype=jnp.int32), shape(256, 3))
        args = (states, shape(count, IMAGES, dtype=jnp.int32), split, shape(dtype=jnp.int32))
        mapped = placement.over_seeds(self._train_whole_epoch, placement.seeds_at_once(count), stacked=2)
        programs = Programs(learner.precision, placement.devices)
        return programs.compile("train_epoch", mapped, *args, donate_argnums=0)


def loop_body(hlo: str, batches: int) -> list[str]:
    """The instructions of the loop over an epoch's batches."""
    (name,) = re.findall(rf'body=%?([\w.\-]+),.*"known_trip_count":\{{"n":"{batches}"', hlo)
    (body,) = re.findall(rf"^%?{re.escape(name)} .*?\{{\n(.*?)^\}}", hlo, re.MULTILINE | re.DOTALL)
    return body.splitlines()


def count_kernels(body: list[str]) -> tuple[int, int]:
    """All of them, and those of NVIDIA's libraries."""
    operations = [(*re.findall(r" = .*? ([a-z][\w\-]*)\(", line), line) for line in body]
    kernels = [line for operation, line in operations if operation not in NO_KERNEL]
    if loops := [line for operation, line in operations if operation in ("while", "call", "conditional")]:
        raise ValueError(f"the kernels within are not counted: {loops[0]}")
    return len(kernels), sum(bool(re.search(LIBRARIES, line)) for line in kernels)


def main() -> None:
    device = topologies.get_topology_desc(platform="cuda", target_config=H200, topology="1x1x1").devices[0]
    split = Split(np.zeros((1, SIDE, SIDE, 3), np.uint8), np.zeros(1, np.int32))
    dataset = Dataset("none", tuple("abcdefghij"), split, split, ((0.5,) * 3, (0.25,) * 3), "fingerprint")
    print(f"jax {jax.__version__}\n")
    print("| Model | Seeds | Precision | Convolutions | Kernels a step | Of cuBLAS and cuDNN | Memory planned, GB |")
    print("| --- " * 7 + "|")
    for model, seeds, precision in product(get_args(ModelName), (1, 5), get_args(Precision)):
        config = RunConfig("jax", model, DataConfig(), TrainingConfig(), ExecutionConfig("epoch", "device"))
        placement = choose_placement(model, seeds, [device])
        lowerings: tuple[ConvLowering | None, ...] = ("direct", "im2col") if model == "cnn" else (None,)
        for lowering in lowerings:
            learner = build_learner(
                model, config.training, precision, dataset, range(seeds), placement, lowering=lowering
            )
            epoch = Epoch(config, learner)
            program = epoch.compile()
            counts = count_kernels(loop_body(program.as_text() or "", epoch.batches))
            plan = f"{sum(plan_memory(program) or ()) / 1e9:.2f}"
            print("|", " | ".join(map(str, (LABELS[model], seeds, precision, lowering or "-", *counts, plan))), "|")


if __name__ == "__main__":
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAGS}".strip()
    jax.config.update("jax_platforms", "cpu")  # a GPU is not looked for
    main()
