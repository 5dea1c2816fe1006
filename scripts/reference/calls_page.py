"""docs/reference/neutron-calls.md: what is asked of Neutron, and access rules for exactly that."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass

from source import cell, module, strings, template

ALL, VM = "all", "fixed-ips, address-pairs"

NOTES = {
    "GET /ports/{port_id}": (VM, "`get_port`"),
    "GET /ports": (ALL, "`get_port`; of other projects' ports only the network's owner sees any"),
    "POST /ports": (
        "port, address-pairs",
        "`create_port`, `create_port:fixed_ips:subnet_id`, `create_port:device_id`,"
        " `create_port:binding:vnic_type`; for a requested address"
        " `create_port:fixed_ips:ip_address`",
    ),
    "DELETE /ports/{port_id}": ("port, address-pairs", "`delete_port`"),
    "PUT /ports/{port_id}": (
        VM,
        "`update_port`; fixed-ips: `update_port:fixed_ips` with `:ip_address` and `:subnet_id`;"
        " address-pairs: `update_port:allowed_address_pairs` with `:ip_address`"
        " and `:mac_address`",
    ),
    "POST /ports/{port_id}/tags": (ALL, "`update_port:tags`, `create_port:tags`"),
    "PUT /ports/{port_id}/tags/{tag}": (f"{ALL}, without `tag-creation`", "`update_port:tags`"),
    "DELETE /ports/{port_id}/tags/{tag}": ("fixed-ips", "`delete_port:tags`"),
    "GET /networks": (ALL, "`get_network`"),
    "GET /subnets": (ALL, "`get_subnet`"),
    "GET /security-groups": ("port, with `securityGroups`", "`get_security_group`"),
    "GET /quotas/{project_id}/details.json": ("STATUS; port, address-pairs", "the own project's"),
    "GET /quotas/project": ("STATUS with `auth_type: none`; port, address-pairs", "-"),
    "GET /extensions": (ALL, "-"),
}
"""Modes that make the call, and Neutron's policies for it (names of Neutron 29)."""


@dataclass(frozen=True)
class Call:
    """One request: `path` has names in braces."""

    method: str
    path: str
    purpose: str


def text() -> str:
    """The page."""
    found = _calls()
    unknown = {f"{call.method} {call.path}" for call in found} ^ set(NOTES)
    if unknown:
        raise SystemExit(f"NOTES of calls_page.py and openstack/neutron.py differ in {unknown}")
    rows = [
        f"| `{call.method} /v2.0{call.path}` | {NOTES[f'{call.method} {call.path}'][0]} "
        f"| {cell(call.purpose)} | {cell(NOTES[f'{call.method} {call.path}'][1])} |"
        for call in found
    ]
    table = "\n".join(["| call | modes | method of ours | policies |", "|---|---|---|---|", *rows])
    return f"""# Calls of Neutron

Every call that the plugins and `neutron-cni` make. Nova, Glance and the rest are never called;
Keystone only for a token. The metadata service, where `portLookup` uses it, needs no credentials.

{table}

## Access rules for an application credential

Exactly the calls above, as a file: [access-rules.json](access-rules.json). The path is the whole
path of the request. Where the catalog's endpoint has a path of its own
(`https://cloud.example/networking`), put it in front of each `path`.

```json
{access_rules()}
```
"""


def access_rules() -> str:
    """The rules, one for each call."""
    rules = [
        {"service": "network", "method": call.method, "path": f"/v2.0{_wild(call.path)}"}
        for call in _calls()
    ]
    lines = ",\n".join(f"  {json.dumps(rule)}" for rule in rules)
    return f"[\n{lines}\n]"


def _wild(path: str) -> str:
    return re.sub(r"{\w+}", "*", path)


def _calls() -> list[Call]:
    found: dict[tuple[str, str], list[str]] = {}
    for name in ("openstack/neutron.py", "openstack/resources.py"):
        for scope in ast.walk(module(name)):
            if isinstance(scope, ast.FunctionDef) and scope.name not in ("_one", "_list"):
                names = strings(scope)
                for call in (node for node in ast.walk(scope) if isinstance(node, ast.Call)):
                    for key in _requests(call, names):
                        found.setdefault(key, []).append(f"`{scope.name}`")
    return [
        Call(method, path, ", ".join(dict.fromkeys(who))) for (method, path), who in found.items()
    ]


def _requests(call: ast.Call, names: dict[str, ast.expr]) -> list[tuple[str, str]]:
    """(method, path) of a call of our own helpers, read as it stands in the source."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    arguments = [_path(item, names) for item in call.args]
    if name in ("_one", "_list"):
        return [("GET", f"/{arguments[0]}")]
    if name in ("_get", "get") and arguments and arguments[0].startswith("/"):
        return [("GET", arguments[0])]
    if name == "_delete" and arguments and arguments[0].startswith("/"):
        return [("DELETE", arguments[0])]
    if name == "_change" and len(arguments) > 1 and arguments[1].startswith("/"):
        return [(arguments[0], arguments[1])]
    return []


def _path(node: ast.expr, names: dict[str, ast.expr]) -> str:
    if isinstance(node, ast.Name):
        node = names.get(node.id, node)
    if isinstance(node, ast.Call):
        if not (isinstance(node.func, ast.Name) and node.func.id == "path"):
            return ""
        return "".join(f"/{_segment(part)}" for part in node.args)
    if not isinstance(node, ast.JoinedStr):
        return template(node)
    return "".join(
        "{" + _name(part.value) + "}" if isinstance(part, ast.FormattedValue) else template(part)
        for part in node.values
    )


def _segment(node: ast.expr) -> str:
    """One part of a path as `openstack.calls.path` is given it."""
    return template(node) if isinstance(node, ast.Constant) else "{" + _name(node) + "}"


def _name(node: ast.expr) -> str:
    """`port.id` as port_id, `quote(tag, safe="")` as tag."""
    inner = node.args[0] if isinstance(node, ast.Call) else node
    return ast.unparse(inner).replace(".", "_")
