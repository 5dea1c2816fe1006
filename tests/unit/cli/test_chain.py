"""`neutron-cni install` and the plugin objects of a network: types, keys, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from tests.unit.cli.test_api_server import SERVICE_CIDRS, answering, objects
from tests.unit.cli.test_conflist import install

IPAM = {"type": "cni-ipam-neutron", "mode": "fixed-ips"}
IPVLAN = ("--plugin", "neutron-ipvlan")
SERVICES = ("--service-cidr", "10.96.0.0/12")
UPSTREAM: list[dict[str, Any]] = [
    {"type": "ipvlan", "master": "eth0", "mtu": 1400, "ipam": IPAM},
    {"type": "veth-host", "vethName": "node0"},
]
OURS: list[dict[str, Any]] = [
    {"type": "neutron-ipvlan", "serviceCIDRs": ["10.96.0.0/12"], "own": 1, "ipam": IPAM}
]
ROUTED: list[dict[str, Any]] = [
    {"type": "veth-route", "dummyName": "d0", "hostInterface": "eth1", "ipam": IPAM}
]


def file(tmp_path: Path) -> Path:
    return tmp_path / "net.d" / "10-neutron-cni.conflist"


def write(tmp_path: Path, plugins: list[dict[str, Any]]) -> str:
    """The operator's file, with these plugins; what is in it."""
    text = json.dumps({"cniVersion": "1.0.0", "name": "mine", "plugins": plugins})
    file(tmp_path).parent.mkdir()
    file(tmp_path).write_text(text)
    return text


def plugins(tmp_path: Path) -> list[dict[str, Any]]:
    """The plugin objects that are in the file now, without the store's place."""
    found: list[dict[str, Any]] = json.loads(file(tmp_path).read_bytes())["plugins"]
    for item in found:
        item.get("ipam", {}).pop("stateDir", None)
    return found


def done(tmp_path: Path, *options: str) -> Result:
    found = install(tmp_path, *options)
    assert found.exit_code == 0, found.output
    return found


def test_a_new_network_is_veth_routes_unless_another_is_named(tmp_path: Path) -> None:
    done(tmp_path)
    assert plugins(tmp_path) == [{"type": "veth-route", "ipam": IPAM}]


def test_a_new_network_of_ipvlan_has_what_is_asked_for(tmp_path: Path) -> None:
    more = ("--master", "eth1", "--ipvlan-mode", "l2", *SERVICES, "--service-cidr", "fd96::/112")
    done(tmp_path, *IPVLAN, *more)
    (plugin,) = plugins(tmp_path)
    assert plugin == {
        "type": "neutron-ipvlan",
        "master": "eth1",
        "mode": "l2",
        "serviceCIDRs": ["10.96.0.0/12", "fd96::/112"],
        "ipam": IPAM,
    }
    assert list(plugin)[-1] == "ipam"


def test_the_service_networks_of_the_cluster_are_written(tmp_path: Path) -> None:
    with answering(tmp_path, {SERVICE_CIDRS: objects(["10.100.0.0/16"])}) as kubeconfig:
        done(tmp_path, *IPVLAN, "--kubeconfig", kubeconfig)
    assert plugins(tmp_path)[0]["serviceCIDRs"] == ["10.100.0.0/16"]


def test_only_what_is_asked_for_changes(tmp_path: Path) -> None:
    write(tmp_path, OURS)
    done(tmp_path, "--ipvlan-mode", "l3s")
    assert plugins(tmp_path) == [{**OURS[0], "mode": "l3s"}]


def test_service_networks_are_not_asked_for_again(tmp_path: Path) -> None:
    write(tmp_path, OURS)
    done(tmp_path, "--cloud", "other")
    assert plugins(tmp_path)[0]["serviceCIDRs"] == ["10.96.0.0/12"]


def test_an_empty_master_takes_the_key_out(tmp_path: Path) -> None:
    write(tmp_path, [{**OURS[0], "master": "eth1"}])
    done(tmp_path, "--master", "")
    assert plugins(tmp_path) == OURS


def test_beside_upstreams_ipvlan_each_object_gets_what_is_its_own(tmp_path: Path) -> None:
    write(tmp_path, UPSTREAM)
    done(tmp_path, "--master", "eth1", "--ipvlan-mode", "l2", *SERVICES)
    assert plugins(tmp_path) == [
        {**UPSTREAM[0], "master": "eth1", "mode": "l2"},
        {**UPSTREAM[1], "serviceCIDRs": ["10.96.0.0/12"]},
    ]


def test_another_type_keeps_the_keys_and_names_those_that_it_does_not_read(tmp_path: Path) -> None:
    write(tmp_path, ROUTED)
    warned = done(tmp_path, *IPVLAN, *SERVICES).stderr
    changed = {"type": "neutron-ipvlan", "serviceCIDRs": ["10.96.0.0/12"]}
    assert plugins(tmp_path) == [{**ROUTED[0], **changed}]
    assert "warning: neutron-ipvlan does not read dummyName, which veth-route did" in warned
    warned = done(tmp_path, "--plugin", "veth-route").stderr
    assert "veth-route does not read serviceCIDRs, which neutron-ipvlan did" in warned
    assert "warning" not in done(tmp_path, "--plugin", "veth-route").stderr


@pytest.mark.parametrize(
    ("mode", "said"), [("l2", ""), ("l3", "nobody answers ARP"), ("l3s", "node's netfilter, too")]
)
def test_what_the_layer_3_modes_can_not_do_is_a_warning_each_time(
    tmp_path: Path, mode: str, said: str
) -> None:
    first = done(tmp_path, *IPVLAN, *SERVICES, "--ipvlan-mode", mode).stderr
    again = done(tmp_path).stderr
    assert first == again
    assert f"warning: mode {mode}: " in first if said else not first
    assert said in first


REFUSED: dict[str, tuple[list[dict[str, Any]] | None, tuple[str, ...], str]] = {
    "a type that is none": (None, ("--plugin", "calico"), "'calico' is no main plugin"),
    "a type that is chained": (None, ("--plugin", "veth-host"), "'veth-host' is no main plugin"),
    "a master without ipvlan": (None, ("--master", "eth0"), "plugin is veth-route"),
    "an ipvlan mode without ipvlan": (ROUTED, ("--ipvlan-mode", "l2"), "plugin is veth-route"),
    "service networks for nobody": (ROUTED, SERVICES, "plugin is veth-route"),
    "a cluster to ask for nobody": (None, ("--kubeconfig", "/nonexistent"), "is veth-route"),
    "service networks for upstream's alone": (UPSTREAM[:1], SERVICES, "main plugin is ipvlan"),
    "no service networks": (None, IPVLAN, "needs to know the cluster's service networks"),
    "no service networks, chained": (UPSTREAM, (), "veth-host needs to know the cluster's"),
    "service networks taken out": (OURS, ("--service-cidr", ""), "needs to know the cluster's"),
    "both": (None, (*IPVLAN, *SERVICES, "--kubeconfig", "x"), "both say what the service networks"),
    "a cluster that can't be asked": (
        None,
        (*IPVLAN, "--kubeconfig", "/nonexistent"),
        "can't be asked",
    ),
    "no network": (None, (*IPVLAN, "--service-cidr", "services"), "serviceCIDRs must be networks"),
    "host bits": (None, (*IPVLAN, "--service-cidr", "10.96.0.1/12"), "has host bits set"),
    "everything": (None, (*IPVLAN, "--service-cidr", "::/0"), "serviceCIDRs must be networks"),
    "a wrong key of the operator's": (
        [{**UPSTREAM[0]}, {"type": "veth-host", "serviceCIDRs": ["10.96.0.0/12"], "vethName": "/"}],
        ("--cloud", "c"),
        "vethName must have",
    ),
    "two names of the NIC": (
        [{**OURS[0], "hostInterface": "eth0"}],
        ("--master", "eth1"),
        "name two NICs",
    ),
    "the second interface twice": (
        UPSTREAM,
        (*IPVLAN, *SERVICES),
        "neutron-ipvlan makes the interface of veth-host",
    ),
}


@pytest.mark.parametrize(("present", "options", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_wrong_is_a_sentence_and_nothing_is_written(
    tmp_path: Path, present: list[dict[str, Any]] | None, options: tuple[str, ...], said: str
) -> None:
    before = write(tmp_path, present) if present is not None else None
    refused = install(tmp_path, *options)
    assert refused.exit_code == 1
    assert said in refused.stderr
    assert "nothing was written" in refused.stderr
    assert (file(tmp_path).read_text() if file(tmp_path).exists() else None) == before
    assert not (tmp_path / "bin").exists()
    assert not (tmp_path / "state").exists()


def test_a_network_of_nics_must_say_which_nic(tmp_path: Path) -> None:
    found = install(tmp_path, "--plugin", "host-device-plus")
    assert found.exit_code != 0
    assert "host-device-plus needs to know which NIC" in found.output
    assert not file(tmp_path).exists()


NICS = ("--mode", "nova-interface", "--neutron-network", "pods")


def test_a_network_of_novas_nics_needs_no_name_of_one(tmp_path: Path) -> None:
    found = install(tmp_path, "--plugin", "host-device-plus", *NICS)
    assert found.exit_code == 0, found.output


def test_novas_nics_are_for_a_plugin_that_moves_them(tmp_path: Path) -> None:
    found = install(tmp_path, *NICS)
    assert found.exit_code == 1
    assert "veth-route moves none" in found.output
    assert not file(tmp_path).exists()
