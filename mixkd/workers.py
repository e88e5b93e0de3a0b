"""The start of a worker process. Nothing heavy is imported here, so that a worker knows its parent before it loads anything."""

from __future__ import annotations

import os
import threading
import time


def end_with(parent: int) -> None:
    """End this process within a second of its parent, even of one that was killed, or died before this was called.

    Args:
        parent: process id.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def start_worker(parent: int) -> None:
    """Give this process one thread, and end it with its parent.

    Args:
        parent: process id.
    """
    os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is loaded
    end_with(parent)
