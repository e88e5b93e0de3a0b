"""The notebooks beside the chapters read as well as the pages: rendered without MyST, nothing of MyST is left in them."""

from __future__ import annotations

import functools
import re
from html.parser import HTMLParser

import nbformat
import pytest
from IPython.core.interactiveshell import InteractiveShell
from miniature import HEADER
from nbconvert import HTMLExporter

from mixkd import chapters

PAIRS = sorted((chapters.ROOT / "book").glob("*.ipynb"))
KEYS = set(re.findall(r"^@\w+\{([^,]+),", (chapters.ROOT / "book" / "references.bib").read_text(encoding="utf-8"), re.MULTILINE))
MYST = {
    "a directive": re.compile(r"^\s*(?::{3,}|`{3,}\{).*", re.MULTILINE),
    "a role": re.compile(r"\{[a-z]+(?::[a-z]+)?\}`?"),
    "an option": re.compile(r"^:[a-z]+: ?\S+", re.MULTILINE),
    "a target": re.compile(r"^\([\w-]+\)=", re.MULTILINE),
    "a key": re.compile(rf"\b(?:{'|'.join(sorted(KEYS))})\b"),
}


class Reader(HTMLParser):
    """What a reader sees of a rendered notebook: the words outside code, where it leads, where one can be led to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words = ""
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self._open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.links += [given["href"]] if tag == "a" and given.get("href") and given.get("class") != "anchor-link" else []
        self.anchors |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag in ("pre", "code", "style", "script"):
            self._open.append(tag)

    def handle_endtag(self, tag):
        if tag in self._open:
            self._open.remove(tag)

    def handle_data(self, data):
        self.words += "" if self._open else data


@functools.cache
def exporter() -> HTMLExporter:
    return HTMLExporter(template_name="basic")


@pytest.mark.parametrize("pair", PAIRS, ids=lambda path: path.stem)
def test_nothing_of_myst_is_left_and_links_lead_somewhere(pair):
    seen = Reader(exporter().from_notebook_node(nbformat.read(pair, as_version=4))[0])
    words = re.sub(r"\$\$.*?\$\$|\$[^$]+\$", " ", seen.words, flags=re.DOTALL)
    found = [f"{what}: {match[0].strip()}" for what, pattern in MYST.items() for match in pattern.finditer(words)]
    for link in seen.links:
        there = link[1:] in seen.anchors if link.startswith("#") else "://" in link or (pair.parent / link).is_file()
        found += [] if there else [f"a link to nothing: {link}"]
    assert not found


MADE_UP = """
# A chapter

```{code-cell} ipython3
:tags: [parameters, remove-cell]
profile = "digits"
store = "committed"
```

```{code-cell} ipython3
:tags: [remove-cell]
from myst_nb import glue
glue("points", 40, display=False)
```

Of {term}`teachers <teacher>` {cite:t}`hinton2015distilling` and {cite:p}`guo2017calibration,zhang2018mixup`,
see {doc}`the next <next>` and {doc}`next`.

(here)=
## How

There are {glue:text}`points` points with {math}`p^{*}` in {eq}`law`, and {eq}`far`; `{math}` is a role. [Above](#here).

```{math}
:label: law
a^{2} = b
```

:::{admonition} Predict, then look
:class: tip
How many {math}`n`?

- one
:::

:::{admonition} Solution
:class: dropdown
Because.
:::
"""
NEXT = f"{HEADER}# The next page\n\n```{{math}}\n:label: near\na\n```\n\n```{{math}}\n:label: far\nb\n```\n"


@pytest.fixture
def made_up(tmp_path):
    (tmp_path / "next.md").write_text(NEXT, encoding="utf-8")
    (tmp_path / "next.ipynb").write_text("", encoding="utf-8")
    (tmp_path / "references.bib").write_bytes((chapters.ROOT / "book" / "references.bib").read_bytes())
    path = tmp_path / "page.md"
    path.write_text(HEADER + MADE_UP, encoding="utf-8")
    return path


def test_a_pair_says_what_the_page_says(made_up):
    notebook = nbformat.reads(chapters.paired(made_up), as_version=4)
    shell = InteractiveShell()
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code" and "REPOSITORY" not in cell.source]
    shown = [shell.run_cell(source) for source in code]
    assert all(cell.success for cell in shown)
    [printed] = [cell.result.data for cell in shown if cell.result is not None]
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    assert "Of teachers Hinton et al. (2015) and (Guo et al., 2017; Zhang et al., 2018),\nsee [the next](next.ipynb) and [The next" in text
    assert "There are 40 points with $p^{*}$ in (1), and ([2 in *The next page*](next.ipynb)); `{math}` is a role." in printed
    assert "$$\na^{2} = b\n\\tag{1}\n$$" in text
    assert "> **Predict, then look.**\n>\n> How many $n$?\n>\n> - one" in text
    assert "<details>\n<summary>Solution</summary>\n\nBecause.\n\n</details>" in text
    assert "Distilling the Knowledge in a Neural Network" in text.partition("## References")[2]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("```{figure} a.png\n```", "directive 'figure' has no plain form"),
        ("See {download}`a file <a>`.", "role .*download.* has no plain form"),
        ("See {doc}`nowhere`.", "no page nowhere.md"),
        ("See {eq}`nowhere`.", "no equation 'nowhere'"),
        ("See {cite:p}`nobody1999`.", "no work 'nobody1999'"),
    ],
)
def test_what_has_no_plain_form_stops_the_pair(made_up, text, words):
    made_up.write_text(f"{HEADER}{MADE_UP}\n\n{text}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=words):
        chapters.paired(made_up)
