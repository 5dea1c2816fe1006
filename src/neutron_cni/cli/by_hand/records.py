"""What was attached by hand, kept so that it can be detached when its container or file is gone.

One file for each attachment in `by-hand/` of the state folder, for root alone. It is written before
the first plugin is called and again with the result, so after a kill -9 at any line what may have
been done is known; whoever detaches removes it last. libcni's cache is not used: other runtimes
read it, and their GC removes what they do not know.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from neutron_cni import files
from neutron_cni.cli.by_hand.targets import Target
from neutron_cni.cni.document import convert, decode
from neutron_cni.cni.runtime import Chain, Network, Wishes, read_network
from neutron_cni.ipam.lock import FileLock
from neutron_cni.netlink.namespace import Identity, Namespace
from neutron_cni.store.store import boot_id
from neutron_cni.values.attachment import Attachment, PodRef
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code

FOLDER = "by-hand"
_LOCKS = 64
"""How many locks all namespaces share, as the file of a lock is never removed."""
_PAUSE = 0.1
"""Seconds between tries to take a lock."""


class Record(msgspec.Struct, rename="camel", frozen=True):
    """An attachment. `result` is None while ADD is not over. `word`: what the operator named.

    `device`, `inode` and `boot` are its namespace; `began` is in Unix seconds.
    """

    word: str
    what: str
    container_id: str
    ifname: str
    netns: str
    device: int
    inode: int
    boot: str
    network: dict[str, Any]
    path: list[str]
    ips: list[str] = msgspec.field(default_factory=list)
    mac: str = ""
    pod: list[str] = msgspec.field(default_factory=lambda: ["", "", ""])
    began: float = 0.0
    result: dict[str, Any] | None = None

    @property
    def network_name(self) -> str:
        """The name of the CNI network."""
        return str(self.network.get("name", ""))

    @property
    def identity(self) -> Identity:
        """The namespace, as long as the machine has not booted anew."""
        return Identity(self.device, self.inode)

    def is_of(self, target: Target) -> bool:
        """Whether it is an attachment of that namespace."""
        return self.boot == boot_id() and self.identity == target.identity

    def is_called(self, word: str) -> bool:
        """Whether an operator whose container is gone can mean it by `word`."""
        own = self.container_id
        return word in (self.word, own, f"id:{own}", self.netns)

    def live_path(self) -> str:
        """The path of its namespace, empty where that has ended."""
        if self.boot != boot_id():
            return ""
        try:
            with Namespace.open(self.netns) as now:
                return self.netns if now.identity == self.identity else ""
        except CniError:
            return ""

    def chain(self) -> Chain:
        """The calls that undo it. Raises CniError for a network that can't be read."""
        return Chain(
            network=read_network(self.network),
            path=tuple(self.path),
            attachment=Attachment(self.container_id, self.ifname, self.netns),
            pod=PodRef(*self.pod[:3]),
            wishes=Wishes(tuple(self.ips), self.mac),
        )


def begun(word: str, target: Target, chain: Chain) -> Record:
    """The record of an ADD that is about to begin."""
    pod = chain.pod
    return Record(
        word=word,
        what=target.what,
        container_id=chain.attachment.container_id,
        ifname=chain.attachment.ifname,
        netns=target.path,
        device=target.identity.device,
        inode=target.identity.inode,
        boot=boot_id(),
        network=chain.network.document(),
        path=list(chain.path),
        ips=list(chain.wishes.ips),
        mac=chain.wishes.mac,
        pod=[pod.namespace, pod.name, pod.uid],
        began=time.time(),
    )


class Records:
    """The records below a state folder."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir
        self._folder = state_dir / FOLDER

    def all(self) -> tuple[list[Record], list[str]]:
        """Every record, and sentences about files that can't be read.

        Raises CniError IO_FAILURE.
        """
        found, broken = [], []
        with _in_words(self._folder):
            paths = sorted(self._folder.glob("*.json")) if self._folder.is_dir() else []
            if paths:
                files.require_private_folder(str(self._folder))
        for path in paths:
            try:
                found.append(convert(decode(files.read(str(path)), "it"), Record))
            except FileNotFoundError:
                continue  # Another detach has just removed it.
            except (OSError, CniError) as error:
                broken.append(f"{path} can't be read, and says nothing: {error}")
        return found, broken

    def has(self, record: Record) -> bool:
        """Whether it is still there, as it was. Raises CniError IO_FAILURE."""
        return record in self.all()[0]

    def find(self, network: Network, attachment: Attachment) -> Record | None:
        """The record of that attachment. Raises CniError IO_FAILURE."""
        wanted = (network.name, attachment.container_id, attachment.ifname)
        for item in self.all()[0]:
            if (item.network_name, item.container_id, item.ifname) == wanted:
                return item
        return None

    def write(self, record: Record) -> None:
        """Write it, whole or not at all, and to the disk. Raises CniError IO_FAILURE."""
        path = self._path(record)
        with _in_words(path):
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            files.require_private_folder(str(self._folder))
            new = path.with_suffix(".new")  # One that a kill -9 left is written over.
            descriptor = files.open_own(str(new), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            with os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(record)))
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)
            self._to_disk()

    def remove(self, record: Record) -> None:
        """Remove it; one that is gone is fine. Raises CniError IO_FAILURE."""
        path = self._path(record)
        with _in_words(path):
            path.unlink(missing_ok=True)
            self._to_disk()

    @contextmanager
    def locked(self, identity: Identity, deadline: Deadline) -> Iterator[None]:
        """Nobody else attaches or detaches in that namespace meanwhile.

        Raises CniError TRY_AGAIN.
        """
        lock = FileLock(str(self._state_dir), f"by hand {identity.inode % _LOCKS}")
        while not lock.try_acquire():
            if deadline.left <= 0:
                raise CniError(
                    Code.TRY_AGAIN,
                    "another attach or detach is still at work in that namespace",
                    "--timeout waits longer for it; nothing was changed",
                )
            time.sleep(_PAUSE)
        with lock:
            yield

    def _path(self, record: Record) -> Path:
        attachment = Attachment(record.container_id, record.ifname)
        return self._folder / f"{attachment.token(record.network_name)}.json"

    def _to_disk(self) -> None:
        if not self._folder.is_dir():
            return
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _in_words(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CniError(
            Code.IO_FAILURE,
            f"the record {path}: {error.strerror or error}",
            "the state folder must be root's alone, on a disk that has room",
        ) from error
