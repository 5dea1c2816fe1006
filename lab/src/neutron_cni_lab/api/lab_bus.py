"""The driver of oslo.messaging for the lab's own message bus: ``transport_url = labbus://SOCKET``.

Neutron's API and agents are processes that call each other by messages. `lab_broker` passes them
on; this is the end that is in each process. oslo.messaging finds it by the entry point beside it.
"""

import itertools
import os
import queue
import socket
import threading
import time
import uuid
from typing import Any

import oslo_messaging
from oslo_messaging._drivers import base, common
from oslo_serialization import jsonutils

_PATIENCE = 60.0
"""Seconds that a broker may be away, while it is started anew."""

Frame = dict[str, Any]


class Bus(base.BaseDriver):  # type: ignore[misc]
    """The driver, with one connection in each process that uses it; it comes back by itself."""

    def __init__(
        self,
        conf: Any,
        url: Any,
        default_exchange: str | None = None,
        allowed_remote_exmods: list[str] | None = None,
    ) -> None:
        super().__init__(conf, url, default_exchange, allowed_remote_exmods)
        self._path = f"/{url.virtual_host}"
        self._lock = threading.RLock()
        self._link: socket.socket | None = None
        self._process = os.getpid()
        self._numbers = itertools.count()
        self._listeners: dict[int, tuple[Frame, Listener]] = {}
        self._calls: dict[str, queue.SimpleQueue[Frame]] = {}

    def require_features(self, requeue: bool = True) -> None:
        """It can all."""

    def send(
        self,
        target: Any,
        ctxt: Frame,
        message: Frame,
        wait_for_reply: bool | None = None,
        timeout: float | None = None,
        call_monitor_timeout: float | None = None,
        retry: int | None = None,
        transport_options: Any = None,
    ) -> Any:
        """Send a message; with `wait_for_reply` return the answer, or raise what was raised."""
        call = uuid.uuid4().hex if wait_for_reply else None
        frame = {
            "do": "send",
            **self._address(target),
            "fanout": bool(target.fanout),
            "ctxt": ctxt,
            "message": message,
            "call": call,
        }
        if call is None:
            self.put(frame)
            return None
        with self._lock:
            self._forget_parent()
            answers = self._calls[call] = queue.SimpleQueue()
        try:
            self.put(frame)
            answer = answers.get(timeout=timeout)
        except queue.Empty:
            what = f"no answer to {message.get('method')} on topic {target.topic}"
            raise oslo_messaging.MessagingTimeout(what) from None
        finally:
            del self._calls[call]
        if answer["failure"]:
            allowed = self._allowed_remote_exmods
            raise common.deserialize_remote_exception(answer["failure"], allowed)
        return answer["reply"]

    def send_notification(
        self, target: Any, ctxt: Frame, message: Frame, version: float, retry: int | None = None
    ) -> None:
        """Nothing: in a lab nobody listens for notifications."""

    def listen(self, target: Any, batch_size: int, batch_timeout: float | None) -> Any:
        """A listener for a topic, and for a server in it."""
        number = next(self._numbers)
        listener = Listener(self, number)
        frame = {"do": "listen", "listener": number, **self._address(target)}
        with self._lock:
            self._forget_parent()
            self._listeners[number] = (frame, listener)
        self.put(frame)  # which the broker may hear twice, by a new connection
        return base.PollStyleListenerAdapter(listener, batch_size, batch_timeout)

    def listen_for_notifications(
        self, targets_and_priorities: Any, pool: Any, batch_size: int, batch_timeout: float | None
    ) -> Any:
        """A listener that hears nothing."""
        return base.PollStyleListenerAdapter(Listener(self, -1), batch_size, batch_timeout)

    def cleanup(self) -> None:
        """Nothing: the connection goes with the process."""

    def stop_listening(self, number: int) -> None:
        """Have no messages any more for a listener."""
        with self._lock:
            known = self._listeners.pop(number, None)
        if known:
            self.put({"do": "stop", "listener": number})

    def put(self, frame: Frame) -> None:
        """Hand a frame to the broker, once it is there."""
        line = _line(frame)
        give_up = time.monotonic() + _PATIENCE
        while True:
            try:
                with self._lock:
                    self._connected().sendall(line)
            except OSError as error:
                if time.monotonic() > give_up:
                    what = f"no message bus at {self._path}: {error}"
                    raise oslo_messaging.MessageDeliveryFailure(what) from error
                time.sleep(0.2)
            else:
                return

    def _address(self, target: Any) -> Frame:
        exchange = target.exchange or self._default_exchange
        return {"exchange": exchange, "topic": target.topic, "server": target.server}

    def _forget_parent(self) -> None:
        """In a process that was forked, have nothing of its parent's."""
        if self._process != os.getpid():
            self._process, self._link = os.getpid(), None
            self._listeners, self._calls = {}, {}

    def _connected(self) -> socket.socket:
        """The connection, made anew after a fork or when it was lost; the lock is held."""
        self._forget_parent()
        if self._link is None:
            link = socket.socket(socket.AF_UNIX)
            link.connect(self._path)
            for frame, _ in self._listeners.values():
                link.sendall(_line(frame))
            self._link = link
            threading.Thread(target=self._read, args=(link,), daemon=True).start()
        return self._link

    def _read(self, link: socket.socket) -> None:
        """Take what comes, as long as this is the connection; then have another one."""
        try:
            with link.makefile("rb") as lines:
                for line in lines:
                    self._take(jsonutils.loads(line))
        except (OSError, ValueError):
            pass  # the broker died
        with self._lock:
            if self._link is link:
                self._link = None
        link.close()
        while True:  # who listens has nothing to say, and must be heard of by the next broker
            try:
                with self._lock:
                    self._connected()
            except OSError:
                time.sleep(0.2)
            else:
                return

    def _take(self, frame: Frame) -> None:
        if frame["do"] == "answer":
            waiting = self._calls.get(frame["call"])
            if waiting is not None:
                waiting.put(frame)
        elif known := self._listeners.get(frame["listener"]):
            known[1].messages.put(frame)


def _line(frame: Frame) -> bytes:
    line: bytes = jsonutils.dump_as_bytes(frame)
    return line + b"\n"


class Listener(base.PollStyleListener):  # type: ignore[misc]
    """The messages that one server of this process takes."""

    def __init__(self, bus: Bus, number: int) -> None:
        super().__init__()
        self._bus, self._number = bus, number
        self._stopped = False
        self.messages: queue.SimpleQueue[Frame | None] = queue.SimpleQueue()

    @base.batch_poll_helper  # type: ignore[untyped-decorator]
    def poll(self, timeout: float | None = None) -> "Incoming | None":
        """The next message; None when there is none in time, or when it was stopped."""
        try:
            frame = self.messages.get(timeout=0 if self._stopped else timeout)
        except queue.Empty:
            return None
        return None if frame is None else Incoming(self._bus, frame)

    def stop(self) -> None:
        """End the `poll` that waits."""
        self._stopped = True
        self._bus.stop_listening(self._number)
        self.messages.put(None)


class Incoming(base.RpcIncomingMessage):  # type: ignore[misc]
    """A message, and the way back for its answer."""

    def __init__(self, bus: Bus, frame: Frame) -> None:
        super().__init__(frame["ctxt"], frame["message"])
        self._bus, self._frame = bus, frame

    def reply(self, reply: Any = None, failure: Any = None) -> None:
        """Answer, or say what was raised; nothing where nobody waits."""
        if self._frame["call"]:
            failed = common.serialize_remote_exception(failure) if failure else None
            answer = {"call": self._frame["call"], "reply": reply, "failure": failed}
            self._bus.put({"do": "answer", **answer})

    def requeue(self) -> None:
        """Give it back to the broker."""
        self._bus.put({**self._frame, "do": "send"})

    def heartbeat(self) -> None:
        """Nothing: callers wait for as long as they said."""
