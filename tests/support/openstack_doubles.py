"""What the tests of `neutron_cni.openstack` share: files, clients, waits that take no time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from neutron_cni.openstack.client import Client
from neutron_cni.openstack.cloud import Cloud
from neutron_cni.openstack.neutron_service import NEUTRON
from neutron_cni.openstack.service import Service
from neutron_cni.values.deadline import Deadline

PASSWORD = "hunter2-very-secret"


class Waits(list[float]):
    """Stands in for the module `time` in the client: notes how long it would have slept."""

    def __init__(self) -> None:
        super().__init__()
        self.then: Callable[[], object] = lambda: None
        """Called in each wait."""

    def sleep(self, seconds: float) -> None:
        """Note it."""
        self.append(seconds)
        self.then()


def clouds_yaml(folder: Path, text: str | bytes) -> str:
    """Path of a clouds.yaml with that text."""
    path = folder / "clouds.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def no_auth(folder: Path, url: str, more: str = "") -> str:
    """Path of a clouds.yaml with one cloud, `fake`, without Keystone."""
    cloud = f"{{auth_type: none, auth: {{endpoint: '{url}'}}{more}}}"
    return clouds_yaml(folder, f"clouds: {{fake: {cloud}}}\n")


def client_from(
    cloud: str | None, file: str | None, keep_in: str | None = None, service: Service = NEUTRON
) -> Client:
    """The client for a service of the cloud named in that clouds.yaml."""
    return Client(Cloud.from_clouds_yaml(cloud, file, keep_in=keep_in), service)


def client_of(folder: Path, url: str, more: str = "") -> Client:
    """A client of that endpoint, without Keystone."""
    return client_from("fake", no_auth(folder, url, more))


def get(client: Client, path: str = "/ports", seconds: float = 60.0) -> Any:
    """A read."""
    return client.get(path, "reading", Deadline.after(seconds))


def put(client: Client, path: str, name: str = "changed", seconds: float = 60.0) -> Any:
    """A change: the port's name."""
    body = {"port": {"name": name}}
    return client.change("PUT", path, "changing", Deadline.after(seconds), body).body
