"""MyST as plain Markdown: what Colab, Jupyter and nbconvert show of a chapter, which know neither its directives nor its roles."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

_FENCE = re.compile(r"(:{3,}|`{3,})\{([\w-]+)\} *(.*)")
_OPTION = re.compile(r":([\w-]+): *(.*)")
_ROLE = r"\{(?P<role>[a-z]+)(?::(?P<kind>[a-z]+))?\}(?P<tick>`+)(?P<body>.+?)(?P=tick)"
_TOKEN = re.compile(rf"{_ROLE}|(?P<code>`+).+?(?<!`)(?P=code)(?!`)", re.DOTALL)  # a role, or code that may only look like one
_TARGET = re.compile(r"^\(([\w-]+)\)=$", re.MULTILINE)
_LABEL = re.compile(r"^:label: *(\S+)$", re.MULTILINE)
GLUE = """\
from IPython.display import Markdown

glued = {}


def glue(name, value, display=False):  # kept for the sentences below
    glued[name] = value

"""
"""What stands in a notebook for ``from myst_nb import glue``."""
_NAMES = 2  # authors named before "et al."


def blocks(text: str) -> list[str]:
    """Split a text into its blocks: paragraphs, lists and tables between blank lines, and whole directives and fences."""
    found: list[str] = []
    lines: list[str] = []
    fence = ""
    for line in text.splitlines():
        opened = re.match(r":{3,}|`{3,}", line)
        if fence:
            fence = "" if line.rstrip() == fence else fence
        elif opened:
            fence = opened[0]
        if line.strip() or fence:
            lines.append(line)
        elif lines:
            found.append("\n".join(lines))
            lines = []
    return [*found, "\n".join(lines)] if lines else found


class Page:
    """One page of a book, to be told in plain Markdown.

    Args:
        path: of the page; others of its book, and ``references.bib``, lie beside it.
        text: all its prose, in which its equations are numbered.

    Attributes:
        cited: keys of the works it has cited so far, in order.
    """

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.cited: dict[str, None] = {}
        self._numbers = _numbers(text)

    def plain(self, block: str) -> str:
        """Return a block of the page without directives and roles.

        Admonitions become quotes, those that fold ``<details>``, equations ``$$``; numbers of equations, titles of pages, and authors and
        years take the place of keys. A glued value becomes ``{glued['name']}``, see :func:`sentence`.

        Raises:
            ValueError: for a directive, a role or a reference without a plain form.
        """
        opened = _FENCE.fullmatch(block.partition("\n")[0].rstrip())
        if block.startswith("```") and opened is None:
            return block
        if opened is None:
            return _TARGET.sub(r'<a id="\1"></a>\n', self._inline(block))
        lines = block.splitlines()[1:-1]
        options: dict[str, str] = {}
        while lines and (option := _OPTION.fullmatch(lines[0])):
            options[option[1]] = option[2]
            del lines[0]
        body = "\n".join(lines).strip()
        if opened[2] == "math":
            number = f"\n\\tag{{{self._numbers[options['label']]}}}" if "label" in options else ""
            return f"$$\n{body}{number}\n$$"
        if opened[2] not in ("admonition", "note", "tip", "warning", "dropdown"):
            raise ValueError(f"{self.path.name}: directive {opened[2]!r} has no plain form")
        title = self._inline(opened[3]) or opened[2].capitalize()
        body = "\n\n".join(self.plain(inner) for inner in blocks(body))
        if "dropdown" in (opened[2], *options.get("class", "").split()):
            return f"<details>\n<summary>{title}</summary>\n\n{body}\n\n</details>"
        return "\n".join(f"> {line}".rstrip() for line in f"**{title}.**\n\n{body}".splitlines())

    def cells(self, text: str) -> Iterator[tuple[bool, str]]:
        """Yield the plain text of a cell in parts, and whether each shows glued values."""
        for glued, part in groupby(blocks(text), key=lambda block: "{glue:" in block):
            yield glued, "\n\n".join(self.plain(block) for block in part)

    def references(self) -> str:
        """Return the works that were cited, as a section; "" where there are none."""
        works = [_work(self.path.with_name("references.bib"), key) for key in self.cited]
        lines = sorted(f"- {work['authors']} ({work['year']}). {work['title']}. *{work['place']}*." for work in works)
        return "\n".join(["## References", "", *lines]) if lines else ""

    def _inline(self, text: str) -> str:
        """Return a text with its roles in plain words; code stays as it is."""
        return _TOKEN.sub(lambda token: self._role(token) if token["role"] else token[0], text)

    def _role(self, match: re.Match[str]) -> str:
        body = " ".join(match["body"].split())
        words, _, target = body.removesuffix(">").rpartition(" <") if body.endswith(">") else ("", "", body)
        match match["role"]:
            case "math":
                return f"${body}$"
            case "term":
                return words or target
            case "glue":
                return f"{{glued[{target.partition('::')[2] or target!r}]}}"
            case "eq":
                return self._equation(target)
            case "doc":
                title, file = self._page(target)
                return f"[{words or title}]({file})"
            case "cite":
                return self._citation(target.split(","), textual=match["kind"] == "t")
        raise ValueError(f"{self.path.name}: role {match[0]!r} has no plain form")

    def _page(self, name: str) -> tuple[str, str]:
        """Title and file of another page: its notebook where it is one."""
        path = self.path.with_name(f"{name}.md")
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        title = re.search(r"^# (.+)$", text, re.MULTILINE)
        if title is None:
            raise ValueError(f"{self.path.name}: no page {path.name} with a title, which it leads to")
        return title[1], f"{name}.ipynb" if "kernelspec:" in text else path.name

    def _equation(self, label: str) -> str:
        if label in self._numbers:
            return f"({self._numbers[label]})"
        for path in sorted(self.path.parent.glob("*.md")):
            number = _numbers(path.read_text(encoding="utf-8")).get(label)
            if number is not None:
                title, file = self._page(path.stem)
                return f"([{number} in *{title}*]({file}))"
        raise ValueError(f"{self.path.name}: no equation {label!r}")

    def _citation(self, keys: list[str], *, textual: bool) -> str:
        self.cited |= dict.fromkeys(key.strip() for key in keys)
        works = [_work(self.path.with_name("references.bib"), key.strip()) for key in keys]
        if textual:
            return "; ".join(f"{work['short']} ({work['year']})" for work in works)
        return "(" + "; ".join(f"{work['short']}, {work['year']}" for work in works) + ")"


def sentence(markdown: str) -> str:
    """Return the code of a cell that prints plain Markdown with its glued values, for which it asks by ``{glued['name']}``."""
    text = re.sub(r"(\{glued\['\w+'\]\})|([{}])", lambda found: found[1] or 2 * found[2], markdown)
    return f'Markdown(rf"""{text}""")'


def _numbers(text: str) -> dict[str, int]:
    """Return the numbers of a page's labelled equations."""
    return {label: number for number, label in enumerate(_LABEL.findall(text), 1)}


@cache
def _bibliography(path: Path) -> Any:
    from pybtex.database import parse_file

    return parse_file(str(path)).entries


def _work(path: Path, key: str) -> dict[str, str]:
    from pybtex.richtext import Text

    def said(latex: str) -> str:
        return str(Text.from_latex(latex))

    known = _bibliography(path) if path.is_file() else {}
    if key not in known:
        raise ValueError(f"{path.name}: no work {key!r}")
    entry = known[key]
    people = [said(" ".join([*person.prelast_names, *person.last_names])) for person in entry.persons["author"]]
    place = next((entry.fields[name] for name in ("journal", "booktitle", "publisher", "howpublished", "note") if name in entry.fields), "")
    return {
        "short": " and ".join(people) if len(people) <= _NAMES else f"{people[0]} et al.",
        "authors": ", ".join(people),
        "year": entry.fields["year"],
        "title": said(entry.fields["title"]),
        "place": said(place),
    }
