"""A batch: one chapter, or several, under every combination of parameters; a notebook each, and one page about them all.

A notebook that stops harms no other. What is finished is not done again; how a notebook is executed is `mixkd.execution`'s business.
"""

from __future__ import annotations

import ast
import csv
import hashlib
import html
import io
import itertools
import json
import math
import os
import re
import time
import tomllib
import unicodedata
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from mixkd.chapters import LIBRARY, ROOT, check, find, fingerprint
from mixkd.execution import Job, execute_each
from mixkd.spec import nearest

_NAME_LENGTH = 120
_MOST = 100_000  # notebooks of one grid
_KEYS = ("chapters", "parameters", "also")


@dataclass(frozen=True)
class Outcome:
    """One execution of a batch.

    Attributes:
        job: what was to be done.
        state: "done", "kept" (of an earlier call) or "failed".
        results: the numbers and words that the chapter glued, by name.
        error: what stopped it, or "".
    """

    job: Job
    state: str
    results: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""


def grid(path: str | Path, out: str | Path, root: Path = ROOT) -> list[Job]:
    """Read a batch: chapters, and lists of values for their parameters; every combination is one job.

    .. code-block:: toml

        chapters = ["one-run"]
        [parameters]
        arm = ["kd", "kd_mixup"]
        seed = [0, 1]
        [[also]]            # single ones outside the grid
        chapter = "one-run"
        arm = "ce"

    Args:
        path: the TOML file.
        out: folder of the executed notebooks, each named by its chapter and parameters.
        root: the book.

    Raises:
        ValueError: for other keys, values that are not lists, the same notebook twice, or anything `check` refuses.
    """
    try:
        given = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, thousands of digits or brackets
        raise ValueError(f"{path}: {error}") from None
    if unknown := sorted(set(given) - set(_KEYS)):
        raise ValueError(f"{path}: no key {unknown[0]!r}; there are {', '.join(_KEYS)}{nearest(unknown[0], _KEYS)}")
    names, lists, single = given.get("chapters", []), given.get("parameters", {}), given.get("also", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or not (names or single):
        raise ValueError(f"{path}: chapters must list at least one chapter, by name; it is {names!r}")
    if not isinstance(lists, dict):
        raise ValueError(f"{path}: parameters must be a table of lists, not {lists!r}")
    if not isinstance(single, list) or not all(isinstance(entry, dict) for entry in single):
        raise ValueError(f"{path}: also must be tables, each under [[also]], not {single!r}")
    for name, values in lists.items():
        if not isinstance(values, list) or not values:
            raise ValueError(f"{path}: parameter {name!r} must be a list of values, not {values!r}")
    if (count := len(names) * math.prod(map(len, lists.values()))) > _MOST:
        raise ValueError(f"{path}: asks for {count:,} notebooks; a grid may have {_MOST:,} at most")
    combinations = [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]
    asked = [(name, combination) for name in names for combination in combinations]
    for entry in single:
        if not isinstance(entry.get("chapter"), str):
            raise ValueError(f"{path}: each [[also]] must name its chapter")
        asked.append((entry["chapter"], {name: value for name, value in entry.items() if name != "chapter"}))
    jobs = []
    for name, parameters in asked:
        chapter = find(name, root)
        check(chapter, parameters)
        jobs.append(Job(chapter, Path(out) / f"{_name(chapter.stem, parameters)}.ipynb", parameters))
    if len({job.out for job in jobs}) < len(jobs):
        raise ValueError(f"{path}: the same chapter with the same parameters is asked for twice")
    return jobs


def run(
    jobs: Sequence[Job],
    out: str | Path,
    *,
    workers: int = 2,
    force: bool = False,
    strict: bool = True,
    executor: Executor | None = None,
) -> list[Outcome]:
    """Execute a batch, and write ``index.html``, ``results.csv`` and ``results.json`` into its folder, anew after each notebook.

    Args:
        jobs: from `grid`.
        out: the folder of the notebooks.
        workers: notebooks side by side.
        force: do finished ones again. Otherwise a notebook is kept whose chapter, parameters and library are the same.
        strict: count a notebook as failed that shows a figure or a table without its records.
        executor: anything with ``submit``, instead of processes here.

    Returns:
        An outcome for each job, in their order.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    library = fingerprint(LIBRARY)
    jobs = [replace(job, strict=strict, note=_note(job, strict, library)) for job in jobs]
    outcomes: dict[Path, Outcome] = {}
    for job in jobs:
        kept = None if force else _read(job.out)
        if kept is not None and kept.metadata.get("mixkd", {}).get("key") == job.note["key"]:
            outcomes[job.out] = Outcome(job, "kept", results(kept))
    todo = [job for job in jobs if job.out not in outcomes]
    _write(out, jobs, outcomes)
    if todo:
        for job, error in execute_each(todo, workers, executor):
            failed = job.out.with_suffix(".failed.ipynb")
            if error is None:
                failed.unlink(missing_ok=True)  # of an earlier call
                outcomes[job.out] = Outcome(job, "done", results(_read(job.out)))
            else:
                job.out.unlink(missing_ok=True)  # made by another text or library: no result of this batch
                outcomes[job.out] = Outcome(job, "failed", results(_read(failed)), str(error))
            _write(out, jobs, outcomes)
    return [outcomes[job.out] for job in jobs]


def results(notebook: Any) -> dict[str, Any]:
    """Return the numbers and words that a notebook glued, by name, without figures and tables."""
    found: dict[str, Any] = {}
    for cell in notebook.cells if notebook is not None else ():
        for output in cell.get("outputs", ()):
            name = output.get("metadata", {}).get("scrapbook", {}).get("name")
            text = next((value for mime, value in output.get("data", {}).items() if mime.endswith("text/plain")), None)
            if name is None or text is None:
                continue
            try:
                value = ast.literal_eval(re.sub(r"^np\.\w+\((.*)\)$", r"\1", text))
            except (ValueError, SyntaxError):
                continue
            if isinstance(value, (int, float, str, bool)):
                found[name] = value
    return found


def _name(stem: str, parameters: Mapping[str, Any]) -> str:
    """Return a file name that holds chapter and parameters; a digest keeps names that had to be altered distinct."""
    words = [stem, *(f"{name}={value}" for name, value in parameters.items())]
    name = re.sub(r"[^\w=.,+-]+", "-", "_".join(words))
    if name == "_".join(words) and len(name) <= _NAME_LENGTH:
        return name
    digest = hashlib.blake2b(json.dumps(words).encode(), digest_size=4).hexdigest()
    return f"{name[:_NAME_LENGTH]}_{digest}"


def _note(job: Job, strict: bool, library: str) -> dict[str, Any]:
    key = hashlib.blake2b(digest_size=12)
    for part in (library, job.chapter.read_text(encoding="utf-8"), json.dumps([dict(job.parameters), strict], sort_keys=True)):
        key.update(part.encode() + b"\0")
    return {"chapter": job.chapter.stem, "parameters": dict(job.parameters), "key": key.hexdigest()}


def _read(path: Path) -> Any:
    """Read a notebook; None if it cannot be read."""
    import nbformat

    try:
        return nbformat.read(path, as_version=4)
    except (OSError, ValueError, nbformat.ValidationError):
        return None


def _write(out: Path, jobs: Sequence[Job], outcomes: Mapping[Path, Outcome]) -> None:
    rows: list[dict[str, Any]] = []
    for job in jobs:
        outcome = outcomes.get(job.out)
        state = outcome.state if outcome else "to do"
        shown = job.out.with_suffix(".failed.ipynb") if state == "failed" else job.out
        rows.append(
            {
                "notebook": shown.name if state != "to do" else "",
                "chapter": job.chapter.stem,
                "state": state,
                "parameters": dict(job.parameters),
                "results": dict(outcome.results) if outcome else {},
                "error": outcome.error if outcome else "",
            }
        )
    names = list(dict.fromkeys(name for row in rows for name in row["parameters"]))
    values = list(dict.fromkeys(name for row in rows for name in row["results"]))
    table = [["chapter", *names, "state", *values, "notebook", "error"]]
    for row in rows:
        given, made = ([row[part].get(name, "") for name in columns] for part, columns in (("parameters", names), ("results", values)))
        table.append([row["chapter"], *given, row["state"], *made, row["notebook"], row["error"].partition("\n")[0]])
    _replace(out / "results.json", json.dumps(rows, indent=1) + "\n")
    written = io.StringIO(newline="")
    csv.writer(written).writerows(map(_harmless, row) for row in table)
    _replace(out / "results.csv", written.getvalue())
    _replace(out / "index.html", _page(out.resolve().name, rows, names, values))


def _harmless(value: Any) -> Any:
    """Return a CSV cell that no spreadsheet takes for a formula: text that begins like one gets an apostrophe in front."""
    if not isinstance(value, str):
        return value
    seen = next((each for each in value if each.isprintable() and not each.isspace()), "")
    if unicodedata.normalize("NFKC", seen) not in ("=", "+", "-", "@"):  # the wide forms are taken for them, too
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}")
    partial.write_text(text, encoding="utf-8", newline="")
    os.replace(partial, path)


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --line: #8884; --bad: light-dark(#b3261e, #ff8a80); --quiet: light-dark(#5a5f66, #a3a9b3); }}
body {{ font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }}
h1 {{ font-size: 1.5rem; margin: 0; }} p {{ color: var(--quiet); margin: .3rem 0 1.2rem; }}
.wide {{ overflow-x: auto; }} .wide:focus-visible {{ outline: 2px solid; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ border-bottom: 1px solid var(--line); padding: .35rem .8rem .35rem 0; text-align: left; white-space: nowrap; }}
td.n, th.n {{ text-align: right; }} td.failed {{ color: var(--bad); font-weight: 600; }} td.kept, td.todo {{ color: var(--quiet); }}
details {{ margin: .8rem 0; }} summary {{ cursor: pointer; color: var(--bad); }} pre {{ overflow-x: auto; font-size: .85rem; }}
</style></head><body>
<h1>{title}</h1>
<p>{summary} &middot; {time} &middot; <a href="results.csv">results.csv</a> &middot; <a href="results.json">results.json</a></p>
<div class="wide" tabindex="0" role="region" aria-label="Results"><table>
<thead><tr>{head}</tr></thead>
<tbody>
{body}
</tbody></table></div>
{failures}
</body></html>
"""


def _page(name: str, rows: Sequence[Mapping[str, Any]], names: Sequence[str], values: Sequence[str]) -> str:
    """Render the page about a batch: its table and the errors of failed runs. It loads nothing from elsewhere."""

    def cell(value: Any, kind: str = "") -> str:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        text = f"{value:.4g}" if isinstance(value, float) else str(value)
        return f'<td class="{kind or "n" * number}">{html.escape(text)}</td>'

    # parameters that all rows share are shown once
    common = {name: rows[0]["parameters"].get(name) for name in names if len({repr(row["parameters"].get(name)) for row in rows}) == 1}
    common = common if len(rows) > 1 else {}
    names = [name for name in names if name not in common]
    body = []
    for row in rows:
        chapter = html.escape(row["chapter"])
        link = f'<a href="{html.escape(row["notebook"])}">{chapter}</a>' if row["notebook"] else chapter
        given = "".join(cell(row["parameters"].get(column, "")) for column in names)
        made = "".join(cell(row["results"].get(column, "")) for column in values)
        body.append(f"<tr><td>{link}</td>{given}{cell(row['state'], row['state'].replace(' ', ''))}{made}</tr>")
    numeric = {
        column: any(isinstance(row[part].get(column), (int, float)) for row in rows)
        for part, columns in (("parameters", names), ("results", values))
        for column in columns
    }
    head = "".join(
        f'<th scope="col" class="{"n" * numeric.get(column, False)}">{html.escape(column)}</th>'
        for column in ("chapter", *names, "state", *values)
    )
    failures = "\n".join(
        f"<details><summary>{html.escape(row['error'].partition(chr(10))[0])}</summary><pre>{html.escape(row['error'])}</pre></details>"
        for row in rows
        if row["error"]
    )
    count = {state: sum(row["state"] == state for row in rows) for state in ("done", "kept", "failed", "to do")}
    summary = ", ".join(f"{number} {state}" for state, number in count.items() if number)
    if common:
        summary += " &middot; all with " + ", ".join(f"{name} = {html.escape(str(value))}" for name, value in common.items())
    now = time.strftime("%Y-%m-%d %H:%M")
    return _PAGE.format(title=f"Batch {html.escape(name)}", summary=summary, time=now, head=head, body="\n".join(body), failures=failures)
