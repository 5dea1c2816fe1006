"""CNI_* variables: what is taken, and the code 4 that names the variable otherwise."""

from __future__ import annotations

import pytest

from neutron_cni.cni.environment import Command, parse_environment, require_known_arguments
from neutron_cni.values.errors import CniError, Code
from tests.support.cni_doubles import environment


def refused(**changes: str) -> CniError:
    with pytest.raises(CniError) as caught:
        parse_environment(environment(**changes))
    assert caught.value.code == Code.INVALID_ENVIRONMENT
    return caught.value


def test_a_pod_is_read_from_cni_args() -> None:
    found = parse_environment(environment())
    assert (found.pod.namespace, found.pod.name, found.pod.uid) == ("default", "web-0", "u-1")
    assert found.attachment.container_id == "0123456789abcdef"
    assert found.path == ("/opt/cni/bin",)


@pytest.mark.parametrize("command", ["", "add", "ADD ", "UPDATE", "\udcff"])
def test_an_unknown_command_is_refused_by_name(command: str) -> None:
    error = refused(CNI_COMMAND=command)
    assert "CNI_COMMAND" in error.message
    assert "ADD, DEL, CHECK" in error.details


def test_all_missing_variables_are_named_at_once() -> None:
    error = refused(CNI_CONTAINERID="", CNI_IFNAME="", CNI_NETNS="")
    assert "CNI_CONTAINERID, CNI_IFNAME, CNI_NETNS" in error.message


def test_del_needs_no_namespace() -> None:
    assert parse_environment(environment("DEL", CNI_NETNS="")).attachment.netns == ""


@pytest.mark.parametrize("command", ["STATUS", "GC"])
def test_status_and_gc_need_no_container(command: str) -> None:
    found = parse_environment({"CNI_COMMAND": command, "CNI_PATH": "/a::/b"})
    assert found.command is Command(command)
    assert found.path == ("/a", "/b")


@pytest.mark.parametrize("value", ["-a", ".a", "_a", "a b", "a/b", "a\n", "ä", "a:b", "a\udcff"])
def test_container_ids_outside_of_the_specification_are_refused(value: str) -> None:
    assert "CNI_CONTAINERID" in refused(CNI_CONTAINERID=value).message


@pytest.mark.parametrize("value", ["a", "0", "a_b.c-d", "a" * 64])
def test_container_ids_of_the_specification_are_taken(value: str) -> None:
    assert parse_environment(environment(CNI_CONTAINERID=value)).attachment.container_id == value


@pytest.mark.parametrize(
    "value",
    ["a" * 16, "ä" * 8, "a/b", "a:b", "a b", "a\tb", "a\n", ".", "..", "a\0", "\x7f", "all"],
)
def test_names_that_the_kernel_refuses_are_refused_first(value: str) -> None:
    assert "CNI_IFNAME" in refused(CNI_IFNAME=value).message


@pytest.mark.parametrize("value", ["eth0", "a" * 15, "eth0.1", "...", "net1@x"])
def test_interface_names_that_the_kernel_takes_are_taken(value: str) -> None:
    assert parse_environment(environment(CNI_IFNAME=value)).attachment.ifname == value


@pytest.mark.parametrize("value", ["FOO", "=x", "IP=1\0"])
def test_arguments_that_can_not_be_read_are_refused(value: str) -> None:
    assert "CNI_ARGS" in refused(CNI_ARGS=value).message


@pytest.mark.parametrize("value", ["FOO=1;IgnoreUnknown=0", "FOO=1"])
def test_arguments_that_nobody_understands_are_refused(value: str) -> None:
    found = parse_environment(environment(CNI_ARGS=value))
    with pytest.raises(CniError, match="CNI_ARGS: unknown argument 'FOO'"):
        require_known_arguments(found)


def test_a_namespace_that_can_not_be_told_in_json_is_refused() -> None:
    assert "CNI_NETNS" in refused(CNI_NETNS="/run/netns/\udcff").message


@pytest.mark.parametrize("ignore", ["1", "true", "TRUE"])
def test_ignore_unknown_lets_other_arguments_pass(ignore: str) -> None:
    found = parse_environment(environment(CNI_ARGS=f"FOO=1;IgnoreUnknown={ignore};IP=10.0.0.9"))
    assert found.address == "10.0.0.9"
    require_known_arguments(found)


def test_del_does_not_fail_by_arguments() -> None:
    found = parse_environment(environment("DEL", CNI_ARGS="nonsense;FOO=1;K8S_POD_NAME=a"))
    assert found.pod.name == "a"
