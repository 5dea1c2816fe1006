"""Writes the trace of an unexpected error to a file, as standard output is for the answer."""

from __future__ import annotations

import os
import time
import traceback
from pathlib import Path

from neutron_cni import files
from neutron_cni.cni.document import decode
from neutron_cni.values.errors import CniError
from neutron_cni.values.ipam_config import DEFAULT_STATE_DIR
from neutron_cni.values.scrub import scrub

LOG_LIMIT = 4 << 20
"""Bytes after which the log is renamed to plugin.log.1: a runtime may retry for weeks."""


def record(error: Exception, stdin: bytes, notes: list[str]) -> tuple[str, str]:
    """Append the trace to `<stateDir>/plugin.log`; returns message and details for the answer.

    If that file can't be written, the trace goes to `notes` (standard error).
    """
    trace = scrub("".join(traceback.format_exception(error)))
    log = Path(_state_dir(stdin), "plugin.log")
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    try:
        _append(log, f"{stamp} pid {os.getpid()}\n{trace}")
        where = str(log)
    except OSError:
        notes.append(trace)
        where = "standard error"
    last = scrub(traceback.format_exception_only(error)[-1].strip())
    return f"unexpected error: {last[:300]}", f"a defect of neutron-cni; its trace is in {where}"


def _append(log: Path, text: str) -> None:
    log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    files.require_private_folder(str(log.parent))
    if files.tighten(str(log)) and log.stat().st_size > LOG_LIMIT:
        log.replace(log.with_suffix(".log.1"))
    descriptor = files.open_own(str(log), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    with os.fdopen(descriptor, "wb") as file:
        file.write(text.encode(errors="backslashreplace"))


def _state_dir(stdin: bytes) -> str:
    """`ipam.stateDir` if `stdin`, which may be what is wrong, names one; else the default."""
    try:
        section = decode(stdin).get("ipam")
    except CniError:
        return DEFAULT_STATE_DIR
    given = section.get("stateDir") if isinstance(section, dict) else None
    return given if isinstance(given, str) and given.startswith("/") else DEFAULT_STATE_DIR
