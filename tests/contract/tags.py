"""Tags of ports."""

from __future__ import annotations

import pytest

from tests.contract.backend import NOWHERE, Backend, Json


def tags_of(backend: Backend, port_id: str) -> list[str]:
    """In Neutron's order."""
    found: list[str] = backend.read(port_id).port["tags"]
    return found


CLAIMS = "_".join(["ncni2:5844f7:a1b2:fd60::5=38dff9a8", *["10.160.10.115=38dff9a8"] * 9])
"""As many of our claims as a tag holds."""


class Tags:
    """POST of several, PUT and DELETE of one."""

    def test_post_adds_and_forgets_none(self, backend: Backend) -> None:
        network, _ = backend.home()
        port = backend.make_port(network)["id"]
        assert backend.post_tags(port, ["b", "a"]).body == {"tags": ["b", "a"]}
        assert backend.post_tags(port, ["b", "c"]).status == 200
        assert tags_of(backend, port) == ["a", "b", "c"]

    def test_post_of_several_is_one_revision(self, backend: Backend) -> None:
        network, _ = backend.home()
        port = backend.make_port(network)
        backend.post_tags(port["id"], ["a", "b"])
        after = backend.read(port["id"]).port["revision_number"]
        assert after == port["revision_number"] + 1

    def test_put_and_delete_of_one(self, backend: Backend) -> None:
        network, _ = backend.home()
        port = backend.make_port(network)["id"]
        assert backend.one_tag("PUT", port, "a").status == 201
        assert backend.one_tag("PUT", port, "a").status == 201
        assert backend.one_tag("GET", port, "a").status == 204
        assert backend.one_tag("DELETE", port, "a").status == 204
        for method in ("GET", "DELETE"):
            reply = backend.one_tag(method, port, "a")
            assert (reply.status, reply.kind) == (404, "TagNotFound")

    def test_put_of_all_replaces(self, backend: Backend) -> None:
        network, _ = backend.home()
        port = backend.make_port(network)["id"]
        backend.tag(port, ["a", "b"])
        assert backend.call("PUT", f"/ports/{port}/tags", {"tags": ["c"]}).status == 200
        assert tags_of(backend, port) == ["c"]

    def test_case_matters(self, backend: Backend) -> None:
        network, _ = backend.home()
        port = backend.make_port(network)["id"]
        backend.tag(port, ["a", "A"])
        assert sorted(tags_of(backend, port)) == ["A", "a"]
        assert backend.one_tag("DELETE", port, "A").status == 204
        assert tags_of(backend, port) == ["a"]

    @pytest.mark.parametrize("tag", ["ncni:10.60.0.5:x", "a b", "a=b", "a.b", "a?b#c%25", CLAIMS])
    def test_odd_letters_survive(self, backend: Backend, tag: str) -> None:
        network, _ = backend.home()
        port = backend.make_port(network)["id"]
        backend.tag(port, [tag])
        assert tags_of(backend, port) == [tag]
        assert backend.one_tag("DELETE", port, tag).status == 204
        assert tags_of(backend, port) == []

    def test_a_tag_with_a_slash_can_not_be_taken_off_by_name(self, backend: Backend) -> None:
        network, _ = backend.home()
        port = backend.make_port(network)["id"]
        backend.tag(port, ["a/b"])
        reply = backend.one_tag("DELETE", port, "a/b")
        assert (reply.status, reply.kind) == (404, "HTTPNotFound")
        assert tags_of(backend, port) == ["a/b"]

    def test_nor_can_one_that_is_not_ascii(self, backend: Backend) -> None:
        network, _ = backend.home()
        port = backend.make_port(network)["id"]
        backend.tag(port, ["ä"])
        reply = backend.one_tag("DELETE", port, "ä")
        assert (reply.status, reply.kind) == (404, "TagNotFound")
        assert tags_of(backend, port) == ["ä"]

    def test_a_tag_with_a_comma_can_not_be_looked_for(self, backend: Backend) -> None:
        network, _ = backend.home()
        port = backend.make_port(network)["id"]
        backend.tag(port, ["a,b"])
        assert backend.get("ports", network_id=network, tags="a,b").body["ports"] == []

    def test_fifty_in_one_request_but_more_in_all(self, backend: Backend) -> None:
        network, _ = backend.home()
        port = backend.make_port(network)["id"]
        many = [f"t{number:02}" for number in range(51)]
        reply = backend.post_tags(port, many)
        assert (reply.status, reply.kind) == (400, "BadRequest")
        assert backend.post_tags(port, many[:50]).status == 200
        reply = backend.one_tag("PUT", port, many[50])
        assert (reply.status, reply.kind) == (400, "BadRequest")
        assert backend.post_tags(port, many[50:]).status == 200
        assert tags_of(backend, port) == many

    def test_what_is_refused(self, backend: Backend) -> None:
        network, _ = backend.home()
        port = backend.make_port(network)["id"]
        bodies: list[Json] = [{"tags": ["a", "a"]}, {"tags": ["a" * 256]}, {"nope": []}]
        for body in [*bodies, {"tags": "a"}]:
            reply = backend.call("POST", f"/ports/{port}/tags", body)
            assert (reply.status, reply.kind) == (400, "InvalidInput")

    def test_of_a_port_that_is_gone_neutron_fails(self, backend: Backend) -> None:
        """500, not 404 (KeyError in TaggingController of Neutron 29)."""
        assert backend.post_tags(NOWHERE, ["a"]).status == 500
        assert backend.one_tag("PUT", NOWHERE, "a").status == 500
        assert backend.one_tag("DELETE", NOWHERE, "a").status == 500
