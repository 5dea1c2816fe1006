"""A node whose state folder is a small disk of its own: `unshare -m python -m ... FOLDER SIZE`.

Reads jobs and "fill", "leave N" and "free" from standard input, one JSON value a line; answers each
with a line. In a mount namespace, so that the disk goes with the process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from tests.reliability.jobs import Job, arrange, perform


def main(folder: str, size: str) -> None:
    """Serve until standard input ends."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "disk", folder], check=True
    )
    filler = Path(folder, "filler")
    answers = os.dup(1)
    os.dup2(2, 1)
    for line in sys.stdin:
        os.write(answers, json.dumps(_answer(json.loads(line), filler)).encode() + b"\n")


def _answer(command: Any, filler: Path) -> Any:
    if command == "free":
        filler.unlink(missing_ok=True)
    elif isinstance(command, int):
        _leave(command, filler)
    elif command == "sizes":
        return {path.name: path.stat().st_size for path in filler.parent.iterdir()}
    elif command == "rows":
        from neutron_cni.store import Store

        with Store(str(filler.parent)) as store:
            return [str(record.state) for record in store.all()]
    else:
        job = msgspec.convert(command, Job)
        arrange(job)
        return msgspec.to_builtins(perform(job))
    return None


def _leave(free: int, filler: Path) -> None:
    """Fill the disk until only so many bytes are free."""
    state = os.statvfs(filler.parent)
    used = max(0, state.f_bavail * state.f_frsize - free)
    with filler.open("ab") as file:
        for _ in range(used // 4096):
            file.write(bytes(4096))
            file.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
