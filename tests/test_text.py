"""Every chapter has what a reader needs, types no number, and reads right where records are missing or few."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jupytext
import pytest
import yaml
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from mixkd import chapters, claims
from mixkd.figures.markup import ABSENT
from mixkd.live import workbench
from mixkd.store import RecordStore, committed_path
from mixkd.studies import study

BOOK = chapters.ROOT / "book"
PAGES = {path.stem: path for path in chapters.chapters()} if (chapters.ROOT / "_toc.yml").is_file() else {}
RECORDLESS = {"own-images", "14-authors-logs"}  # one trains its own, the other reads what the authors published
PROSE = [*PAGES, "glossary"]
# A measured value; "95 %" and "95th" are the level of every interval.
TYPED = re.compile(r"\d+\.\d+ ?%|(?!95 %)\b\d+ ?%|\d+ (?:points|percent|per cent)\b|(?<!\d)0?\.\d\d")


def _text(name: str) -> str:
    return (BOOK / f"{name}.md").read_text(encoding="utf-8")


def _prose(name: str) -> str:
    """A page without front matter, fenced code and mathematics, roles and literals."""
    text = re.sub(r"\A---\n.*?\n---\n", "", _text(name), flags=re.DOTALL)
    text = re.sub(r"^(`{3,})(?!\{glossary\}).*?^\1\s*$", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"\{(?:math|glue:text|eq|cite:\w|doc)\}`[^`]*`|`[^`]*`", "", text)


def _cells(name: str) -> list:
    return jupytext.read(PAGES[name], fmt="md:myst").cells


@pytest.mark.parametrize("claim", claims.CLAIMS.values(), ids=claims.CLAIMS)
def test_a_claim_is_judged_on_its_page_and_it_says_where_it_holds(claim):
    text = _text(claim.chapter)
    assert text.count("figures.judgement(") == sum(other.chapter == claim.chapter for other in claims.CLAIMS.values())
    assert re.search(rf'claims\.across\(.*letters=\["{claim.letter}"\]', text)


@pytest.mark.parametrize("name", PROSE)
def test_no_measured_number_is_typed(name):
    found = [match[0] for match in TYPED.finditer(_prose(name))]
    assert not found, f"{name}.md types {found}: glue or a figure must show it"


@pytest.mark.parametrize("name", PROSE)
def test_terms_and_citations_exist(name):
    terms = set(re.findall(r"^(\S.*)$", re.search(r"```\{glossary\}\n(.*?)```", _text("glossary"), re.DOTALL)[1], re.MULTILINE))
    used = {re.sub(r".*<(.*)>", r"\1", term) for term in re.findall(r"\{term\}`([^`]+)`", _text(name))}
    assert {term.lower() for term in used} <= {term.lower() for term in terms}
    keys = set(re.findall(r"^@\w+\{([^,]+),", (BOOK / "references.bib").read_text(encoding="utf-8"), re.MULTILINE))
    cited = {key.strip() for group in re.findall(r"\{cite:\w\}`([^`]+)`", _text(name)) for key in group.split(",")}
    assert cited <= keys


def test_every_page_of_the_book_is_in_the_sidebar():
    pages = set(chapters._pages(yaml.safe_load((chapters.ROOT / "_toc.yml").read_text(encoding="utf-8"))))
    there = {f"book/{path.stem}" for path in BOOK.glob("*.md")}
    assert there == pages


def _run(
    name: str, store: Path, profile: str, monkeypatch: pytest.MonkeyPatch, only: Callable[[Any], bool] = lambda cell: True, **given: object
) -> str:
    """Run the cells of a chapter in this process, which a kernel of its own would take seconds for; what they show, as text."""
    given = {"profile": profile, "store": str(store), **given}
    parameters = "".join(f"\n{name} = {value!r}" for name, value in given.items())
    monkeypatch.chdir(BOOK)
    glued: set[str] = set()
    monkeypatch.setattr("myst_nb.glue", lambda key, *_, **__: glued.add(key))
    shell = InteractiveShell()
    with capture_output() as shown:
        for cell in _cells(name):
            if cell.cell_type != "code" or not only(cell):
                continue
            ran = shell.run_cell(cell.source + (parameters if "parameters" in cell.metadata.get("tags", []) else ""))
            if not ran.success:
                raise AssertionError(f"{name}, cell {cell.source.splitlines()[0]!r}") from (ran.error_before_exec or ran.error_in_exec)
            if ABSENT in getattr(ran.result, "markup", ""):
                print(ABSENT)
    asked = set(re.findall(r"\{glue:\w*\}`(\w+)", _text(name)))
    assert asked <= glued, f"{name}: the text asks for what no cell gives: {asked - glued}"
    return f"{shown.stdout}\n" + "\n".join(str(output) for output in shown.outputs)


@pytest.mark.parametrize("profile", ["gaussians", "cifar10-jpeg"])
@pytest.mark.parametrize("name", [name for name in PAGES if name != "own-images"])  # which reads no records and trains its own
def test_a_chapter_without_records_says_so(name, profile, tmp_path, monkeypatch):
    shown = _run(name, tmp_path, profile, monkeypatch)
    assert "nan" not in re.sub(r"[a-z]nan|nan[a-z]", "", shown)
    lacks = name not in {*RECORDLESS, "12-imagenet"}  # many classes are planned, and the page says that they were not run
    assert (ABSENT in shown) == lacks, "a strict build must know that records are missing"


@pytest.mark.parametrize("name", [name for name in PAGES if name not in RECORDLESS])
def test_a_store_that_is_not_there_stops_a_chapter(name, tmp_path, monkeypatch):
    with pytest.raises(AssertionError) as caught:
        _run(name, tmp_path / "nowhere", "digits", monkeypatch)
    assert isinstance(caught.value.__cause__, FileNotFoundError)
    assert f"no folder {tmp_path / 'nowhere'}" in str(caught.value.__cause__)


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """A store with a handful of the committed digits records: two arms, two seeds, one teacher."""
    store, committed = tmp_path_factory.mktemp("few"), committed_path()
    core = study("overconfidence", "digits")
    seeds = sorted({spec.seed for spec in core})[:2]
    kept = [spec for spec in core if spec.arm in ("ce", "kd_mixup") and spec.seed in seeds]
    kept += [run for spec in kept if (run := spec.teacher_run()) is not None][:1]
    for spec in kept:
        if not (committed / spec.id).is_dir():
            pytest.skip("the committed records are of another plan")
        (store / spec.id).symlink_to(committed / spec.id)
    assert len(RecordStore(store).ids()) == len(set(kept))
    return store


@pytest.mark.parametrize("name", PAGES)
def test_a_chapter_with_few_records_shows_what_there_is(name, few, monkeypatch):
    _run(name, few, "digits", monkeypatch)


@pytest.mark.parametrize("name", [name for name in PAGES if "live" in chapters.parameters(PAGES[name])])
def test_live_adds_a_bench_to_the_page(name, few, monkeypatch):
    benches = []
    monkeypatch.setattr("mixkd.live.workbench", lambda *given, **more: benches.append(workbench(*given, **more)))
    _run(
        name, few, "digits", monkeypatch, live=True,
        only=lambda cell: "parameters" in cell.metadata.tags or "remove-cell" in cell.metadata.tags or "if live" in cell.source,
    )  # fmt: skip
    assert len(benches) == 1
    assert benches[0].box.children
