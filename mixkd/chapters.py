"""Chapters as programs: their parameters, execution by papermill, paired notebooks for Colab.

The MyST text is the only source. This executes it and refuses to build pages (`mixkd.site`).
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mixkd.spec import nearest
from mixkd.studies import load_profile

LIBRARY = Path(__file__).resolve().parent
ROOT = LIBRARY.parent
CELL_TIMEOUT = 1800
_SHOWN_LINES = 12
_COLAB = """\
# Colab only: fetches the project, installs what Colab lacks, settles scale and store. Elsewhere this cell does nothing.
import os
import sys

REPOSITORY = {repository}  # where this notebook lies: "https://github.com/OWNER/NAME"
TRAIN = False  # True: first train what this page reads, at the scale chosen below; False: show the committed records
MINUTES = 180  # how long that may take; with the memory of the GPU it decides the scale
DRIVE = False  # True: records go to your Drive, so that a disconnected run resumes

if "google.colab" in sys.modules and not REPOSITORY and not os.path.isdir("/content/mixkd"):
    print("Set REPOSITORY above to the address this notebook was opened from, https://github.com/OWNER/NAME, and run this cell again.")
elif "google.colab" in sys.modules:
    if not os.path.isdir("/content/mixkd"):
        !git clone -q --depth 1 {{REPOSITORY}} /content/mixkd
    %pip install -q -e "/content/mixkd[notebook]"
    sys.path.insert(0, "/content/mixkd")
    os.chdir("/content/mixkd/book")
    from mixkd import colab

    scale = colab.start({studies}, train=TRAIN, minutes=MINUTES, drive=DRIVE)"""
_COLAB_SCALE = """\
from mixkd.chapters import stop_at_unknown_parameters

stop_at_unknown_parameters()
if "google.colab" in sys.modules:
    profile, store = scale"""


READS: Mapping[str, tuple[str, ...]] = {
    "index": ("all",),
    "01-smooth-boundaries": ("overconfidence", "temperature", "mixing"),
    "02-protocol": ("overconfidence", "teachers"),
    "03-teacher-off-distribution": ("teachers", "mixup_teachers", "controls"),
    "04-student-linearity": ("overconfidence", "linearity"),
    "05-imitation": ("teachers", "controls", "linearity"),
    "06-accuracy": ("overconfidence", "teachers", "accuracy", "duration"),
    "07-overconfidence": ("overconfidence", "mixing"),
    "08-calibration-propagates": ("propagation",),
    "09-temperature": ("overconfidence", "temperature"),
    "10-geometry": ("overconfidence",),
    "11-uncertainty": ("overconfidence",),
    "12-imagenet": ("all",),
    "13-known-truth": ("overconfidence", "teachers"),
    "14-authors-logs": (),
    "claims": ("all",),
    "reproduce": ("all",),
    "one-run": (),
    "own-images": (),
}
"""The studies whose records a chapter reads, beside those of the claims it judges; `studies_of` gives both."""


class ChapterError(RuntimeError):
    """A chapter stopped. The message names it, the cell, and the end of the traceback."""


def chapters(root: Path = ROOT) -> list[Path]:
    """The chapters of a book (pages that hold code), in the order of its ``_toc.yml``.

    Raises:
        FileNotFoundError: for a book without ``_toc.yml``, or a page of it that is not there.
    """
    import yaml

    toc = root / "_toc.yml"
    if not toc.is_file():
        raise FileNotFoundError(f"{toc}: no such file; a book's root folder holds it")
    found = []
    for page in _pages(yaml.safe_load(toc.read_text(encoding="utf-8"))):
        path = next((p for p in (root / f"{page}.md", root / page) if p.is_file()), None)
        if path is None:
            raise FileNotFoundError(f"{root / page}.md: {toc.name} lists this page, and it is not there")
        if _is_notebook(path):
            found.append(path)
    return found


def find(name: str | Path, root: Path = ROOT) -> Path:
    """Return a chapter by path, name (``"07-overconfidence"``) or number (``"07"``).

    Raises:
        ValueError: for an unknown name.
    """
    if Path(name).is_file():
        return Path(name)
    known = {path.stem: path for path in chapters(root)}
    wanted = str(name)
    numbered = [path for stem, path in known.items() if wanted.isdecimal() and stem.partition("-")[0] == wanted.zfill(2)]
    if wanted in known or len(numbered) == 1:
        return known.get(wanted) or numbered[0]
    raise ValueError(f"chapter {wanted!r}: there are {', '.join(known)}{nearest(wanted, known)}")


def studies_of(name: str) -> tuple[str, ...]:
    """Return the names of the studies that a chapter of this book reads, without duplicates.

    Args:
        name: of the chapter (``"07-overconfidence"``), or its number (``"07"``).

    Raises:
        ValueError: for an unknown chapter, with the nearest; or one that reads no study.
    """
    chapter = find(name).stem
    if chapter not in READS:
        raise ValueError(f"chapter {name!r}: there are {', '.join(READS)}{nearest(name, READS)}")
    if not (found := _studies(chapter)):
        raise ValueError(f"chapter {chapter!r}: reads no study, so there is nothing to train for it; `mixkd site` builds it")
    return found


def _studies(stem: str) -> tuple[str, ...]:
    """The studies a page reads and those of the claims it judges; none of a page that has neither."""
    from mixkd.claims import CLAIMS

    judged = [study for claim in CLAIMS.values() if claim.chapter == stem for study in claim.studies]
    return tuple(dict.fromkeys([*READS.get(stem, ()), *judged]))


def parameters(chapter: str | Path) -> dict[str, Any]:
    """The parameters of a chapter and their defaults.

    They are the assignments of its one cell tagged ``parameters``: literals only, so that they can be known without
    running it.

    Raises:
        ValueError: for no such cell, or more than one, or a cell that holds anything else.
    """
    path = find(chapter)
    cells = [cell for cell in _read(path).cells if "parameters" in cell.metadata.get("tags", [])]
    if len(cells) != 1:
        raise ValueError(f"{path.name}: one cell must be tagged 'parameters', there are {len(cells)}")
    found = {}
    for statement in ast.parse(cells[0].source).body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) | ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                try:
                    found[name] = ast.literal_eval(value)
                    continue
                except ValueError:
                    pass
        raise ValueError(f"{path.name}, parameters cell: {ast.unparse(statement)!r} must be `name = literal`")
    return found


def check(chapter: str | Path, given: Mapping[str, Any]) -> None:
    """Check parameters before anything runs.

    Raises:
        ValueError: for a name that the chapter does not have, a profile that does not exist, a value that is no text, number, boolean,
            list or table, or one of another type than the default (an int may stand for a float; a default None takes any).
    """
    path = find(chapter)
    defaults = parameters(path)
    for name, value in given.items():
        if name not in defaults:
            raise ValueError(_no_parameter(path.stem, name, defaults))
        if (fault := _fault(value)) is not None:
            raise ValueError(f"{path.stem}: parameter {name!r} {fault}")
        default = defaults[name]
        fits = type(value) is type(default) or (isinstance(default, float) and type(value) is int)
        if default is not None and not fits:
            kind = type(default).__name__
            raise ValueError(f"{path.stem}: parameter {name!r} must be {kind} like its default {default!r}, not {value!r}")
    if isinstance(profile := given.get("profile"), str):
        load_profile(profile)


def _no_parameter(stem: str, name: str, known: Iterable[str]) -> str:
    known = list(known)
    return f"{stem}: no parameter {name!r}; there are {', '.join(known)}{nearest(name, known)}"


def _fault(value: Any) -> str | None:
    """Why a value cannot be the parameter of a notebook, or None."""
    if isinstance(value, (list, tuple)):
        return next((fault for part in value if (fault := _fault(part))), None)
    if isinstance(value, Mapping):
        return _fault([*value, *value.values()])
    if isinstance(value, int) and abs(value) >= 2**63:
        return "is an integer of more than 64 bits"
    if value is None or isinstance(value, (str, int, float)):
        return None
    return f"is a {type(value).__name__}, {value}: write it in quotes" if hasattr(value, "isoformat") else f"is a {type(value).__name__}"


def stop_at_unknown_parameters() -> None:
    """Stop the notebook that calls this where papermill was given a parameter that it does not have.

    Papermill itself writes any name into a cell of its own, below the parameters cell, and goes on with the defaults of all others.
    Elsewhere than in a notebook that papermill executes this does nothing.

    Raises:
        ValueError: naming the parameters there are, and the nearest.
    """
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    cells = [str(cell) for cell in shell.user_ns.get("In", ())] if shell is not None else []
    for defaults, given in pairwise(cells):
        if given.startswith("# Parameters\n"):
            known = _assigned(defaults)
            for name in _assigned(given):
                if name not in known:
                    raise ValueError(_no_parameter("this chapter", name, known))


def _assigned(source: str) -> list[str]:
    """The names that a cell of parameters assigns."""
    statements = ast.parse(source).body
    targets = [target for node in statements if isinstance(node, ast.Assign) for target in node.targets]
    targets += [node.target for node in statements if isinstance(node, ast.AnnAssign)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def execute(chapter: str | Path, out: str | Path, /, note: Mapping[str, Any] | None = None, **given: Any) -> Path:
    """Run a chapter with parameters, and write the executed notebook.

    It runs in the folder of the chapter, as in a plain build. The notebook appears whole or not at all; of a chapter
    that stops, what ran lies beside it as ``<out>.failed.ipynb``.

    Args:
        chapter: path, or name in this book.
        out: the ``.ipynb`` to write.
        note: kept in the metadata of the notebook, under ``mixkd``.
        given: parameters by name; the others keep their defaults.

    Raises:
        ValueError: from `check`, before anything runs.
        ChapterError: when a cell fails, takes longer than ``CELL_TIMEOUT`` seconds, or the kernel dies.
    """
    import nbformat
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill import execute_notebook
    from papermill.exceptions import PapermillExecutionError

    path, out = find(chapter).resolve(), Path(out)
    check(path, given)
    notebook = _read(path)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_suffix(".failed.ipynb").resolve()
    try:
        done = execute_notebook(
            notebook,
            partial,
            parameters=given,
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
    partial.unlink()
    temporary = out.with_suffix(".tmp")
    done = _tidy(done)
    if note:
        done.metadata["mixkd"] = dict(note)
    nbformat.write(done, temporary)
    os.replace(temporary, out)
    return out


@dataclass(frozen=True)
class Job:
    """One execution: a chapter, the notebook to write, its parameters, and what is noted in the notebook about it."""

    chapter: Path
    out: Path
    parameters: Mapping[str, Any] = field(default_factory=dict)
    note: Mapping[str, Any] = field(default_factory=dict)


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
        running = {executor.submit(_run, job): job for job in jobs}
        for done in as_completed(running):
            bar.update()
            error = done.exception()
            if error is None or isinstance(error, ChapterError):
                yield running[done], error
            else:
                raise error


def pair(chapter: str | Path, repository: str | None = None) -> Path:
    """Write the notebook of a chapter beside it, without outputs: what the Colab button opens.

    The same text gives the same bytes. A first cell installs the project on Colab; roles that only a book knows become
    plain words.

    Args:
        chapter: path, or name in this book.
        repository: its address, which the first cell fetches; None keeps what the notebook had, "" makes the cell ask for it.
    """
    path = find(chapter)
    out = path.with_suffix(".ipynb")
    out.write_text(paired(path, stamped(out) if repository is None else repository), encoding="utf-8")
    return out


def stamped(notebook: Path) -> str:
    """The repository's address in the first cell of a paired notebook; "" where there is none."""
    match = re.search(r'REPOSITORY = \\"(.*?)\\"', notebook.read_text(encoding="utf-8")) if notebook.is_file() else None
    return match[1] if match else ""


def paired(chapter: str | Path, repository: str = "") -> str:
    """The text of the notebook that `pair` writes."""
    import nbformat
    from nbformat import v4

    path = find(chapter)
    notebook = _read(path)
    hidden = {"tags": ["remove-cell"]}
    first = _COLAB.format(repository=json.dumps(repository), studies=json.dumps(_studies(path.stem)))
    cells = [v4.new_code_cell(first, metadata=hidden)]
    for cell in notebook.cells:
        cells.append(cell)
        if "parameters" in cell.metadata.get("tags", []) and {"profile", "store"} <= set(parameters(path)):
            cells.append(v4.new_code_cell(_COLAB_SCALE, metadata=hidden))
    for number, cell in enumerate(cells):
        cell.id = f"c{number:03d}"
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"\{([a-z]+)(?::[a-z]+)?\}`([^`]+)`", _plain_role, cell.source)
        else:
            cell.outputs, cell.execution_count = [], None
    header = {"kernelspec": notebook.metadata.get("kernelspec", {}), "language_info": {"name": "python"}}
    return str(nbformat.writes(v4.new_notebook(cells=cells, metadata=header, nbformat_minor=5))) + "\n"


def fingerprint(*places: Path) -> str:
    """Hash of what chapters depend on beside their text: files, and the versions of the packages that compute and draw.

    Args:
        places: files or folders; one that is missing counts as empty. Hidden files do not count: what is half written, checkpoints,
            locks, and heavy weights, each of which belongs to a record that counts.
    """
    digest = hashlib.blake2b(digest_size=12)
    for package in ("numpy", "pandas", "plotly", "scikit-learn", "scipy", "torch"):
        digest.update(f"{package} {metadata.version(package)}\n".encode())
    for place in places:
        for path in sorted(_files(place)):
            try:
                content = path.read_bytes()
            except FileNotFoundError:  # somebody trains into this place
                continue
            digest.update(f"{path.relative_to(place.parent).as_posix()}\n".encode())
            digest.update(hashlib.blake2b(content).digest())
    return digest.hexdigest()


def _files(place: Path) -> Iterable[Path]:
    if place.is_file():
        return [place]
    made = {".pyc", ".lock", ".tmp"}
    return (p for p in place.rglob("*") if p.suffix not in made and _counts(p.relative_to(place).parts) and p.is_file())


def _counts(parts: Sequence[str]) -> bool:
    return not any(part.startswith(".") or part == "__pycache__" for part in parts)


def _pages(toc: Mapping[str, Any]) -> Iterable[str]:
    """The pages of a table of contents, depth first."""
    if page := toc.get("root") or toc.get("file"):
        yield str(page)
    for key in ("parts", "subtrees", "chapters", "sections", "entries"):
        for entry in toc.get(key) or []:
            yield from _pages(entry)


def _is_notebook(path: Path) -> bool:
    """Whether a Markdown page says in its front matter that it is a notebook."""
    head = re.match(r"---\n(.*?)\n---\n", path.read_text(encoding="utf-8"), re.DOTALL)
    return (
        path.suffix == ".md" and head is not None and re.search(r"^(jupytext|kernelspec|file_format):", head[1], re.MULTILINE) is not None
    )


def _read(path: Path) -> Any:
    """The notebook of a chapter, with cell ids that depend on its text only."""
    import jupytext

    notebook = jupytext.read(path, fmt="md:myst")
    for number, cell in enumerate(notebook.cells):
        cell.id = f"c{number:03d}"
    return notebook


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


def _run(job: Job) -> None:
    execute(job.chapter, job.out, note=job.note, **job.parameters)


def _plain_role(match: re.Match[str]) -> str:
    role, body = match[1], match[2]
    words = re.sub(r"\s*<[^>]*>$", "", body)
    if role in {"term", "doc", "ref", "numref"}:
        return words
    if role == "cite":
        return f"[{words}]"
    return f"`{words.split('::')[-1]}`" if role == "glue" else match[0]
