"""One PyTorch eager run, from config to record, on the very batches that the JAX run sees."""

import math
import time
from collections.abc import Callable

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from jaxcompare.config import RunConfig, TrainingConfig
from jaxcompare.data.batch import Batch, Loader
from jaxcompare.data.split import Dataset, training_subset
from jaxcompare.measure.others import watch_others
from jaxcompare.measure.run import begin_record
from jaxcompare.records import RunRecord, after_epoch
from jaxcompare.torch_side.models import build_model


def build_optimiser(
    model: torch.nn.Module, config: TrainingConfig, *, foreach: bool | None = None, fused: bool | None = None
) -> torch.optim.Optimizer:
    """AdamW as the recipe has it: PyTorch's defaults but for the learning rate and the weight decay.

    Args:
        foreach, fused: see `torch.optim.AdamW`; the same numbers. None: PyTorch chooses.
    """
    decay = config.weight_decay
    return torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=decay, foreach=foreach, fused=fused)


def to_tensors(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Contiguous NCHW images and int64 labels, padding cut off: PyTorch takes a short batch as it is."""
    count = int(batch.mask.sum())
    images = torch.from_numpy(batch.images[:count]).permute(0, 3, 1, 2).contiguous()
    return images, torch.from_numpy(batch.labels[:count]).long()


def train_step(
    model: torch.nn.Module, optimiser: torch.optim.Optimizer, images: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """One optimiser update. Returns the batch's mean loss and number of correct predictions, still on the device."""
    optimiser.zero_grad()
    logits = model(images)
    loss = cross_entropy(logits, labels)
    loss.backward()
    optimiser.step()
    return loss.detach(), (logits.argmax(1) == labels).sum()


@torch.inference_mode()
def evaluate(model: torch.nn.Module, loader: Loader) -> int:
    """Correct predictions over one pass, dropout off. Leaves the model in evaluation mode."""
    model.eval()
    return sum(int((model(images).argmax(1) == labels).sum()) for images, labels in map(to_tensors, loader.epoch(0)))


def fit(
    config: RunConfig, dataset: Dataset, *, on_epoch: Callable[[RunRecord], None] | None = None
) -> tuple[RunRecord, torch.nn.Module]:
    """Train one model by the recipe in PyTorch eager, on the CPU.

    Batches equal those of `jaxcompare.training.fit.fit` for the same config; initialisation and dropout come from
    torch's generator. Arguments, record and the handling of a NaN loss are the same too.
    """
    # Imported here: torchvision takes seconds, and the speed study takes the rest of this module without it.
    from jaxcompare.data.host import build_loaders

    training = config.training
    dataset = training_subset(dataset, config.data, training.seed)
    torch.manual_seed(training.seed)
    model = build_model(config.model, num_classes=len(dataset.class_names), image_size=config.data.image_size)
    optimiser = build_optimiser(model, training)
    params = sum(parameter.numel() for parameter in model.parameters())
    record = begin_record(config, dataset, params=params, compile_times={}, execution={"engine": "eager"})
    train_loader, test_loader = build_loaders(dataset, training, config.data.workers, config.epoch_images)
    with train_loader:
        for epoch in range(training.epochs):
            others, start = watch_others(), time.perf_counter()
            model.train()
            metrics, input_wait_s, asked = [], 0.0, start
            for batch in train_loader.epoch(epoch):
                images, labels = to_tensors(batch)
                input_wait_s += time.perf_counter() - asked
                metrics.append(train_step(model, optimiser, images, labels))
                asked = time.perf_counter()
            trained = time.perf_counter()
            others_share, begun = others(), time.perf_counter()
            test_accuracy = evaluate(model, test_loader) / len(dataset.test)
            evaluated = time.perf_counter()
            record = after_epoch(
                record,
                train_loss=float(np.mean([float(loss) for loss, _ in metrics])),
                train_accuracy=sum(int(correct) for _, correct in metrics)
                / (config.epoch_images or len(dataset.train)),
                test_accuracy=test_accuracy,
                epoch_time_s=trained - start,
                evaluation_time_s=evaluated - begun,
                input_wait_s=input_wait_s,
                others_share=math.nan if others_share is None else others_share,
            )
            if on_epoch:
                on_epoch(record)
            if record.status == "diverged":
                break
    return record, model
