"""A cell's step in PyTorch: device and settings, model, loss as the cell computes it, optimiser."""

import functools
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from jaxcompare.cells import Cell
from jaxcompare.compat import torch as compat
from jaxcompare.config import TrainingConfig
from jaxcompare.measure.environment import cpu_cores
from jaxcompare.options import SLICES, Option
from jaxcompare.side import Setup
from jaxcompare.torch_side.fit import build_optimiser
from jaxcompare.torch_side.models import build_model
from jaxcompare.torch_side.replicas import Loss, propagate_on_cores
from jaxcompare.torch_side.resident import Resident, make_batch, put_split

IMPLEMENTATIONS: dict[Option, dict[str, bool]] = {
    "for-loop": {"foreach": False},
    "foreach": {"foreach": True},
    "fused": {"fused": True},
}
"""Of AdamW; by default PyTorch chooses: on CPUs a loop, on GPUs foreach."""

MODES: dict[Option, str] = {mode: mode for mode in ("reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")}
"""Of torch.compile."""


def find_device() -> str:
    """Where PyTorch trains here: "cuda" or "cpu"."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def start(cell: Cell) -> torch.device:
    """The device, with PyTorch's global settings as the cell has them."""
    compat.torch_programs()  # what it reads is imported now, before any clock starts
    device = torch.device(find_device())
    compat.allow_tf32(cell.precision == "tf32")
    torch.backends.cudnn.benchmark = True  # XLA, too, times its candidates
    if device.type == "cpu":
        torch.set_num_threads(cpu_cores())  # as many as JAX may use; PyTorch's own choice leaves out hyperthreads
    return device


def build_training(
    cell: Cell, setup: Setup, device: torch.device
) -> tuple[nn.Module, torch.optim.Optimizer, Loss, Callable[[], object]]:
    """A cell's model in training mode, its optimiser, what propagates, and what updates."""
    dataset, training = setup.dataset, setup.training_of(cell)
    torch.manual_seed(training.seed)
    model = build_cells_model(cell, setup)
    if not cell.dropout:
        without_dropout(model)
    model.to(device).train()
    optimiser, update = build_update(cell, model, training)
    resident = put_split(dataset.train, dataset.statistics, device) if cell.input == "resident" else None
    return model, optimiser, build_propagation(cell, model, device, resident), update


def build_cells_model(cell: Cell, setup: Setup) -> nn.Module:
    """On the CPU, from torch's generator."""
    classes, size = len(setup.dataset.class_names), setup.dataset.train.images.shape[1]
    ways = {"sdpa": "sdpa" in cell.options, "bits": "dropout-bits" in cell.options}
    return build_model(cell.model, num_classes=classes, image_size=size, **ways)


def build_update(
    cell: Cell, model: nn.Module, training: TrainingConfig
) -> tuple[torch.optim.Optimizer, Callable[[], object]]:
    """A cell's optimiser, and what makes its step from the parameters' gradients."""
    optimiser = build_optimiser(model, training, **cell.choose(IMPLEMENTATIONS, {}))
    # No fullgraph here: PyTorch's optimisers break the graph themselves, before their arithmetic.
    return optimiser, torch.compile(optimiser.step) if "compiled-optimiser" in cell.options else optimiser.step


def build_step(cell: Cell, setup: Setup, device: torch.device) -> Callable[..., torch.Tensor]:
    """What a `Loss` takes, on the device -> loss, after one optimiser update."""
    _, optimiser, propagate, update = build_training(cell, setup, device)

    def step(*batch: torch.Tensor) -> torch.Tensor:
        optimiser.zero_grad()
        loss, _ = propagate(*batch)
        update()
        return loss

    return step


def build_propagation(cell: Cell, model: nn.Module, device: torch.device, resident: Resident | None = None) -> Loss:
    """A loss that leaves its gradients in the model."""
    build = functools.partial(build_loss, cell, device=device, resident=resident)
    if "replicas" in cell.options:
        return propagate_on_cores(model, build, cpu_cores(), cell.choose(SLICES, None))
    return with_gradients(build(model))


def with_gradients(compute_loss: Loss) -> Loss:
    """The same, and its gradients are left in the model."""

    def propagate(*batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        loss, logits = compute_loss(*batch)
        loss.backward()
        return loss.detach(), logits.detach()

    return propagate


def build_loss(cell: Cell, model: nn.Module, device: torch.device, resident: Resident | None = None) -> Loss:
    """A batch's mean loss and logits, compiled and rounded as the cell says; the batch is made of `resident`."""
    layout, make = layout_of(cell), functools.partial(make_batch, resident) if resident else lambda *batch: batch
    model.to(memory_format=layout)

    def compute_loss(*batch: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        images, labels = make(*batch)
        images = images.contiguous(memory_format=layout)
        with torch.autocast(device.type, torch.bfloat16, enabled=cell.precision == "bfloat16"):
            logits = model(images).float()
            return cross_entropy(logits, labels), logits

    if cell.engine == "eager":
        return compute_loss
    if mode := cell.choose(MODES, None):
        compat.quiet_autotuning()
    # The short last batch is a second program, not a program of unknown size.
    return torch.compile(compute_loss, mode=mode, dynamic=False, fullgraph=True)


def without_dropout(model: nn.Module) -> None:
    """Set every dropout rate to 0."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(module, nn.MultiheadAttention):
            module.dropout = 0.0


def layout_of(cell: Cell) -> torch.memory_format:
    """Of images and kernels; their values and shapes are the same."""
    return torch.channels_last if "channels-last" in cell.options else torch.contiguous_format


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize()
