"""docs/reference/errors.md: the codes, and the sentences that come with them."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator

from source import cell, described, modules, strings, template

from neutron_cni.values.errors import Code

SPECIFIED = {
    Code.INCOMPATIBLE_VERSION: "`cniVersion` is not one that we speak.",
    Code.UNSUPPORTED_FIELD: "The configuration asks for something that the plugin can't do.",
    Code.UNKNOWN_CONTAINER: "Unused: DEL of an unknown container succeeds.",
    Code.INVALID_ENVIRONMENT: "A `CNI_*` variable is missing or wrong; the message names it.",
    Code.IO_FAILURE: "Standard input, a lock or a file can't be read or written.",
    Code.DECODING_FAILURE: "The network configuration, or a plugin's answer, is not valid JSON.",
    Code.INVALID_CONFIG: "The network configuration is wrong; the message names the key.",
    Code.TRY_AGAIN: "Passing trouble: Neutron is unreachable, slow or busy. The runtime retries.",
    Code.PLUGIN_NOT_AVAILABLE: "STATUS: an ADD could not succeed now, for the reason given. "
    "Also: the third party's IPAM plugin is not in `CNI_PATH`.",
    Code.PLUGIN_NOT_AVAILABLE_LIMITED: "Unused.",
    Code.UNEXPECTED: "A defect of neutron-cni. Its trace is in `plugin.log` of the state folder.",
}
"""The specification's codes (CNI SPEC, "Error"), and what we use each for."""

Found = tuple[str, str, str]
"""Message, hint and module."""


def text() -> str:
    """The page."""
    messages = _messages()
    parts = [
        "# Errors",
        "",
        "A plugin that fails prints `code`, `msg` and `details` as JSON on standard output and\n"
        "ends with status 1. The runtime shows them in the pod's events. Codes below 100 are the"
        " CNI specification's.",
        "",
        "`…` stands for what is only known when it happens. Search this page for the words beside"
        " it.\nWhat to do at length: [troubleshooting](../troubleshooting.md).",
        "",
        "| code | name | meaning |",
        "|---|---|---|",
        *(f"| {code.value} | {code.name} | {cell(_meaning(code))} |" for code in Code),
    ]
    for code in Code:
        if messages[code]:
            parts += ["", f"## {code.value} {code.name}", ""]
            parts += ["| message | what to do | from |", "|---|---|---|"]
            parts += [
                f"| {cell(message)} | {cell(hint)} | `{where.removesuffix('.py')}` |"
                for message, hint, where in sorted(set(messages[code]))
            ]
    return "\n".join(parts)


def _meaning(code: Code) -> str:
    meaning = described(Code).get(code.name) or SPECIFIED.get(code)
    if not meaning:
        raise SystemExit(f"Code.{code.name} has no description")
    return meaning


def _messages() -> dict[Code, list[Found]]:
    found: dict[Code, list[Found]] = defaultdict(list)
    for where, tree in modules():
        for scope in ast.walk(tree):
            if isinstance(scope, ast.FunctionDef):
                names = strings(scope)
                for call in _calls(scope):
                    for code, message, hint in _error(call, where, names):
                        if message.strip("… ;:()"):
                            found[code].append((message, hint, where))
    return found


def _calls(scope: ast.FunctionDef) -> Iterator[ast.Call]:
    return (node for node in ast.walk(scope) if isinstance(node, ast.Call))


def _error(
    call: ast.Call, where: str, names: dict[str, ast.expr]
) -> Iterator[tuple[Code, str, str]]:
    """Code, message and hint of a call that makes an error; nothing for any other."""
    name = call.func.id if isinstance(call.func, ast.Name) else ""
    words = [template(item, names) for item in call.args]
    if name == "invalid" and len(words) >= 2:
        hint = words[2] if len(words) > 2 else ""
        yield Code.INVALID_CONFIG, f"invalid network configuration: {words[0]}: {words[1]}", hint
    elif name == "_invalid" and where == "cni/environment.py":
        yield Code.INVALID_ENVIRONMENT, words[0], words[1] if len(words) > 1 else ""
    elif name == "PairLimit":
        yield Code.EXHAUSTED, words[0], words[1]
    elif len(words) >= 2:
        for code in _codes(call.args[0]):
            yield code, words[1], words[2] if len(words) > 2 else ""


def _codes(node: ast.expr) -> list[Code]:
    if isinstance(node, ast.IfExp):
        return _codes(node.body) + _codes(node.orelse)
    of_code = isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    if of_code and node.value.id == "Code" and node.attr in Code.__members__:  # type: ignore[attr-defined]
        return [Code[node.attr]]  # type: ignore[attr-defined]
    return []
