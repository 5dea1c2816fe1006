"""Which network namespace a path means: paths are used again, inodes of live namespaces are not."""

from __future__ import annotations

from pathlib import Path


def inode_of(netns: str) -> int:
    """The inode of a namespace's file, 0 when there is none: paths are used again."""
    try:
        return Path(netns).stat().st_ino if netns else 0
    except OSError:
        return 0


def is_gone(netns: str, inode: int) -> bool:
    """Whether the namespace that had this path and inode has ended (or was never there)."""
    return not netns or inode_of(netns) != inode or inode == 0
