"""Opens files so that nobody can hang us, flood us, or lead us elsewhere.

Configuration is read through `read`: a FIFO, a device or an endless file in its place is an error
at once. What is ours alone (the store, locks, the log) stands in a folder that only we can change
(`require_private_folder`), and is opened through `open_own`, or looked at by `tighten` where a
library opens it by path.

Every error is an OSError whose `strerror` says what is wrong and, where permissions are, the
command that mends them. Imports nothing that takes long: plugins import it before anything else.
"""

import errno
import os
import stat

LIMIT = 1 << 20
"""The most bytes of a configuration file; a large clouds.yaml has some ten thousand."""
MODE = 0o600
_OTHERS_WRITE = 0o022
_OTHERS_ANYTHING = 0o077
_MOST_LINKS = 40
"""Symbolic links in one path, after which the kernel gives up too (path_resolution(7))."""

_KINDS = (
    (stat.S_ISDIR, errno.EISDIR, "is a folder, not a file"),
    (stat.S_ISFIFO, errno.EINVAL, "is a FIFO, not a regular file"),
    (stat.S_ISSOCK, errno.EINVAL, "is a socket, not a regular file"),
    (stat.S_ISLNK, errno.ELOOP, "is a symbolic link, which is not followed here: remove it"),
)


def read(path: str, limit: int = LIMIT) -> bytes:
    """The whole file. Raises OSError, also for what is no regular file or has more than `limit`.

    Symbolic links are followed: Kubernetes mounts configuration through them. A file system whose
    server is away can still make it wait.
    """
    data = start_of(path, limit + 1)
    if len(data) > limit:
        raise _too_large(path, limit)
    return data


def start_of(path: str, count: int = LIMIT + 1) -> bytes:
    """The first `count` bytes, or all where there are fewer. Raises OSError as `read`."""
    # First by path, as opening alone does something to some devices.
    _require_regular(path, os.stat(path))  # noqa: PTH116 - pathlib takes 9 ms to import
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        _require_regular(path, os.fstat(descriptor))
        data = bytearray()
        while len(data) < count and (piece := os.read(descriptor, count - len(data))):
            data += piece
    finally:
        os.close(descriptor)
    return bytes(data)


def require_readable(path: str, limit: int = LIMIT) -> None:
    """For a library that opens `path` itself: raises OSError where `read` would by kind or size.

    What does not exist, or may not be looked at, is the library's own to judge.
    """
    try:
        status = os.stat(path)  # noqa: PTH116 - pathlib takes 9 ms to import
    except OSError:
        return
    _require_regular(path, status)
    if status.st_size > limit:
        raise _too_large(path, limit)


def open_own(path: str, flags: int) -> int:
    """A descriptor of a file that is this user's alone, made with mode 0600 under O_CREAT.

    A file that others could read is tightened. Raises OSError for a symbolic link, for what is no
    regular file, and for another user's.
    """
    more = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags | more, MODE)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, _KINDS[-1][2], path) from None
        raise
    try:
        if _is_open_to_others(path, os.fstat(descriptor)):
            os.fchmod(descriptor, MODE)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def make(path: str) -> None:
    """Make an empty file with mode 0600 unless the path exists.

    It is never opened for that: to close a descriptor of an SQLite database takes away the locks
    that other connections of this process have on it.
    """
    try:
        os.mknod(path, MODE | stat.S_IFREG)
    except FileExistsError:
        return


def tighten(path: str) -> bool:
    """Whether the file exists; if so it is one that `open_own` would open, and has mode 0600.

    For a file that a library opens by path, in a private folder: nobody can change it in between.
    Raises OSError as `open_own`.
    """
    try:
        if _is_open_to_others(path, os.lstat(path)):
            os.chmod(path, MODE)  # noqa: PTH101 - pathlib takes 9 ms to import
    except FileNotFoundError:
        return False
    return True


def require_private_folder(path: str) -> None:
    """Return if nobody but this user (and root) can change what the folder has, or replace it.

    Raises PermissionError with the command that mends it, other OSErrors where it is no folder.
    """
    where = os.path.abspath(path)  # noqa: PTH100 - pathlib takes 9 ms to import
    last = _require_safe_way(where)
    _require_folder_of(last, (os.geteuid(),))
    mode = stat.S_IMODE(os.lstat(last).st_mode)
    if mode & _OTHERS_WRITE:
        raise _permission(last, f"can be written by other users (mode {mode:04o})", "chmod go-w")


def _require_safe_way(path: str) -> str:
    """Walk down to `path` as the kernel does; return where its links lead.

    Raises PermissionError where a folder or link on the way can be replaced by other users.
    """
    trusted = (0, os.geteuid())
    at, ahead, links = "/", path.split("/")[::-1], 0
    while ahead:
        name = ahead.pop()
        if name in ("", "."):
            continue
        _require_folder_of(at, trusted)
        mode = os.lstat(at).st_mode
        # In a sticky folder (/tmp) only the owner of an entry can replace it.
        if mode & _OTHERS_WRITE and not mode & stat.S_ISVTX:
            said = f"lets other users replace what is in it (mode {stat.S_IMODE(mode):04o})"
            raise _permission(at, said, "chmod go-w")
        if name == "..":
            at = os.path.dirname(at)  # noqa: PTH120 - pathlib takes 9 ms to import
            continue
        below = os.path.join(at, name)  # noqa: PTH118 - pathlib takes 9 ms to import
        status = os.lstat(below)
        if not stat.S_ISLNK(status.st_mode):
            at = below
            continue
        links += 1
        if links > _MOST_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        if status.st_uid not in trusted:
            raise _permission(below, f"is a link of user {status.st_uid}", "remove the link")
        target = os.readlink(below)  # noqa: PTH115 - pathlib takes 9 ms to import
        at = "/" if target.startswith("/") else at
        ahead += target.split("/")[::-1]
    return at


def _require_folder_of(path: str, owners: tuple[int, ...]) -> None:
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode):
        raise OSError(errno.ENOTDIR, f"{path} is no folder", path)
    if status.st_uid not in owners:
        said = f"belongs to user {status.st_uid}, and this process is user {os.geteuid()}"
        mend = "chown root" if os.geteuid() == 0 else "run it as that user, or chown"
        raise _permission(path, said, mend)


def _is_open_to_others(path: str, status: os.stat_result) -> bool:
    """Whether other users may do anything with this file of ours. Raises OSError if it is not."""
    _require_regular(path, status)
    if status.st_uid != os.geteuid():
        said = f"belongs to user {status.st_uid}, and this process is user {os.geteuid()}"
        raise PermissionError(errno.EPERM, said, path)
    if status.st_nlink > 1:
        raise PermissionError(errno.EPERM, "has another name elsewhere (a hard link)", path)
    return bool(status.st_mode & _OTHERS_ANYTHING)


def _require_regular(path: str, status: os.stat_result) -> None:
    if stat.S_ISREG(status.st_mode):
        return
    for is_kind, number, said in _KINDS:
        if is_kind(status.st_mode):
            raise OSError(number, said, path)
    raise OSError(errno.EINVAL, "is a device, not a regular file", path)


def _too_large(path: str, limit: int) -> OSError:
    return OSError(errno.EFBIG, f"has more than {limit >> 10} KiB", path)


def _permission(path: str, said: str, command: str) -> PermissionError:
    return PermissionError(errno.EPERM, f"{path} {said}: {command} {path}", path)
