"""A book of three small pages that uses everything the real one does: figures, the lab, glue, references, a glossary."""

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADER = "---\nfile_format: mystnb\nkernelspec: {display_name: Python 3, language: python, name: python3}\n---\n"


def write(folder: Path) -> Path:
    """Lay the miniature book into a folder, with the real book's configuration and assets."""
    shutil.copytree(ROOT / "tests" / "miniature_book", folder, dirs_exist_ok=True)
    shutil.copy(ROOT / "_config.yml", folder)
    shutil.copy(ROOT / "book" / "references.bib", folder / "book")
    shutil.copytree(ROOT / "book" / "assets", folder / "book" / "assets", dirs_exist_ok=True)
    return folder
