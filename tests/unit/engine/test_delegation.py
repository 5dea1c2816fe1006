"""veth-route over somebody else's IPAM: a shell script that keeps a log of how it was called."""

from __future__ import annotations

from pathlib import Path

import pytest

from neutron_cni.cni.codec import result_to_document
from neutron_cni.cni.request import parse
from neutron_cni.plugins import RECIPES
from neutron_cni.values.errors import CniError, Code
from neutron_cni.values.result import Result
from tests.support.cni_doubles import World, environment, stdin

SCRIPT = """#!/bin/sh
cd {folder}
echo $CNI_COMMAND >> log
[ ! -e fail-$CNI_COMMAND ] || {{ cat fail-$CNI_COMMAND; exit 1; }}
[ $CNI_COMMAND != ADD ] || cat answer
"""


class HostLocal:
    """The script, and calls of the engine that use it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.world = World()
        plugin = folder / "host-local"
        plugin.write_text(SCRIPT.format(folder=folder))
        plugin.chmod(0o755)
        self.answers('{"cniVersion":"1.1.0","ips":[{"address":"10.1.0.5/16"}]}')

    def answers(self, text: str) -> None:
        (self.folder / "answer").write_text(text)

    def refuses(self, command: str) -> None:
        (self.folder / f"fail-{command}").write_text('{"code": 11, "msg": "no"}')

    def call(self, command: str = "ADD", **changes: object) -> Result | None:
        variables = environment(command, CNI_PATH=f"{self.folder}", PATH="/bin:/usr/bin")
        data = stdin(**{"ipam": {"type": "host-local"}, **changes})
        request = parse("veth-route", variables, data, RECIPES["veth-route"].schemas())
        return self.world.engine.handle(request)

    @property
    def log(self) -> list[str]:
        return (self.folder / "log").read_text().split()


@pytest.fixture
def host_local(tmp_path: Path) -> HostLocal:
    return HostLocal(tmp_path)


def test_a_whole_life(host_local: HostLocal) -> None:
    result = host_local.call()
    assert result is not None
    assert str(result.ips[0].address) == "10.1.0.5/16"
    host_local.call("CHECK", prevResult=result_to_document(result, "1.1.0"))
    host_local.call("STATUS")
    host_local.call("GC", **{"cni.dev/valid-attachments": []})
    host_local.call("DEL")
    assert host_local.log == ["ADD", "CHECK", "STATUS", "GC", "DEL"]
    assert host_local.world.ipam.changes == []


def test_its_failed_add_is_followed_by_del_as_the_specification_asks(
    host_local: HostLocal,
) -> None:
    host_local.refuses("ADD")
    with pytest.raises(CniError) as caught:
        host_local.call()
    assert caught.value.code == Code.TRY_AGAIN
    assert host_local.log == ["ADD", "DEL"]
    assert host_local.world.state == ({}, {})


@pytest.mark.parametrize("answer", ["", "nonsense", "{}", '{"ips": []}'])
def test_an_answer_without_addresses_is_released(host_local: HostLocal, answer: str) -> None:
    host_local.answers(answer)
    with pytest.raises(CniError) as caught:
        host_local.call()
    assert caught.value.code == Code.DELEGATE
    assert host_local.log == ["ADD", "DEL"]


def test_our_own_failure_after_its_add_releases_too(host_local: HostLocal) -> None:
    host_local.world.kernel.fail["attach"] = CniError(Code.KERNEL, "no")
    with pytest.raises(CniError, match="no"):
        host_local.call()
    assert host_local.log == ["ADD", "DEL"]
    assert host_local.world.kernel.links == {}


def test_a_repeated_add_starts_afresh(host_local: HostLocal) -> None:
    """host-local answers a second ADD with an error, and the DEL after that would free the
    address of a living pod."""
    host_local.call()
    host_local.call()
    assert host_local.log == ["ADD", "DEL", "ADD"]
    assert host_local.world.kernel.changes == ["attach", "detach", "attach"]


def test_del_takes_the_interface_down_even_if_it_fails(host_local: HostLocal) -> None:
    host_local.call()
    host_local.refuses("DEL")
    with pytest.raises(CniError, match="host-local refuses DEL: no"):
        host_local.call("DEL")
    assert host_local.world.kernel.links == {}
