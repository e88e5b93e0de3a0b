"""The commands on the reference page, read from the parser itself: a page cannot list a flag that is not there.

Names of the library come by Sphinx's autodoc, from docstrings that are prose. This describes and refuses to run anything.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from docutils import nodes
from docutils.parsers.rst import Directive

if TYPE_CHECKING:
    from sphinx.application import Sphinx


def connect(app: Sphinx) -> None:
    """Called by the extension's own setup."""
    app.add_directive("mixkd-commands", Commands)
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", _as_prose, priority=400)  # before napoleon adds markup of its own


def prose(lines: Sequence[str]) -> list[str]:
    """A docstring as docutils wants it: lists set apart by blank lines, ``|a - b|`` and ``2 * x`` escaped where they are no markup.

    What stands in backticks, literal or role, and ``*emphasis*`` stay as they are.
    """
    made: list[str] = []
    item: int | None = None  # indentation of the list we are in
    for line in lines:
        indent, bullet = len(line) - len(line.lstrip()), line.lstrip().startswith("- ")
        if line.strip():
            starts, ends = bullet and item is None, item is not None and not bullet and indent <= item
            if (starts or ends) and made and made[-1].strip():
                made.append("")
            item = indent if bullet and item is None else None if ends else item
        parts = re.split(r"(``.*?``|`[^`]*`|\*[^\s*][^*]*\*)", line)
        made.append("".join(part if part[:1] in ("`", "*") and part[1:] else re.sub(r"([|*])", r"\\\1", part) for part in parts))
    return made


def _as_prose(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    lines[:] = prose(lines)


class Commands(Directive):
    """``mixkd-commands``: a section for each command, with its arguments."""

    def run(self) -> list[nodes.Node]:
        """Called by docutils."""
        from mixkd.cli import _parser

        return [section(name, command(name)) for name in _names(_parser([]))]


def command(name: str) -> argparse.ArgumentParser:
    """The parser of one command, with all its flags."""
    from mixkd.cli import _parser

    return _names(_parser([name]))[name]


def section(name: str, parser: argparse.ArgumentParser) -> nodes.section:
    """A command as a section of a page: what it does, and its arguments by group."""
    made = nodes.section(ids=[f"mixkd-{name}"], names=[f"mixkd {name}"])
    made += nodes.title("", "", nodes.literal("", f"mixkd {name}"))
    made += nodes.paragraph("", f"{_sentence(parser.description or '')}")
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if not isinstance(action, argparse._HelpAction)]
        if not actions:
            continue
        if group.title not in ("options", "positional arguments"):
            about = f": {group.description}" if group.description else ""
            made += nodes.paragraph("", "", nodes.strong("", _sentence(f"{group.title}{about}")))
        made += _arguments(actions)
    return made


def _arguments(actions: list[argparse.Action]) -> nodes.definition_list:
    entries = nodes.definition_list(classes=["book-arguments"])
    for action in actions:
        value = action.metavar if isinstance(action.metavar, str) else action.dest.rpartition(".")[2].upper()
        takes = "" if action.nargs == 0 else f" {'{' + ','.join(map(str, action.choices)) + '}' if action.choices else value}"
        words = f"{', '.join(action.option_strings)}{takes}" if action.option_strings else takes.strip() or value
        default = {"default": action.default, "prog": "mixkd"}
        about = (action.help or "") % default if action.help else "required" if action.required else ""
        term = nodes.term("", "", nodes.literal("", words))
        entries += nodes.definition_list_item("", term, nodes.definition("", nodes.paragraph("", _sentence(about))))
    return entries


def _names(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    [commands] = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(commands.choices)


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}{'' if words.endswith(('.', ':')) or not words else '.'}"
