"""Answers that are not as the service answers end in an error that says what was answered."""

from __future__ import annotations

import json
import time
from ipaddress import ip_address

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neutron_cni.openstack.errors import AnswerLost
from neutron_cni.openstack.neutron import Neutron
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import Code
from tests.fakes import FakeNeutron
from tests.support.openstack_doubles import Waits
from tests.unit.openstack.bad_answers.calls import (
    CALLS,
    CHANGES,
    ID,
    PORT,
    READS,
    SUBNET,
    answering,
    asked_by,
    code_of,
    refused,
)

SHAPES = {
    "maintenance": {"error": "maintenance"},
    "empty object": {},
    "list": [],
    "list of numbers": [1],
    "string": "hello",
    "number": 5,
    "true": True,
    "members null": dict.fromkeys(
        (
            *("port", "ports", "networks", "subnets", "security_groups", "quota", "project"),
            *("server", "interfaceAttachments", "interfaceAttachment", "instanceAction"),
        ),
        None,
    ),
    "members lists": {
        "port": [],
        "ports": {},
        "networks": [[]],
        "subnets": [1],
        "security_groups": "x",
        "quota": [],
        "project": [],
        "server": [],
        "interfaceAttachments": {},
        "interfaceAttachment": [],
        "instanceAction": "x",
    },
    "items empty": {
        "port": {},
        "ports": [{}],
        "networks": [{}],
        "subnets": [{}],
        "security_groups": [{}],
        "quota": {},
        "project": {"project_id": []},
        "server": {},
        "interfaceAttachments": [{}],
        "interfaceAttachment": {},
        "instanceAction": {},
    },
}


NOVAS: dict[str, tuple[str, dict[str, object]]] = {
    "server": ("server", {"id": ID}),
    "attach": ("interfaceAttachment", {"port_id": ID, "net_id": SUBNET}),
    "outcome": ("instanceAction", {"request_id": "req-1"}),
}
"""As little as is taken for an answer."""


class TestShapes:
    """2xx with JSON of another shape."""

    @pytest.mark.parametrize("name", CALLS)
    @pytest.mark.parametrize("shape", SHAPES)
    def test_of_another_shape(
        self, fake: FakeNeutron, neutron: Neutron, waits: Waits, name: str, shape: str
    ) -> None:
        answering(fake, json.dumps(SHAPES[shape]))
        error = refused(CALLS[name], neutron)
        assert isinstance(error, AnswerLost)
        assert f"not as {asked_by(name)} answers" in error.message
        assert "endpoint" in error.details

    @pytest.mark.parametrize("name", sorted(CALLS.keys() - {"add_tags"}))
    def test_null(self, fake: FakeNeutron, neutron: Neutron, waits: Waits, name: str) -> None:
        """Which is Neutron's own answer to what has no other: a tag, or a deletion."""
        answering(fake, "null")
        if name in ("delete_port", "remove_tag", "detach"):
            CALLS[name](neutron)
        else:
            refused(CALLS[name], neutron)

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("id", None),
            ("id", 5),
            ("id", "../.."),
            ("id", "a/b"),
            ("id", ""),
            ("network_id", []),
            ("fixed_ips", None),
            ("fixed_ips", {}),
            ("fixed_ips", [5]),
            ("fixed_ips", [{}]),
            ("fixed_ips", [{"subnet_id": SUBNET, "ip_address": "10.0.0.300"}]),
            ("fixed_ips", [{"subnet_id": ["x"], "ip_address": "10.0.0.3"}]),
            ("fixed_ips", [{"subnet_id": SUBNET, "ip_address": 5}]),
            ("allowed_address_pairs", [{"ip_address": "x"}]),
            ("allowed_address_pairs", [{"ip_address": "10.0.0.1", "mac_address": 5}]),
            ("tags", [5]),
            ("tags", "abc"),
            ("tags", {"a": 1}),
            ("mac_address", {}),
            ("revision_number", []),
            ("revision_number", 1.5),
            ("revision_number", "one"),
            ("device_id", 5),
            ("name", ["x"]),
            ("name", "\ud800"),
            ("created_at", "yesterday"),
            ("created_at", 5),
        ],
    )
    def test_a_port_with_an_odd_field(
        self, fake: FakeNeutron, neutron: Neutron, waits: Waits, key: str, value: object
    ) -> None:
        answering(fake, {"port": PORT | {key: value}, "ports": [PORT | {key: value}]})
        for call in (READS["port"], READS["ports"], CHANGES["set_fixed_ips"]):
            assert isinstance(refused(call, neutron), AnswerLost)

    @pytest.mark.parametrize("key", ["id", "network_id", "fixed_ips"])
    def test_a_port_without_a_field(
        self, fake: FakeNeutron, neutron: Neutron, waits: Waits, key: str
    ) -> None:
        odd = {name: value for name, value in PORT.items() if name != key}
        answering(fake, {"port": odd, "ports": [odd]})
        for call in (READS["port"], READS["ports"], CHANGES["set_address_pairs"]):
            assert key in refused(call, neutron).message

    @pytest.mark.parametrize(
        ("name", "key", "value"),
        [
            ("server", "id", "../.."),
            ("server", "OS-EXT-STS:vm_state", 5),
            ("server", "OS-EXT-STS:task_state", {}),
            ("server", "flavor", "node"),
            ("server", "flavor", {"extra_specs": [1]}),
            ("server", "flavor", {"extra_specs": {"hw:x": 5}}),
            ("server", "locked", "no"),
            ("attach", "port_id", SUBNET),
            ("attach", "net_id", None),
            ("attach", "mac_addr", 5),
            ("attach", "fixed_ips", [{"ip_address": "x"}]),
            ("outcome", "request_id", None),
            ("outcome", "events", {}),
            ("outcome", "events", [5]),
            ("outcome", "message", 5),
            ("outcome", "events", [{"finish_time": 5, "result": "Success"}]),
        ],
    )
    def test_an_answer_of_novas_with_an_odd_field(
        self,
        fake: FakeNeutron,
        neutron: Neutron,
        waits: Waits,
        name: str,
        key: str,
        value: object,
    ) -> None:
        member, good = NOVAS[name]
        answering(fake, {member: good})
        CALLS[name](neutron)
        answering(fake, {member: good | {key: value}})
        assert isinstance(refused(CALLS[name], neutron), AnswerLost)

    def test_what_an_extension_would_add_may_be_missing(
        self, fake: FakeNeutron, neutron: Neutron
    ) -> None:
        few = {key: PORT[key] for key in ("id", "network_id", "fixed_ips")}
        answering(fake, {"port": few})
        assert neutron.port(ID).addresses == {ip_address("10.0.0.5")}

    @settings(
        max_examples=150,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(data=st.data())
    def test_any_json(self, fake: FakeNeutron, neutron: Neutron, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(CALLS)))
        answering(fake, json.dumps(data.draw(JSON)))
        code = code_of(lambda: CALLS[name](neutron.within(Deadline.after(60))))
        assert code in (0, Code.TRY_AGAIN, Code.NOT_FOUND, Code.INVALID_CONFIG)

    @pytest.mark.parametrize(
        "body", ["[" * 100_000, '{"port": ' * 50_000, "9" * 10_000, '"\\ud800"', "NaN", "\x00"]
    )
    def test_json_that_is_hard_to_read(
        self, fake: FakeNeutron, neutron: Neutron, waits: Waits, body: str
    ) -> None:
        answering(fake, body)
        for call in (READS["port"], CHANGES["set_fixed_ips"]):
            refused(call, neutron)

    def test_pages_without_an_end(self, fake: FakeNeutron, neutron: Neutron) -> None:
        link = {"rel": "next", "href": f"http://x/v2.0/ports?marker={ID}"}
        answering(fake, {"ports": [PORT], "ports_links": [link]})
        began = time.monotonic()
        refused(READS["ports"], neutron)
        assert time.monotonic() - began < 5

    @pytest.mark.parametrize(
        "links", [5, [5], [{"rel": "next"}], [{"rel": "next", "href": "http://[::1"}], [{}]]
    )
    def test_odd_links_of_pages(
        self, fake: FakeNeutron, neutron: Neutron, waits: Waits, links: object
    ) -> None:
        answering(fake, {"ports": [PORT], "ports_links": links})
        assert code_of(neutron.ports) in (0, Code.TRY_AGAIN)

    @pytest.mark.parametrize("name", CALLS)
    def test_html(self, fake: FakeNeutron, neutron: Neutron, waits: Waits, name: str) -> None:
        answering(fake, "<html><head><title>Please log in</title></head></html>")
        error = refused(CALLS[name], neutron)
        assert "HTML" in error.message
        assert "Please log in" in error.message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("10.0.0.5"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *(*PORT, "port", "ports", "networks", "subnets", "quota", "cidr"),
                    *("server", "flavor", "interfaceAttachments", "instanceAction", "events"),
                ]
            ),
            inner,
        )
    ),
    max_leaves=8,
)
