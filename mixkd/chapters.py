"""Chapters as programs: which there are, the studies they read, their parameters, their notebooks for Colab.

The MyST text is the only source; `mixkd.execution` runs it, `mixkd.site` makes pages of it.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any

from mixkd.myst import GLUE, Page, sentence
from mixkd.spec import nearest
from mixkd.studies import load_profile

LIBRARY = Path(__file__).resolve().parent
ROOT = LIBRARY.parent
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
import sys

from mixkd.chapters import stop_at_unknown_parameters

stop_at_unknown_parameters()
if "google.colab" in sys.modules:
    profile, store = scale"""


def chapters(root: Path = ROOT) -> list[Path]:
    """Return the chapters of a book (pages that hold code), in the order of its ``_toc.yml``.

    Raises:
        FileNotFoundError: if ``_toc.yml`` or a page it lists is missing.
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
    """Return the names of the studies whose records a chapter reads: the ``studies`` of its front matter, and those of its claims.

    Args:
        name: of the chapter (``"07-overconfidence"``), or its number (``"07"``).

    Raises:
        ValueError: for an unknown chapter, with the nearest; or one that reads no study.
    """
    studies = _studies(path := find(name))
    if not studies:
        raise ValueError(f"chapter {path.stem!r}: reads no study, so there is nothing to train for it; `mixkd site` builds it")
    return studies


def _studies(path: Path) -> tuple[str, ...]:
    """Return the studies a page reads and those of the claims it judges; empty if it has neither."""
    from mixkd.claims import CLAIMS

    judged = [study for claim in CLAIMS.values() if claim.chapter == path.stem for study in claim.studies]
    return tuple(dict.fromkeys([*_front_matter(path).get("studies", ()), *judged]))


def parameters(chapter: str | Path) -> dict[str, Any]:
    """Return the parameters of a chapter and their defaults.

    They are the assignments in its one cell tagged ``parameters``: literals only, so that they can be read without running it.

    Raises:
        ValueError: unless there is exactly one such cell, and it holds nothing else.
    """
    path = find(chapter)
    cells = [cell for cell in notebook_of(path).cells if "parameters" in cell.metadata.get("tags", [])]
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
    """Return the names that a parameters cell assigns."""
    statements = ast.parse(source).body
    targets = [target for node in statements if isinstance(node, ast.Assign) for target in node.targets]
    targets += [node.target for node in statements if isinstance(node, ast.AnnAssign)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def pair(chapter: str | Path, repository: str | None = None) -> Path:
    """Write the notebook of a chapter beside it, without outputs: what the Colab button opens.

    The same text gives the same bytes. A cell installs the project on Colab; what only a book shows becomes plain Markdown.

    Args:
        chapter: path, or name in this book.
        repository: its address, which the first cell fetches; None keeps what the notebook had, "" makes the cell ask for it.
    """
    path = find(chapter)
    out = path.with_suffix(".ipynb")
    out.write_text(paired(path, stamped(out) if repository is None else repository), encoding="utf-8")
    return out


def stamped(notebook: Path) -> str:
    """Return the repository's address in a paired notebook; "" if there is none."""
    match = re.search(r'REPOSITORY = \\"(.*?)\\"', notebook.read_text(encoding="utf-8")) if notebook.is_file() else None
    return match[1] if match else ""


def paired(chapter: str | Path, repository: str = "") -> str:
    """Return the text of the notebook that `pair` writes.

    The title and the first paragraph come first, then the cell for Colab, the parameters, and all set-up in one folded cell.

    Raises:
        ValueError: for a directive, a role or a reference of the chapter that has no plain form.
    """
    import nbformat
    from nbformat import v4

    path = find(chapter)
    notebook = notebook_of(path)
    page = Page(path, "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown"))
    opening: list[str] = []
    given: list[Any] = []
    setup = [_COLAB_SCALE] if {"profile", "store"} <= set(parameters(path)) else []
    body: list[Any] = []
    for cell in notebook.cells:
        tags = cell.metadata.get("tags", [])
        if cell.cell_type == "markdown":
            for glued, text in page.cells(cell.source):
                if glued:
                    body.append(v4.new_code_cell(sentence(text), metadata=_folded("remove-input")))
                    continue
                while text and not body and (not opening or opening[-1].startswith("#")):  # up to the first sentence
                    first, _, text = text.partition("\n\n")
                    opening.append(first)
                body += [v4.new_markdown_cell(text)] if text else []
        elif "parameters" in tags:
            given.append(cell)
        elif "remove-cell" in tags and not body:
            setup.append(cell.source)
        else:
            if {"remove-cell", "remove-input"} & set(tags):
                cell.metadata.update(_folded(*tags))
            body.append(cell)
    at_colab = {"tags": ["remove-cell"], "jupyter": {"source_hidden": True}}  # open on Colab: its settings are the reader's
    cells = [
        v4.new_markdown_cell("\n\n".join(opening)),
        v4.new_code_cell(_COLAB.format(repository=json.dumps(repository), studies=json.dumps(_studies(path))), metadata=at_colab),
        *given,
        *([v4.new_code_cell("# @title Set-up\n" + "\n\n".join(setup), metadata=_folded("remove-cell"))] if setup else []),
        *body,
        *([v4.new_markdown_cell(works)] if (works := page.references()) else []),
    ]
    for number, cell in enumerate(cells):
        cell.id = f"c{number:03d}"
        if cell.cell_type == "code":
            cell.source = cell.source.replace("from myst_nb import glue\n", f"{GLUE}\n")
            cell.outputs, cell.execution_count = [], None
    header = {"kernelspec": notebook.metadata.get("kernelspec", {}), "language_info": {"name": "python"}}
    return str(nbformat.writes(v4.new_notebook(cells=cells, metadata=header, nbformat_minor=5))) + "\n"


def _folded(*tags: str) -> dict[str, Any]:
    """Metadata of a cell of which Jupyter and Colab show what it prints, and its code on demand."""
    return {"tags": list(tags), "jupyter": {"source_hidden": True}, "cellView": "form"}


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
    named = (p for p in place.rglob("*") if p.suffix not in {".pyc", ".lock", ".tmp"})
    kept = (p for p in named if not any(part.startswith(".") or part == "__pycache__" for part in p.relative_to(place).parts))
    return filter(Path.is_file, kept)


def _pages(toc: Mapping[str, Any]) -> Iterable[str]:
    """Yield the pages of a table of contents, depth first."""
    if page := toc.get("root") or toc.get("file"):
        yield str(page)
    for key in ("parts", "subtrees", "chapters", "sections", "entries"):
        for entry in toc.get(key) or []:
            yield from _pages(entry)


def _front_matter(page: Path) -> Mapping[str, Any]:
    """Return the YAML front matter of a Markdown page; empty if there is none."""
    import yaml

    head = re.match(r"---\n(.*?)\n---\n", page.read_text(encoding="utf-8"), re.DOTALL)
    found = yaml.safe_load(head[1]) if head else None
    return found if isinstance(found, dict) else {}


def _is_notebook(path: Path) -> bool:
    """Whether a Markdown page says in its front matter that it is a notebook."""
    return path.suffix == ".md" and not {"jupytext", "kernelspec", "file_format"}.isdisjoint(_front_matter(path))


def notebook_of(path: Path) -> Any:
    """Return the notebook of a chapter, with cell ids that depend on its text only."""
    import jupytext

    notebook = jupytext.read(path, fmt="md:myst")
    for number, cell in enumerate(notebook.cells):
        cell.id = f"c{number:03d}"
    return notebook
