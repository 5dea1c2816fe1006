"""Nova and Placement as one process: gunicorn serving them to the host and to the nodes."""

import http.client
import sys
from contextlib import AbstractContextManager
from pathlib import Path

from neutron_cni_lab import namespaces
from neutron_cni_lab.database import Database
from neutron_cni_lab.errors import LabError
from neutron_cni_lab.facts import read_facts
from neutron_cni_lab.neutron import LISTEN, PROJECT_ID, USER_ID, listen
from neutron_cni_lab.nova import configuration, tables
from neutron_cni_lab.nova.configuration import NOVA_PORT
from neutron_cni_lab.nova.faults import Faults, ordered
from neutron_cni_lab.paths import Places
from neutron_cni_lab.processes import daemon, end, live_pid, running, wait_until
from neutron_cni_lab.switch import API_ADDRESS, Switch

_APPLICATION = "neutron_cni_lab.nova.inside.wsgi:application"
_SOURCES = Path(__file__).parents[2]


class Nova:
    """API, conductor, scheduler, compute and Placement: threads of one gunicorn worker.

    API threads wait for compute, which asks Placement: so there are more of them than a test has
    calls under way.
    """

    def __init__(self, places: Places, venv: Path, switch: Switch, database: Database) -> None:
        self._places = places
        self._venv = venv
        self._switch = switch
        self._database = database
        self._pid_file = places.nova / "pid"

    @property
    def pid(self) -> int | None:
        """gunicorn's process id, None when it is down or listens in a namespace that is gone."""
        pid = live_pid(self._pid_file, self._places.folder)
        return pid if pid and namespaces.holds(self._switch.namespace, pid) else None

    def configure(self) -> None:
        """Write its files, and make its tables in MariaDB, which runs, unless they are there."""
        configuration.write(self._places, self._venv, self._switch, self._database)
        tables.make(self._places, self._venv, self._database)

    def start(self) -> None:
        """Serve on 127.0.0.1 (``nova_port`` of the facts) and on the external network, until
        `stop`; servers and NICs are what they were. Harmless twice."""
        port = self._port
        if self.pid is not None and self._is_ready(port):
            return
        self.stop()
        self._pid_file.unlink(missing_ok=True)
        with listen(port) as host_socket, open("/proc/self/ns/net") as network:
            daemon(
                namespaces.inside(self._switch.namespace, self._command(host_socket.fileno())),
                env={
                    **self._places.environment,
                    "OS_NOVA_CONFIG_DIR": str(self._places.nova),
                    "OS_PLACEMENT_CONFIG_DIR": str(self._places.nova),
                    # setproctitle would write over the environment, and the marker with it.
                    "SPT_NOENV": "1",
                    "LAB_PROJECT_ID": PROJECT_ID,
                    "LAB_USER_ID": USER_ID,
                    # By which its hypervisor switches nodes off and on.
                    "LAB_PYTHON": sys.executable,
                    "LAB_NETWORK": str(network.fileno()),
                },
                log=self._log,
                pass_fds=[host_socket.fileno(), network.fileno()],
            )
        hint = f"See {self._log}."
        wait_until(lambda: self._is_ready(port), "Nova", 120, hint, self._processes)

    def stop(self) -> None:
        """End it: connections are refused from then on. What nodes have, they keep."""
        end(self._processes())

    def ordered(self, orders: Faults) -> AbstractContextManager[None]:
        """Have its hypervisor do wrong what `orders` say, during the block."""
        return ordered(self._places.nova, orders)

    @property
    def requests_log(self) -> Path:
        """A line per request: time, method, path, status and microseconds."""
        return self._places.logs / "nova-requests.log"

    @property
    def _port(self) -> int:
        found = read_facts(self._places.facts).get("nova_port")
        if found is None:
            hint = f"`neutron-cni lab up --nova --name {self._places.name}` adds it."
            raise LabError(f"lab {self._places.name} has no Nova", hint)
        return int(found)

    def _is_ready(self, port: int) -> bool:
        """Whether all its services run; `LabError` if one of them could not be started."""
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            client.request("GET", "/lab/ready")
            answer = client.getresponse()
            if answer.status == 500:
                raise LabError(f"Nova: {answer.read().decode()}", f"See {self._log}.")
            return answer.status == 200
        except OSError:
            return False
        finally:
            client.close()

    def _processes(self) -> set[int]:
        return running(self._places.folder, _APPLICATION)

    @property
    def _log(self) -> Path:
        return self._places.logs / "nova.log"

    def _command(self, host_socket: int) -> list[str | Path]:
        python = self._venv / "bin" / "python"
        return [
            *(python, "-I", LISTEN, API_ADDRESS, str(NOVA_PORT), str(host_socket)),
            *(python, "-m", "gunicorn", "--workers=1", "--threads=40", f"--pid={self._pid_file}"),
            *("--no-control-socket", "--timeout=300", "--graceful-timeout=3", "--keep-alive=75"),
            *("--worker-tmp-dir=/dev/shm", f"--access-logfile={self.requests_log}"),
            *("--access-logformat", "%(t)s %(m)s %(U)s %(s)s %(D)s"),
            *(f"--pythonpath={_SOURCES}", _APPLICATION),
        ]
