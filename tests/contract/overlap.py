"""Writers that overlap: what If-Match does not prevent.

A real Neutron is sent the requests at the same moment and asked again until they did overlap,
which shows in If-Match having refused none of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.contract.backend import Backend, Json, Reply, entries, pairs

ROUNDS = 20


def together(backend: Backend, start: Json, *bodies: Json) -> tuple[list[Reply], Reply]:
    """The answers to overlapping PUTs of a new port made with `start`, and the port after."""
    network, subnet = backend.home()
    changes = [_of(subnet, body) for body in bodies]
    for _ in range(ROUNDS):
        port = backend.post_port(network, **_of(subnet, start)).port
        calls = [_put(backend, port, change) for change in changes]
        replies = backend.at_once(calls)
        if 412 not in [reply.status for reply in replies]:
            return replies, backend.read(port["id"])
        backend.call("DELETE", f"/ports/{port['id']}")
    raise AssertionError(f"in {ROUNDS} rounds the requests never overlapped")


def _put(backend: Backend, port: Json, change: Json) -> Callable[[], Reply]:
    return lambda: backend.put(port["id"], port["revision_number"], **change)


def _of(subnet: str, body: Json) -> Json:
    """`{"ips": [5]}` for addresses by their last number, `{"pairs": [9]}` likewise."""
    change: dict[str, Any] = {k: v for k, v in body.items() if k not in ("ips", "pairs")}
    if "ips" in body:
        change["fixed_ips"] = entries(subnet, *(f"10.60.0.{n}" for n in body["ips"]))
    if "pairs" in body:
        change["allowed_address_pairs"] = pairs(*(f"10.60.0.{n}" for n in body["pairs"]))
    return change


def numbers(addresses: list[str]) -> list[int]:
    """The last numbers of addresses."""
    return sorted(int(address.rpartition(".")[2]) for address in addresses)


class Overlap:
    """Each writer's difference against what it saw is applied; none is refused."""

    def test_all_additions_arrive(self, backend: Backend) -> None:
        bodies = [{"ips": [2, number]} for number in (5, 6, 7, 8)]
        replies, after = together(backend, {"ips": [2]}, *bodies)
        assert {reply.status for reply in replies} == {200}
        assert numbers(after.addresses) == [2, 5, 6, 7, 8]

    def test_each_answer_shows_only_its_own(self, backend: Backend) -> None:
        replies, after = together(backend, {"ips": [2]}, {"ips": [2, 5]}, {"ips": [2, 6]})
        assert [numbers(reply.addresses) for reply in replies] == [[2, 5], [2, 6]]
        revisions = sorted(reply.port["revision_number"] for reply in replies)
        assert revisions == [2, 3]
        assert after.port["revision_number"] == 3

    def test_an_addition_and_a_removal_both_happen(self, backend: Backend) -> None:
        _, after = together(backend, {"ips": [2, 3]}, {"ips": [2, 3, 5]}, {"ips": [2]})
        assert numbers(after.addresses) == [2, 5]

    def test_what_one_adds_survives_the_others_whole_list(self, backend: Backend) -> None:
        _, after = together(backend, {"ips": [2, 3]}, {"ips": [5]}, {"ips": [6]})
        assert numbers(after.addresses) == [5, 6]

    def test_the_same_address_is_given_to_both(self, backend: Backend) -> None:
        """On one port nobody is told that a rival asked for the same address."""
        replies, after = together(backend, {"ips": [2]}, {"ips": [2, 5]}, {"ips": [2, 5]})
        assert [reply.status for reply in replies] == [200, 200]
        assert numbers(after.addresses) == [2, 5]

    def test_the_same_removal_is_fine(self, backend: Backend) -> None:
        _, after = together(backend, {"ips": [2, 3]}, {"ips": [2]}, {"ips": [2]})
        assert numbers(after.addresses) == [2]

    def test_of_two_ports_one_gets_the_address(self, backend: Backend) -> None:
        network, subnet = backend.home()
        first = backend.make_port(network, "10.60.0.2")["id"]
        second = backend.make_port(network, "10.60.0.3")["id"]
        wanted = {
            first: entries(subnet, "10.60.0.2", "10.60.0.9"),
            second: entries(subnet, "10.60.0.3", "10.60.0.9"),
        }
        replies = backend.at_once(
            [
                lambda: backend.put(first, fixed_ips=wanted[first]),
                lambda: backend.put(second, fixed_ips=wanted[second]),
            ]
        )
        assert sorted(reply.status for reply in replies) == [200, 409]
        assert "IpAddressAlreadyAllocated" in [reply.kind for reply in replies]

    def test_pairs_are_differences_too(self, backend: Backend) -> None:
        replies, after = together(backend, {"pairs": [3]}, {"pairs": [3, 5]}, {"pairs": [3, 6]})
        assert [numbers(reply.pairs) for reply in replies] == [[3, 5], [3, 6]]
        assert numbers(after.pairs) == [3, 5, 6]

    def test_the_same_pair_is_refused_as_a_duplicate(self, backend: Backend) -> None:
        replies, after = together(backend, {"pairs": [3]}, {"pairs": [3, 5]}, {"pairs": [3, 5]})
        kinds = sorted(reply.kind for reply in replies)
        assert kinds == ["", "DuplicateAddressPairInRequest"]
        assert numbers(after.pairs) == [3, 5]

    def test_pairs_and_addresses_do_not_disturb_each_other(self, backend: Backend) -> None:
        _, after = together(backend, {"ips": [2]}, {"ips": [2, 5]}, {"pairs": [9]})
        assert numbers(after.addresses) == [2, 5]
        assert numbers(after.pairs) == [9]

    def test_tags_of_two_writers_are_joined(self, backend: Backend) -> None:
        network, _ = backend.home()
        port = backend.make_port(network)["id"]

        def tag(*tags: str) -> None:
            """Who is told of an error (500, by Neutron 21) has to ask again."""
            assert any(backend.tag(port, tags).status < 300 for _ in range(ROUNDS))

        backend.together([lambda: tag("a", "b"), lambda: tag("a", "c")])
        assert backend.read(port).port["tags"] == ["a", "b", "c"]
