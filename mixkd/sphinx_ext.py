"""What stock extensions lack for pages that stand alone: plotly figures, vendored scripts, words on hover, an execution cache never
stale, docstrings in plain words."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import is_dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from docutils import nodes

from mixkd.chapters import LIBRARY, fingerprint
from mixkd.figures.plot import MIME
from mixkd.site import repository

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.config import Config

_MATHJAX = "sphinx-mathjax-offline/static/mathjax/"
_MARKUP = re.compile(r"(``.*?``|`[^`]*`|\*[^\s*][^*]*\*)")
_TWO_FIELDS = re.compile(r"^(\s+)(\w+(?:, \w+)+): ")  # docutils takes the first for a type
_THEBE = re.compile(r'<script type="text/x-thebe-config">.*?</script>\s*(<script>kernelName = .*?</script>)?', re.DOTALL)
# What the theme puts on every page and a reader never needs: icons as a script (the theme's own font has them all), and the search index
# anywhere but on the search page. Together they weigh more than a page.
_ICONS = re.compile(r'<script[^>]*src="[^"]*scripts/fontawesome\.js[^"]*"></script>\s*')
_SEARCH = re.compile(r'<script src="[^"]*(?:searchtools|language_data|searchindex)\.js[^"]*"></script>\s*')
_LAB_DATA = re.compile(r'<script type="text/plain" data-key="([0-9a-f]{16})">([A-Za-z0-9+/=]*)</script>')


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the extension with Sphinx."""
    app.connect("config-inited", _configure)
    app.connect("builder-inited", _vendor)
    app.connect("env-get-outdated", _outdated)
    app.connect("autodoc-process-docstring", _as_rst, priority=400)  # before napoleon adds markup of its own
    app.connect("autodoc-process-signature", _no_fields)
    app.connect("doctree-resolved", _define_words)
    app.connect("html-page-context", _clean_page, priority=900)
    app.connect("build-finished", _lighten)
    return {"version": metadata.version("mixkd"), "parallel_read_safe": True, "parallel_write_safe": True}


class PlotlyMime:
    """Render plotly JSON (entry point ``myst_nb.mime_renderers``): a box in which ``book_plotly.js`` draws, the reading, and the
    data as a table, which stands open where there is no JavaScript."""

    mime_priority_overrides: ClassVar[Sequence[tuple[str, str, int | None]]] = [("html", MIME, 1), ("dirhtml", MIME, 1)]

    @staticmethod
    def handle_mime(renderer: Any, data: Any, inline: bool) -> list[nodes.Element] | None:
        """Render plotly output for myst-nb; None for any other type."""
        if data.mime_type != MIME:
            return None
        return [nodes.raw(text=figure_html(data.content), format="html", classes=["output"])]


def figure_html(figure: Mapping[str, Any]) -> str:
    """Render a plotly figure for a page."""
    layout = {key: value for key, value in figure.get("layout", {}).items() if key != "meta"}
    meta = figure.get("layout", {}).get("meta")
    meta = meta if isinstance(meta, Mapping) else {}
    label = str(meta.get("label") or "figure")
    height = int(layout.get("height") or 420)
    # "<" would let a class name end the script element.
    kept = {key: figure[key] for key in ("data", "frames", "config") if key in figure}
    body = json.dumps({**kept, "layout": layout}, separators=(",", ":"), ensure_ascii=False).replace("<", "\\u003c")
    reading = f'<p class="book-reading">{html.escape(str(meta["reading"]))}</p>' if meta.get("reading") else ""
    table = f'<div class="book-data-scroll" tabindex="0">{meta["table"]}</div>' if meta.get("table") else ""
    return (
        f'<div class="book-plotly" data-height="{height}" data-label="{html.escape(label, quote=True)}">'
        f'<div class="book-plot" style="height:{height}px"></div><script type="application/json">{body}</script>{reading}'
        f'<details class="book-data" open><summary>data of this figure<span class="book-named">: {html.escape(label)}</span></summary>'
        f"{table}</details></div>"
    )


def rst(lines: Sequence[str]) -> list[str]:
    """Return a docstring as docutils wants it: lists between blank lines, ``|a - b|`` and ``2 * x`` escaped, two fields on a line split.

    What stands in backticks and ``*emphasis*`` stays as it is.
    """
    made: list[str] = []
    item: int | None = None  # indentation of the list we are in
    for line in lines:
        indent, bullet = len(line) - len(line.lstrip()), line.lstrip().startswith("- ")
        if line.strip():
            starts, ends = bullet and item is None, item is not None and not bullet and indent <= item
            made += [""] if (starts or ends) and made and made[-1].strip() else []
            item = indent if starts else None if ends else item
        line = _TWO_FIELDS.sub(lambda named: f"{named[1]}{named[2].replace(', ', ',')}: ", line)
        parts = _MARKUP.split(line)
        made.append("".join(part if part[:1] in ("`", "*") and part[1:] else re.sub(r"([|*])", r"\\\1", part) for part in parts))
    return made


def _as_rst(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    lines[:] = rst(lines)


def _no_fields(app: Sphinx, what: str, name: str, obj: object, *_: object) -> tuple[str, str] | None:
    """Leave the fields of a result or a spec to its docstring; the signature would repeat them."""
    return ("", "") if what == "class" and (is_dataclass(obj) or hasattr(obj, "model_fields")) else None


def _outdated(app: Sphinx, env: Any, added: set[str], changed: set[str], removed: set[str]) -> Iterable[str]:
    """Make every page again when a definition may have changed; always one, as without any no changed asset is copied."""
    return env.found_docs if "book/glossary" in added | changed else [app.config.root_doc]


def _define_words(app: Sphinx, doctree: nodes.document, page: str) -> None:
    """Give each link to a word of the glossary its definition, which browsers show on hover."""
    terms = {page for _, _, kind, page, _, _ in app.env.get_domain("std").get_objects() if kind == "term"}
    links = [link for link in doctree.findall(nodes.reference) if (link.get("refid") or link.get("refuri", "")).find("term-") >= 0]
    if not links or page in terms:
        return
    if not hasattr(app, "mixkd_words"):
        items = [item for page in terms for item in app.env.get_doctree(page).findall(nodes.definition_list_item)]
        words = {at: " ".join(item[-1].astext().split()) for item in items for term in item.findall(nodes.term) for at in term["ids"]}
        app.mixkd_words = words  # type: ignore[attr-defined]
    for link in links:
        link["reftitle"] = app.mixkd_words.get(link.get("refid") or link["refuri"].partition("#")[2], "")  # type: ignore[attr-defined]


def _root(app: Sphinx) -> Path:
    """Return the book's own folder, also when Sphinx builds a staged copy of it."""
    return Path(os.environ.get("MIXKD_BOOK_ROOT") or app.srcdir)


def _configure(app: Sphinx, config: Config) -> None:
    """Settle what depends on the checkout: the repository's address, and where executed chapters are cached."""
    if known := repository(_root(app)):
        address, branch = known
        options = config.html_theme_options
        options.update(repository_url=address, repository_branch=branch, use_repository_button=True, use_issues_button=True)
        if "github" in address.split("/")[2]:
            options["launch_buttons"] = {
                "notebook_interface": "jupyterlab",
                "colab_url": "https://colab.research.google.com",
            }
    config.ogp_site_url = config.html_baseurl
    if config.nb_execution_mode == "cache":
        # The cache knows a notebook by its code alone. Its folder is named by everything else a chapter depends on, so
        # that a page can never show results of an older library or of other records; a new name also makes Sphinx read
        # all pages again.
        cache = Path(app.outdir).parent / ".jupyter_cache"
        current = cache / fingerprint(LIBRARY, _root(app) / "book" / "records")
        for old in cache.iterdir() if cache.is_dir() else ():
            if old != current:
                shutil.rmtree(old, ignore_errors=True) if old.is_dir() else old.unlink()
        config.nb_execution_cache_path = str(current)


def _vendor(app: Sphinx) -> None:
    """Lay plotly.js and MathJax beside the book's assets, from the installed packages: nothing is committed, nothing
    fetched."""
    vendor = Path(app.outdir).parent / "vendor"
    for file in metadata.files("plotly") or []:
        if file.as_posix() == "plotly/package_data/plotly.min.js":
            _copy(Path(str(file.locate())), vendor / "plotly.min.js")
    for file in metadata.files("sphinx-mathjax-offline") or []:
        inside = file.as_posix().removeprefix(_MATHJAX)
        if inside == "tex-mml-chtml.js" or inside.startswith("output/chtml/fonts/woff-v2/"):
            _copy(Path(str(file.locate())), vendor / "mathjax" / inside)
    app.config.html_static_path.append(str(vendor))


def _copy(source: Path, target: Path) -> None:
    if not target.is_file() or target.stat().st_size != source.stat().st_size:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def _clean_page(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Drop scripts that come twice and those of thebe, which is off; move data of models a lab does not show at first
    to files."""
    seen: set[str] = set()
    kept = []
    for script in context.get("script_files", []):
        text = f"{getattr(script, 'filename', script)} {getattr(script, 'attributes', {}).get('body', '')}"
        if "thebe" not in text.lower() and text not in seen:
            seen.add(text)
            kept.append(script)
    context["script_files"] = kept
    context["css_files"] = [css for css in context.get("css_files", []) if "thebe" not in str(getattr(css, "filename", css))]
    context["body"] = _THEBE.sub("", context.get("body", ""))
    # docutils calls a bibliography a list whose entries are links back: assistive software refuses such a list
    context["body"] = context["body"].replace('<div role="list" class="citation-list">', '<div class="citation-list">')
    if "mixkd-lab" in context["body"]:
        folder = Path(app.outdir) / "_static" / "lab"

        def move(match: re.Match[str]) -> str:
            key, data = match.groups()
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{key}.js").write_text(f'mixkdLive.provide("{key}","{data}")', encoding="ascii")
            source = context["pathto"](f"_static/lab/{key}.js", 1)
            return f'<script type="text/plain" data-key="{key}" data-src="{source}"></script>'

        context["body"] = _LAB_DATA.sub(move, context["body"])


def _lighten(app: Sphinx, exception: Exception | None) -> None:
    """Take from the finished pages what only costs the reader time."""
    if exception is not None or app.builder.format != "html":
        return
    for page in Path(app.outdir).rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        kept = _ICONS.sub("", text) if page.name == "search.html" else _SEARCH.sub("", _ICONS.sub("", text))
        if kept != text:
            page.write_text(kept, encoding="utf-8")
    for unused in (*(Path(app.outdir) / "_static").rglob("*.map"), *(Path(app.outdir) / "_static" / "scripts").glob("fontawesome.js*")):
        unused.unlink(missing_ok=True)
