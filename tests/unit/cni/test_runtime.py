"""The plugins of a network called in order, as a runtime does: shell scripts stand in for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from neutron_cni.cni.runtime import Chain, Network, Wishes, further_plugins, read_network
from neutron_cni.values.attachment import Attachment, PodRef
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code

PATIENCE = 120.0
"""Seconds that nothing here takes, however busy the machine is."""
RESULT = {"cniVersion": "1.0.0", "ips": [{"address": "10.1.0.5/16"}]}
OTHER = {"cniVersion": "1.0.0", "ips": [{"address": "10.1.0.6/16"}]}


class Plugins:
    """A folder of plugins, each of which notes its calls in `calls`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def make(self, name: str, answer: object = None, status: int = 0) -> None:
        """A plugin that answers every call so."""
        text = json.dumps(RESULT if answer is None else answer)
        note = f'{{ printf "%s %s " {name} "$CNI_COMMAND"; cat; echo; }} >> {self.folder}/calls'
        keep = f"env > {self.folder}/{name}.env"
        script = f"#!/bin/sh\n{note}\n{keep}\necho '{text}'\nexit {status}\n"
        path = self.folder / name
        path.write_text(script)
        path.chmod(0o755)

    @property
    def calls(self) -> list[tuple[str, str, dict[str, Any]]]:
        """(plugin, command, what it was given on standard input) of each call, in order."""
        file = self.folder / "calls"
        lines = file.read_text().splitlines() if file.exists() else []
        words = [line.split(" ", 2) for line in lines]
        return [(name, command, json.loads(text)) for name, command, text in words]

    def environment(self, name: str) -> dict[str, str]:
        """What the plugin was called with last."""
        lines = (self.folder / f"{name}.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if line.startswith("CNI_"))


@pytest.fixture
def plugins(tmp_path: Path) -> Plugins:
    made = Plugins(tmp_path)
    for name in ("one", "two"):
        made.make(name)
    return made


def network(*objects: dict[str, Any], **more: Any) -> Network:
    listed = list(objects) or [{"type": "one"}, {"type": "two"}]
    return read_network({"cniVersion": "1.0.0", "name": "net", "plugins": listed, **more})


def chain(plugins: Plugins, of: Network | None = None, **more: Any) -> Chain:
    attachment = Attachment("c1", "eth0", "/run/netns/c1")
    return Chain(of or network(), (str(plugins.folder),), attachment, **more)


def deadline() -> Deadline:
    return Deadline.after(PATIENCE)


def test_plugins_are_called_in_order_with_the_result_of_the_one_before(plugins: Plugins) -> None:
    plugins.make("two", OTHER)
    assert chain(plugins).add(deadline()) == OTHER
    (first, second) = plugins.calls
    assert first == ("one", "ADD", {"type": "one", "name": "net", "cniVersion": "1.0.0"})
    assert second[:2] == ("two", "ADD")
    assert second[2]["prevResult"] == RESULT


def test_del_goes_backwards_with_the_last_result(plugins: Plugins) -> None:
    chain(plugins).delete(RESULT, deadline())
    assert [(name, command) for name, command, _ in plugins.calls] == [
        ("two", "DEL"),
        ("one", "DEL"),
    ]
    assert all(given["prevResult"] == RESULT for _, _, given in plugins.calls)


def test_del_needs_no_result_and_no_namespace(plugins: Plugins) -> None:
    chain(plugins).delete(None, deadline(), netns="")
    assert all("prevResult" not in given for _, _, given in plugins.calls)
    assert plugins.environment("one")["CNI_NETNS"] == ""


def test_a_del_that_fails_keeps_those_before_it_from_being_called(plugins: Plugins) -> None:
    plugins.make("two", {"code": 11, "msg": "not now"}, status=1)
    with pytest.raises(CniError, match="the plugin two refuses DEL: not now") as caught:
        chain(plugins).delete(None, deadline())
    assert caught.value.code == 11
    assert [name for name, _, _ in plugins.calls] == ["two"]


def test_an_add_that_fails_ends_the_chain_and_is_taken_back_whole(plugins: Plugins) -> None:
    plugins.make("one", {"code": 7, "msg": "no such NIC"}, status=1)
    with pytest.raises(CniError, match="the plugin one refuses ADD: no such NIC"):
        chain(plugins).add(deadline())
    assert [name for name, _, _ in plugins.calls] == ["one"]
    plugins.make("one")
    assert chain(plugins).take_back("/run/netns/c1") is None
    assert [(name, command) for name, command, _ in plugins.calls[1:]] == [
        ("two", "DEL"),
        ("one", "DEL"),
    ]


def test_what_keeps_an_add_from_being_taken_back_is_told(plugins: Plugins) -> None:
    plugins.make("one", {"code": 7, "msg": "still no NIC"}, status=1)
    trouble = chain(plugins).take_back("")
    assert trouble is not None
    assert "still no NIC" in trouble.message


def test_a_plugin_that_is_missing_is_told_before_any_is_called(plugins: Plugins) -> None:
    with pytest.raises(CniError, match="the plugin nine is not in CNI_PATH") as caught:
        chain(plugins, network({"type": "one"}, {"type": "nine"})).add(deadline())
    assert caught.value.code == Code.PLUGIN_NOT_AVAILABLE
    assert not plugins.calls


def test_the_guard_stops_before_the_next_plugin(plugins: Plugins) -> None:
    asked: list[int] = []

    def guard() -> None:
        asked.append(1)
        if len(asked) == 2:
            raise CniError(Code.UNKNOWN_CONTAINER, "it ended")

    with pytest.raises(CniError, match="it ended"):
        chain(plugins, guard=guard).add(deadline())
    assert [name for name, _, _ in plugins.calls] == ["one"]


def test_capabilities_reach_only_the_plugins_that_have_them(plugins: Plugins) -> None:
    able = {"type": "one", "capabilities": {"ips": True, "mac": True}}
    wishes = Wishes(("10.1.0.9/16",), "02:00:00:00:00:01")
    chain(plugins, network(able, {"type": "two"}), wishes=wishes).add(deadline())
    (_, _, one), (_, _, two) = plugins.calls
    assert one["runtimeConfig"] == {"ips": ["10.1.0.9/16"], "mac": "02:00:00:00:00:01"}
    assert "capabilities" not in one
    assert "runtimeConfig" not in two
    assert plugins.environment("one")["CNI_ARGS"] == "IgnoreUnknown=1"


def test_an_address_without_the_capability_goes_by_arguments(plugins: Plugins) -> None:
    pod = PodRef("shop", "web", "u1")
    chain(plugins, wishes=Wishes(("10.1.0.9",)), pod=pod).add(deadline())
    said = plugins.environment("two")["CNI_ARGS"].split(";")
    assert "IP=10.1.0.9" in said
    assert "K8S_POD_NAME=web" in said


def test_a_mac_that_no_plugin_takes_is_refused(plugins: Plugins) -> None:
    with pytest.raises(CniError, match="no plugin of network net takes a MAC"):
        chain(plugins, wishes=Wishes(mac="02:00:00:00:00:01")).add(deadline())
    assert not plugins.calls


def test_our_own_cni_variables_are_not_passed_on(
    plugins: Plugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CNI_ARGS", "IP=1.2.3.4")
    monkeypatch.setenv("CNI_NETNS_OVERRIDE", "yes")
    chain(plugins).add(deadline())
    assert plugins.environment("one") == {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "c1",
        "CNI_IFNAME": "eth0",
        "CNI_NETNS": "/run/netns/c1",
        "CNI_PATH": str(plugins.folder),
        "CNI_ARGS": "IgnoreUnknown=1",
    }


@pytest.mark.parametrize("answer", ["what?", {"ips": [{"address": "nowhere"}]}])
def test_an_answer_that_is_no_result_is_an_error(plugins: Plugins, answer: object) -> None:
    plugins.make("one", answer)
    with pytest.raises(CniError, match="something else than a CNI result") as caught:
        chain(plugins).add(deadline())
    assert caught.value.code == Code.DELEGATE


def test_a_result_of_another_version_is_translated(plugins: Plugins) -> None:
    plugins.make("one", {**RESULT, "cniVersion": "0.4.0"})
    chain(plugins).add(deadline())
    assert plugins.calls[1][2]["prevResult"]["cniVersion"] == "1.0.0"


def test_a_plugin_that_hangs_is_given_up(plugins: Plugins) -> None:
    path = plugins.folder / "one"
    path.write_text("#!/bin/sh\nexec sleep 1000\n")
    with pytest.raises(CniError, match="the deadline of this request passed") as caught:
        chain(plugins).add(Deadline.after(0.2))
    assert caught.value.code == Code.TRY_AGAIN


def test_one_plugin_alone_is_a_network() -> None:
    found = read_network({"cniVersion": "0.4.0", "name": "net", "type": "one", "bridge": "br7"})
    assert found.types == ("one",)
    assert found.plugins[0]["bridge"] == "br7"
    assert found.version == "0.4.0"


@pytest.mark.parametrize(
    ("one", "several", "wanted"),
    [
        ("1.0.0", None, "1.0.0"),
        ("1.0.0", ["0.4.0", "1.1.0"], "1.1.0"),
        ("", ["0.4.0", "9.9.9"], "0.4.0"),
        ("0.4.0", ["0.3.1"], "0.4.0"),
    ],
)
def test_the_newest_version_that_both_know_is_spoken(
    one: str, several: list[str] | None, wanted: str
) -> None:
    document = {"cniVersion": one, "cniVersions": several, "name": "n", "plugins": [{"type": "a"}]}
    assert read_network(document).version == wanted


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"name": "n", "plugins": [{"type": "a"}]}, "is of CNI 0.1.0"),
        ({"cniVersion": "2.0.0", "name": "n", "plugins": [{"type": "a"}]}, "is of CNI 2.0.0"),
        ({"cniVersion": "1.0.0", "name": "n"}, "plugins: is empty"),
        ({"cniVersion": "1.0.0", "name": "a b", "plugins": [{"type": "a"}]}, "network name"),
        ({"cniVersion": "1.0.0", "plugins": [{"type": "a"}]}, "name: is missing"),
        ({"cniVersion": "1.0.0", "name": "n", "plugins": [{}]}, "type: is missing"),
        ({"cniVersion": "1.0.0", "name": "n", "plugins": [{"type": "../sh"}]}, "name of a plugin"),
    ],
)
def test_what_is_no_network_is_refused(document: dict[str, Any], said: str) -> None:
    with pytest.raises(CniError, match=said):
        read_network(document)


def test_further_plugins_are_behind_those_of_the_list() -> None:
    document = {"cniVersion": "1.0.0", "name": "n", "plugins": [{"type": "a"}]}
    assert read_network(document, [{"type": "b"}]).types == ("a", "b")
    assert further_plugins(document) == "n"
    assert further_plugins({**document, "loadOnlyInlinedPlugins": True}) == ""


def test_a_network_survives_being_written_down() -> None:
    before = network({"type": "one", "capabilities": {"ips": True}}, {"type": "two"})
    assert read_network(json.loads(json.dumps(before.document()))) == before
