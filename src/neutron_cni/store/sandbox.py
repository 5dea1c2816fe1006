"""Which network namespace a path means: paths are used again, inodes of live namespaces are not.

And which namespaces a process itself is in: what it sees of others depends on that.
"""

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


KINDS = ("pid", "mnt", "net")
"""The kinds of namespaces that decide which pods' namespaces a process can see, and which links."""


def own_view() -> str:
    """The namespaces that this process is in, such as "pid:4026531836 mnt:... net:..."."""
    return " ".join(f"{kind}:{inode_of(f'/proc/self/ns/{kind}')}" for kind in KINDS)
