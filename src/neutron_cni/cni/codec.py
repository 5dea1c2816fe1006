"""Results and errors as JSON, in every supported version (CNI SPEC, section 5).

The versions differ little: before 1.0.0 each of `ips` carries `version` ("4" or "6"), and the
`mtu` of interfaces and routes exists from 1.1.0 on.
"""

from __future__ import annotations

from typing import Any

import msgspec

from neutron_cni.cni.document import (
    convert,
    invalid,
    parse_address,
    parse_interface,
    parse_network,
)
from neutron_cni.cni.versions import NEWEST, at_least
from neutron_cni.values.errors import CniError
from neutron_cni.values.result import Dns, Interface, IPConfig, Result, Route


def result_to_json(result: Result, version: str) -> bytes:
    """`result` as JSON in the shape of `version`, one of `versions.SUPPORTED`."""
    return msgspec.json.encode(result_to_document(result, version))


def result_to_document(result: Result, version: str) -> dict[str, Any]:
    """`result` as a dict that JSON can hold, in the shape of `version`."""
    mtu = at_least(version, "1.1.0")
    tagged = not at_least(version, "1.0.0")
    document: dict[str, Any] = {"cniVersion": version}
    if result.interfaces:
        document["interfaces"] = [_interface_out(item, mtu) for item in result.interfaces]
    if result.ips:
        document["ips"] = [_ip_out(item, tagged) for item in result.ips]
    if result.routes:
        document["routes"] = [_route_out(item, mtu) for item in result.routes]
    dns = _dns_out(result.dns)
    if dns:
        document["dns"] = dns
    return document


def error_to_json(error: CniError, version: str = NEWEST) -> bytes:
    """The answer to a call that failed, as JSON (CNI SPEC, section 5: "Error")."""
    document: dict[str, Any] = {"cniVersion": version, "code": error.code, "msg": error.message}
    if error.details:
        document["details"] = error.details
    # A file name that is not UTF-8 reaches Python with lone surrogates, which JSON can't hold.
    return msgspec.json.encode(_printable(document))


def result_from_document(value: object, at: str = "prevResult") -> Result:
    """A result that a runtime or another plugin gave, in the shape of any supported version.

    `at` is the key that the result stands under, for error messages. Keys that neutron-cni does
    not use are left out. Raises CniError INVALID_CONFIG naming the wrong key.
    """
    given = convert(value, _ResultIn, at)
    interfaces = tuple(_interface_in(item) for item in given.interfaces or ())
    ips = tuple(
        _ip_in(item, f"{at}.ips[{index}]", len(interfaces))
        for index, item in enumerate(given.ips or ())
    )
    routes = tuple(
        _route_in(item, f"{at}.routes[{index}]") for index, item in enumerate(given.routes or ())
    )
    return Result(interfaces, ips, routes, _dns_in(given.dns))


# Go programs write an absent list or string as null, so null is accepted for each of them.
class _InterfaceIn(msgspec.Struct):
    name: str
    mac: str | None = None
    mtu: int | None = None
    sandbox: str | None = None


class _IpIn(msgspec.Struct):
    address: str
    gateway: str | None = None
    interface: int | None = None


class _RouteIn(msgspec.Struct):
    dst: str
    gw: str | None = None
    mtu: int | None = None


class _DnsIn(msgspec.Struct):
    nameservers: list[str] | None = None
    domain: str | None = None
    search: list[str] | None = None
    options: list[str] | None = None


class _ResultIn(msgspec.Struct):
    interfaces: list[_InterfaceIn] | None = None
    ips: list[_IpIn] | None = None
    routes: list[_RouteIn] | None = None
    dns: _DnsIn | None = None


def _interface_in(given: _InterfaceIn) -> Interface:
    return Interface(given.name, given.mac or "", given.mtu or None, given.sandbox or "")


def _ip_in(given: _IpIn, at: str, interfaces: int) -> IPConfig:
    if given.interface is not None and not 0 <= given.interface < interfaces:
        raise invalid(
            f"{at}.interface", f"{given.interface} is no index into the {interfaces} interfaces"
        )
    gateway = parse_address(given.gateway, f"{at}.gateway") if given.gateway else None
    return IPConfig(parse_interface(given.address, f"{at}.address"), gateway, given.interface)


def _route_in(given: _RouteIn, at: str) -> Route:
    gateway = parse_address(given.gw, f"{at}.gw") if given.gw else None
    return Route(parse_network(given.dst, f"{at}.dst"), gateway, given.mtu or None)


def _dns_in(given: _DnsIn | None) -> Dns:
    if given is None:
        return Dns()
    return Dns(
        tuple(given.nameservers or ()),
        given.domain or "",
        tuple(given.search or ()),
        tuple(given.options or ()),
    )


def _interface_out(item: Interface, mtu: bool) -> dict[str, Any]:
    out: dict[str, Any] = {"name": item.name}
    if item.mac:
        out["mac"] = item.mac
    if mtu and item.mtu:
        out["mtu"] = item.mtu
    if item.sandbox:
        out["sandbox"] = item.sandbox
    return out


def _ip_out(item: IPConfig, tagged: bool) -> dict[str, Any]:
    out: dict[str, Any] = {"version": str(item.address.version)} if tagged else {}
    out["address"] = item.address.with_prefixlen
    if item.gateway is not None:
        out["gateway"] = str(item.gateway)
    if item.interface is not None:
        out["interface"] = item.interface
    return out


def _route_out(item: Route, mtu: bool) -> dict[str, Any]:
    out: dict[str, Any] = {"dst": item.destination.with_prefixlen}
    if item.gateway is not None:
        out["gw"] = str(item.gateway)
    if mtu and item.mtu:
        out["mtu"] = item.mtu
    return out


def _dns_out(dns: Dns) -> dict[str, Any]:
    items = {
        "nameservers": list(dns.nameservers),
        "domain": dns.domain,
        "search": list(dns.search),
        "options": list(dns.options),
    }
    return {key: value for key, value in items.items() if value}


def _printable(document: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value
        for key, value in document.items()
    }
