"""What an operator names: several meanings, none, and what does not run. Needs no root."""

from __future__ import annotations

import os
from collections.abc import Iterable

import pytest

from neutron_cni.cli.by_hand.containers import Container
from neutron_cni.cli.by_hand.targets import Finders, Held, Target, resolve
from neutron_cni.netlink.namespace import own_identity
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code


def finder(*containers: Container) -> Finders:
    def find(word: str, _: Deadline) -> Iterable[Container]:
        return [item for item in containers if item.is_called(word)]

    return (find,)


def refusal(word: str, finders: Finders) -> str:
    with pytest.raises(CniError) as caught:
        resolve(word, finders)
    assert "nothing was changed" in caught.value.details
    return caught.value.message


def test_one_that_is_stopped_is_told_from_one_that_is_not_there() -> None:
    stopped = Container("docker", "ab" * 32, ("web",), 0)
    said = refusal("web", finder(stopped))
    assert said == "the docker container web (abababababab) does not run"
    assert "there is no running container" in refusal("db", finder(stopped))


def test_a_container_with_the_nodes_network_is_refused() -> None:
    shares = Container("podman", "cd" * 32, ("web",), os.getpid())
    assert "has the node's own network" in refusal("web", finder(shares))


def test_a_prefix_says_whose_container_it_is() -> None:
    shares = Container("podman", "cd" * 32, ("web",), os.getpid())
    assert "there is no running container" in refusal("docker:web", finder(shares))
    assert "has the node's own network" in refusal("podman:web", finder(shares))


def test_a_runtime_that_can_not_be_asked_is_told_if_nobody_else_knows() -> None:
    def broken(word: str, _: Deadline) -> Iterable[Container]:
        raise CniError(Code.IO_FAILURE, "docker can't be asked", "why")

    with pytest.raises(CniError, match="docker can't be asked"):
        resolve("web", (broken,))
    shares = Container("podman", "cd" * 32, ("web",), os.getpid())
    assert "has the node's own network" in refusal("web", (broken, *finder(shares)))


def test_a_process_that_has_ended_can_not_be_held() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    target = Target("the process", "c", f"/proc/{os.getpid()}/ns/net", own_identity(), child)
    os.waitpid(child, 0)
    with pytest.raises(CniError, match="ended meanwhile"):
        Held(target)


def test_a_path_that_leads_elsewhere_by_now_is_noticed() -> None:
    own = own_identity()
    elsewhere = Target("it", "c", "/proc/self/ns/net", own._replace(inode=own.inode + 1))
    with pytest.raises(CniError, match="ended meanwhile"):
        Held(elsewhere)
    with Held(Target("it", "c", "/proc/self/ns/net", own)) as held:
        assert held.is_same
