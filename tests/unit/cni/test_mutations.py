"""Thousands of broken calls: always a CNI answer, never a trace, nothing changed on an error.

`NEUTRON_CNI_MUTATIONS` sets how many.
"""

from __future__ import annotations

import copy
import json
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neutron_cni.cni.codec import result_to_document
from neutron_cni.cni.request import parse
from neutron_cni.cni.versions import SUPPORTED
from neutron_cni.hosts import trace
from neutron_cni.hosts.call import Answer, run
from neutron_cni.plugins import RECIPES
from tests.support.cni_doubles import ENVIRONMENT, World, environment, stdin

CALLS = int(os.environ.get("NEUTRON_CNI_MUTATIONS", "2000"))
COMMANDS = ("ADD", "DEL", "CHECK", "STATUS", "GC", "VERSION")

PATHS = (".", "..", "/", "a/b", "/run/netns/pod", "veth-route", "host-local", "eth0")
ADDRESSES = ("10.0.0.5", "10.0.0.5/24", "10.0.0.5/33", "0.0.0.0/0", "::/129", "fd00::5/64")
WORDS = ("null", "{}", "${x}", "%s%n", "ä", "💥", "1.1.0", "0.1.0", "0.3.1", "port", "-1", "a b")
ARGUMENTS = ("=", ";", "A=b", "IP=", "IP=1.2.3.4", "K8S_POD_NAME", "IgnoreUnknown=1")
SHAPES = ("", " ", "a" * 16, "a" * 5000, "\0", "a\0", "\n")
TEXTS = st.one_of(
    st.sampled_from([*PATHS, *ADDRESSES, *WORDS, *ARGUMENTS, *SHAPES]),
    st.text(max_size=20),
)
VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.sampled_from([0, -1, 2**31, 2**63, 2**64, 10**400, 1e308, -0.0, 1e-9]),
        TEXTS,
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=5,
)


def whole_configuration() -> dict[str, Any]:
    """Every key that we read, so that each can be broken."""
    world = World()
    result = world.engine.handle(
        parse("veth-route", environment(), stdin(), RECIPES["veth-route"].schemas())
    )
    assert result is not None
    ipam = {"subnets": ["a", "b"], "timeout": 30, "quarantine": 1.5, "portLookup": "auto"}
    ipam |= {"stateDir": "/nonexistent/state", "hostInterface": "ens3", "maxAddressPairs": 10}
    document: dict[str, Any] = json.loads(
        stdin(
            ipam=ipam,
            mtu=1400,
            hostInterface="ens3",
            gatewayAddress="169.254.1.1",
            dummyName="dummy0",
            runtimeConfig={"ips": ["10.10.0.19/20"], "portMappings": [{"hostPort": 1}]},
            args={"cni": {"ips": ["10.10.0.19"], "labels": [{"key": "a", "value": "b"}]}},
            capabilities={"ips": True},
        )
    )
    document["prevResult"] = result_to_document(result, "1.1.0")
    document["cni.dev/valid-attachments"] = [
        {"containerID": ENVIRONMENT["CNI_CONTAINERID"], "ifname": "eth0"}
    ]
    return document


WHOLE = whole_configuration()


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every key and item."""
    steps = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for step, inner in steps:
        found.append((*path, step))
        if isinstance(inner, dict | list):
            found += places(inner, (*path, step))
    return found


@st.composite
def configurations(draw: st.DrawFn, command: str) -> bytes:
    document = copy.deepcopy(WHOLE)
    if command == "ADD":
        del document["prevResult"]
    for _ in range(draw(st.integers(0, 3))):
        path = draw(st.sampled_from(places(document) or [("name",)]))
        holder = document
        for step in path[:-1]:
            holder = holder[step]
        if draw(st.integers(0, 3)) == 0:
            del holder[path[-1]]
        else:
            holder[path[-1]] = draw(VALUES)
        if not document:
            break
    data = json.dumps(document, ensure_ascii=draw(st.booleans())).encode(errors="surrogatepass")
    if draw(st.integers(0, 9)) == 0:
        start = draw(st.integers(0, len(data)))
        end = start + draw(st.integers(0, 5))
        data = data[:start] + draw(st.binary(max_size=5)) + data[end:]
    return data


@st.composite
def environments(draw: st.DrawFn, command: str) -> dict[str, str]:
    variables = dict(ENVIRONMENT, CNI_COMMAND=command, CNI_PATH="/nonexistent/bin")
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        name = draw(st.sampled_from(sorted(ENVIRONMENT)))
        if draw(st.integers(0, 3)) == 0:
            variables.pop(name, None)
        else:
            variables[name] = draw(TEXTS)
    return variables


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, dict[str, str], bytes]:
    command = draw(st.sampled_from(COMMANDS))
    plugin = draw(st.sampled_from(sorted(RECIPES)))
    return plugin, draw(environments(command)), draw(configurations(command))


@pytest.fixture(scope="module", autouse=True)
def no_defects() -> Any:
    """An unexpected exception fails the test at once, with its trace."""
    with pytest.MonkeyPatch.context() as patch:

        def unexpected(error: Exception, stdin: bytes, notes: list[str]) -> None:
            raise AssertionError(f"unexpected at {stdin!r}") from error

        patch.setattr(trace, "record", unexpected)
        yield


@settings(
    max_examples=CALLS,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(calls(), st.booleans())
def test_a_broken_call_gets_an_answer_and_changes_nothing(
    broken: tuple[str, dict[str, str], bytes], there: bool
) -> None:
    plugin, variables, data = broken
    world = World()
    if there:
        assert run("veth-route", environment(), stdin(), world.engine).status == 0
    before, changes = world.state, len(world.changes)
    answer = run(plugin, variables, data, world.engine)
    command = variables.get("CNI_COMMAND", "")
    if answer.status == 0:
        _assert_success(command, answer)
    else:
        _assert_error(answer)
        if command == "DEL":
            # It does what it can: another's IPAM that fails keeps no interface in place.
            assert world.state[0] == before[0]
        else:
            assert world.state == before
            assert len(world.changes) == changes


def _assert_success(command: str, answer: Answer) -> None:
    if command in ("ADD", "VERSION"):
        assert json.loads(answer.stdout)["cniVersion"] in SUPPORTED
    else:
        assert answer.stdout == b""


def _assert_error(answer: Answer) -> None:
    document = json.loads(answer.stdout)
    assert set(document) <= {"cniVersion", "code", "msg", "details"}
    assert document["cniVersion"] in SUPPORTED
    assert type(document["code"]) is int
    assert 0 < document["code"] < 999
    assert document["msg"].strip()
    assert "Traceback" not in document["msg"] + document.get("details", "")
