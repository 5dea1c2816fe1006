"""The message bus of a lab with ML2/OVS: each message gets to whom it is for, once."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from neutron_cni_lab.neutron import API
from neutron_cni_lab.processes import wait_until

SECONDS = 20.0


class Client:
    """One process on the bus."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(SECONDS)
        self._socket.connect(str(path))
        self._lines = self._socket.makefile("rb")

    def say(self, do: str, **frame: Any) -> None:
        self._socket.sendall(json.dumps({"do": do, **frame}).encode() + b"\n")

    def listen(self, topic: str, number: int = 0, server: str | None = None) -> None:
        self.say("listen", listener=number, exchange="x", topic=topic, server=server)

    def send(self, topic: str, message: str, **more: Any) -> None:
        whom = {"server": None, "fanout": False, "call": None, **more}
        self.say("send", exchange="x", topic=topic, message=message, **whom)

    def hear(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self._lines.readline())
        return found

    def heard(self) -> Any:
        return self.hear()["message"]

    def has_been_heard(self) -> None:
        """Return when the broker has done what was said so far."""
        myself = f"client {id(self)}"
        self.listen(myself, 99)
        self.send(myself, "over")
        assert self.heard() == "over"

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


class Clients:
    """A broker, and those who are connected to it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._all: list[Client] = []

    def new(self) -> Client:
        self._all.append(Client(self._path))
        return self._all[-1]

    def close(self) -> None:
        for client in self._all:
            client.close()


@pytest.fixture
def clients(tmp_path: Path) -> Iterator[Clients]:
    path = tmp_path / "bus"
    with subprocess.Popen([sys.executable, "-I", API / "lab_broker.py", path]) as broker:
        try:
            wait_until(path.exists, "the broker", SECONDS)
            found = Clients(path)
            yield found
            found.close()
        finally:
            broker.kill()


def test_of_several_who_listen_one_gets_a_message_and_the_other_the_next(clients: Clients) -> None:
    first, second, sender = clients.new(), clients.new(), clients.new()
    for listener in (first, second):
        listener.listen("topic")
        listener.has_been_heard()
    for message in ("one", "two"):
        sender.send("topic", message)
    assert {first.heard(), second.heard()} == {"one", "two"}


def test_all_who_listen_get_a_fanout_and_a_server_what_is_for_it(clients: Clients) -> None:
    first, second, sender = clients.new(), clients.new(), clients.new()
    for listener, name in ((first, "host1"), (second, "host2")):
        listener.listen("topic", server=name)
        listener.has_been_heard()
    sender.send("topic", "all", fanout=True)
    sender.send("topic", "second", server="host2")
    assert first.heard() == "all"
    assert (second.heard(), second.heard()) == ("all", "second")


def test_a_message_waits_until_somebody_listens(clients: Clients) -> None:
    sender, late = clients.new(), clients.new()
    sender.send("topic", "early")
    sender.send("topic", "for another", server="other")
    sender.has_been_heard()
    late.listen("topic", server="host")
    assert late.heard() == "early"
    late.listen("topic", number=1, server="other")
    assert late.heard() == "for another"


def test_a_fanout_that_nobody_hears_is_gone(clients: Clients) -> None:
    sender, late = clients.new(), clients.new()
    sender.send("topic", "lost", fanout=True)
    sender.has_been_heard()
    late.listen("topic")
    late.has_been_heard()
    sender.send("topic", "next")
    assert late.heard() == "next"


def test_the_answer_gets_to_who_called(clients: Clients) -> None:
    server, caller, other = clients.new(), clients.new(), clients.new()
    server.listen("topic")
    for client, call in ((caller, "a"), (other, "b")):
        client.send("topic", "question", call=call)
    for call in (server.hear()["call"], server.hear()["call"]):
        server.say("answer", call=call, reply=call.upper(), failure=None)
    assert (caller.hear()["reply"], other.hear()["reply"]) == ("A", "B")


def test_who_listens_twice_hears_once(clients: Clients) -> None:
    """As a client says it again to a broker that is new."""
    listener, sender = clients.new(), clients.new()
    listener.listen("topic")
    listener.listen("topic")
    listener.has_been_heard()
    sender.send("topic", "one", fanout=True)
    sender.send("topic", "two", fanout=True)
    assert (listener.heard(), listener.heard()) == ("one", "two")


def test_who_stops_or_goes_gets_nothing_any_more(clients: Clients) -> None:
    gone, stopped, left, sender = (clients.new() for _ in range(4))
    for listener in (gone, stopped, left):
        listener.listen("topic")
        listener.has_been_heard()
    stopped.say("stop", listener=0)
    stopped.has_been_heard()
    gone.close()
    # Until the broker has seen that it has gone, which nothing tells.
    wait_until(lambda: _gets_all(sender, left), "the broker to forget who went", SECONDS)


def _gets_all(sender: Client, listener: Client) -> bool:
    """Whether of two messages both come; those that went elsewhere are followed by one for all."""
    sender.send("topic", "one")
    sender.send("topic", "two")
    sender.send("topic", "over", fanout=True)
    heard = []
    while (message := listener.heard()) != "over":
        heard.append(message)
    return heard == ["one", "two"]
