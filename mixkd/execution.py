"""Chapters run by papermill: one, or several side by side, each in the folder of its page."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mixkd.chapters import check, notebook_of
from mixkd.figures.markup import ABSENT

CELL_TIMEOUT = 1800
_SHOWN_LINES = 12


class ChapterError(RuntimeError):
    """A chapter stopped, or shows what is not there. The message names it, the cell, and the end of the traceback."""


@dataclass(frozen=True)
class Job:
    """One execution of a chapter.

    Attributes:
        chapter: its path.
        out: the ``.ipynb`` to write.
        parameters: by name; the others keep their defaults.
        strict: whether a figure or a table without its records is an error.
        note: kept in the metadata of the notebook, under ``mixkd``.
    """

    chapter: Path
    out: Path
    parameters: Mapping[str, Any] = field(default_factory=dict)
    strict: bool = False
    note: Mapping[str, Any] = field(default_factory=dict)


def execute(job: Job) -> None:
    """Run a chapter with parameters, and write the executed notebook.

    It runs in the folder of the chapter, as in a plain build. The notebook appears whole or not at all; of a chapter
    that stops, what ran lies beside it as ``<out>.failed.ipynb``.

    Raises:
        ValueError: from `check`, before anything runs.
        ChapterError: when a cell fails, takes longer than ``CELL_TIMEOUT`` seconds, or the kernel dies; where the job is strict, when
            records are missing.
    """
    import nbformat
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill import execute_notebook
    from papermill.exceptions import PapermillExecutionError

    path = job.chapter.resolve()
    check(path, job.parameters)
    job.out.parent.mkdir(parents=True, exist_ok=True)
    partial = job.out.with_suffix(".failed.ipynb").resolve()
    try:
        done = execute_notebook(
            notebook_of(path),
            partial,
            parameters=dict(job.parameters),
            execution_timeout=CELL_TIMEOUT,
            progress_bar=False,
            extra_arguments=["--Application.log_level=50"],  # the kernel's own remarks; what a cell prints is kept
            resources={"metadata": {"path": str(path.parent)}},  # moves the kernel alone; papermill's cwd would move every thread
        )
    except PapermillExecutionError as error:
        lines = "\n".join(re.sub(r"\x1b\[[0-9;]*m", "", line) for line in error.traceback).splitlines()
        tail = "\n".join(f"  {line}" for line in lines[-_SHOWN_LINES:])
        opening = next((line for line in error.source.splitlines() if line.strip()), "")
        raise ChapterError(
            f"chapter {path.stem}, cell {error.cell_index} (`{opening}`): {error.ename}: {error.evalue}\n{tail}\n  what ran: {partial}"
        ) from None
    except (CellTimeoutError, DeadKernelError) as error:
        raise ChapterError(f"chapter {path.stem}: {str(error).strip().splitlines()[0]}\n  what ran: {partial}") from None
    except RuntimeError as error:  # of jupyter_client: a kernel that died, or took too long, before its first cell
        raise ChapterError(f"chapter {path.stem}: {error}") from error
    if job.strict and (lacks := missing(done)):
        words = "\n".join(f"  {line}" for line in lacks)
        raise ChapterError(
            f"chapter {path.stem}: records are missing (--no-strict shows the page without them)\n{words}\n  what ran: {partial}"
        )
    partial.unlink()
    temporary = job.out.with_suffix(".tmp")
    done = _tidy(done)
    if job.note:
        done.metadata["mixkd"] = dict(job.note)
    nbformat.write(done, temporary)
    os.replace(temporary, job.out)


def missing(notebook: Any) -> list[str]:
    """Return what an executed notebook says in the places of figures and tables whose records are not there."""
    outputs = (output for cell in notebook.cells for output in cell.get("outputs", ()))
    shown = (output.get("data", {}) for output in outputs)
    return list(dict.fromkeys("".join(data["text/plain"]) for data in shown if ABSENT in "".join(data.get("text/html", ""))))


def execute_all(jobs: Sequence[Job], workers: int = 2) -> None:
    """Run jobs side by side, with progress.

    Args:
        jobs: all are checked before the first runs.
        workers: kernels at a time.

    Raises:
        ValueError: from `check`.
        ChapterError: after the others are done, naming every chapter that stopped.
    """
    failed = [str(error) for _, error in execute_each(jobs, workers) if error]
    if failed:
        raise ChapterError(f"{len(failed)} of {len(jobs)} chapters failed\n" + "\n".join(sorted(failed)))


def execute_each(jobs: Sequence[Job], workers: int = 2, executor: Executor | None = None) -> Iterator[tuple[Job, ChapterError | None]]:
    """Run jobs side by side, with progress, and yield each as it ends, with what stopped it if anything did.

    Args:
        jobs: all are checked before the first runs.
        workers: kernels at a time.
        executor: anything with ``submit``, instead of threads here; its workers must see the chapters and the folder of the outputs.

    Raises:
        ValueError: from `check`.
    """
    for job in jobs:
        check(job.chapter, job.parameters)
    with ExitStack() as stack:
        if executor is None:
            executor = ThreadPoolExecutor(max(1, min(workers, len(jobs))))  # threads that wait: the work is done in kernels
            stack.callback(executor.shutdown, cancel_futures=True)
        bar = stack.enter_context(tqdm(total=len(jobs), desc="chapters", unit="chapter", disable=None))
        running = {executor.submit(execute, job): job for job in jobs}
        for done in as_completed(running):
            bar.update()
            error = done.exception()
            if error is None or isinstance(error, ChapterError):
                yield running[done], error
            else:
                raise error


def _tidy(notebook: Any) -> Any:
    """Drop what changes from run to run; show papermill's cell no more than the one it overrides, folded at most."""
    notebook.metadata.pop("papermill", None)
    shown_as: list[str] = []
    for number, cell in enumerate(notebook.cells):
        cell.id = f"c{number:03d}"
        for key in ("papermill", "execution"):
            cell.metadata.pop(key, None)
        tags = cell.metadata.get("tags", [])
        if "parameters" in tags:
            shown_as = [tag for tag in tags if tag.startswith(("remove-", "hide-"))]
        elif "injected-parameters" in tags:
            cell.metadata["tags"] = [*tags, *(shown_as or ["hide-input"])]
    return notebook
