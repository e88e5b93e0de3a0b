"""The site: chapters run by papermill, a staged copy of the book, Jupyter Book over it, the result put in place whole.

A plain `jupyter-book build .` makes the same pages from the chapters' defaults. Nothing is trained: chapters read records.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from filelock import FileLock

from mixkd.chapters import LIBRARY, ROOT, chapters, fingerprint, parameters
from mixkd.execution import Job, execute_all
from mixkd.store import RecordStore
from mixkd.studies import load_profile

_KEPT = 3  # executed notebooks kept for each chapter, so that going back to a profile costs nothing
_JUPYTER_BOOK = "from jupyter_book.cli.main import main; main(prog_name='jupyter-book')"


class SiteError(RuntimeError):
    """Jupyter Book refused the pages. The message holds its warnings."""


def build(
    profile: str = "digits",
    store: str | Path = "committed",
    *,
    out: str | Path | None = None,
    strict: bool = False,
    root: Path = ROOT,
) -> Path:
    """Build the site.

    A chapter runs again only when its text, its parameters, the library or the records changed. A build that fails
    leaves the former site as it was.

    Args:
        profile: the scale the chapters show.
        store: the records they read: "committed", or a folder.
        out: the folder of the site; ``_build/html`` of the book by default.
        strict: stop at a page with a figure or a table whose records are not there, which says so otherwise.
        root: the book: the folder of ``_toc.yml``.

    Returns:
        The ``index.html`` of the site.

    Raises:
        ValueError: for an unknown profile.
        FileNotFoundError: for a store that is not there.
        FileExistsError: when ``out`` is a folder that holds something other than a site.
        mixkd.execution.ChapterError: naming each chapter that stopped, its cell, and the end of the traceback.
        SiteError: with the warnings of Jupyter Book; each is an error.
    """
    load_profile(profile)
    root = Path(root).resolve()
    folder = None if str(store) == "committed" else RecordStore(store).path.resolve()
    if folder is not None and not folder.is_dir():
        raise FileNotFoundError(f"store {str(store)!r}: no folder {folder}; `mixkd reproduce` fills one, 'committed' ships with the book")
    work = root / "_build"
    site = Path(out).resolve() if out else work / "html"
    if site.exists() and any(site.iterdir()) and not (site / "searchindex.js").is_file():
        raise FileExistsError(f"out {site}: holds something other than a site; name an empty or a new folder")
    work.mkdir(exist_ok=True)
    with FileLock(work / "site.lock"):
        _put_back(site)
        executed = _execute(root, profile, folder, work / "executed", strict)
        stamp, library = work / "staged.library", fingerprint(LIBRARY)
        gone = _stage(root, work / "stage", executed)
        if gone or not stamp.is_file() or stamp.read_text() != library:
            # Sphinx would keep the page of a chapter that is gone, and pages that a former library had a hand in.
            shutil.rmtree(work / "staged", ignore_errors=True)
        stamp.write_text(library)
        made = _jupyter_book(work / "stage", work / "staged", root)
        _replace(made, site)
        if site == work / "html":
            # Sphinx's notes of a plain build would call these pages its own, and up to date.
            shutil.rmtree(work / ".doctrees", ignore_errors=True)
    return site / "index.html"


def serve(folder: str | Path, port: int = 8000) -> None:
    """Serve a folder on this machine only, until interrupted; takes the next free port when ``port`` is taken."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    for candidate in range(port, port + 20):
        try:
            server = ThreadingHTTPServer(("127.0.0.1", candidate), handler)
        except OSError:
            continue
        with server:
            print(f"http://127.0.0.1:{candidate}/ (Ctrl-C ends it)", flush=True)
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                return
    raise OSError(f"no free port from {port} to {port + 19}")


FOUND = ("<!-- found -->", "<!-- /found -->")
"""Between these lines of the README stand sentences that `readme` writes."""


def readme(store: str | Path = "committed", root: Path = ROOT) -> list[Path]:
    """Write what was found into the README, and its picture of the map: the sentences and the map of the book's first page.

    Args:
        store: the records they are computed from: "committed", or a folder.
        root: the folder of ``README.md`` and ``book``.

    Returns:
        What was written: the README, and the picture where a record of some cell of the map is there.

    Raises:
        ValueError: for a README without the two lines of :data:`FOUND`.
    """
    from mixkd import claims, figures

    path, surveys = root / "README.md", claims.survey(store=store)
    text = path.read_text(encoding="utf-8")
    if not all(mark in text for mark in FOUND):
        raise ValueError(f"{path}: no lines {FOUND[0]} and {FOUND[1]} for the sentences to stand between")
    before, _, rest = text.partition(FOUND[0])
    path.write_text(f"{before}{FOUND[0]}\n{figures.found(surveys)!r}\n{FOUND[1]}{rest.partition(FOUND[1])[2]}", encoding="utf-8")
    if not surveys:
        return [path]
    picture = root / "book" / "assets" / "map.svg"
    picture.write_text(figures.map_svg(surveys[0]), encoding="utf-8")
    return [path, picture]


def repository(root: Path = ROOT, environment: Mapping[str, str] = os.environ) -> tuple[str, str] | None:
    """Web address and branch of the book's repository; None where neither CI nor git tells, and nothing is invented.

    Only GitHub and GitLab addresses count, as the pages' buttons know no others. Credentials in a remote's address are
    dropped.
    """
    address: str | None
    if environment.get("GITHUB_REPOSITORY"):
        address = f"{environment.get('GITHUB_SERVER_URL', 'https://github.com')}/{environment['GITHUB_REPOSITORY']}"
        branch = environment.get("GITHUB_HEAD_REF") or environment.get("GITHUB_REF_NAME")
    elif environment.get("CI_PROJECT_URL"):
        address, branch = environment["CI_PROJECT_URL"], environment.get("CI_COMMIT_REF_NAME")
    else:
        address, branch = _git(root, "remote", "get-url", "origin"), _git(root, "rev-parse", "--abbrev-ref", "HEAD")
    host_and_path = r"([\w.-]*(?:github|gitlab)[\w.-]*\.\w+)[:/]([\w./-]+?)(?:\.git)?/?"
    match = re.fullmatch(rf"(?:https?://(?:[^@/]*@)?|(?:ssh://)?git@){host_and_path}", address or "")
    if not match:
        return None
    return f"https://{match[1]}/{match[2]}", branch if branch and branch != "HEAD" else "main"


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _execute(root: Path, profile: str, folder: Path | None, executed: Path, strict: bool) -> dict[Path, Path]:
    """Execute the chapters that changed; return the executed notebook of every chapter."""
    state = fingerprint(LIBRARY, root / "book" / "records", *([folder] if folder else []))
    found, missing = {}, []
    for chapter in chapters(root):
        known = parameters(chapter)
        # Relative, as a notebook that a reader downloads must not name this machine's folders.
        where = "committed" if folder is None else Path(os.path.relpath(folder, chapter.parent)).as_posix()
        asked = {"profile": profile, "store": where}
        given = {name: value for name, value in asked.items() if name in known and value != known[name]}
        key = hashlib.blake2b(digest_size=8)
        for part in (state, chapter.read_text(encoding="utf-8"), json.dumps([given, strict], sort_keys=True)):
            key.update(part.encode() + b"\0")
        out = executed / f"{chapter.stem}-{key.hexdigest()}.ipynb"
        found[chapter] = out
        if out.is_file():
            os.utime(out)
        else:
            missing.append(Job(chapter, out, given, strict))
    if missing:
        execute_all(missing)
    for chapter in found:
        versions = sorted(executed.glob(f"{chapter.stem}-{'?' * 16}.ipynb"), key=lambda p: p.stat().st_mtime)
        for old in versions[:-_KEPT]:
            old.unlink()
    return found


def _stage(root: Path, stage: Path, executed: Mapping[Path, Path]) -> bool:
    """Make a copy of the book with notebooks for chapters; returns whether a page is gone.

    Files that did not change keep their time, so that Sphinx skips them.
    """
    import yaml

    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    config["execute"] = {**config.get("execute", {}), "execute_notebooks": "off"}
    # The paired notebooks are no pages of a plain build; here the pages are notebooks.
    config["exclude_patterns"] = [p for p in config.get("exclude_patterns", []) if not p.endswith(".ipynb")]
    wanted = {
        Path("_toc.yml"): (root / "_toc.yml").read_bytes(),
        Path("_config.yml"): yaml.safe_dump(config, allow_unicode=True, sort_keys=False).encode(),
        **{chapter.relative_to(root).with_suffix(".ipynb"): notebook.read_bytes() for chapter, notebook in executed.items()},
    }
    for path in (root / "book").rglob("*"):
        inside = path.relative_to(root)
        if path.is_file() and path.suffix != ".ipynb" and path not in executed and inside.parts[1] != "records":
            wanted[inside] = path.read_bytes()
    gone = [path for path in stage.rglob("*") if path.is_file() and path.relative_to(stage) not in wanted]
    for path in gone:
        path.unlink()
    for inside, content in wanted.items():
        path = stage / inside
        if not path.is_file() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return bool(gone)


def _jupyter_book(stage: Path, output: Path, root: Path) -> Path:
    """Run Jupyter Book; returns the folder of pages it made."""
    options = ["--path-output", str(output), "-W", "-n", "--keep-going"]
    command = [sys.executable, "-c", _JUPYTER_BOOK, "build", str(stage), *options]
    environment = {**os.environ, "MIXKD_BOOK_ROOT": str(root), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, encoding="utf-8")
    if done.returncode:
        lines = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr).replace(f"{stage}{os.sep}", "").splitlines()
        warnings = [line for line in lines if "WARNING" in line or "ERROR" in line]
        raise SiteError("Jupyter Book failed:\n" + "\n".join(f"  {line}" for line in warnings or lines[-20:]))
    return output / "_build" / "html"


def _former(site: Path) -> Path:
    """Where a site lies from the moment it makes room until the next one is in its place."""
    return site.with_name(f".{site.name}.old")  # hidden, as a NAME.old beside it may be the user's


def _put_back(site: Path) -> None:
    """Put the former site back where a killed build had moved it away and got no further."""
    former = _former(site)
    if former.is_dir():
        with suppress(OSError):
            site.rmdir()  # where it is an empty folder, made since
        if not site.exists():
            former.rename(site)


def _replace(made: Path, site: Path) -> None:
    """Put a copy of the pages in place of a site, by two renames. A site that is there stays until the copy is whole."""
    _put_back(site)
    fresh, former = site.with_name(f".{site.name}.new"), _former(site)
    for leftover in (fresh, former):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        shutil.copytree(made, fresh)
        if site.exists():
            site.rename(former)
        fresh.rename(site)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        _put_back(site)
        raise
    shutil.rmtree(former, ignore_errors=True)
