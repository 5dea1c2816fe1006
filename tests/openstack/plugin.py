"""Our plugins' executables, called on a node as a container runtime calls them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from neutron_cni_lab import Node

BIN = "/opt/cni/bin"
NETWORK = "test"
"""The CNI network of every test: what is found under this name was left by one."""
_FOLDER = "/run/neutron-cni-libcni"
"""Where `libcni` puts the conflist."""


@dataclass(frozen=True)
class Answer:
    """What the executable left: exit status and both outputs."""

    status: int
    stdout: str
    stderr: str

    @property
    def json(self) -> dict[str, Any]:
        """Standard output, which must be one JSON object."""
        value = json.loads(self.stdout)
        assert isinstance(value, dict), self.stdout
        return value

    @property
    def address(self) -> str:
        """The first address of a successful ADD, without its prefix."""
        assert self.status == 0, self
        return str(self.json["ips"][0]["address"]).partition("/")[0]

    def refusal(self, code: int) -> str:
        """The sentence of an error answer, in the specification's form and with this code."""
        assert self.status != 0, self
        error = self.json
        assert error["code"] == code, error
        assert error["cniVersion"] in ("0.3.1", "0.4.0", "1.0.0", "1.1.0")
        assert set(error) <= {"cniVersion", "code", "msg", "details"}
        assert "Traceback" not in self.stderr
        return str(error["msg"])


def config(version: str = "1.0.0", /, plugin: str = "veth-route", **ipam: Any) -> dict[str, Any]:
    """A network configuration with these options of `ipam`; deleted addresses take no rest."""
    section = {"type": "cni-ipam-neutron", "mode": "fixed-ips", "cloud": "lab", "quarantine": 0}
    return {"cniVersion": version, "name": NETWORK, "type": plugin, "ipam": {**section, **ipam}}


def call(
    node: Node,
    command: str,
    name: str = "",
    document: Mapping[str, Any] | str | None = None,
    *,
    plugin: str = "veth-route",
    by: Sequence[str] = (),
    **environ: str,
) -> Answer:
    """Run `command` ("ADD") for the container `name`, whose namespace has that name too.

    `document`: the configuration, or any text as standard input. `by`: words of a command that
    executes the plugin. `environ`: CNI variables that are to be other than usual, without their
    prefix (`IFNAME="eth1"`).
    """
    usual = {
        "COMMAND": command,
        "CONTAINERID": name,
        "NETNS": f"/run/netns/{name}" if name else "",
        "IFNAME": "eth0",
        "PATH": BIN,
    }
    given = config() if document is None else document
    done = node.exec(
        [*by, f"{BIN}/{plugin}"],
        input=given if isinstance(given, str) else json.dumps(given),
        env={f"CNI_{key}": value for key, value in (usual | environ).items()},
        check=False,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def libcni(
    node: Node,
    command: str,
    name: str,
    conflist: Mapping[str, Any],
    arguments: Mapping[str, Any] | None = None,
) -> Answer:
    """Run `command` ("add") of all plugins of the conflist, as a runtime does with libcni.

    `arguments`: those of capabilities. The container's id is made from the namespace's path.
    """
    run = f"mkdir -p {_FOLDER} && cat > {_FOLDER}/network.conflist && exec cnitool"
    done = node.exec(
        ["sh", "-c", f"{run} {command} {conflist['name']} /run/netns/{name}"],
        input=json.dumps(conflist),
        env={"CNI_PATH": BIN, "NETCONFPATH": _FOLDER, "CAP_ARGS": json.dumps(arguments or {})},
        check=False,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def collect(node: Node) -> Answer:
    """GC of everything that tests have attached on the node."""
    return call(node, "GC", document={**config("1.1.0"), "cni.dev/valid-attachments": []})
