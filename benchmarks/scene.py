"""Where benchmarks run: a lab of their own, up for as long as they need it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from neutron_cni_lab.lab import Lab
from neutron_cni_lab.node import Node
from neutron_cni_lab.paths import name_for_checkout

BIN = "/opt/cni/bin"
STATE = "/var/lib/neutron-cni"


@contextmanager
def lab(up: Callable[[Lab], None] = Lab.up) -> Iterator[Lab]:
    """The benchmark's lab, of this checkout alone: brought up and taken down again."""
    scene = Lab(name_for_checkout("bench"))
    try:
        up(scene)
        yield scene
    finally:
        scene.down()


def configuration(ipam: Mapping[str, Any], **main: Any) -> str:
    """A network configuration for our IPAM, `main` being the main plugin's keys."""
    return json.dumps(
        {
            "cniVersion": "1.0.0",
            "name": "bench",
            "type": "veth-route",
            **main,
            "ipam": {"type": "cni-ipam-neutron", "cloud": "lab", "quarantine": 0, **ipam},
        }
    )


def forget_everything(node: Node) -> None:
    """The node as `neutron-cni install` leaves it: no store, no cached facts."""
    node.exec(["rm", "-rf", STATE])
    node.exec(["mkdir", "-m", "700", STATE])


def requests(scene: Lab) -> list[tuple[str, str]]:
    """Method and path of every request that Neutron has had so far."""
    lines = scene.neutron.requests_log.read_text().splitlines()
    return [(fields[2], fields[3]) for line in lines if len(fields := line.split()) >= 5]
