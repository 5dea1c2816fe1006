"""Files that are opened here: none hangs us, floods us, or leads us elsewhere."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from neutron_cni import files


def fifo(path: Path) -> None:
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.mkdir()


def socket_file(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def dangling(path: Path) -> None:
    path.symlink_to("nowhere")


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)


BAD = {
    "a FIFO": (fifo, "is a FIFO"),
    "a folder": (folder, "is a folder"),
    "a socket": (socket_file, "is a socket"),
    "a device": (device, "is a device"),
    "a dangling link": (dangling, "No such file"),
    "a terabyte": (huge, "has more than 1024 KiB"),
}
IN_THE_PLACE = pytest.mark.parametrize(("make", "said"), BAD.values(), ids=BAD)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder to be in: the path of a socket has at most 107 bytes."""
    monkeypatch.chdir(tmp_path)
    return Path()


@IN_THE_PLACE
def test_what_is_no_configuration_is_an_error_in_words(
    short: Path, make: Callable[[Path], None], said: str
) -> None:
    make(short / "file")
    with pytest.raises(OSError, match=said):
        files.read("file")


@IN_THE_PLACE
def test_a_library_is_kept_from_opening_it_too(
    short: Path, make: Callable[[Path], None], said: str
) -> None:
    make(short / "file")
    if make is dangling:
        files.require_readable("file")
        return
    with pytest.raises(OSError, match=said):
        files.require_readable("file")


def test_configuration_is_read_through_links_as_kubernetes_makes_them(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"x" * files.LIMIT)
    (tmp_path / "link").symlink_to("real")
    assert len(files.read(str(tmp_path / "link"))) == files.LIMIT
    assert files.start_of(str(tmp_path / "link"), 3) == b"xxx"


@pytest.mark.parametrize("make", [fifo, folder, dangling, device], ids=lambda made: made.__name__)
def test_our_own_file_is_no_link_and_no_special_file(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    path = str(tmp_path / "file")
    make(Path(path))
    with pytest.raises(OSError, match=r"symbolic link|FIFO|folder|directory"):
        files.open_own(path, os.O_RDWR | os.O_CREAT)
    with pytest.raises(OSError, match=r"symbolic link|FIFO|folder"):
        files.tighten(path)
    assert not (tmp_path / "nowhere").exists()


def test_our_own_file_with_another_name_is_refused(tmp_path: Path) -> None:
    """Who could write here once may have linked a file of root's; it would get another mode."""
    victim = tmp_path / "passwd"
    victim.touch(0o644)
    (tmp_path / "store.db").hardlink_to(victim)
    with pytest.raises(PermissionError, match="hard link"):
        files.tighten(str(tmp_path / "store.db"))
    assert victim.stat().st_mode & 0o777 == 0o644


def test_another_users_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with pytest.raises(PermissionError, match=r"belongs to user \d+, and .* user 4711"):
        files.open_own(str(tmp_path / "file"), os.O_RDWR)


def test_our_own_files_are_made_and_become_readable_by_us_only(tmp_path: Path) -> None:
    old, new, made = (str(tmp_path / name) for name in ("old", "new", "made"))
    Path(old).touch(0o644)
    for path in (old, new):
        os.close(files.open_own(path, os.O_RDWR | os.O_CREAT))
    files.make(made)
    files.make(made)
    assert {oct(Path(path).stat().st_mode & 0o777) for path in (old, new, made)} == {"0o600"}
    assert not files.tighten(str(tmp_path / "none"))


@pytest.mark.parametrize("mode", [0o720, 0o702, 0o777, 0o1777, 0o2770])
def test_a_folder_that_others_can_write_is_refused_with_the_command(
    tmp_path: Path, mode: int
) -> None:
    tmp_path.chmod(mode)
    with pytest.raises(PermissionError, match=f"chmod go-w {tmp_path}") as caught:
        files.require_private_folder(str(tmp_path))
    assert f"mode {mode:04o}" in str(caught.value)


def test_a_folder_that_others_can_replace_is_refused(tmp_path: Path) -> None:
    state = tmp_path / "open" / "between" / "state"
    state.mkdir(parents=True)
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "link").symlink_to(state)
    for path in (state, tmp_path / "link", tmp_path / "open" / ".." / "link"):
        with pytest.raises(PermissionError, match=f"chmod go-w {tmp_path / 'open'}:"):
            files.require_private_folder(str(path))


def test_a_private_folder_may_be_a_link_of_ours_and_below_a_sticky_one(tmp_path: Path) -> None:
    (tmp_path / "sticky" / "state").mkdir(parents=True)
    (tmp_path / "sticky").chmod(0o1777)
    (tmp_path / "link").symlink_to("sticky/../sticky/state/")
    files.require_private_folder(str(tmp_path / "link"))


def test_a_folder_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "state").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with pytest.raises(PermissionError, match=r"belongs to user \d+"):
        files.require_private_folder(str(tmp_path / "state"))


@pytest.mark.parametrize("target", ["loop", "nowhere", "file"])
def test_what_is_no_folder_is_no_private_folder(tmp_path: Path, target: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(target)
    with pytest.raises(OSError, match=r"links|No such file|no folder"):
        files.require_private_folder(str(tmp_path / "loop"))
