"""The recipe's own input pipeline: PIL images, one torchvision transform chain per image, a plain DataLoader."""

import itertools
from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, RandomSampler
from torch.utils.data import Dataset as TorchDataset
from torchvision import transforms

from jaxcompare.compat import torch as compat
from jaxcompare.config import TrainingConfig
from jaxcompare.data.batch import CROP_PADDING, Batch
from jaxcompare.data.split import Dataset, Split
from jaxcompare.parent import end_with_parent

WORKERS = 2
"""The recipe's."""

ROUNDS = 1_000_000
"""Passes that a stream can give: more than anyone takes."""


class _PilImages(TorchDataset):
    """What torchvision's CIFAR10 does on access: make a PIL image of an array, transform it."""

    def __init__(self, split: Split, transform: transforms.Compose):
        self.split, self.transform = split, transform

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int):
        return self.transform(Image.fromarray(self.split.images[index])), int(self.split.labels[index])


class RecipeStream:
    """The recipe's training loader as one epoch without an end: NCHW tensors and int64 labels, in a new order every
    time round. Use as a context manager.

    The recipe's epochs have 391 batches, in which starting the workers, waiting for the first batch and having the last
    four made already are next to nothing; in a pass of a few batches they would decide its time. So a pass is cut out
    of the stream: what is made ahead at its beginning and at its end is the same.
    """

    def __init__(self, dataset: Dataset, batch_size: int, *, workers: int, beside_jax: bool = False):
        """`beside_jax`: JAX runs in this process, where a forked worker may hang for ever: take a fork server's."""
        split = dataset.train
        transform = transforms.Compose(
            [
                transforms.RandomCrop(split.images.shape[1], padding=CROP_PADDING),
                transforms.RandomHorizontalFlip(split.flip_probability),
                transforms.ToTensor(),
                transforms.Normalize(*dataset.statistics),
            ]
        )
        images = _PilImages(split, transform)
        # Forked as PyTorch does by default on Linux; named, since a spawned process passes on its own way.
        context = "forkserver" if beside_jax else "fork"
        self._loader = DataLoader(
            images,
            batch_size=batch_size,
            sampler=RandomSampler(images, num_samples=ROUNDS * len(split)),
            num_workers=workers,
            multiprocessing_context=context if workers else None,
            worker_init_fn=end_with_parent if workers and beside_jax else None,
        )
        self._per_pass = round(len(split) / batch_size)

    def epoch(self, epoch: int) -> Iterator[list[torch.Tensor]]:
        """The next pass, whatever its number: full batches of [images, labels]."""
        del epoch
        return itertools.islice(self._batches, self._per_pass)

    def __enter__(self) -> "RecipeStream":
        self._batches = iter(self._loader)
        return self

    def __exit__(self, *_: object) -> None:
        """End the workers."""
        compat.end_workers(self._batches)


class RecipeLoader:
    """The same for JAX: NHWC batches as NumPy. A `data.batch.Loader`."""

    def __init__(self, dataset: Dataset, training: TrainingConfig):
        self._stream = RecipeStream(dataset, training.batch_size, workers=WORKERS, beside_jax=True)

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The next pass, whatever its number."""
        for images, labels in self._stream.epoch(epoch):
            nhwc = np.ascontiguousarray(images.numpy().transpose(0, 2, 3, 1))
            yield Batch(nhwc, labels.numpy().astype(np.int32), np.ones(len(labels), np.float32))

    def __enter__(self) -> "RecipeLoader":
        self._stream.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stream.__exit__(*exception)
