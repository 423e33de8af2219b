"""What a user sees of training while it goes on."""

from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from jaxcompare.records import RunRecord


class ProgressBar:
    """The progress bar of one model's runs, and a line for each epoch."""

    def __init__(self, screen: "Console", label: str, epochs: int, batches: int):
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("batches"))
        self._bar = Progress(*columns, TimeRemainingColumn(), console=screen, transient=True, refresh_per_second=2)
        self._label, self._epochs, self._batches, self._epoch = label, epochs, batches, 0
        self._task = self._bar.add_task(f"{label} compiling", total=epochs * batches)

    def show_step(self, done: int) -> None:
        description = f"{self._label} epoch {self._epoch + 1}/{self._epochs}"
        self._bar.update(self._task, completed=self._epoch * self._batches + done, description=description)

    def show_epoch(self, records: Sequence["RunRecord"]) -> None:
        """Of several seeds, their mean."""
        epoch = len(records[0].history.train_loss)
        if not self._epoch:
            compile_time_s, compiled = records[0].compile_time_s, records[0].compiled
            self._bar.console.print(f"{self._label} compiled in {compile_time_s:.1f} s ({compiled} cache)")
        self._epoch = epoch
        last = {name: fmean(getattr(r.history, name)[-1] for r in records) for name in vars(records[0].history)}
        self._bar.console.print(
            f"{self._label} epoch {self._epoch:>{len(str(self._epochs))}}/{self._epochs}  "
            f"loss {last['train_loss']:.4f}  train {100 * last['train_accuracy']:5.2f} %  "
            f"test {100 * last['test_accuracy']:5.2f} %  {last['epoch_time_s'] * len(records):.1f} s"
        )

    def __enter__(self) -> "ProgressBar":
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()
