"""The commands on the reference page, read from the parser itself: a page cannot list a flag that is not there.

Names of the library come by Sphinx's autodoc, from docstrings that are prose. This describes and refuses to run anything.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
from collections.abc import Sequence
from dataclasses import is_dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from docutils import nodes
from docutils.parsers.rst import Directive
from sphinx import addnodes

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_MARKUP = re.compile(r"(``.*?``|`[^`]*`|\*[^\s*][^*]*\*)")
_TWO_NAMES = re.compile(r"^(\s+)(\w+(?:, \w+)+): ")  # one line for two fields; docutils takes the first for a type


def connect(app: Sphinx) -> None:
    """Called by the extension's own setup."""
    app.add_directive("mixkd-commands", Commands)
    app.add_directive("mixkd-names", Names)
    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", _as_prose, priority=400)  # before napoleon adds markup of its own
    app.connect("autodoc-process-signature", _no_fields)
    app.connect("html-page-context", _fields)


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
        line = _TWO_NAMES.sub(lambda named: f"{named[1]}{named[2].replace(', ', ',')}: ", line)
        parts = _MARKUP.split(line)
        made.append("".join(part if part[:1] in ("`", "*") and part[1:] else re.sub(r"([|*])", r"\\\1", part) for part in parts))
    return made


def _as_prose(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    lines[:] = prose(lines)


def _no_fields(app: Sphinx, what: str, name: str, obj: object, *_: object) -> tuple[str, str] | None:
    """The fields of a result or a spec stand in its docstring; its signature would only repeat them."""
    return ("", "") if what == "class" and (is_dataclass(obj) or hasattr(obj, "model_fields")) else None


def _fields(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Sphinx calls the fields of a class variables."""
    if "Variables<span" in context.get("body", ""):
        context["body"] = context["body"].replace("Variables<span", "Fields<span")


class Names(Directive):  # type: ignore[misc]
    """``mixkd-names:: MODULE``: its functions and classes, each with the first sentence of its docstring."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Called by docutils."""
        module = importlib.import_module(self.arguments[0])
        entries = nodes.bullet_list(classes=["book-names"])
        for name, member in public(module).items():
            at = f"{module.__name__}.{name}"
            link = addnodes.pending_xref("", refdomain="py", reftype="obj", reftarget=at, refexplicit=True, refwarn=False)
            link += nodes.literal("", name)
            first = " ".join((inspect.getdoc(member) or "").split("\n\n")[0].split())
            words = re.sub(r":\w+:`([^`]*)`|``([^`]*)``", lambda m: m[1] or m[2], first)
            entries += nodes.list_item("", nodes.paragraph("", "", link, nodes.Text(f" {words.partition('. ')[0].rstrip('.')}.")))
        return [entries]


def public(module: ModuleType) -> dict[str, object]:
    """What a module itself defines without a leading underscore and with a docstring: functions and classes, in its own order."""
    found = {name: member for name, member in vars(module).items() if not name.startswith("_") and inspect.getdoc(member)}
    return {
        name: member
        for name, member in found.items()
        if (inspect.isfunction(member) or inspect.isclass(member)) and member.__module__ == module.__name__
    }


class Commands(Directive):  # type: ignore[misc]
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
