"""docs/reference/neutron-calls.md: what is asked of Neutron and Nova, and access rules for that."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from source import cell, module, modules, strings, template

from neutron_cni.openstack.nova_service import MICROVERSION

ALL, VM, NICS = "all", "fixed-ips, address-pairs", "nova-interface"
PORTS = f"port, address-pairs, {NICS}"


@dataclass(frozen=True)
class Source:
    """Where the calls of one service are made.

    `service` is its type in the catalog, `version` what its paths begin with.
    """

    service: str
    version: str
    modules: tuple[str, ...]


SOURCES = (
    Source("network", "/v2.0", ("openstack/neutron.py", "openstack/resources.py")),
    Source("compute", "/v2.1", ("openstack/nova.py",)),
)

NOTES = {
    "GET /v2.0/ports/{port_id}": (ALL, "`get_port`"),
    "GET /v2.0/ports": (
        ALL,
        "`get_port`; of other projects' ports only the network's owner sees any",
    ),
    "POST /v2.0/ports": (
        PORTS,
        "`create_port`, `create_port:fixed_ips:subnet_id`; for a requested address"
        " `create_port:fixed_ips:ip_address`. port, address-pairs: `create_port:device_id`,"
        " `create_port:binding:vnic_type`. nova-interface: with `vnicType`"
        " `create_port:binding:vnic_type`, with `portSecurity`"
        " `create_port:port_security_enabled`",
    ),
    "DELETE /v2.0/ports/{port_id}": (PORTS, "`delete_port`"),
    "PUT /v2.0/ports/{port_id}": (
        VM,
        "`update_port`; fixed-ips: `update_port:fixed_ips` with `:ip_address` and `:subnet_id`;"
        " address-pairs: `update_port:allowed_address_pairs` with `:ip_address`"
        " and `:mac_address`",
    ),
    "POST /v2.0/ports/{port_id}/tags": (ALL, "`update_port:tags`, `create_port:tags`"),
    "PUT /v2.0/ports/{port_id}/tags/{tag}": (
        f"{ALL}, without `tag-creation`",
        "`update_port:tags`",
    ),
    "DELETE /v2.0/ports/{port_id}/tags/{tag}": ("fixed-ips", "`delete_port:tags`"),
    "GET /v2.0/floatingips": (
        f"fixed-ips; {NICS}, with `warmNICs`",
        "`get_floatingip`; fixed-ips: without it an address that a floating IP points at stays only"
        " where Neutron sees to it: from 29 on for one floating IP of a port, in 21 for none",
    ),
    "GET /v2.0/networks": (ALL, "`get_network`"),
    "GET /v2.0/subnets": (ALL, "`get_subnet`"),
    "GET /v2.0/security-groups": (
        f"port, {NICS}, with `securityGroups` or `warmNICs`",
        "`get_security_group`",
    ),
    "GET /v2.0/quotas/{project_id}/details.json": (f"STATUS; {PORTS}", "the own project's"),
    "GET /v2.0/quotas/project": (f"STATUS with `auth_type: none`; {PORTS}", "-"),
    "GET /v2.0/extensions": (ALL, "-"),
    "GET /v2.1/servers/{server_id}": (
        f"{NICS}, without `maxNICs`",
        "`os_compute_api:servers:show`; for the flavor's extra specs"
        " `os_compute_api:servers:show:flavor-extra-specs`, or nobody tells of a limit",
    ),
    "GET /v2.1/servers/{server_id}/os-interface": (
        NICS,
        "`os_compute_api:os-attach-interfaces:list`",
    ),
    "POST /v2.1/servers/{server_id}/os-interface": (
        NICS,
        "`os_compute_api:os-attach-interfaces:create`",
    ),
    "DELETE /v2.1/servers/{server_id}/os-interface/{port_id}": (
        NICS,
        "`os_compute_api:os-attach-interfaces:delete`",
    ),
    "GET /v2.1/servers/{server_id}/os-instance-actions/{request}": (
        NICS,
        "`os_compute_api:os-instance-actions:show`, `os_compute_api:os-instance-actions:events`",
    ),
}
"""Modes that make the call, and the policies for it (names of Neutron 29 and Nova 34)."""


@dataclass(frozen=True)
class Call:
    """One request: `path` has names in braces."""

    service: str
    method: str
    path: str
    purpose: str

    @property
    def name(self) -> str:
        """As a page names it."""
        return f"{self.method} {self.path}"


def text() -> str:
    """The page."""
    unknown = {call.name for call in _calls()} - set(NOTES)
    unknown |= set(NOTES) - {call.name for call in _calls(unused=True)}
    if unknown:
        raise SystemExit(f"NOTES of calls_page.py and openstack/ differ in {unknown}")
    return f"""# Calls of Neutron and Nova

Every call that the plugins and `neutron-cni` make. Nova is called in mode
[`nova-interface`](../how-to/nova-interface.md) only, with version {MICROVERSION} of its API (Pike,
2017); Glance and the rest are never called, Keystone only for a token. The metadata service, where
`portLookup` uses it or the VM's port does not tell which server it is, needs no credentials.

## Neutron

{_table("network")}

## Nova

In the server's project, role `reader` for what reads and `member` for what changes. What Nova then
does to the port it does in its own name: the credentials need no right on `binding:host_id` or
`binding:profile`.

{_table("compute")}

## Access rules for an application credential

Exactly the calls above, as a file: [access-rules.json](access-rules.json). Those of `compute` are
for mode `nova-interface`: leave them out where no network has it. The path is the whole
path of the request. Where the catalog's endpoint has a path of its own
(`https://cloud.example/networking`, or for Nova `https://cloud.example/compute/v2.1`), put what
stands before the version in front of each `path` of that service.

```json
{access_rules()}
```
"""


def access_rules() -> str:
    """The rules, one for each call."""
    rules = [
        {"service": call.service, "method": call.method, "path": _wild(call.path)}
        for call in _calls()
    ]
    lines = ",\n".join(f"  {json.dumps(rule)}" for rule in rules)
    return f"[\n{lines}\n]"


def _table(service: str) -> str:
    rows = [
        f"| `{call.name}` | {NOTES[call.name][0]} | {cell(call.purpose)} "
        f"| {cell(NOTES[call.name][1])} |"
        for call in _calls()
        if call.service == service
    ]
    return "\n".join(["| call | modes | method of ours | policies |", "|---|---|---|---|", *rows])


def _wild(path: str) -> str:
    return re.sub(r"{\w+}", "*", path)


def _calls(unused: bool = False) -> list[Call]:
    """What our methods ask for; also those that nothing of ours calls yet if `unused`."""
    return [call for source in SOURCES for call in _calls_of(source, unused)]


def _calls_of(source: Source, unused: bool) -> list[Call]:
    found: dict[tuple[str, str], list[str]] = {}
    for scope in _methods(source):
        if not (unused or scope.name.startswith("_") or scope.name in _called()):
            continue
        names = strings(scope)
        for call in (node for node in ast.walk(scope) if isinstance(node, ast.Call)):
            for key in _requests(call, names):
                found.setdefault(key, []).append(f"`{scope.name}`")
    return [
        Call(source.service, method, source.version + path, ", ".join(dict.fromkeys(who)))
        for (method, path), who in found.items()
    ]


def _methods(source: Source) -> Iterator[ast.FunctionDef]:
    for name in source.modules:
        for scope in ast.walk(module(name)):
            if isinstance(scope, ast.FunctionDef) and scope.name not in ("_one", "_list"):
                yield scope


@cache
def _called() -> frozenset[str]:
    """The names of all methods that anything of ours calls, or hands on to be called."""
    return frozenset(
        node.attr
        for _, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    )


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
