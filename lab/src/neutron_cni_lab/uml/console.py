"""The management console of a user-mode Linux VM, by which its devices come and go.

See user-mode Linux's "mconsole" (Documentation/virt/uml in the kernel, arch/um/drivers/mconsole.h).
"""

import os
import socket
import struct
import threading
from pathlib import Path

from neutron_cni_lab.errors import LabError
from neutron_cni_lab.uml import vm

_MAGIC, _VERSION, _LONGEST = 0xCAFEBABE, 2, 512
_REQUEST = struct.Struct(f"=III{_LONGEST}s")
_REPLY = struct.Struct("=III")
_SECONDS = 10.0
_NO_DEVICE = "Device doesn't exist"


class NoDevice(LabError):
    """The VM has no device of that unit."""


def ask(folder: Path, command: str) -> None:
    """Have the VM whose node has `folder` obey `command`; `LabError` with what it says if not,
    `NoDevice` if it says that.

    The socket has a path, as one without is in a network namespace, and the VM in another.
    """
    data = command.encode()
    if len(data) > _LONGEST:
        raise LabError(f"the console's command is too long: {command}")
    own = folder / f"console.{os.getpid()}.{threading.get_ident()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.settimeout(_SECONDS)
        client.bind(str(own))
        try:
            client.connect(str(folder / vm.NAME / "mconsole"))
            client.send(_REQUEST.pack(_MAGIC, _VERSION, len(data), data))
            failed, said = _answer(client)
        except OSError as error:
            raise LabError(f"the VM's console does not answer {command!r}: {error}") from error
        finally:
            own.unlink(missing_ok=True)
    if failed:
        kind = NoDevice if said.strip() == _NO_DEVICE else LabError
        raise kind(f"the VM's console refuses {command!r}: {said.strip()}")


def _answer(client: socket.socket) -> tuple[bool, str]:
    said, more, failed = b"", True, False
    while more:
        piece = client.recv(_REPLY.size + _LONGEST)
        error, more_left, length = _REPLY.unpack_from(piece)
        said += piece[_REPLY.size : _REPLY.size + length].rstrip(b"\0")
        failed, more = failed or bool(error), bool(more_left)
    return failed, said.decode(errors="replace")
