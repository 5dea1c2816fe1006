"""docs/reference/command-line.md: every command, argument and option of the tool."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from enum import Enum
from typing import Any

import typer
from source import cell

from neutron_cni.cli.app import build

LAB = "lab"


def text() -> str:
    """The page."""
    root = tree()
    own = [name for name in root.commands if name != LAB]
    parts = [
        "# Command line",
        "",
        "`neutron-cni COMMAND --help` says the same. Every command ends with status 0 when it did"
        " what it was\nasked for, 1 when not, 2 for a wrong command line. Run all of them as root.",
    ]
    for name in own:
        parts += _command(f"neutron-cni {name}", root.commands[name], 2)
    if LAB in root.commands:
        parts += ["", "## neutron-cni lab", "", root.commands[LAB].help or ""]
        parts += ["Only there in a checkout: a node installs none of it."]
        for path, command in walk(root.commands[LAB], f"neutron-cni {LAB}"):
            parts += _command(path, command, 3)
    return "\n".join(parts)


def tree() -> Any:
    """The click command at the root, with all that is installed here."""
    given, sys.argv = sys.argv, ["neutron-cni"]
    try:
        return typer.main.get_command(build())
    finally:
        sys.argv = given


def walk(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every command below a group, depth first; the groups themselves are left out."""
    for name, inner in command.commands.items():
        if hasattr(inner, "commands"):
            yield from walk(inner, f"{path} {name}")
        else:
            yield f"{path} {name}", inner


def _command(path: str, command: Any, level: int) -> list[str]:
    arguments = [item for item in command.params if item.param_type_name == "argument"]
    options = [
        item
        for item in command.params
        if item.param_type_name == "option" and not getattr(item, "hidden", False)
    ]
    usage = " ".join([path, *(["[OPTIONS]"] if options else []), *map(_argument, arguments)])
    parts = ["", f"{'#' * level} {path}", "", f"`{usage}`", "", (command.help or "").strip()]
    if options:
        parts += ["", "| option | default | meaning |", "|---|---|---|"]
        parts += [
            f"| {_names(item)} | {_default(item)} | {cell(item.help or '')} |" for item in options
        ]
    return parts


def _argument(item: Any) -> str:
    name = item.name.upper() + ("..." if item.nargs == -1 else "")
    return name if item.required else f"[{name}]"


def _names(item: Any) -> str:
    # The negative of a flag that is off by default tells nobody anything.
    value = "" if item.is_flag else f" {_kind(item)}"
    return ", ".join(f"`{name}{value}`" for name in item.opts)


def _kind(item: Any) -> str:
    kind = item.type_descriptor.annotation
    if isinstance(kind, type) and issubclass(kind, Enum):
        return "/".join(str(member.value) for member in kind)
    return {"Path": "PATH", "str": "TEXT"}.get(getattr(kind, "__name__", ""), "TEXT")


def _default(item: Any) -> str:
    value = item.default
    if value in (None, "", False) or callable(value):
        return "-"
    return f"`{value.value if isinstance(value, Enum) else value}`"
