"""A browser and a site. ``MIXKD_SITE`` names the folder of a built site; else ``_build/html``; else a miniature book is
built."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome")
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Path:
    if named := os.environ.get("MIXKD_SITE"):
        found = Path(named).resolve()
        assert (found / "index.html").is_file(), f"MIXKD_SITE: {found} holds no site"
        return found
    if (ROOT / "_build/html/index.html").is_file():
        return ROOT / "_build/html"
    from miniature import write

    from mixkd import site

    return site.build(root=write(tmp_path_factory.mktemp("book"))).parent


@pytest.fixture(scope="session")
def browser():
    program = next(filter(None, map(shutil.which, CHROMIUM)), None)
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        program, why = None, "playwright is not installed"
    else:
        why = f"none of {', '.join(CHROMIUM)} is on the path"
    if program is None:
        if os.environ.get("CI"):
            pytest.fail(f"no browser, and CI must have one: {why}")
        pytest.skip(why)
    with sync_playwright() as playwright:
        instance = playwright.chromium.launch(executable_path=program, args=list(QUIET))
        yield instance
        instance.close()


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core."""
    import axe_playwright_python

    return (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def shots(site) -> Path:
    """Where pictures of this run lie: beside the site, never in it."""
    folder = site.parent / "screenshots"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def visit(browser):
    """Open a file of the site. The page keeps ``asked``, the files it took, ``first``, those of the first view, ``outside``, the addresses
    it asked for beyond the disk (all refused), and ``errors``. ``page.leave()`` frees it before the test ends."""
    contexts = []

    def go(path: Path, *, width: int = 1280, theme: str = "light", fragment: str = "", scripts: bool = True, **options):
        context = browser.new_context(**{
            "viewport": {"width": width, "height": 844}, "color_scheme": theme, "java_script_enabled": scripts, "reduced_motion": "reduce",
            **options,
        })  # fmt: skip
        contexts.append(context)
        page = context.new_page()
        page.asked, page.outside, page.errors = [], [], []
        page.leave = lambda: (contexts.remove(context), context.close())

        def route(request):
            if request.request.url.startswith("file:"):
                page.asked.append(Path(unquote(urlsplit(request.request.url).path)))
            if request.request.url.startswith(("file:", "data:", "blob:")):
                request.continue_()
            else:
                page.outside.append(request.request.url)
                request.abort()

        page.route("**/*", route)
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.on("console", lambda message: page.errors.append(message.text) if message.type in ("error", "warning") else None)
        page.goto(path.as_uri() + fragment)
        page.first = {*page.asked, path}  # plotly.js is asked for a second later, which a busy machine may not notice
        if scripts:
            page.wait_for_load_state("load")
        return page

    yield go
    for context in contexts:
        context.close()


DRAWN = """() => [...document.querySelectorAll('[data-lab]')].every((lab) => {
  const value = lab.querySelector('.mixkd-value');
  return lab.mixkd && (!value || value.textContent);
})"""


@pytest.fixture
def show(tmp_path, visit):
    """Open figures on a bare page, as a notebook shows them, and wait until they are drawn."""

    def go(*figures, style: str = "", tail: str = "", **options):
        head = "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'><title>figure</title>"
        body = "".join(figure._repr_html_() for figure in figures)
        file = tmp_path / "figure.html"
        file.write_text(f"{head}<style>{style}</style><body><main><h1>figure</h1>{body}{tail}</main>", encoding="utf-8")
        page = visit(file, **options)
        if options.get("scripts", True):
            page.wait_for_function(DRAWN)
        return page

    return go
