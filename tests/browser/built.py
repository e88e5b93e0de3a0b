"""The pages of a built site."""

from pathlib import Path

import pytest


def pages(site: Path) -> list[Path]:
    """Return all but the fragments the theme leaves among the static files, and the index that only leads to the first page."""
    found = [path for path in sorted(site.rglob("*.html")) if "_static" not in path.parts]
    return [path for path in found if 'http-equiv="Refresh"' not in path.read_text(encoding="utf-8")]


def chapters(site: Path) -> list[Path]:
    """Return the pages a reader reads, not search and index."""
    return [path for path in pages(site) if path.parent.name == "book"]


def page_with(site: Path, mark: str) -> Path:
    """Return the first chapter that holds a mark, or skip."""
    for path in chapters(site):
        if mark in path.read_text(encoding="utf-8"):
            return path
    pytest.skip(f"no page of this site has {mark}")
