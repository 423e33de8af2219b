"""What a cell may change of how its framework runs the recipe's step: the same numbers up to rounding, another time."""

from typing import Literal

Option = Literal[
    "channels-last",
    "reduce-overhead",
    "max-autotune",
    "max-autotune-no-cudagraphs",
    "compiled-optimiser",
    "for-loop",
    "foreach",
    "fused",
    "sdpa",
    "dropout-bits",
    "replicas",
    "im2col",
    "direct",
    "slices-2",
    "slices-4",
    "slices-8",
    "slices-16",
    "slices-32",
    "threefry",
]

OPTIONS: dict[Option, str] = {
    "channels-last": "channels last",
    "reduce-overhead": "CUDA graphs",
    "max-autotune": "max-autotune",
    "max-autotune-no-cudagraphs": "max-autotune without CUDA graphs",
    "compiled-optimiser": "compiled AdamW",
    "for-loop": "for-loop AdamW",
    "foreach": "foreach AdamW",
    "fused": "fused AdamW",
    "sdpa": "SDPA",
    "dropout-bits": "16-bit dropout",
    "replicas": "replicas",
    "im2col": "convolutions as products",
    "direct": "convolutions direct",
    "slices-2": "micro-batches of 2",
    "slices-4": "micro-batches of 4",
    "slices-8": "micro-batches of 8",
    "slices-16": "micro-batches of 16",
    "slices-32": "micro-batches of 32",
    "threefry": "dropout by threefry",
}
"""As a person reads them. PyTorch's: the layout in memory that JAX's convolutions have; `torch.compile`'s mode; AdamW
compiled, or its implementation; attention by `scaled_dot_product_attention` between two Linear, in place of
MultiheadAttention; dropout that takes 16 random bits a value; on CPUs a process with one thread and a part of the batch
to each core. JAX's: how convolutions reach XLA, the generator of dropout's masks. Of both: images of a micro-batch."""

SLICES: dict[Option, int] = {"slices-2": 2, "slices-4": 4, "slices-8": 8, "slices-16": 16, "slices-32": 32}

ON_GPUS: tuple[Option, ...] = ("reduce-overhead", "max-autotune")
"""That use CUDA graphs."""
