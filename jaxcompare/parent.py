"""A process that ends with the one that started it."""

import os
import threading
from multiprocessing import parent_process
from multiprocessing.connection import wait


def end_with_parent(worker: int = 0) -> None:
    """Have this process, one of multiprocessing's, end when its parent does, however that ends: kill -9 leaves it no
    time to say so, and a fork server's worker would not notice.

    Args:
        worker: the number that PyTorch calls a loader's worker with.
    """
    del worker
    parent = parent_process()
    assert parent is not None

    def wait_for_parent() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=wait_for_parent, daemon=True).start()
