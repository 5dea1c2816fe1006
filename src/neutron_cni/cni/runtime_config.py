"""What a runtime adds to the configuration for one pod: requested addresses, a requested MAC.

Source: CONVENTIONS.md of the CNI specification ("Dynamic Plugin specific fields").
"""

from __future__ import annotations

import re

import msgspec

from neutron_cni.cni.document import invalid, parse_requested
from neutron_cni.cni.environment import Environment
from neutron_cni.values.address import IPAddress
from neutron_cni.values.errors import CniError, Code

ADDRESSES_ANNOTATION = "neutron-cni/ips"
"""Annotation of a pod with the addresses that the pod asks for, separated by commas."""

_MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")


class _RuntimeConfig(msgspec.Struct):
    ips: list[str] | None = None
    mac: str | None = None
    annotations: dict[str, str] | None = msgspec.field(
        name="io.kubernetes.cri.pod-annotations", default=None
    )
    """The pod's annotations: a capability of containerd (1.5 and later) and CRI-O."""


class _CniArgs(msgspec.Struct):
    ips: list[str] | None = None


class _Args(msgspec.Struct):
    cni: _CniArgs | None = None


class FromRuntime(msgspec.Struct, rename="camel"):
    """The keys that a runtime adds to the configuration (CONVENTIONS.md); others are ignored."""

    runtime_config: _RuntimeConfig | None = None
    args: _Args | None = None


def requested_addresses(runtime: FromRuntime, environment: Environment) -> tuple[IPAddress, ...]:
    """The addresses that the pod asks for, from the first source that names any.

    The sources in order: runtimeConfig.ips, the pod's annotation, args.cni.ips, and the IP of
    CNI_ARGS (CONVENTIONS.md: `args` goes before CNI_ARGS). Raises CniError INVALID_CONFIG or,
    for CNI_ARGS, INVALID_ENVIRONMENT.
    """
    config = runtime.runtime_config
    if config and config.ips:
        return _addresses(config.ips, "runtimeConfig.ips")
    annotated = ((config and config.annotations) or {}).get(ADDRESSES_ANNOTATION, "")
    if annotated:
        texts = [text.strip() for text in annotated.split(",")]
        return _addresses(texts, f"annotation {ADDRESSES_ANNOTATION}")
    args = runtime.args
    if args and args.cni and args.cni.ips:
        return _addresses(args.cni.ips, "args.cni.ips")
    if not environment.address:
        return ()
    try:
        found = [parse_requested(item, "IP") for item in environment.address.split(",")]
        return tuple(dict.fromkeys(found))
    except CniError:
        raise CniError(
            Code.INVALID_ENVIRONMENT,
            f"CNI_ARGS: IP={environment.address[:80]} is not an IP address",
            "such as IP=10.0.0.5 or IP=10.0.0.5/24",
        ) from None


def _addresses(texts: list[str], key: str) -> tuple[IPAddress, ...]:
    found = [parse_requested(text, f"{key}[{index}]") for index, text in enumerate(texts)]
    return tuple(dict.fromkeys(found))


def requested_mac(runtime: FromRuntime, argument: str = "") -> str:
    """The MAC that the runtime asks for ("02:00:00:00:00:01"), in lower case; empty if none.

    `argument`: the MAC of CNI_ARGS, which counts where runtimeConfig has none: Multus passes the
    key `mac` of a pod's annotation on so, whether the network has the capability or not. Raises
    CniError INVALID_CONFIG or, for CNI_ARGS, INVALID_ENVIRONMENT.
    """
    mac = (runtime.runtime_config and runtime.runtime_config.mac) or ""
    found, key = (mac, "runtimeConfig.mac") if mac else (argument, "CNI_ARGS: MAC")
    problem, allowed = _wrong_mac(found) if found else ("", "")
    if problem and mac:
        raise invalid(key, problem, allowed)
    if problem:
        raise CniError(Code.INVALID_ENVIRONMENT, f"{key}: {problem}", allowed)
    return found.lower()


def _wrong_mac(mac: str) -> tuple[str, str]:
    """What is wrong, and what would be right; both empty for the MAC of a host."""
    if not _MAC.fullmatch(mac):
        return f"{mac[:40]!r} is no MAC", "such as 02:00:00:00:00:01"
    if int(mac[:2], 16) & 1 or not int(mac.replace(":", ""), 16):
        # The kernel refuses both (is_valid_ether_addr).
        return f"{mac} is the MAC of no single host", "an even first byte"
    return "", ""
