"""A login that the calls of a node share: its token in a file, so that not each of them logs in.

Kept is what keystoneauth keeps itself: the token, and all that Keystone said with it (project,
catalog, when it expires). The file is of use only to whoever has the very entry of clouds.yaml that
it came by: it is sealed with a key made of the entry, passwords and all. So a token is never used
for another cloud, region or project, nor after the credentials were changed, and a file that was
damaged or made up is none. The entry itself can't be had from the file, and guessing it takes
milliseconds a guess. Whatever goes wrong here costs a login, and never a call.
"""

from __future__ import annotations

import hmac
import json
import os
import stat
import time
from contextlib import suppress
from hashlib import pbkdf2_hmac, sha256
from pathlib import Path
from typing import Any

from keystoneauth1 import plugin as ks_plugin

from neutron_cni import files

VERSION = 1
RECENT = 300.0
"""Seconds: a login that is not older is not doubted when calls with it fail."""
_LARGEST = 4 << 20
_ROUNDS = 10_000
"""Of PBKDF2: 5 ms here, per process that calls the cloud and per guess of who has the file."""
_STALE = 60.0


class KeptLogin:
    """The file for one entry of clouds.yaml, and the plugin of keystoneauth that logs in for it.

    `folder`: where it is, one that only its owner can write. `name`: of the entry, without secrets.
    `entry`: all that decides what a login gives, as openstacksdk has put it together.
    """

    def __init__(self, folder: str, name: str, entry: object, auth: ks_plugin.BaseAuthPlugin):
        self._folder = Path(folder)
        self.path = self._folder / f"login-{sha256(name.encode()).hexdigest()[:16]}.json"
        self._auth: Any = auth
        # A plugin without such an id takes its credentials from places that the entry only names.
        cache_id = auth.get_cache_id()
        self._entry = None if cache_id is None else _canonical([cache_id, entry])
        self._in_file: object = None
        self._written = 0.0

    def restore(self) -> None:
        """Have the plugin use what was kept, if it may and if that still lasts for a call."""
        if self._entry is None:
            return
        with suppress(Exception):  # of the file's content, and of libraries of another release
            content, self._written = self._read()
            state = str(content["state"])
            seal = self._seal(state, bytes.fromhex(content["salt"]))
            if content["version"] == VERSION and hmac.compare_digest(seal, content["seal"]):
                self._auth.set_auth_state(state)
                if not self._auth.auth_ref.will_expire_soon(self._auth.MIN_TOKEN_LIFE_SECONDS):
                    self._in_file = self._auth.auth_ref
                    return
        self._drop()

    def save(self) -> None:
        """Keep the login that the plugin has now, if it is a new one."""
        login = getattr(self._auth, "auth_ref", None)
        if self._entry is None or login is None or login is self._in_file:
            return
        with suppress(OSError):
            self._write(self._auth.get_auth_state())
            self._in_file, self._written = login, time.time()

    def forget(self) -> None:
        """The login is of no use: the next one who needs one logs in."""
        if self._entry is not None:
            self._drop()

    def doubt(self) -> bool:
        """A call failed as it might with a login of long ago: a service moved, a role was given.

        Whether the login was forgotten, so that trying again begins with another one.
        """
        of_long_ago = not 0 <= time.time() - self._written <= RECENT
        if self._in_file is None or not of_long_ago:
            return False
        self._drop()
        return True

    def _drop(self) -> None:
        self._in_file = None
        with suppress(Exception):
            self._auth.invalidate()
        with suppress(OSError):
            self.path.unlink(missing_ok=True)

    def _seal(self, state: str, salt: bytes) -> str:
        key = pbkdf2_hmac("sha256", self._entry or b"", salt, _ROUNDS)
        return hmac.new(key, state.encode(), "sha256").hexdigest()

    def _read(self) -> tuple[Any, float]:
        """The file's JSON, and when it was written. Raises OSError, ValueError."""
        files.require_private_folder(str(self._folder))
        # O_NONBLOCK: not to wait for a writer where somebody put a FIFO there.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
        with open(self.path, "rb", opener=lambda path, _: os.open(path, flags)) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise ValueError
            _require_private(found)
            return json.loads(file.read(_LARGEST)), found.st_mtime

    def _write(self, state: str) -> None:
        """Replace the file whole. Raises OSError; whoever writes at the same time may be first."""
        files.require_private_folder(str(self._folder))
        salt = os.urandom(16)
        content = {
            "version": VERSION,
            "salt": salt.hex(),
            "seal": self._seal(state, salt),
            "state": state,
        }
        new = self.path.with_suffix(".new")
        with suppress(FileNotFoundError):
            if time.time() - new.lstat().st_mtime > _STALE:  # its writer was killed
                new.unlink()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(new, flags, 0o600), "w") as file:
            json.dump(content, file)
        new.replace(self.path)


def _require_private(found: os.stat_result) -> None:
    """Raise PermissionError if others than root and we have written it, or may use it."""
    if found.st_uid not in (0, os.geteuid()) or found.st_mode & 0o077:
        raise PermissionError


def _canonical(entry: object) -> bytes:
    return json.dumps(entry, sort_keys=True, default=repr).encode()
