"""The peer of `burst-cold`: one ADD in the straightforward way, as a program of its own.

Lock a file, read the VM port's list, send it back with one entry more, take the difference, write
it down, unlock. It has no more imports than it needs, which favours it.
"""

from __future__ import annotations

import fcntl
import json
import sys
from pathlib import Path
from urllib.request import Request, urlopen


def call(url: str, method: str = "GET", body: object = None) -> dict[str, object]:
    data = None if body is None else json.dumps(body).encode()
    request = Request(url, data, {"Content-Type": "application/json"}, method=method)
    with urlopen(request, timeout=60) as answer:
        port: dict[str, object] = json.load(answer)["port"]
    return port


def main(api: str, port_id: str, container: str, folder: str) -> None:
    url = f"{api}/v2.0/ports/{port_id}"
    with open(Path(folder) / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = call(url)["fixed_ips"]
        assert isinstance(before, list)
        entry = {"subnet_id": before[0]["subnet_id"]}
        after = call(url, "PUT", {"port": {"fixed_ips": [*before, entry]}})["fixed_ips"]
        assert isinstance(after, list)
        known = {item["ip_address"] for item in before}
        new = [item["ip_address"] for item in after if item["ip_address"] not in known]
        (Path(folder) / container).write_text(new[0])
    print(new[0])


if __name__ == "__main__":
    main(*sys.argv[1:5])
