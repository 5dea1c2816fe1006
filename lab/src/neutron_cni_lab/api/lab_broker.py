"""``lab_broker.py SOCKET``: the message bus of a lab with ML2/OVS, on a unix socket.

Any number of processes connect (`lab_bus`), and a line of JSON is a frame. A client says where it
listens and sends messages and answers; a message goes to one listener of its topic, to the one of
its server, or to all (``fanout``). One that nobody listens for yet waits until somebody does.
"""

import asyncio
import itertools
import json
import sys
from collections import defaultdict, deque
from typing import Any, NamedTuple

_LONGEST_FRAME = 2**26
_MOST_WAITING = 1000
"""Of one topic: whoever was away for so long asks for everything when he is back."""

Frame = dict[str, Any]
Topic = tuple[str, str]
"""An exchange, and a topic in it."""


class Listener(NamedTuple):
    """Somebody who takes the messages of a topic."""

    client: asyncio.StreamWriter
    number: int
    server: str | None


class Broker:
    """Who listens, which messages wait, and who waits for which answer."""

    def __init__(self) -> None:
        self._listeners: dict[Topic, list[Listener]] = defaultdict(list)
        self._waiting: dict[Topic, deque[Frame]] = defaultdict(lambda: deque(maxlen=_MOST_WAITING))
        self._callers: dict[str, asyncio.StreamWriter] = {}
        self._turn = itertools.count()

    async def serve(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        """Do what one client says, until it has gone."""
        try:
            while line := await reader.readline():
                self._receive(client, json.loads(line))
        except (ConnectionError, ValueError):
            pass  # it died in the middle of a frame
        finally:
            self._forget(client)
            client.close()

    def _receive(self, client: asyncio.StreamWriter, frame: Frame) -> None:
        match frame["do"]:
            case "listen":
                self._listen(client, frame)
            case "stop":
                self._forget(client, frame["listener"])
            case "send":
                if frame["call"]:
                    self._callers[frame["call"]] = client
                self._deliver(frame)
            case "answer":
                caller = self._callers.pop(frame["call"], None)
                if caller is not None:
                    _write(caller, frame)

    def _listen(self, client: asyncio.StreamWriter, frame: Frame) -> None:
        topic = (frame["exchange"], frame["topic"])
        listener = Listener(client, frame["listener"], frame["server"])
        if listener not in self._listeners[topic]:
            self._listeners[topic].append(listener)
        for message in self._waiting.pop(topic, ()):
            self._deliver(message)

    def _deliver(self, message: Frame) -> None:
        topic = (message["exchange"], message["topic"])
        chosen = found = self._listeners[topic]
        if not message["fanout"]:
            if message["server"]:
                found = [listener for listener in found if listener.server == message["server"]]
            chosen = [found[next(self._turn) % len(found)]] if found else []
            if not chosen:
                self._waiting[topic].append(message)
        for listener in chosen:
            _write(listener.client, {**message, "do": "take", "listener": listener.number})

    def _forget(self, client: asyncio.StreamWriter, number: int | None = None) -> None:
        """A listener of a client, or all of it."""
        for listeners in self._listeners.values():
            listeners[:] = [
                listener
                for listener in listeners
                if listener.client is not client or number not in (None, listener.number)
            ]
        if number is None:
            gone = [call for call, caller in self._callers.items() if caller is client]
            for call in gone:
                del self._callers[call]


def _write(client: asyncio.StreamWriter, frame: Frame) -> None:
    if not client.is_closing():
        client.write(json.dumps(frame).encode() + b"\n")


async def main(path: str) -> None:
    """Serve until ended."""
    broker = Broker()
    server = await asyncio.start_unix_server(broker.serve, path, limit=_LONGEST_FRAME)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
