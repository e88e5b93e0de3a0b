"""Every command that the book and the README print is one that the program takes: flags, profiles, studies, chapters and specs exist."""

from __future__ import annotations

import ast
import re
import shlex
import tempfile
from collections.abc import Iterator
from pathlib import Path

import jupytext
import pytest

from mixkd import batch, chapters, claims, cli, studies
from mixkd.claims.survey import _fills
from mixkd.flags import spec_of
from mixkd.spec import SpecError

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md", *sorted((ROOT / "book").glob("*.md"))]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
SCRIPTS = [ROOT / ".ci" / "run", ROOT / "Makefile", *WORKFLOWS, *(ROOT / "grids").glob("*.toml")]
CALL = re.compile(r"(?:\S*/)?(?:mixkd|torchrun|papermill)\b(?!:)|python3? -m mixkd\b")
VALUES = {"PATH": "images", "DIR": "images", "RECORD": "1f0ff4bc", "NAME": "digits", "GRID": "grids/ci.toml", "CHAPTER": "claims"}
"""What stands for the placeholders of pages and the variables of scripts."""
REFUSED = {"mixkd run --arm kd_mixpu --tau 0"}
"""Commands that a page prints for the error they end with."""


COMMANDS = next(action for action in cli.parser()._actions if action.dest == "command" or action.choices).choices


def printed(text: str, *, script: bool = False) -> Iterator[str]:
    """The commands of a Markdown page, in its blocks of shell and as inline code; or the lines of a script."""
    whole = text if script else "\n".join(re.findall(r"^```bash\n(.*?)^```", text, re.DOTALL | re.MULTILINE))
    for line in re.sub(r"\\\n\s*", " ", whole).splitlines():
        line = re.sub(r"^[\s-]*run: |^# (.*?): .*|^\s*@?", r"\1", line)
        for part in re.split(r"&&|\|", line):
            if CALL.match(part.strip()):
                yield part.strip()
    if not script:
        for code in re.findall(r"`([^`]+)`", re.sub(r"^(`{3,}).*?^\1\s*$", "", text, flags=re.DOTALL | re.MULTILINE)):
            if re.match(r"(mixkd|papermill) [a-z-]", code):
                yield " ".join(code.split())


def said(source: str) -> Iterator[str]:
    """The commands in the strings of Python code, each with the words that follow it; digits for a value that is filled in."""
    tree = ast.parse(re.sub(r"^\s*[!%].*", "", source, flags=re.MULTILINE))
    inside = {part for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(part.value) if isinstance(part, ast.Constant) else "digits" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in inside:
            text = node.value
        else:
            continue
        text = re.sub(r"<[^>]*>", "`", text)
        yield from re.findall(rf"mixkd (?:{'|'.join(COMMANDS)})\b(?: [\w:/-]+)*", text)


def shown() -> Iterator[str]:
    """The commands that figures compute: what fills the map of every profile, and what trains what a claim lacks."""
    with tempfile.TemporaryDirectory() as empty:
        yield from {row.command for row in claims.across(["digits", "imagenet"], empty) if row.command}
        for name in studies.profiles():
            evidence = claims.Evidence.of(name, empty)
            for teacher in evidence.profile.teachers:
                for calibration in studies.CALIBRATIONS:
                    yield _fills(evidence, "kd_mixup", studies.Cell(teacher, calibration, evidence.profile.map_taus[0]))


def commands() -> list[pytest.param]:
    found = {}
    for path in [*PAGES, *SCRIPTS]:
        for command in printed(path.read_text(encoding="utf-8"), script=path in SCRIPTS):
            found.setdefault((command, False), path.name)
    for path in chapters.chapters():
        cells = [cell.source for cell in jupytext.read(path, fmt="md:myst").cells if cell.cell_type == "code"]
        for command in (command for source in cells for command in said(source)):
            found.setdefault((command, True), f"{path.name}, a cell")
    for path in sorted((ROOT / "mixkd").rglob("*.py")):
        for command in said(path.read_text(encoding="utf-8")):
            found.setdefault((command, True), path.name)
    for match in re.finditer(r"^  ((?:mixkd|torchrun) \S+(?: \S+)*)", cli.EPILOG, re.MULTILINE):
        found.setdefault((match[1], False), "--help")
    return [pytest.param(*given, id=f"{place}: {given[0]}") for given, place in found.items()]


def words(command: str) -> list[str]:
    """The words of a command, placeholders filled in, without a comment, an ellipsis or where the output goes."""
    found = [word for word in shlex.split(command, comments=True) if word not in ("...", "[...]")]
    found = [re.sub(r"\$\{?(\w+)\}?", lambda match: VALUES.get(match[1], match[0]), word) for word in found]
    return [VALUES.get(word, word) for word in (found[: found.index(">")] if ">" in found else found)]


def arguments(command: str) -> list[str]:
    """What follows the program's name, also behind torchrun."""
    found = words(command)
    at = found.index("mixkd") if "-m" in found else 0
    return found[at + 1 :]


def parsed(given: list[str], prose: bool):
    try:
        options, unknown = cli.parser().parse_known_args(given)
    except SystemExit as error:
        raise AssertionError(f"mixkd {' '.join(given)}: not a command it takes") from error
    strange = [word for word in unknown if word.startswith("-") or not prose]
    assert not strange, f"mixkd {given[0]} does not know {', '.join(strange)}"
    return options


@pytest.mark.parametrize(("command", "prose"), commands())
def test_it_is_one_the_program_takes(command, prose):
    """Prose: the command is followed by words of its sentence, which are no part of it."""
    if command.startswith("papermill"):
        return papermill(words(command))
    given = arguments(command)
    if command in REFUSED:
        with pytest.raises(SpecError):
            spec_of(parsed(given, prose))
        return None
    if given == ["--help"] or (len(given) == 1 and given[0] in COMMANDS):  # a command by its name
        return None
    options = parsed(given, prose)
    if getattr(options, "profile", None):
        studies.load_profile(options.profile)
    if given[0] == "reproduce" and not prose:
        assert cli._studies(options.chapters, options.study)
    if given[0] == "run" and len(given) > 1:
        assert spec_of(options).id
    if given[0] == "batch" and (ROOT / options.grid).is_file():
        assert batch.grid(ROOT / options.grid, ROOT / "batch")
    return None


def test_what_figures_compute_the_program_takes_too():
    found = set(shown())
    assert {command.split()[1] for command in found} == {"reproduce", "run"}
    for command in sorted(found):
        test_it_is_one_the_program_takes(command, prose=False)


def papermill(given: list[str]) -> None:
    """The notebook is there, and has each parameter that is set."""
    notebooks = [word for word in given if word.endswith(".ipynb")]
    assert (ROOT / notebooks[0]).is_file(), f"{notebooks[0]} is not there"
    known = chapters.parameters((ROOT / notebooks[0]).with_suffix(".md"))
    named = [given[at + 1] for at, word in enumerate(given) if word == "-p"]
    assert set(named) <= set(known), f"{notebooks[0]} has {', '.join(known)}, not {', '.join(sorted(set(named) - set(known)))}"
