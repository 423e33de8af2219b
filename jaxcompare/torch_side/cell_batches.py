"""Where a cell's batches come from in PyTorch; see `cells.CellInput`."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence

import torch

from jaxcompare.cells import Cell
from jaxcompare.side import Setup
from jaxcompare.torch_side.cell_step import layout_of
from jaxcompare.torch_side.fit import to_tensors
from jaxcompare.torch_side.resident import shuffle


@contextlib.contextmanager
def open_batches(
    cell: Cell, setup: Setup, device: torch.device
) -> Iterator[Callable[[int], Iterable[Sequence[torch.Tensor]]]]:
    """The batches of an epoch, images and labels; of resident images their indices."""
    dataset, training = setup.dataset, setup.training_of(cell)
    if cell.input == "resident":
        yield lambda epoch: shuffle(len(dataset.train), training.batch_size, device)
        return
    if cell.prepared:
        place = device if cell.input == "prepared" else torch.device("cpu")
        ready = [
            (images.to(place, memory_format=layout_of(cell)), labels.to(place))
            for images, labels in map(to_tensors, setup.batches_of(cell))
        ]
        yield lambda epoch: ready
        return
    # Imported here, as in `torch_side.fit`: torchvision takes seconds.
    from jaxcompare.data.host import build_loaders
    from jaxcompare.data.recipe import WORKERS, RecipeStream

    if cell.input == "recipe":
        with RecipeStream(dataset, training.batch_size, workers=WORKERS) as stream:
            yield stream.epoch
        return
    pipeline, _ = build_loaders(dataset, training, workers=0)
    yield lambda epoch: map(to_tensors, pipeline.epoch(epoch))
