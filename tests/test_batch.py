"""A batch: every combination once, failures kept apart and told, finished notebooks kept, one page about all."""

import csv
import html
import json
import re
import textwrap

import nbformat
import pytest
from miniature import HEADER, ROOT, write

from mixkd import batch
from mixkd.cli import main

# glue's own words, without its import: the display of a value under scrapbook's metadata
CHAPTER = """
```{code-cell} ipython3
:tags: [parameters]
n = 1
word = "a"
```

```{code-cell} ipython3
from IPython.display import publish_display_data
half = 10 / n
for name, value in {"half": half, "word": word * 2, "list": [n]}.items():
    publish_display_data({"application/papermill.record/text/plain": repr(value)}, {"scrapbook": {"name": name}})
```
"""


@pytest.fixture(autouse=True)
def library(tmp_path, monkeypatch):
    """For these tests the library is one file that does not change."""
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "a.py").write_text("1")
    monkeypatch.setattr(batch, "LIBRARY", tmp_path / "library")


@pytest.fixture
def book(tmp_path):
    root = tmp_path / "root"
    (root / "book").mkdir(parents=True)
    (root / "_toc.yml").write_text("format: jb-book\nroot: book/page\n")
    (root / "book" / "page.md").write_text(HEADER + CHAPTER)
    return root


def toml(tmp_path, text):
    path = tmp_path / "grid.toml"
    path.write_text(textwrap.dedent(text))
    return path


def test_a_grid_is_every_combination_and_singles_checked_first(tmp_path):
    book = write(tmp_path / "book")
    grid = toml(
        tmp_path,
        """
        chapters = ["index"]
        [parameters]
        profile = ["digits", "gaussians"]
        points = [1, 2, 3]
        [[also]]
        chapter = "index"
        points = 9
        """,
    )
    jobs = batch.grid(grid, tmp_path / "out", book)
    assert [dict(job.parameters) for job in jobs] == [
        *({"profile": p, "points": n} for p in ("digits", "gaussians") for n in (1, 2, 3)),
        {"points": 9},
    ]
    assert jobs[0].out.name == "index_profile=digits_points=1.ipynb"
    assert len({job.out for job in jobs}) == 7


MILLIONS = 'chapters = ["index"]\n[parameters]\n' + "\n".join(f"p{number} = {list(range(10))}" for number in range(12))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('chapters = ["indx"]', "did you mean 'index'"),
        ('chapters = ["index"]\n[parameters]\nprofile = "digits"', "must be a list"),
        ('chapters = ["index"]\n[parameters]\npoint = [1]', "did you mean 'points'"),
        ('chapter = ["index"]', "no key 'chapter'.*did you mean 'chapters'"),
        ('chapters = ["index"]\n[parameters]\npoints = [1, 1]', "asked for twice"),
        ("[[also]]\npoints = 1", "must name its chapter"),
        ("chapters = [", "grid.toml"),
        ("", "at least one chapter"),
        ("chapters = [1]", "by name; it is .1."),
        ('chapters = ["index"]\nparameters = 3', "parameters must be a table"),
        ("also = [3]", "also must be tables"),
        ("[[also]]\nchapter = 3", "must name its chapter"),
        ('chapters = ["index"]\n[parameters]\npoints = ["one"]', "must be int"),
        ('chapters = ["index"]\n[parameters]\npoints = [1979-05-27]', "'points' is a date, 1979-05-27: write it in quotes"),
        ('chapters = ["index"]\n[[also]]\nchapter = "index"\npoints = 1979-05-27T07:32:00Z', "'points' is a datetime"),
        ('chapters = ["index"]\n[parameters]\nself = [1]', "no parameter 'self'"),
        (MILLIONS, r"asks for 1,000,000,000,000 notebooks"),
        (f'chapters = ["index"]\n[parameters]\npoints = [{"9" * 5000}]', "grid.toml: .*5000 digits"),
        (f'chapters = ["index"]\n[parameters]\npoints = [0x{"f" * 5000}]', "'points' is an integer of more than 64 bits"),
        (f'chapters = ["index"]\n[parameters]\npoints = [{"[" * 5000}{"]" * 5000}]', "grid.toml: "),
    ],
)
def test_a_bad_grid_says_what_is_wrong_before_anything_runs(tmp_path, text, words):
    book = write(tmp_path / "book")
    with pytest.raises(ValueError, match=words):
        batch.grid(toml(tmp_path, text), tmp_path / "out", book)
    assert not (tmp_path / "out").exists()
    (tmp_path / "grid.toml").write_bytes(b'chapters = ["\xff"]')
    with pytest.raises(ValueError, match=r"grid\.toml: 'utf-8' codec"):
        batch.grid(tmp_path / "grid.toml", tmp_path / "out")


def test_names_of_notebooks_are_safe_and_never_shared():
    values = ["../runs", "..-runs", "a b", "a/b", "<script>", "x" * 300, "x" * 301, "é", "s3://b/c"]
    names = [batch._name("page", {"store": value}) for value in values]
    assert len(set(names)) == len(values)
    assert all("/" not in name and "<" not in name and len(name) < 150 for name in names)
    assert batch._name("page", {"tau": 2.0, "arm": "kd"}) == "page_tau=2.0_arm=kd"


def test_a_failure_stops_no_other_and_the_next_call_does_only_what_is_missing(tmp_path, book):
    out = tmp_path / "out"
    jobs = batch.grid(toml(tmp_path, 'chapters = ["page"]\n[parameters]\nn = [0, 4, 5]\nword = ["<b>"]'), out, book)
    first = batch.run(jobs, out, workers=2)
    assert [outcome.state for outcome in first] == ["failed", "done", "done"]
    assert "ZeroDivisionError" in first[0].error
    assert first[1].results == {"half": 2.5, "word": "<b><b>"}  # a list is no result of a table
    failed = jobs[0].out.with_suffix(".failed.ipynb")
    assert {path.name for path in out.glob("*.ipynb")} == {failed.name, jobs[1].out.name, jobs[2].out.name}

    text = (out / "index.html").read_text()
    assert "1 failed" in text
    assert "all with word = &lt;b&gt;" in text  # what all have in common is said once
    rows = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in re.findall(r"<tr>(.*?)</tr>", text, re.DOTALL)]
    assert [[html.unescape(re.sub("<.*?>", "", cell)) for cell in row] for row in rows if row] == [
        ["page", "0", "failed", "", ""],
        ["page", "4", "done", "2.5", "<b><b>"],
        ["page", "5", "done", "2", "<b><b>"],
    ]
    for address in re.findall(r'(?:href|src)="(.*?)"', text):
        assert (out / address).is_file(), address
    with (out / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["half"] for row in rows] == ["", "2.5", "2.0"]
    assert "ZeroDivisionError" in rows[0]["error"]
    assert [row["state"] for row in json.loads((out / "results.json").read_text())] == ["failed", "done", "done"]

    stamp = jobs[1].out.stat().st_mtime_ns
    again = batch.run(batch.grid(tmp_path / "grid.toml", out, book), out)
    assert [outcome.state for outcome in again] == ["failed", "kept", "kept"]
    assert again[1].results == first[1].results
    assert jobs[1].out.stat().st_mtime_ns == stamp

    text = (book / "book" / "page.md").read_text().replace("10 / n", "20 / (n + 1)")
    (book / "book" / "page.md").write_text(text)  # another text: nothing of the former is a result of it
    mended = batch.run(batch.grid(tmp_path / "grid.toml", out, book), out)
    assert [outcome.state for outcome in mended] == ["done"] * 3
    assert [outcome.results["half"] for outcome in mended] == [20.0, 4.0, 20 / 6]
    assert not failed.exists()
    (tmp_path / "library" / "a.py").write_text("2")  # another library too
    assert [o.state for o in batch.run(jobs[1:2], out)] == ["done"]
    assert [o.state for o in batch.run(jobs[1:2], out, force=True)] == ["done"]


def test_a_batch_fails_where_records_are_missing_unless_told_otherwise(tmp_path, book):
    page, out = book / "book" / "page.md", tmp_path / "out"
    absent = "publish_display_data({'text/html': '<p class=\"mixkd-absent\">Not here.</p>', 'text/plain': 'Not here.'})"
    page.write_text(page.read_text().replace("half = 10", f"{absent}\nhalf = 10"))
    jobs = batch.grid(toml(tmp_path, 'chapters = ["page"]\n[parameters]\nn = [2]\nword = ["=1+1"]'), out, book)
    out.mkdir()
    jobs[0].out.write_text("{ not json")  # a damaged notebook is no result
    for strict, state in ((False, "done"), (False, "kept"), (True, "failed"), (False, "done")):
        [outcome] = batch.run(jobs, out, strict=strict)
        assert outcome.state == state
        assert ("records are missing" in outcome.error) == strict
        assert outcome.results["half"] == 5
    assert nbformat.read(jobs[0].out, as_version=4).metadata.mixkd["parameters"] == {"n": 2, "word": "=1+1"}
    assert ",'=1+1," in (out / "results.csv").read_text(), "no cell of a spreadsheet is a formula"
    assert json.loads((out / "results.json").read_text())[0]["parameters"]["word"] == "=1+1"


def test_the_command_says_by_its_status_whether_all_went_well(tmp_path, book, monkeypatch, capsys):
    monkeypatch.setattr(batch, "find", lambda name, root: book / "book" / f"{name}.md")
    grid = toml(tmp_path, 'chapters = ["page"]\n[parameters]\nn = [0, 1]')
    assert main(["batch", str(grid), "--out", str(tmp_path / "out"), "--workers", "1"]) == 1
    printed = capsys.readouterr()
    assert "1 done, 0 kept, 1 failed" in printed.out
    assert "ZeroDivisionError" in printed.err
    grid.write_text(grid.read_text().replace("[0, 1]", "[1]"))
    assert main(["batch", str(grid), "--out", str(tmp_path / "out")]) == 0
    assert "0 done, 1 kept, 0 failed" in capsys.readouterr().out
    assert main(["batch", str(tmp_path / "none.toml")]) == 2


@pytest.mark.parametrize("path", sorted((ROOT / "grids").glob("*.toml")), ids=lambda path: path.name)
def test_the_grids_that_ship_are_sound(path, tmp_path):
    assert batch.grid(path, tmp_path)
