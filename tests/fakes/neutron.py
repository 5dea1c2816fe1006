"""A Neutron in memory, over HTTP: in the process of a test, or as one of its own.

    with FakeNeutron() as neutron:
        neutron.faults.add(Fault("PUT", "/ports/", status=503))

    python -m tests.fakes.neutron --port 9696 --clouds-yaml folder

Control endpoints (for the second form), all JSON: `POST /_faults` adds a `Fault` given by its
fields, or takes `{"rival_every": N}`, `{"overlap": N}` or `{"refuse": seconds}`; `DELETE /_faults`
clears; `GET /_calls` tells how often each kind of request came.
"""

from __future__ import annotations

import argparse
import threading

from tests.fakes.server import CLOUD, FIXED_IPS_CHANGED, FakeNeutron

__all__ = ["CLOUD", "FIXED_IPS_CHANGED", "FakeNeutron"]


def main() -> None:
    """Serve until killed; the first line printed is the URL."""
    parser = argparse.ArgumentParser(description="A fake Neutron")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--clouds-yaml", metavar="FOLDER", help="write clouds.yaml there")
    options = parser.parse_args()
    with FakeNeutron(options.port) as fake:
        if options.clouds_yaml:
            fake.write_clouds_yaml(options.clouds_yaml)
        print(fake.url, flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
