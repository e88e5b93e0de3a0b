"""Run paired notebooks as a reader's Colab does: in IPython, `google.colab` imported, the project cloned from a repository.

    python tests/as_on_colab.py [--repository URL] [--content DIR] NOTEBOOK.ipynb ...

Needs nothing but what Colab has before the first cell. Exit status 1 when a cell fails; which, and why, is printed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repository", default=f"file://{ROOT}", help="what the first cell clones (default: this checkout's commit)")
    parser.add_argument("--content", default="/content", help="the folder Colab works in")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)  # in a process of its own
    parser.add_argument("notebooks", nargs="+", type=Path)
    options = parser.parse_args()
    if options.one:
        return run(options.notebooks[0], options.repository, options.content)
    os.makedirs(options.content, exist_ok=True)
    failed = []
    for notebook in options.notebooks:
        own = [sys.executable, __file__, "--one", "--repository", options.repository, "--content", options.content]
        if subprocess.run([*own, str(notebook.resolve())], cwd=options.content).returncode:
            failed.append(notebook.name)
    print(f"{len(options.notebooks) - len(failed)} of {len(options.notebooks)} notebooks ran; failed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


def run(notebook: Path, repository: str, content: str) -> int:
    """One notebook, cell by cell, until one fails."""
    from IPython.core.interactiveshell import InteractiveShell

    # a checkout that another user owns, as in a container, may be cloned all the same
    os.environ |= {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
    try:
        importlib.import_module("google.colab")
    except ImportError:
        sys.modules["google.colab"] = types.ModuleType("google.colab")
    shell = InteractiveShell.instance()
    cells = [cell for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(cells):
        source = "".join(cell["source"])
        if number == 0:
            assert "REPOSITORY = " in source, f"{notebook.name}: its first cell fetches nothing"
            lines = [f"REPOSITORY = {repository!r}" if line.startswith("REPOSITORY = ") else line for line in source.splitlines()]
            source = "\n".join(lines).replace("/content/", f"{content}/")
        result = shell.run_cell(source, silent=False)
        if not result.success:
            print(f"{notebook.name}: cell {number} failed: {source.splitlines()[0]!r}")
            return 1
    print(f"{notebook.name}: {len(cells)} cells ran, scale and store {shell.user_ns.get('profile')}, {shell.user_ns.get('store')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
