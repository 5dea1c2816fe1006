"""Values of msgspec types in several threads, and nowhere past the lock."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parents[3] / "src"

TWO_THREADS = """
from __future__ import annotations
import sys, threading
import msgspec
from neutron_cni.values import typed

convert = {convert}
within, over = threading.Event(), threading.Event()

def wait_for_the_other():
    # msgspec evaluates annotations; here in the middle of its first look at Outer.
    within.set()
    over.wait({seconds})
    return int

class Inner(msgspec.Struct):
    number: wait_for_the_other()

class Outer(msgspec.Struct):
    name: str
    inner: Inner

given = {{"name": "a", "inner": {{"number": 1}}}}

def other():
    within.wait()
    assert convert(given, Outer).inner.number == 1
    over.set()

thread = threading.Thread(target=other)
thread.start()
assert convert(given, Outer).inner.number == 1
thread.join()
print("both")
"""


def in_two_threads(convert: str, seconds: float) -> subprocess.CompletedProcess[str]:
    """`seconds`: how long the first waits for what the other does with the half-made type."""
    code = TWO_THREADS.format(convert=convert, seconds=seconds)
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_a_second_thread_may_convert_while_the_first_works_out_the_type() -> None:
    done = in_two_threads("typed.convert", 0.5)
    assert (done.returncode, done.stdout, done.stderr) == (0, "both\n", "")


def test_msgspec_itself_still_needs_that() -> None:
    """When this fails, a version of msgspec has come that does not need the lock any more."""
    assert in_two_threads("msgspec.convert", 60).returncode != 0


def test_nothing_asks_msgspec_for_a_type_but_by_the_lock() -> None:
    asks = re.compile(r"msgspec\.convert\(|decode\([^)]*type=|Decoder\(")
    found = {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if asks.search(path.read_text())
    }
    assert found == {"neutron_cni/values/typed.py"}
