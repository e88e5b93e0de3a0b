"""A Dask scheduler whose workers do the work: connect, check its workers, hand it on as an executor.

Dask adds workers, and gives what a lost one was doing to another. A worker sees no store: it trains in a temporary folder and returns
finished records (`mixkd.runs`), which the client writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any

PATIENCE = 60
"""Seconds to wait for an answer of the scheduler, and then for a first worker."""


def _installed() -> tuple[str, str | None]:
    """Return the version and the commit of the library where this runs."""
    import mixkd
    from mixkd.jobs import COMMIT

    return mixkd.__version__, COMMIT


@contextmanager
def connected(address: str) -> Iterator[Executor]:
    """Yield an executor that submits to the workers of a scheduler. What a lost worker was doing is done again by another.

    Args:
        address: such as ``tcp://head-node:8786``.

    Raises:
        ValueError: without Dask, or when a worker has another version of the library.
        ConnectionError: when no scheduler answers there, or it has no worker.
        RuntimeError: from inside, when one job lost several workers in a row: it does not fit their memory, say.
    """
    try:
        from distributed import Client, KilledWorker
    except ImportError:
        raise ValueError("--scheduler needs Dask: pip install 'mixkd[dask]'") from None
    try:
        client: Any = Client(address, timeout=PATIENCE)
    except (OSError, ValueError) as error:
        raise ConnectionError(f"scheduler {address}: no answer ({error}); `dask scheduler` starts one and prints its address") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=PATIENCE)
        except TimeoutError:
            raise ConnectionError(f"scheduler {address}: has no worker; `dask worker {address} --nthreads 1` starts one") from None
        mine = _installed()
        for worker, theirs in client.run(_installed).items():
            if theirs[0] != mine[0] or (None not in (mine[1], theirs[1]) and theirs[1] != mine[1]):
                raise ValueError(f"worker {worker}: has mixkd {theirs[0]} of commit {theirs[1]}, here it is {mine[0]} of commit {mine[1]}")
        executor = client.get_executor(pure=False)
        try:
            yield executor
        except KilledWorker as error:
            raise RuntimeError(f"scheduler {address}: one job lost several workers in a row. {error}") from error
        finally:
            executor.shutdown(wait=False)
