"""docs/reference/configuration.md: every key of our sections of a network configuration."""
# ruff: noqa: E501 - a row of a table is one line

from __future__ import annotations

import ast
import json
from typing import Any

import msgspec
import msgspec.inspect as shape
from source import cell, described, module, template

from neutron_cni.cni import environment
from neutron_cni.cni.runtime_config import ADDRESSES_ANNOTATION
from neutron_cni.cni.versions import SUPPORTED
from neutron_cni.netlink.plan import MAX_LINK_NAME
from neutron_cni.plugins import RECIPES
from neutron_cni.values.ipam_config import IpamConfig, Mode, PortLookup

WITHOUT_WORDS = {
    "type": "The name of the IPAM plugin: `cni-ipam-neutron`.",
    "mode": "How an address is had from Neutron; below.",
    "portLookup": "How the VM's own port is found; below.",
    "dummyName": "The node's link that holds `gatewayAddress`, where the kernel has dummy links.",
    "metadataUrl": "Where the VM's metadata are, without `/openstack/...` (lookup `metadata`).",
}
"""For keys that the code gives no words."""

MODES = {
    Mode.FIXED_IPS: "The address becomes one more fixed IP of the VM's own port: "
    "[how-to](../how-to/fixed-ips.md).",
    Mode.ADDRESS_PAIRS: "An unbound port reserves the address, an allowed address pair of the "
    "VM's port lets it pass: [how-to](../how-to/address-pairs.md).",
    Mode.PORT: "A port per pod owns the address; for nodes that are no VMs: "
    "[how-to](../how-to/port.md).",
    Mode.NOVA_INTERFACE: "Nova gives the VM a NIC per pod, with a port of its own, which "
    "`host-device-plus` moves into the pod: [how-to](../how-to/nova-interface.md).",
}
LOOKUPS = {
    PortLookup.AUTO: "`portId` if it is set, else by address, else by metadata.",
    PortLookup.ID: "The port named in `portId`.",
    PortLookup.ADDRESS: "The port that has an address of `hostInterface` and its MAC.",
    PortLookup.METADATA: "The `vif_id` that the metadata service gives for the NIC's MAC.",
}


def text() -> str:
    """The page."""
    return f"""# Configuration

A network is a file in `/etc/cni/net.d`. Ours are the keys of the plugin object (such as `veth-route`)
and those of its `ipam` section (`cni-ipam-neutron`). Only `type` is required in each, and
`serviceCIDRs` where it is listed. A key that is not listed here is ignored, also a misspelt one.

Supported values of `cniVersion`: {", ".join(SUPPORTED)}.
Plugin types: {", ".join(f"`{kind}`" for kind in RECIPES)}.

```json conflist
{{
  "cniVersion": "1.0.0",
  "name": "neutron",
  "plugins": [
    {{
      "type": "veth-route",
      "ipam": {{
        "type": "cni-ipam-neutron",
        "mode": "fixed-ips",
        "cloud": "openstack"
      }}
    }}
  ]
}}
```

## The `ipam` section: `cni-ipam-neutron`

{_table(IpamConfig)}

### `mode`

{_values(MODES, Mode)}

### `portLookup`

{_values(LOOKUPS, PortLookup)}

{_plugin_objects()}

## What the runtime adds

| where | what for |
|---|---|
| `runtimeConfig.ips` (capability `ips`) | addresses asked for by name: [requested addresses](../how-to/requested-addresses.md) |
| `runtimeConfig` `io.kubernetes.cri.pod-annotations` (capability of that name) | the pod's annotations; `{ADDRESSES_ANNOTATION}` asks for addresses, where `runtimeConfig.ips` is not there |
| `args.cni.ips` | the same, where none of these is there |
| `CNI_ARGS`: {", ".join(f"`{name}`" for name in sorted(environment._KNOWN_ARGS))} | `IP`: the same, where neither is there. `K8S_POD_*`: the pod, for names, tags and messages. Any other argument is refused unless `IgnoreUnknown=1` |
| `runtimeConfig.mac` (capability `mac`), else `MAC` in `CNI_ARGS` | the MAC of the pod's interface; `neutron-ipvlan` refuses it, as an ipvlan link has the MAC of its parent, and `host-device-plus` any but the NIC's |
| `defaultRoute` in the plugin object of another's main plugin | whether `cni-ipam-neutron` gives it a default route: [routes](../how-to/multus.md#routes) |
"""


def _plugin_objects() -> str:
    """A section for every type that has options of its own."""
    sections = [
        f"## The plugin object: `{name}`\n\n" + "\n\n".join(map(_table, recipe.schemas()))
        for name, recipe in RECIPES.items()
        if recipe.parts
    ]
    return "\n\n".join(sections)


def _table(config: type[msgspec.Struct]) -> str:
    words = described(config)
    info = shape.type_info(config)
    assert isinstance(info, shape.StructType)
    rules = _rules(config)
    rows = ["| key | type | default | allowed | meaning |", "|---|---|---|---|---|"]
    for field in info.fields:
        name = field.encode_name
        meaning = words.get(field.name) or WITHOUT_WORDS.get(name)
        if not meaning:
            raise SystemExit(f"{config.__name__}.{field.name} has no description")
        meaning = _renamed(meaning[:1].upper() + meaning[1:], info.fields)
        kind, allowed = _describe(field.type)
        allowed = rules.get(name, allowed)
        rows.append(
            f"| `{name}` | {kind} | {_default(field)} | {cell(allowed)} | {cell(meaning)} |"
        )
    return "\n".join(rows)


def _renamed(text: str, fields: tuple[shape.Field, ...]) -> str:
    """Names of attributes as they are written in JSON."""
    for field in fields:
        text = text.replace(f"`{field.name}`", f"`{field.encode_name}`")
    return text


def _values(words: dict[Any, str], kind: Any) -> str:
    missing = set(kind) - set(words)
    if missing:
        raise SystemExit(f"no words for {missing}")
    rows = [f"| `{item.value}` | {words[item]} |" for item in words]
    return "\n".join(["| value | meaning |", "|---|---|", *rows])


def _default(field: shape.Field) -> str:
    if field.required:
        return "required"
    value: Any = field.default
    if value is msgspec.NODEFAULT or value is None:
        return "-"
    if isinstance(value, bool):
        return "`true`" if value else "`false`"
    if value in ((), ""):
        return "-"
    if isinstance(value, tuple):
        return f"`{json.dumps(value)}`"
    return f"`{value.value if hasattr(value, 'value') else value}`"


def _describe(kind: Any) -> tuple[str, str]:
    """The type's name, and what of it is allowed."""
    if isinstance(kind, shape.UnionType):
        found = [_describe(x) for x in kind.types if not isinstance(x, shape.NoneType)]
        return " or ".join(name for name, _ in found), ", ".join(rule for _, rule in found if rule)
    if isinstance(kind, shape.LiteralType):
        return "string", ", ".join(f"`{value}`" for value in kind.values)
    if isinstance(kind, shape.VarTupleType):
        name, allowed = _describe(kind.item_type)
        return f"list of {name}s", f"each: {allowed}" if allowed else ""
    if isinstance(kind, shape.EnumType):
        return "string", ", ".join(f"`{item.value}`" for item in kind.cls)
    if isinstance(kind, shape.BoolType):
        return "boolean", "`true`, `false`"
    if isinstance(kind, shape.StrType):
        return "string", _lengths(kind)
    if isinstance(kind, shape.StructType):
        return "object", "with " + ", ".join(f"`{field.encode_name}`" for field in kind.fields)
    name = "number" if isinstance(kind, shape.FloatType) else "integer"
    return name, _range(kind)


def _lengths(kind: shape.StrType) -> str:
    parts = []
    if kind.min_length is not None and kind.max_length is not None:
        parts.append(f"{kind.min_length} to {kind.max_length} characters")
    elif kind.max_length is not None:
        parts.append(f"at most {kind.max_length} characters")
    if kind.pattern == "^/":
        parts.append("an absolute path")
    elif kind.pattern:
        parts.append(f"`{kind.pattern}`")
    return ", ".join(parts)


def _range(kind: Any) -> str:
    low = f"from {kind.ge:g}" if kind.ge is not None else ""
    low = f"more than {kind.gt:g}" if kind.gt is not None else low
    return f"{low} to {kind.le:g}" if kind.le is not None else low


def _rules(config: type[msgspec.Struct]) -> dict[str, str]:
    """What `__post_init__` demands, taken from the sentences that it refuses with."""
    found = {}
    page = config.__module__.removeprefix("neutron_cni.").replace(".", "/")
    for node in ast.walk(module(f"{page}.py")):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            is_rule = isinstance(node.exc.func, ast.Name) and node.exc.func.id == "ValueError"
            names: dict[str, ast.expr] = {"MAX_LINK_NAME": ast.Constant(MAX_LINK_NAME)}
            if is_rule:
                sentence = _filled(node.exc.args[0], names)
                key, _, rule = sentence.partition(" must ")
                found[key] = rule.removeprefix("be ").removeprefix("have ").partition(", not")[0]
    return found


def _filled(node: ast.expr, names: dict[str, ast.expr]) -> str:
    if not isinstance(node, ast.JoinedStr):
        return template(node, names)
    parts = [part.value if isinstance(part, ast.FormattedValue) else part for part in node.values]
    return "".join(template(part, names) for part in parts)
