"""Neutron's API server: its configuration, and gunicorn serving it to the host and to the nodes."""

import http.client
import socket
from collections.abc import Collection
from pathlib import Path

from neutron_cni_lab import namespaces
from neutron_cni_lab.driver import Driver
from neutron_cni_lab.errors import LabError
from neutron_cni_lab.paths import Places
from neutron_cni_lab.processes import daemon, end, live_pid, running, wait_until
from neutron_cni_lab.switch import API_ADDRESS, PHYSICAL_NETWORK

API_PORT = 9696
"""Neutron's port as the nodes see it; on the host it is a free one."""
PROJECT_ID = "0123456789abcdef0123456789abcdef"
USER_ID = "fedcba9876543210fedcba9876543210"

# Below the kernel's range of ephemeral ports (32768 on), where a port that is free now stays free.
_HOST_PORTS = range(19696, 19896)
API = Path(__file__).parent / "api"
"""What runs in Neutron's environment, which has nothing of the lab."""
LISTEN = API / "listen.py"
"""What opens a service's second socket, in the fabric."""

_CONFIGURATION = """\
[DEFAULT]
auth_strategy = noauth
core_plugin = ml2
{default}notify_nova_on_port_status_changes = {notify}
notify_nova_on_port_data_changes = {notify}
send_events_interval = 1
api_paste_config = {venv}/etc/neutron/api-paste.ini
state_path = {folder}

[oslo_concurrency]
lock_path = {folder}/locks

[database]
connection = {database}

[ml2_type_flat]
flat_networks = {physical_network}

{sections}
[nova]
auth_type = none
endpoint = {nova}
"""


class Neutron:
    """gunicorn with one worker of 8 threads, on two listening sockets."""

    def __init__(self, places: Places, venv: Path, driver: Driver) -> None:
        self._places = places
        self._venv = venv
        self._driver = driver
        self._pid_file = places.neutron / "pid"
        self.configuration = places.neutron / "neutron.conf"

    @property
    def pid(self) -> int | None:
        """gunicorn's process id, None when it is down or listens in a namespace that is gone."""
        pid = live_pid(self._pid_file, self._places.folder)
        return pid if pid and namespaces.holds(self._driver.switch.namespace, pid) else None

    def configure(self, database_url: str, nova_url: str = "") -> None:
        """Write neutron.conf; an API that was started with another one is ended.

        With `nova_url`, the compute endpoint in the fabric, Nova is told of changes of ports.
        """
        self._places.neutron.mkdir(parents=True, exist_ok=True)
        settings = self._driver.settings
        text = _CONFIGURATION.format(
            venv=self._venv,
            folder=self._places.neutron,
            database=database_url,
            physical_network=PHYSICAL_NETWORK,
            default=settings.default,
            sections=settings.sections,
            notify=str(bool(nova_url)).lower(),
            nova=nova_url,
        )
        if self.configuration.exists() and self.configuration.read_text() != text:
            self.stop()
        self.configuration.write_text(text)

    def start(self, port: int) -> None:
        """Serve on 127.0.0.1:`port` and on the external network, until `stop`. Harmless twice."""
        if self.pid is not None and self.answers(port):
            return
        self.stop()
        self._pid_file.unlink(missing_ok=True)
        host_socket = listen(port)
        with host_socket:
            fabric, command = self._driver.switch.namespace, self._command(host_socket.fileno())
            daemon(
                namespaces.inside(fabric, command),
                env={
                    **self._places.environment,
                    **self._driver.settings.environment,
                    "OS_NEUTRON_CONFIG_DIR": str(self._places.neutron),
                    "OS_NEUTRON_CONFIG_FILES": "neutron.conf",
                    # Neutron takes the number of API workers from here; without it OVN's hash ring
                    # stays empty and ports never become ACTIVE.
                    "ASGI_WORKERS": "1",
                    # setproctitle would write over the environment, and the marker with it.
                    "SPT_NOENV": "1",
                    "LAB_PROJECT_ID": PROJECT_ID,
                    "LAB_USER_ID": USER_ID,
                },
                log=self._log,
                pass_fds=[host_socket.fileno()],
            )
        hint = f"See {self._log}."
        wait_until(lambda: self.answers(port), "Neutron's API", 120, hint, self._processes)

    def stop(self) -> None:
        """End gunicorn and every worker, also one that outlived its master."""
        end(self._processes())

    def answers(self, port: int) -> bool:
        """Whether the API gives a 2xx answer: a failed start answers 500 to everything."""
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            client.request("GET", "/v2.0/networks?limit=1")
            return client.getresponse().status < 300
        except OSError:
            return False
        finally:
            client.close()

    def _processes(self) -> set[int]:
        return running(self._places.folder, "_wsgi:application")

    @property
    def _log(self) -> Path:
        return self._places.logs / "neutron.log"

    @property
    def requests_log(self) -> Path:
        """A line per request: what tests and benchmarks count."""
        return self._places.logs / "neutron-requests.log"

    def _command(self, host_socket: int) -> list[str | Path]:
        python = self._venv / "bin" / "python"
        return [
            *(python, "-I", LISTEN, API_ADDRESS, str(API_PORT), str(host_socket)),
            *(python, "-m", "gunicorn", "--workers=1", "--threads=8", f"--pid={self._pid_file}"),
            *("--no-control-socket", "--timeout=300", "--graceful-timeout=3"),
            # With two seconds, the default, it closed connections just as clients used them again.
            "--keep-alive=75",
            *("--worker-tmp-dir=/dev/shm", f"--access-logfile={self.requests_log}"),
            # Method, path, status and microseconds: what was asked of Neutron, and what it took.
            *("--access-logformat", "%(t)s %(m)s %(U)s %(s)s %(D)s"),
            *(f"--pythonpath={API}", self._driver.settings.application),
        ]


def free_port(taken: Collection[int], first: int | None = None) -> int:
    """A TCP port of 127.0.0.1 that nobody listens on and is not in `taken`; `first` if possible."""
    port: int | None
    for port in (first, *_HOST_PORTS):
        if port is None or port in taken:
            continue
        try:
            listen(port).close()
        except LabError:
            continue
        return port
    raise LabError(f"no free TCP port from {_HOST_PORTS.start} to {_HOST_PORTS.stop - 1}")


def listen(port: int) -> socket.socket:
    """A socket that listens on TCP `port` of 127.0.0.1; `LabError` if somebody else does."""
    try:
        return socket.create_server(("127.0.0.1", port), backlog=256)
    except OSError as error:
        hint = f"`ss -lntp sport = :{port}` says who has it; `neutron-cni lab up` takes another."
        raise LabError(f"can't listen on port {port}: {error}", hint) from error
