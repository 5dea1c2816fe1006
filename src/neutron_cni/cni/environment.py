"""Parses and checks the CNI_* environment variables (CNI SPEC, section 2: "Parameters")."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from neutron_cni.values.attachment import Attachment, PodRef
from neutron_cni.values.errors import CniError, Code

NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.\-]*")
"""Container ids and network names (SPEC, sections 1 and 2), for `fullmatch`."""

IFNAME_LENGTH = 15
"""Bytes in an interface name: the kernel's IFNAMSIZ less the closing NUL (uapi/linux/if.h)."""

_RESERVED = (".", "..", "all", "default")

_KNOWN_ARGS = {
    "IP",
    "IgnoreUnknown",
    "MAC",
    "K8S_POD_NAMESPACE",
    "K8S_POD_NAME",
    "K8S_POD_UID",
    "K8S_POD_INFRA_CONTAINER_ID",
}


class Command(StrEnum):
    """CNI operations (SPEC, section 2: "CNI operations")."""

    ADD = "ADD"
    DEL = "DEL"
    CHECK = "CHECK"
    STATUS = "STATUS"
    GC = "GC"
    VERSION = "VERSION"

    @property
    def about_an_attachment(self) -> bool:
        """ADD, DEL and CHECK name a container; STATUS, GC and VERSION do not."""
        return self in (Command.ADD, Command.DEL, Command.CHECK)


@dataclass(frozen=True, slots=True)
class Environment:
    """The parameters of one call.

    `attachment` is empty for STATUS, GC and VERSION. `path`: the folders of CNI_PATH, in order.
    `address` is the IP of CNI_ARGS as given ("10.0.0.5" or "10.0.0.5/24"), or empty, and `mac` the
    MAC. `arguments` are the names in CNI_ARGS; none if CNI_ARGS says IgnoreUnknown. `variables` is
    the whole environment.
    """

    command: Command
    attachment: Attachment = field(default_factory=lambda: Attachment("", ""))
    pod: PodRef = field(default_factory=PodRef)
    path: tuple[str, ...] = ()
    address: str = ""
    mac: str = ""
    arguments: frozenset[str] = frozenset()
    variables: Mapping[str, str] = field(default_factory=dict)


def parse_environment(environ: Mapping[str, str]) -> Environment:
    """`environ`, parsed and checked; raises CniError INVALID_ENVIRONMENT naming the variables."""
    command = _command(environ)
    path = tuple(folder for folder in environ.get("CNI_PATH", "").split(":") if folder)
    if not command.about_an_attachment:
        return Environment(command, path=path, variables=environ)
    _require(command, environ)
    attachment = Attachment(
        container_id=_container_id(environ["CNI_CONTAINERID"]),
        ifname=interface_name(environ["CNI_IFNAME"], "CNI_IFNAME"),
        netns=_netns(environ.get("CNI_NETNS", "")),
    )
    args = _arguments(environ.get("CNI_ARGS", ""), strict=command is not Command.DEL)
    pod = PodRef(
        namespace=args.get("K8S_POD_NAMESPACE", ""),
        name=args.get("K8S_POD_NAME", ""),
        uid=args.get("K8S_POD_UID", ""),
    )
    ignored = args.get("IgnoreUnknown", "").lower() in ("1", "true")
    names = frozenset() if ignored else frozenset(args)
    return Environment(
        command=command,
        attachment=attachment,
        pod=pod,
        path=path,
        address=args.get("IP", ""),
        mac=args.get("MAC", ""),
        arguments=names,
        variables=environ,
    )


def _invalid(message: str, details: str = "") -> CniError:
    return CniError(Code.INVALID_ENVIRONMENT, message, details)


def _command(environ: Mapping[str, str]) -> Command:
    given = environ.get("CNI_COMMAND", "")
    try:
        return Command(given)
    except ValueError:
        allowed = ", ".join(Command)
        problem = f"{given[:40]!r} is not a CNI command" if given else "is not set"
        raise _invalid(f"CNI_COMMAND: {problem}", f"one of {allowed}") from None


def _require(command: Command, environ: Mapping[str, str]) -> None:
    required = ["CNI_CONTAINERID", "CNI_IFNAME"]
    if command is not Command.DEL:
        # A runtime whose namespace is gone (after a reboot) must still be able to send DEL.
        required.append("CNI_NETNS")
    missing = [name for name in required if not environ.get(name)]
    if missing:
        raise _invalid(f"{', '.join(missing)}: must be set and not empty for {command}")


def _container_id(value: str) -> str:
    if not NAME.fullmatch(value):
        raise _invalid(
            f"CNI_CONTAINERID: {value[:80]!r} is not a container id",
            "a letter or digit, then letters, digits, '_', '.' and '-'",
        )
    return value


def interface_name(value: str, key: str) -> str:
    """`value`, if it is an interface name by the kernel's own rules.

    Raises CniError INVALID_ENVIRONMENT, naming the `key` that has it.

    These are dev_valid_name (net/core/dev.c), and sysctl_dev_name_is_allowed (include/net/ip.h),
    as /proc/sys/net has folders of the reserved names. '%' is refused too, because the kernel
    would put a number in its place.
    """
    if len(value.encode(errors="surrogateescape")) > IFNAME_LENGTH:
        raise _invalid(
            f"{key}: {value[:80]!r} is too long for an interface name",
            f"at most {IFNAME_LENGTH} bytes",
        )
    forbidden = any(char in "/:%\0" or char.isspace() or not char.isprintable() for char in value)
    if value in _RESERVED or forbidden:
        raise _invalid(
            f"{key}: {value!r} is not an interface name",
            "no '/', ':', '%', white space or unprintable characters, and none of "
            + ", ".join(_RESERVED),
        )
    return value


def _netns(value: str) -> str:
    if "\0" in value or not _is_utf8(value):
        # The answer to ADD repeats the path, and is JSON.
        raise _invalid(f"CNI_NETNS: {value[:80]!r} is not a path, or not in UTF-8")
    try:
        # The store keeps it for processes that are in other folders.
        return str(Path(value).absolute()) if value else ""
    except OSError:  # The folder that we are in was deleted.
        return value


def _is_utf8(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _arguments(text: str, *, strict: bool) -> dict[str, str]:
    """CNI_ARGS, "K=V;K2=V2" (CONVENTIONS.md), as a dict.

    Not `strict` (DEL): a pair that can't be parsed is left out, as an argument that made ADD fail
    must not keep a pod from being deleted.
    """
    pairs = [pair for pair in text.split(";") if pair]
    args: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if equals and key and value.isprintable():
            args[key] = value
        elif strict:
            raise _invalid(f"CNI_ARGS: {pair[:80]!r} is not of the form KEY=VALUE")
    return args


def require_known_arguments(environment: Environment) -> None:
    """Raise CniError INVALID_ENVIRONMENT if CNI_ARGS has an argument unknown to neutron-cni.

    Not if CNI_ARGS says IgnoreUnknown. For ADD and CHECK with our own IPAM only: a third party's
    IPAM plugin has arguments of its own.
    """
    unknown = sorted(environment.arguments - _KNOWN_ARGS)
    if unknown:
        raise _invalid(
            f"CNI_ARGS: unknown argument {unknown[0][:80]!r}",
            f"known: {', '.join(sorted(_KNOWN_ARGS))}; IgnoreUnknown=1 lets others pass",
        )
