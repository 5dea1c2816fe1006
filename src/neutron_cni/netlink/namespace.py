"""Network namespaces by path: held open, compared, and entered for the length of one call.

pyroute2's own `IPRoute(netns=...)` forks a child per socket (6-9 ms here, and a fork of a
process with threads). A thread that enters the namespace, opens a socket and ends costs 0.15 ms.
Threads have a trap: a library may open its socket in another thread, which is in the host's
namespace, without an error (seen with pyroute2's own sockets). So each socket is asked which
namespace it is in, see `socket_identity`.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, TypeVar

from neutron_cni.values.errors import CniError, Code

T = TypeVar("T")

CLONE_NEWNET = 0x40000000
_NS_GET_NSTYPE = 0xB703
_SIOCGSKNS = 0x894C
_OWN = Path("/proc/thread-self/ns/net")

_libc = ctypes.CDLL(None, use_errno=True)


class Identity(NamedTuple):
    """Device and inode number: equal if two paths lead to the same namespace."""

    device: int
    inode: int


def own_identity() -> Identity:
    """The identity of the calling thread's network namespace."""
    return _identity(_OWN.stat())


def namespace_identity(path: str) -> Identity:
    """The identity of the network namespace at `path`.

    Raises CniError INVALID_ENVIRONMENT if `path` is no network namespace.
    """
    with Namespace.open(path) as namespace:
        return namespace.identity


def is_netns(path: str) -> bool:
    """Whether `path` is a network namespace, not a leftover file or a namespace of another kind."""
    try:
        Namespace.open(path).close()
    except CniError:
        return False
    return True


def socket_identity(sock: socket.socket) -> Identity:
    """The namespace that `sock` is in, whichever thread opened it (SIOCGSKNS, kernel 4.10)."""
    descriptor = fcntl.ioctl(sock.fileno(), _SIOCGSKNS)
    try:
        return _identity(os.fstat(descriptor))
    finally:
        os.close(descriptor)


class Namespace:
    """A network namespace, held open: it stays the same if its path vanishes or names another."""

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor
        self.identity = _identity(os.fstat(descriptor))

    @classmethod
    def open(cls, path: str) -> Namespace:
        """Open `path`. Raises CniError INVALID_ENVIRONMENT if it is no network namespace."""
        try:
            # O_NONBLOCK: a path that names a FIFO must not hang the call.
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise CniError(
                Code.INVALID_ENVIRONMENT,
                f"cannot open the network namespace {path!r}: {error.strerror}",
                "CNI_NETNS must be the path of the container's network namespace",
            ) from error
        try:
            if not _is_network_namespace(descriptor):
                raise CniError(
                    Code.INVALID_ENVIRONMENT,
                    f"{path!r} is not a network namespace",
                    "a file without a namespace mounted on it is left when one is destroyed; "
                    "have the runtime make the sandbox again",
                )
            return cls(path, descriptor)
        except BaseException:
            os.close(descriptor)
            raise

    @classmethod
    def own(cls) -> Namespace:
        """The calling thread's network namespace."""
        return cls.open(str(_OWN))

    @classmethod
    def open_pod(cls, path: str) -> Namespace:
        """Like `open`, but raises CniError INVALID_ENVIRONMENT also for the caller's own namespace.

        That one is the node's, and not a pod's.
        """
        namespace = cls.open(path)
        if namespace.identity == own_identity():
            namespace.close()
            raise CniError(
                Code.INVALID_ENVIRONMENT,
                f"{path!r} is the node's own network namespace, not a pod's",
                "pods with hostNetwork must not be given to a CNI plugin",
            )
        return namespace

    def call(self, function: Callable[[], T]) -> T:
        """Call `function` inside the namespace; return what it returns, raise what it raises.

        A thread of its own enters the namespace, runs `function` and ends. So no other code can
        ever run in the wrong namespace: the thread need not go back, which could fail. New
        sockets and /proc/sys/net follow the thread. Costs 0.14 ms. Raises CniError KERNEL if the
        thread can't enter.
        """
        results: list[T] = []
        errors: list[BaseException] = []

        def body() -> None:
            try:
                self._enter()
                results.append(function())
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=body, name=f"netns {self.path}", daemon=True)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return results[0]

    def _enter(self) -> None:
        if _libc.setns(self.descriptor, CLONE_NEWNET) != 0:
            number = ctypes.get_errno()
            raise CniError(
                Code.KERNEL,
                f"cannot enter the network namespace {self.path!r}: {os.strerror(number)}",
                "CAP_SYS_ADMIN is needed" if number == errno.EPERM else "",
            )
        if own_identity() != self.identity:
            raise CniError(Code.KERNEL, f"entered another network namespace than {self.path!r}")

    def close(self) -> None:
        """Close the descriptor; repeated calls are fine."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def __enter__(self) -> Namespace:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _identity(status: os.stat_result) -> Identity:
    return Identity(status.st_dev, status.st_ino)


def _is_network_namespace(descriptor: int) -> bool:
    # The device first: for a file of another kind, the ioctl number could mean anything.
    if os.fstat(descriptor).st_dev != own_identity().device:
        return False
    try:
        return fcntl.ioctl(descriptor, _NS_GET_NSTYPE) == CLONE_NEWNET
    except OSError:
        return False
