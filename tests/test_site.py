"""The site, on a miniature book: both ways to the same pages, nothing stale, nothing from outside, nothing half
done."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import ProxyHandler, build_opener

import pytest
from miniature import write

from mixkd import chapters, site
from mixkd.execution import ChapterError


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A miniature book, built by papermill; for it the library is one file that does not change."""
    book = write(tmp_path_factory.mktemp("staged"))
    library = tmp_path_factory.mktemp("library")
    (library / "a.py").write_text("1")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(site, "LIBRARY", library)
        index = site.build(root=book)
        assert index == book / "_build" / "html" / "index.html"
        yield book


def _plain(book: Path) -> subprocess.CompletedProcess:
    command = "from jupyter_book.cli.main import main; main(prog_name='jupyter-book')"
    return subprocess.run(
        [sys.executable, "-c", command, "build", ".", "-W", "-n", "--keep-going"],
        cwd=book, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def _pages(book: Path) -> dict[str, str]:
    html = book / "_build" / "html"
    return {path.relative_to(html).as_posix(): path.read_text(encoding="utf-8") for path in sorted(html.glob("book/*.html"))}


def _runs(book: Path) -> set[tuple[str, int]]:
    return {(path.name, path.stat().st_ino) for path in (book / "_build" / "executed").glob("*.ipynb")}


@pytest.mark.slow
def test_a_plain_build_makes_the_same_pages(built, tmp_path):
    book = write(tmp_path)
    done = _plain(book)
    assert done.returncode == 0, done.stderr
    ours, plain = _pages(built), _pages(book)
    assert ours.keys() == plain.keys()
    for name in ours:
        words = [
            re.sub(r"<script.*?</script>|<[^>]+>|\s+", " ", re.search(r"<article.*?</article>", page[name], re.DOTALL)[0], flags=re.DOTALL)
            for page in (ours, plain)
        ]
        assert words[0].split() == words[1].split(), name


@pytest.mark.slow
def test_a_plain_build_never_shows_an_older_library(tmp_path, monkeypatch):
    book = write(tmp_path)
    (book / "_toc.yml").write_text("format: jb-book\nroot: book/page\n")
    (book / "book" / "records").mkdir()
    (book / "book" / "records" / "value").write_text("first")
    header = (book / "book" / "index.md").read_text().split("# A miniature")[0]
    (book / "book" / "page.md").write_text(f"{header}# Page\n\n```{{code-cell}} ipython3\nprint(open('records/value').read())\n```\n")
    assert _plain(book).returncode == 0
    assert "first" in _pages(book)["book/page.html"]
    (book / "book" / "records" / "value").write_text("second")
    assert _plain(book).returncode == 0
    assert "second" in _pages(book)["book/page.html"]
    assert len(list((book / "_build" / ".jupyter_cache").iterdir())) == 1


def test_pages_ask_for_nothing_outside_and_are_light(built):
    html = built / "_build" / "html"
    for name, page in _pages(built).items():
        addresses = re.findall(r"<(?:script|link|img)[^>]*?(?:src|href)=[\"']([^\"']+)", page)
        assert addresses
        assert not [address for address in addresses if re.match(r"(https?:)?//", address)], name
        for address in addresses:
            if not address.startswith(("#", "data:")):
                assert (html / "book" / address.split("?")[0].split("#")[0]).resolve().exists(), f"{name}: {address}"
        assert len(page.encode()) < 700_000
        scripts = re.findall(r"<script[^>]*src=[\"']([^\"'?]+)", page)
        assert len(scripts) == len(set(scripts))
        assert "Traceback" not in page
    assert (html / "_static" / "mathjax" / "tex-mml-chtml.js").is_file()


def test_glue_figures_numbers_references_and_the_models_of_a_lab_are_there(built):
    index, lab = _pages(built)["book/index.html"], _pages(built)["book/lab.html"]
    assert re.search(r"number of points is.*?40", index, re.DOTALL)
    assert re.search(r"there are.*?40.*?points, here.*?600", lab, re.DOTALL)
    assert index.count('class="book-plotly"') == index.count('<details class="book-data" open>') == 2
    assert "Fig. 1" in index
    sources = re.findall(r'data-src="([^"]+)"', lab)
    assert len(sources) == 4, "logits of three models not shown first, and labels where they are others"
    for source in sources:
        file = (built / "_build/html/book" / source).resolve()
        assert file.read_text().startswith(f'mixkdLive.provide("{file.stem}"')


def test_nothing_runs_again_without_a_reason(built):
    before, former = _runs(built), (built / "_build" / "html" / "index.html").stat().st_ino
    site.build(root=built)
    assert _runs(built) == before
    assert (built / "_build" / "html" / "index.html").stat().st_ino != former, "the site is put in place anew"


def test_every_reason_makes_chapters_run_again(built, tmp_path, monkeypatch):
    class Asked(Exception):
        pass

    def refuse(jobs):
        raise Asked(sorted(job.chapter.stem for job in jobs))

    def asks(**options):
        with pytest.raises(Asked) as caught:
            site.build(root=built, **options)
        return caught.value.args[0]

    monkeypatch.setattr(site, "execute_all", refuse)
    monkeypatch.setattr(site, "_jupyter_book", lambda *_: built / "_build" / "staged" / "_build" / "html")
    site.build(root=built)
    assert asks(profile="gaussians") == ["index", "lab"]
    assert asks(store=tmp_path) == ["index", "lab"]
    assert asks(strict=True) == ["index", "lab"]
    for path, text, chapters_asked in (
        (built / "book" / "lab.md", None, ["lab"]),
        (site.LIBRARY / "a.py", "2", ["index", "lab"]),
        (built / "book" / "records" / "new", "record", ["index", "lab"]),
    ):
        former = path.read_text() if path.exists() else None
        path.parent.mkdir(exist_ok=True)
        path.write_text(text or former + "\nMore words.\n")
        assert asks() == chapters_asked
        path.unlink() if former is None else path.write_text(former)
    site.build(root=built)


def test_sphinx_keeps_no_page_of_a_former_library(built, monkeypatch):
    """Its extension changes pages whose text does not change."""
    kept = built / "_build" / "staged" / "_build" / "html" / "kept"
    monkeypatch.setattr(site, "_execute", lambda root, *_: {})
    monkeypatch.setattr(site, "_stage", lambda *_: False)
    monkeypatch.setattr(site, "_replace", lambda *_: None)
    monkeypatch.setattr(site, "_jupyter_book", lambda *_: kept.parent)
    library = site.LIBRARY / "a.py"
    former = library.read_text()
    kept.write_text("a page")
    site.build(root=built)
    assert kept.exists()
    library.write_text("another hand")
    site.build(root=built)
    assert not kept.exists()
    library.write_text(former)


@pytest.mark.slow
def test_parameters_reach_the_page_and_no_path_of_this_machine_does(built, tmp_path):
    store = tmp_path / "runs"
    store.mkdir()
    index = site.build(store=store, out=tmp_path / "site", root=built)
    page = (index.parent / "book" / "index.html").read_text()
    assert os.path.relpath(store, built / "book") in re.sub(r"<[^>]+>", "", page)
    assert str(tmp_path) not in page.replace(os.path.relpath(store, built / "book"), "")


def test_a_build_that_fails_leaves_the_former_site(built):
    html = built / "_build" / "html"
    words, lab = built / "book" / "words.md", built / "book" / "lab.md"
    former = {path: path.read_bytes() for path in html.rglob("*.html")}
    for path, text, error, says in (
        (words, "# Words\n\n{term}`nothing`\n", site.SiteError, "words.md:3"),
        (lab, lab.read_text().replace("models = [", "models = [undefined, "), ChapterError, r"chapter lab, cell \d+.*NameError"),
    ):
        kept = path.read_text()
        path.write_text(text)
        try:
            with pytest.raises(error, match=says):
                site.build(root=built)
        finally:
            path.write_text(kept)
        assert {path: path.read_bytes() for path in html.rglob("*.html")} == former


def _kill_between(made: Path, place: Path) -> None:
    """Put a site in place, in a process that is killed between the two renames."""
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom mixkd import site\n"
        "def rename(self, target):\n    os.rename(self, target)\n    os.kill(os.getpid(), 9)\n"
        "Path.rename = rename\nsite._replace(Path(sys.argv[1]), Path(sys.argv[2]))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(made), str(place)])
    assert done.returncode == -9
    assert not place.exists()


@pytest.mark.parametrize("empty", [False, True])
@pytest.mark.parametrize("full", ["copytree", "rename"])
def test_a_kill_between_two_renames_and_then_a_full_disk_lose_no_site(tmp_path, monkeypatch, empty, full):
    made, place = tmp_path / "made", tmp_path / "html"
    for folder, text in ((made, "new"), (place, "former")):
        folder.mkdir()
        (folder / "index.html").write_text(text)
        (folder / "searchindex.js").touch()
    _kill_between(made, place)
    if empty:
        place.mkdir()
    rename = Path.rename

    def copytree(*_, **__):
        (tmp_path / ".html.new").mkdir()
        raise OSError(28, "No space left on device")

    def rename_fails(path, target):
        if path.name == ".html.new":
            raise OSError(28, "No space left on device")
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(*((site.shutil, "copytree", copytree) if full == "copytree" else (Path, "rename", rename_fails)))
        with pytest.raises(OSError, match="No space left"):
            site._replace(made, place)
    assert (place / "index.html").read_text() == "former"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["html", "made"]
    site._replace(made, place)
    assert (place / "index.html").read_text() == "new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["html", "made"]


def test_the_former_site_is_back_before_anything_of_a_build_can_fail(built, tmp_path, monkeypatch):
    place = tmp_path / "html"
    (tmp_path / ".html.old").mkdir()
    (tmp_path / ".html.old" / "index.html").write_text("former")
    monkeypatch.setattr(site, "_execute", lambda *_: (_ for _ in ()).throw(ChapterError("chapter lab, cell 1: stopped")))
    with pytest.raises(ChapterError):
        site.build(root=built, out=place)
    assert (place / "index.html").read_text() == "former"


def test_bad_arguments_stop_before_any_work(built, tmp_path):
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("keep me")
    with pytest.raises(ValueError, match="digits"):
        site.build("digit", root=built)
    with pytest.raises(FileNotFoundError, match="no-runs"):
        site.build(store=tmp_path / "no-runs", root=built)
    with pytest.raises(FileExistsError, match="other than a site"):
        site.build(out=tmp_path / "letters", root=built)
    assert (tmp_path / "letters" / "dear.txt").is_file()


@pytest.mark.parametrize(
    ("environment", "remote", "expected"),
    [
        ({"GITHUB_REPOSITORY": "a/b", "GITHUB_REF_NAME": "dev"}, None, ("https://github.com/a/b", "dev")),
        ({"GITHUB_REPOSITORY": "a/b", "GITHUB_HEAD_REF": "fix", "GITHUB_REF_NAME": "3/merge"}, None, ("https://github.com/a/b", "fix")),
        ({"CI_PROJECT_URL": "https://gitlab.com/a/b", "CI_COMMIT_REF_NAME": "main"}, None, ("https://gitlab.com/a/b", "main")),
        ({}, "https://github.com/a/b.git", ("https://github.com/a/b", "trunk")),
        ({}, "git@github.com:a/b.git", ("https://github.com/a/b", "trunk")),
        ({}, "https://user:secret@github.com/a/b", ("https://github.com/a/b", "trunk")),
        ({}, "/srv/git/b.git", None),
        ({}, "https://example.org/a/b.git", None),
        ({}, None, None),
    ],
)
def test_the_repository_is_found_and_never_invented(tmp_path, environment, remote, expected):
    subprocess.run(["git", "init", "-q", "-b", "trunk"], cwd=tmp_path, check=True)
    identity = ["-c", "user.name=n", "-c", "user.email=e@x"]
    subprocess.run(["git", *identity, "commit", "-q", "--allow-empty", "-m", "m"], cwd=tmp_path, check=True)
    if remote:
        subprocess.run(["git", "remote", "add", "origin", remote], cwd=tmp_path, check=True)
    assert site.repository(tmp_path, environment) == expected


@pytest.mark.slow
def test_a_known_repository_gives_a_colab_button(tmp_path, monkeypatch):
    book = write(tmp_path)
    (book / "_toc.yml").write_text("format: jb-book\nroot: book/index\nchapters:\n  - file: book/lab\n  - file: book/words\n")
    for name in ("index", "lab"):
        chapters.pair(book / "book" / f"{name}.md")
    monkeypatch.setenv("GITHUB_REPOSITORY", "someone/book")
    monkeypatch.setenv("GITHUB_REF_NAME", "main")
    monkeypatch.delenv("GITHUB_HEAD_REF", raising=False)
    site.build(root=book)
    assert "https://colab.research.google.com/github/someone/book/blob/main/book/lab.ipynb" in _pages(book)["book/lab.html"]
    assert "colab" not in _pages(book)["book/words.html"]


def test_serving_answers_on_this_machine(built):
    code = f"from mixkd import site; site.serve({str(built / '_build' / 'html')!r}, port=18000)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as server:
        try:
            address = server.stdout.readline().split()[0]
            assert address.startswith("http://127.0.0.1:")
            for _ in range(50):
                try:
                    page = build_opener(ProxyHandler({})).open(address, timeout=5).read()
                    break
                except OSError:
                    time.sleep(0.1)
            assert b"book/index.html" in page
        finally:
            server.terminate()
