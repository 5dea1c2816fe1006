"""The project's source as syntax trees: what values alone do not tell (docstrings, messages)."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import neutron_cni

PACKAGE = Path(neutron_cni.__file__).parent


def modules() -> Iterator[tuple[str, ast.Module]]:
    """Every module of the product: its path below the package, and its tree."""
    for path in sorted(PACKAGE.rglob("*.py")):
        yield str(path.relative_to(PACKAGE)), ast.parse(path.read_text())


def module(name: str) -> ast.Module:
    """One module by its path below the package, "openstack/neutron.py"."""
    return ast.parse((PACKAGE / name).read_text())


def described(cls: type) -> dict[str, str]:
    """What the class says of its attributes: by docstrings below them, or "`name`: text" lines
    in its own docstring."""
    tree = ast.parse(inspect.getsource(inspect.getmodule(cls)))  # type: ignore[arg-type]
    body = next(
        node.body
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and node.name == cls.__name__
    )
    own = inspect.getdoc(cls) or ""
    lines = re.findall(r"^`(\w+)`: (.*(?:\n(?!`|\n).*)*)", own, re.MULTILINE)
    found = {name: _one_line(text) for name, text in lines}
    for before, after in pairwise(body):
        names = _assigned(before)
        if names and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            found |= dict.fromkeys(names, _one_line(str(after.value.value)))
    return found


def constant(name: str, variable: str) -> str:
    """The docstring below a module's variable, empty where it has none."""
    body = module(name).body
    for before, after in pairwise(body):
        if variable in _assigned(before) and isinstance(after, ast.Expr):
            assert isinstance(after.value, ast.Constant)
            return _one_line(str(after.value.value))
    return ""


def template(node: ast.expr | None, names: dict[str, ast.expr] | None = None) -> str:
    """A string expression as text, with an ellipsis for what is only known when it happens."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(template(part, names) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return template(node.left, names) + template(node.right, names)
    if isinstance(node, ast.IfExp):
        either = (template(node.body, names), template(node.orelse, names))
        return " / ".join(text for text in either if text)
    if isinstance(node, ast.Name) and names and node.id in names:
        return template(names[node.id], names)
    return "…"


def strings(scope: ast.FunctionDef) -> dict[str, ast.expr]:
    """Formatted strings and paths that a function gives a name before it uses them."""
    return {
        node.targets[0].id: node.value
        for node in ast.walk(scope)
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.JoinedStr | ast.Call)
    }


def cell(text: str) -> str:
    """`text` in a cell of a Markdown table."""
    return _one_line(text).replace("|", "\\|").replace("<", "&lt;")


def _assigned(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [node.target.id]
    if isinstance(node, ast.Assign):
        names: list[str] = []
        for target in node.targets:
            parts = target.elts if isinstance(target, ast.Tuple) else [target]
            names += [part.id for part in parts if isinstance(part, ast.Name)]
        return names
    return []


def _one_line(text: str) -> str:
    return " ".join(text.split())
