"""The reference page: every public name and command is on it, and every docstring can be rendered."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import pytest
from docutils import nodes
from docutils.core import publish_doctree
from docutils.parsers.rst import roles

import mixkd
from mixkd.sphinx_ext import rst

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "book" / "api.md").read_text(encoding="utf-8")
MODULES = sorted(set(re.findall(r"automodule:: (mixkd\.(?:measure\.|vicinal)\w*)", PAGE)))


def test_every_public_name_and_every_measure_is_on_the_page():
    documented = set(re.findall(r"auto(?:class|function|module):: ([\w.]+)", PAGE))
    for name in set(mixkd.__all__) - {"__version__"}:
        value = getattr(mixkd, name)
        full = value.__name__ if inspect.ismodule(value) else f"mixkd.{name}"
        assert full in documented, f"book/api.md lacks {name}"
    inner = {"bins", "rows", "temperature", "resampling"}  # calibration exports the names of the first three; claims call the last
    files = {f"mixkd.measure.{path.stem}" for path in (ROOT / "mixkd" / "measure").glob("[a-z]*.py") if path.stem not in inner}
    assert files <= {*MODULES}, "book/api.md lacks a module of measures"


@pytest.mark.parametrize("module", MODULES)
def test_docstrings_can_be_rendered(module):
    from sphinx.ext.napoleon import Config, GoogleDocstring

    for role in ("func", "class", "meth", "mod", "attr", "data", "doc", "ref"):
        roles.register_local_role(role, lambda name, raw, text, *_: ([nodes.literal("", text)], []))
    loaded = importlib.import_module(module)
    config = Config(napoleon_use_ivar=True, napoleon_numpy_docstring=False)
    for name, member in {module: loaded, **_public(loaded)}.items():
        # without fields of a docstring the text is left
        lines = str(GoogleDocstring(rst(inspect.getdoc(member).splitlines()), config, what="function")).splitlines()
        tree = publish_doctree("\n".join(lines), settings_overrides={"report_level": 5, "halt_level": 5})
        problems = [message.astext() for message in tree.findall(nodes.system_message) if message["level"] >= 2]
        assert not problems, f"docstring of {module}.{name}: {problems}"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["distance |a - b| of 2 * x"], [r"distance \|a - b\| of 2 \* x"]),
        (["*and* ``a | b`` and `c|d`"], ["*and* ``a | b`` and `c|d`"]),
        (["says:", "- one", "  more", "- two", "after"], ["says:", "", "- one", "  more", "- two", "", "after"]),
        (["    alpha, smoothing: of its arm."], ["    alpha,smoothing: of its arm."]),
    ],
)
def test_docstrings_become_rst(given, expected):
    assert rst(given) == expected


def _public(module):
    """What a module itself defines without a leading underscore and with a docstring: functions and classes."""
    kinds = (member for member in vars(module).items() if inspect.isfunction(member[1]) or inspect.isclass(member[1]))
    return {name: it for name, it in kinds if name[0] != "_" and it.__module__ == module.__name__ and inspect.getdoc(it)}
