"""What `attach` and `detach` have in common: where things are, and what was done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from neutron_cni.cli.by_hand import networks
from neutron_cni.cli.by_hand.records import Record
from neutron_cni.cli.by_hand.typed import Seen
from neutron_cni.cni.codec import result_from_document
from neutron_cni.netlink import scene
from neutron_cni.netlink.links import Link
from neutron_cni.netlink.namespace import Namespace
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code


@dataclass(frozen=True, slots=True)
class Place:
    """`path`: where plugins are; `state_dir`: where records are; `timeout` in seconds, for all."""

    path: tuple[str, ...]
    state_dir: Path
    timeout: float


@dataclass(frozen=True, slots=True)
class Source:
    """Where networks are configured: a folder, or one file that goes before it."""

    conf_dir: Path
    config: Path | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """What was done, for people and programs. `result` is what the last plugin answered to ADD."""

    verb: str
    record: Record
    commands: list[str]
    warnings: tuple[str, ...] = ()
    result: dict[str, Any] | None = None

    def facts(self) -> dict[str, str]:
        """What a person is told, by key; what is empty is left out."""
        known = result_from_document(self.result, "result") if self.result else None
        ips = known.ips if known else ()
        gateways = dict.fromkeys(str(item.gateway) for item in ips if item.gateway)
        facts = {
            self.verb: self.record.what,
            "network": self.record.network_name,
            "interface": self.record.ifname,
            "address": ", ".join(str(item.address) for item in ips),
            "gateway": ", ".join(gateways),
            "DNS": ", ".join(known.dns.nameservers) if known else "",
            "namespace": self.record.netns,
            "container id": self.record.container_id,
        }
        return {key: value for key, value in facts.items() if value}

    def document(self) -> dict[str, Any]:
        """The same for programs."""
        return {
            "action": self.verb,
            "target": self.record.what,
            "network": self.record.network_name,
            "containerId": self.record.container_id,
            "ifname": self.record.ifname,
            "netns": self.record.netns,
            "result": self.result,
            "commands": self.commands,
            "warnings": list(self.warnings),
        }


def choose(conf_dir: Path, name: str | None, config: Path | None) -> networks.Chosen:
    """The network that is asked for. Raises CniError."""
    if config is None:
        return networks.choose(conf_dir, name)
    network = networks.read(config)
    if name not in (None, network.name):
        raise CniError(
            Code.INVALID_CONFIG,
            f"{config} is network {network.name}, not {name}",
            "leave --network or --config out; nothing was changed",
        )
    return networks.Chosen(network)


@contextmanager
def timed(deadline: Deadline) -> Iterator[None]:
    """Who waited too long is told the option that makes it longer."""
    try:
        yield
    except CniError as error:
        if error.code != Code.TRY_AGAIN or deadline.left > 0:
            raise
        raise CniError(error.code, error.message, "--timeout gives it more time") from None


def links_of(namespace: Namespace) -> dict[str, Link]:
    """The links of a namespace, by name. Raises CniError KERNEL."""
    return {link.name: link for link in scene.of_pod(namespace).links.values()}


def seen(namespace: Namespace) -> Seen:
    """What the node and that namespace have now. Raises CniError KERNEL."""
    return Seen(scene.of_node(), scene.of_pod(namespace))
