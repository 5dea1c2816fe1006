"""Parses and validates a CNI call once: no code after this looks at raw JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from neutron_cni.cni.codec import result_from_document
from neutron_cni.cni.document import convert, decode, invalid
from neutron_cni.cni.environment import (
    NAME,
    Command,
    parse_environment,
    require_known_arguments,
)
from neutron_cni.cni.runtime_config import FromRuntime, requested_addresses, requested_mac
from neutron_cni.cni.versions import SUPPORTED, at_least
from neutron_cni.values.address import IPAddress
from neutron_cni.values.attachment import Attachment, PodRef
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.ipam_config import IpamConfig
from neutron_cni.values.result import Result

OWN_IPAM = "cni-ipam-neutron"
"""The value of `ipam.type` that means neutron-cni's own IPAM."""

DEFAULT_TIMEOUT = 60.0
"""Seconds that a call may take if there is no `timeout` of our own IPAM."""

_SINCE = {Command.CHECK: "0.4.0", Command.STATUS: "1.1.0", Command.GC: "1.1.0"}
_EXECUTABLE = re.compile(r"[^/\\\0]{1,128}")
"""The name of an IPAM plugin: of a file in one of the folders of CNI_PATH (255 bytes at most)."""
_VALID_ATTACHMENTS = ("cni.dev/valid-attachments", "cni.dev/attachments")
"""The key of GC's list in SPEC 1.1.0, and in early implementations (cni issue 1101)."""

_IPVLAN = ("neutron-ipvlan", "ipvlan")
"""The plugin types whose `master` is the NIC of the pods."""

C = TypeVar("C", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Invocation:
    """Environment and standard input of a call, byte for byte, as a delegated plugin gets them."""

    variables: Mapping[str, str]
    stdin: bytes


@dataclass(frozen=True, slots=True)
class IpamChoice:
    """Which IPAM plugin gives the addresses.

    `own` is set if it is `cni-ipam-neutron`, which runs in this process. Any other `type` is the
    name of an executable in CNI_PATH.
    """

    type: str
    own: IpamConfig | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One call of `plugin` ("veth-route"), of the CNI network `network`.

    `attachment` is empty for STATUS and GC. `configs` are the plugin's own options, one value for
    each schema that `parse` was given. `ipam` is None for a chained plugin, which takes over the
    addresses in prevResult. `requested`: the addresses that the pod asks for, see
    `runtime_config.requested_addresses`. `mac`: from runtimeConfig, in lower case, or empty.
    `valid`: the attachments that GC must keep. `path`: the folders of CNI_PATH. `default_route`: of
    our IPAM under another's main plugin, what its plugin object says of the pod's default route.
    """

    plugin: str
    command: Command
    version: str
    network: str
    attachment: Attachment
    configs: tuple[Any, ...]
    ipam: IpamChoice | None
    invocation: Invocation
    pod: PodRef = field(default_factory=PodRef)
    path: tuple[str, ...] = ()
    requested: tuple[IPAddress, ...] = ()
    mac: str = ""
    prev_result: Result | None = None
    valid: frozenset[Attachment] = frozenset()
    default_route: bool | None = None

    @property
    def own_ipam(self) -> IpamConfig | None:
        """The options of our own IPAM, None if another IPAM or prevResult gives the addresses."""
        return self.ipam.own if self.ipam else None

    @property
    def timeout(self) -> float:
        """Seconds that the call may take in all."""
        return self.own_ipam.timeout if self.own_ipam else DEFAULT_TIMEOUT


def parse(
    plugin: str,
    environ: Mapping[str, str],
    stdin: bytes,
    schemas: Sequence[type[msgspec.Struct]] = (),
    *,
    with_ipam: bool = True,
) -> Request:
    """The request to `plugin` that `environ` and `stdin` make.

    Each of `schemas` reads options of the plugin. `with_ipam`: whether the configuration must
    have an `ipam` section.

    Raises CniError: INVALID_ENVIRONMENT (4), DECODING_FAILURE (6), INVALID_CONFIG (7),
    INCOMPATIBLE_VERSION (1), in this order, which is that of upstream's pkg/skel. DEL tolerates
    mistakes in what it does not need (CNI_ARGS, runtimeConfig, prevResult, options): they must
    not keep a pod from being deleted.
    """
    environment = parse_environment(environ)
    forgiving = environment.command is Command.DEL
    document = decode(stdin, forgiving=forgiving)
    network = _network_name(document)
    version = _version(document, environment.command)
    runtime = FromRuntime() if forgiving else convert(document, FromRuntime)
    ipam = _ipam(document, forgiving) if with_ipam else None
    if ipam and ipam.own and not forgiving:
        require_known_arguments(environment)
    return Request(
        plugin=plugin,
        command=environment.command,
        version=version,
        network=network,
        attachment=environment.attachment,
        configs=tuple(_own_part(document, schema, forgiving) for schema in schemas),
        ipam=ipam,
        invocation=Invocation(environ, stdin),
        pod=environment.pod,
        path=environment.path,
        requested=() if forgiving else requested_addresses(runtime, environment),
        # CNI_ARGS go to every plugin of a chain, and the first of them makes the interface.
        mac=requested_mac(runtime, environment.mac if with_ipam and not forgiving else ""),
        prev_result=_prev_result(document, environment.command),
        valid=_valid_attachments(document) if environment.command is Command.GC else frozenset(),
        default_route=(
            _own_part(document, _AnyMain, forgiving).default_route if plugin == OWN_IPAM else None
        ),
    )


def version_of(stdin: bytes) -> str | None:
    """The supported version that `stdin` names, else None: for the answer to a call that failed."""
    try:
        version = decode(stdin, forgiving=True).get("cniVersion")
    except CniError:
        return None
    return version if version in SUPPORTED else None


class _AnyMain(msgspec.Struct, rename="camel"):
    """What our IPAM reads of the plugin object of any main plugin, as ours do themselves."""

    default_route: bool | None = None


class _AttachmentIn(msgspec.Struct):
    container_id: str = msgspec.field(name="containerID")
    ifname: str


def _network_name(document: Mapping[str, Any]) -> str:
    name = document.get("name")
    allowed = "a letter or digit, then letters, digits, '_', '.' and '-'"
    if name is None:
        raise invalid("name", "is missing", allowed)
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise invalid("name", f"{name!r:.80} is not a network name", allowed)
    return name


def _version(document: Mapping[str, Any], command: Command) -> str:
    version = document.get("cniVersion", "0.1.0")
    if not isinstance(version, str):
        raise CniError(Code.DECODING_FAILURE, 'cniVersion must be a string such as "1.0.0"')
    supported = ", ".join(SUPPORTED)
    if version not in SUPPORTED:
        given = repr(version[:40]) if "cniVersion" in document else "missing, which means 0.1.0"
        raise CniError(
            Code.INCOMPATIBLE_VERSION, f"cniVersion is {given}", f"supported: {supported}"
        )
    since = _SINCE.get(command)
    if since and not at_least(version, since):
        raise CniError(
            Code.INCOMPATIBLE_VERSION,
            f"cniVersion {version} does not allow {command}, which came with {since}",
        )
    return version


def _own_part(document: Mapping[str, Any], schema: type[C], forgiving: bool) -> C:
    """The plugin's own options; if DEL (`forgiving`) finds them wrong, the defaults."""
    try:
        return convert(document, schema)
    except CniError:
        if forgiving:
            return schema()
        raise


def _ipam(document: Mapping[str, Any], forgiving: bool) -> IpamChoice:
    section = document.get("ipam")
    if section is None:
        raise invalid("ipam", "is missing", f'such as {{"type": "{OWN_IPAM}"}}')
    if not isinstance(section, dict):
        raise invalid("ipam", "must be an object")
    kind = section.get("type")
    if not isinstance(kind, str) or not _EXECUTABLE.fullmatch(kind) or kind in (".", ".."):
        raise invalid(
            "ipam.type",
            "is missing" if kind is None else f"{kind!r:.80} is not the name of an IPAM plugin",
            f"{OWN_IPAM}, or the name of an executable in CNI_PATH",
        )
    if kind != OWN_IPAM:
        return IpamChoice(kind)
    try:
        return IpamChoice(kind, own_ipam(document, section))
    except CniError:
        if not forgiving:
            raise
    # DEL needs only the place of the store, which has the configuration that ADD was given.
    needed = {key: section[key] for key in ("type", "stateDir") if key in section}
    return IpamChoice(kind, convert(needed, IpamConfig, "ipam"))


def own_ipam(plugin: Mapping[str, Any], section: Mapping[str, Any]) -> IpamConfig:
    """The options of our IPAM, from `section`, the `ipam` section of the object `plugin`.

    If the section has no `hostInterface`, the one of the main plugin counts, and the `master` of
    an ipvlan plugin, ours or upstream's: pods' addresses belong on the port of the NIC that they
    leave by. Raises CniError INVALID_CONFIG.
    """
    config = convert(section, IpamConfig, "ipam")
    for index, route in enumerate(section.get("routes", ())):
        unknown = sorted(set(route) - {"dst", "gw"})
        if unknown:
            raise invalid(f"ipam.routes[{index}].{unknown[0]:.40}", "is unknown", "dst and gw")
    interface = plugin.get("hostInterface")
    if interface is None and plugin.get("type") in _IPVLAN:
        interface = plugin.get("master")
    if config.host_interface is None and isinstance(interface, str):
        return convert({**section, "hostInterface": interface}, IpamConfig, "ipam")
    return config


def _prev_result(document: Mapping[str, Any], command: Command) -> Result | None:
    given = document.get("prevResult")
    if given is None:
        if command is Command.CHECK:
            raise invalid("prevResult", "is missing", "CHECK needs the result of ADD")
        return None
    try:
        return result_from_document(given)
    except CniError:
        if command is Command.DEL:
            return None
        raise


def _valid_attachments(document: Mapping[str, Any]) -> frozenset[Attachment]:
    """The attachments that GC must keep. Raises CniError INVALID_CONFIG.

    No list means that no attachment is valid: `cnitool gc` sends none, after libcni has sent a
    DEL for each attachment that it knew. Go writes an empty list as null.
    """
    key = next((key for key in _VALID_ATTACHMENTS if key in document), None)
    if key is None:
        return frozenset()
    wanted: Any = list[_AttachmentIn] | None
    given: list[_AttachmentIn] | None = convert(document[key], wanted, key)
    return frozenset(Attachment(item.container_id, item.ifname) for item in given or ())
