"""Chapters as programs: parameters are known and checked before anything runs; pairs are the same bytes every time."""

from __future__ import annotations

import ast
import json
import os
import sys
import textwrap
import time
from types import SimpleNamespace

import nbformat
import pytest
from miniature import HEADER, write

from mixkd import chapters, execution
from mixkd.execution import ChapterError, Job, execute
from mixkd.studies import STUDIES


def _chapter(folder, parameters: str, *cells: str):
    path = folder / "10-test.md"
    code = "".join(f"\n```{{code-cell}} ipython3\n{textwrap.dedent(cell).strip()}\n```\n" for cell in cells)
    tagged = f"\n```{{code-cell}} ipython3\n:tags: [parameters]\n{textwrap.dedent(parameters).strip()}\n```\n"
    path.write_text(f"{HEADER}\n# Test\n{tagged if parameters else ''}{code}", encoding="utf-8")
    return path


def test_parameters_are_read_without_running(tmp_path):
    path = _chapter(tmp_path, 'profile = "digits"\nlive: bool = False\nrate = -1.5\ngrid = [1, 2]', "raise SystemExit")
    assert chapters.parameters(path) == {"profile": "digits", "live": False, "rate": -1.5, "grid": [1, 2]}


@pytest.mark.parametrize(
    ("cell", "words"),
    [("", "there are 0"), ("n = len('abc')", "n = len"), ("import os", "import os"), ("a = b = 1", "a = b = 1"), ("n: int", "n: int")],
)
def test_parameters_must_be_literals_in_one_cell(tmp_path, cell, words):
    with pytest.raises(ValueError, match=words.replace("(", r"\(").replace(")", r"\)")):
        chapters.parameters(_chapter(tmp_path, cell))


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"profil": "digits"}, ValueError, "no parameter 'profil'; there are profile, live, rate; did you mean 'profile'"),
        ({"profile": "digit"}, ValueError, "digits"),
        ({"profile": 3}, ValueError, "must be str"),
        ({"live": 1}, ValueError, "must be bool"),
        ({"rate": "1"}, ValueError, "must be float"),
    ],
)
def test_bad_parameters_stop_before_execution(tmp_path, given, error, words):
    path = _chapter(tmp_path, 'profile = "digits"\nlive = False\nrate = 1.0', "open('ran', 'w')")
    chapters.check(path, {"rate": 2})  # an int may stand for a float
    with pytest.raises(error, match=words):
        execute(Job(path, tmp_path / "out.ipynb", given))
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "out.ipynb").exists()


def test_a_chapter_is_listed_with_every_study_that_it_reads():
    for path in chapters.chapters():
        code = "\n".join(
            cell.source for cell in chapters.notebook_of(path).cells if cell.cell_type == "code" and "!" not in cell.source[:1]
        )
        calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
        calls = [call for call in calls if call.func.attr in ("records", "frame", "students", "changes", "study")]
        read = {value.value for call in calls for value in call.args if isinstance(value, ast.Constant) and value.value in STUDIES}
        known = set(chapters.studies_of(path.stem)) if read else set()
        assert "all" in known or read <= known, path.stem
        assert known <= {"all", *STUDIES}
    assert set(chapters.studies_of("7")) >= {"overconfidence", "mixing"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"profile": "digits"}, None),
        ({"profil": "digits"}, "ValueError: this chapter: no parameter 'profil'; there are profile, live; did you mean 'profile'"),
    ],
)
def test_plain_papermill_stops_at_a_parameter_that_a_chapter_does_not_have(tmp_path, given, words):
    import papermill
    from papermill.exceptions import PapermillExecutionError

    stop = "from mixkd.chapters import stop_at_unknown_parameters\nstop_at_unknown_parameters()"
    path = _chapter(tmp_path, 'profile = "digits"\nlive: bool = False', stop, "print('reached')")
    nbformat.write(chapters.notebook_of(path), tmp_path / "in.ipynb")

    def execute():
        return papermill.execute_notebook(tmp_path / "in.ipynb", tmp_path / "out.ipynb", parameters=given, progress_bar=False)

    if words is None:
        assert execute().cells[-1].outputs[0].text == "reached\n"
        return
    with pytest.raises(PapermillExecutionError) as caught:
        execute()
    assert words in str(caught.value)


def test_execution_uses_parameters_and_leaves_no_trace_of_the_run(tmp_path):
    path = _chapter(tmp_path, "n = 1", "print(n + 1)")
    out = tmp_path / "out" / "done.ipynb"
    execute(Job(path, out, {"n": 41}))
    notebook = nbformat.read(out, as_version=4)
    assert notebook.cells[-1].outputs[0].text == "42\n"
    [injected] = [cell for cell in notebook.cells if "injected-parameters" in cell.metadata.get("tags", [])]
    assert "hide-input" in injected.metadata.tags
    assert "papermill" not in json.dumps(notebook.metadata) + json.dumps([cell.metadata for cell in notebook.cells])
    assert [path.name for path in out.parent.iterdir()] == ["done.ipynb"]


def test_a_failing_cell_is_named(tmp_path):
    path = _chapter(tmp_path, "n = 1", "x = {}", "# look up\nx['missing']")
    out = tmp_path / "done.ipynb"
    out.write_text("former")
    with pytest.raises(ChapterError, match=r"(?s)chapter 10-test, cell \d+ \(`# look up`\): KeyError.*x\['missing'\].*done.failed.ipynb"):
        execute(Job(path, out))
    assert out.read_text() == "former", "a chapter that stops must not take the place of one that ran"
    assert (tmp_path / "done.failed.ipynb").is_file()


@pytest.mark.parametrize(
    ("cell", "words"),
    [("import time\ntime.sleep(60)", "timed out|timeout"), ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "died")],
)
def test_what_ran_is_kept_where_a_kernel_is_ended(tmp_path, monkeypatch, cell, words):
    monkeypatch.setattr(execution, "CELL_TIMEOUT", 3)  # the cells before must end in it on a busy machine too
    path = _chapter(tmp_path, "n = 1", "print(n + 1)", cell)
    with pytest.raises(ChapterError, match=rf"(?s)chapter 10-test: .*({words}).*done.failed.ipynb"):
        execute(Job(path, tmp_path / "done.ipynb", {"n": 41}))
    ran = nbformat.read(tmp_path / "done.failed.ipynb", as_version=4).cells
    assert ran[-2].outputs[0].text == "42\n"
    assert not (tmp_path / "done.ipynb").exists()


def test_chapters_side_by_side_run_each_in_its_folder(tmp_path):
    here, jobs = os.getcwd(), []
    for number in range(4):
        folder = tmp_path / str(number)
        folder.mkdir()
        wait = "import os, time\nbefore = os.getcwd()\ntime.sleep(0.2)"
        path = _chapter(folder, "n = 0", wait, "print(before, os.getcwd())")
        jobs.append(Job(path, folder / "done.ipynb", {"n": number}))
    execution.execute_all(jobs, workers=3)
    for job in jobs:
        folder = os.path.realpath(job.out.parent)
        assert nbformat.read(job.out, as_version=4).cells[-1].outputs[0].text.split() == [folder, folder]
    assert os.getcwd() == here


def test_what_waits_does_not_begin_once_the_asker_gives_up(tmp_path, monkeypatch):
    begun = []

    def fails(job):
        begun.append(job)
        time.sleep(0.05)
        raise ZeroDivisionError

    monkeypatch.setattr(execution, "execute", fails)
    path = _chapter(tmp_path, "n = 0")
    with pytest.raises(ZeroDivisionError):
        execution.execute_all([Job(path, tmp_path / f"{n}.ipynb") for n in range(50)], workers=1)
    assert len(begun) < 50


def test_chapters_come_in_the_order_of_the_toc_and_hold_code(tmp_path):
    book = write(tmp_path)
    assert [path.stem for path in chapters.chapters(book)] == ["index", "lab"]
    (book / "book" / "lab.md").unlink()
    with pytest.raises(FileNotFoundError, match="lab"):
        chapters.chapters(book)


def test_a_pair_is_the_same_every_time_and_has_no_outputs(tmp_path):
    path = _chapter(tmp_path, "n = 1", "print(n)")
    first = chapters.pair(path).read_text()
    assert chapters.pair(path).read_text() == first == chapters.paired(path)
    notebook = nbformat.reads(first, as_version=4)
    nbformat.validate(notebook)
    assert "google.colab" in notebook.cells[1].source
    assert [cell.id for cell in notebook.cells] == [f"c{i:03d}" for i in range(len(notebook.cells))]
    assert all(not cell.outputs for cell in notebook.cells if cell.cell_type == "code")


def _colab_cells(path, repository=""):
    from IPython.core.inputtransformer2 import TransformerManager

    notebook = nbformat.reads(chapters.paired(path, repository), as_version=4)
    return [TransformerManager().transform_cell(cell.source) for cell in notebook.cells if cell.cell_type == "code"]


def test_the_colab_cells_do_nothing_here(tmp_path):
    first, parameters, second, _ = _colab_cells(_chapter(tmp_path, 'profile = "digits"\nstore = "committed"', "n = 1"))
    names = {}
    for code in (first, parameters, second):  # get_ipython does not exist here: anything they did would fail
        exec(compile(code, "colab", "exec"), names)
    assert (names["profile"], names["store"]) == ("digits", "committed")


def test_on_colab_the_cells_install_settle_and_override_the_parameters(tmp_path, monkeypatch):
    import mixkd.colab

    ran = []

    shell = SimpleNamespace(system=ran.append, run_line_magic=lambda name, line: ran.append(f"%{name} {line}"))
    where = "https://github.com/someone/something"
    first, parameters, second, _ = _colab_cells(_chapter(tmp_path, 'profile = "digits"\nstore = "committed"', "n = 1"), where)
    names = {"get_ipython": lambda: shell}
    monkeypatch.setitem(sys.modules, "google.colab", object())
    monkeypatch.setattr(os, "chdir", lambda folder: ran.append(f"cd {folder}"))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(mixkd.colab, "start", lambda studies, **asked: ran.append((studies, asked)) or ("colab", "/content/mixkd-runs"))
    for code in (first, parameters, second):
        exec(compile(code, "colab", "exec"), names)
    assert (names["profile"], names["store"]) == ("colab", "/content/mixkd-runs")
    assert ran[1:] == [
        '%pip install -q -e "/content/mixkd[notebook]"',
        "cd /content/mixkd/book",
        ([], {"train": False, "minutes": 180, "drive": False}),
    ]
    assert "git clone" in ran[0]


def test_on_colab_without_an_address_the_cell_says_in_a_line_how_to_give_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "google.colab", object())
    bare = _colab_cells(_chapter(tmp_path, "n = 1"))[0]
    exec(compile(bare, "colab", "exec"), {})  # there is no get_ipython: nothing is fetched or installed
    [line] = capsys.readouterr().out.splitlines()
    assert "Set REPOSITORY above" in line


def test_a_page_of_the_book_trains_its_own_studies_on_colab():
    def started(name):
        cells = nbformat.reads(chapters.paired(name), as_version=4).cells
        return next(cell.source.split("colab.start(")[1].partition(", train=")[0] for cell in cells if "colab.start(" in cell.source)

    assert json.loads(started("07")) == list(chapters.studies_of("07"))
    assert json.loads(started("one-run")) == []


def test_a_pair_keeps_the_address_it_has(tmp_path):
    path = _chapter(tmp_path, "n = 1")
    out = chapters.pair(path, "https://github.com/someone/something")
    assert chapters.stamped(out) == "https://github.com/someone/something"
    assert chapters.stamped(chapters.pair(path)) == "https://github.com/someone/something"
    assert chapters.stamped(chapters.pair(path, "")) == ""


@pytest.mark.parametrize("chapter", chapters.chapters() if (chapters.ROOT / "_toc.yml").is_file() else [], ids=lambda path: path.stem)
class TestTheBook:
    def test_parameters(self, chapter):
        given = set(chapters.parameters(chapter))
        assert {"profile", "store"} <= given
        assert ("live" in given) == ("if live" in chapter.read_text(encoding="utf-8")), "live is there where it acts"

    def test_pair_is_up_to_date(self, chapter):
        paired = chapter.with_suffix(".ipynb")
        assert paired.is_file(), f"{paired.name} is missing: mixkd.chapters.pair('{chapter.stem}') writes it"
        fresh = chapters.paired(chapter, chapters.stamped(paired))
        assert paired.read_text(encoding="utf-8") == fresh, f"mixkd.chapters.pair('{chapter.stem}') renews it"


def test_fingerprint_follows_the_content_of_what_is_not_hidden(tmp_path, monkeypatch):
    (tmp_path / "record").mkdir()
    (tmp_path / "record" / "a.json").write_text("1")
    before = chapters.fingerprint(tmp_path)
    (tmp_path / "record" / "a.json").touch()
    for hidden in (".checkpoints", ".record.half", "__pycache__"):
        (tmp_path / hidden).mkdir()
        (tmp_path / hidden / "a.pyc").write_text("2")
    assert chapters.fingerprint(tmp_path) == before
    listed = chapters._files
    monkeypatch.setattr(chapters, "_files", lambda place: [*listed(place), place / "gone.json"])  # between listing and reading
    assert chapters.fingerprint(tmp_path) == before
    (tmp_path / "record" / "a.json").write_text("2")
    assert chapters.fingerprint(tmp_path) != before
    assert chapters.fingerprint(tmp_path / "nothing") == chapters.fingerprint()


@pytest.mark.parametrize("words", ["Kernel didn't respond in 60 seconds", "Kernel died before replying to kernel_info"])
def test_a_kernel_that_does_not_start_stops_its_own_chapter_only(tmp_path, monkeypatch, words):
    import papermill

    for name in ("slow", "sound"):
        (tmp_path / name).mkdir()
    slow, sound = (_chapter(tmp_path / name, "live = False", "1 + 1") for name in ("slow", "sound"))
    real = papermill.execute_notebook

    def fails(notebook, out, **options):
        if options["resources"]["metadata"]["path"] == str(slow.parent):
            raise RuntimeError(words)
        return real(notebook, out, **options)

    monkeypatch.setattr(papermill, "execute_notebook", fails)
    jobs = [Job(path, path.with_suffix(".ipynb")) for path in (slow, sound)]
    ended = {job.chapter: error for job, error in execution.execute_each(jobs)}
    assert ended[sound] is None
    assert isinstance(ended[slow], ChapterError)
    assert words in str(ended[slow])
    assert slow.stem in str(ended[slow])
