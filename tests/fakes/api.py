"""The paths of the Networking and Compute APIs: which call of the fake answers which request."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.fakes import floatingips, listing, networks, nova, ports, tags
from tests.fakes.cloud import DEFAULT_PROJECT, KINDS, Cloud, Json
from tests.fakes.refusals import Refusal, bad_request, internal_error, no_such_path

Reply = tuple[int, Json | None]


@dataclass(frozen=True)
class Request:
    """One request, decoded; `path` without `/v2.0` and `.json`; Nova's begins with `/v2.1`."""

    method: str
    path: str
    query: dict[str, list[str]]
    body: Any = None
    revision: int | None = None
    base: str = ""
    id: str = ""
    """What the answer's header names it by."""

    @property
    def kind(self) -> str:
        """Method and path with ids left out, such as `PUT /ports/{id}`: what is counted."""
        shape = re.sub(r"/[0-9a-f]{8}-[0-9a-f-]{27}(?=/|$)", "/{id}", self.path)
        shape = re.sub(r"(/tags)/.+", r"\1/{tag}", shape)
        return f"{self.method} {re.sub(r'^/quotas/[^/]+', '/quotas/{id}', shape)}"


def decode(method: str, target: str, base: str) -> Request:
    """Method, path and query of a request line; without its body and conditions."""
    parts = urlsplit(target)
    # As WSGI has it: a path that is not ASCII is not what was meant.
    path = unquote(parts.path, encoding="latin-1").removesuffix(".json").rstrip("/")
    if path and not path.startswith(("/v2.0", "/v2.1/")):
        path = f"/unversioned{path}"  # there is nothing
    query = parse_qs(parts.query, keep_blank_values=True)
    return Request(method, path.removeprefix("/v2.0"), query, base=base)


def revision_of(if_match: str | None) -> int | None:
    """From the header `If-Match: revision_number=N`; another condition is passed over.

    Raises Refusal 400.
    """
    name, _, number = (if_match or "").strip().strip('"').partition("=")
    if name != "revision_number":
        return None
    if not number.isdigit():
        raise Refusal(
            400,
            "BadRequest",
            "Bad if-match request: Revision number etag must be in the format of "
            "revision_number=<int>.",
        )
    return int(number)


def answer(cloud: Cloud, request: Request) -> Reply:
    """Status and body. Raises Refusal."""
    if request.revision is not None and "/tags" in request.path:
        raise internal_error()  # TaggingController of Neutron 29 has no `_collection`
    known = False
    for method, pattern, status, action in ROUTES:
        found = re.fullmatch(pattern, request.path)
        if found and method == request.method:
            return status, action(cloud, request, *found.groups())
        known = known or found is not None
    if known:
        raise Refusal(405, "HTTPMethodNotAllowed", "The server could not comply with the request.")
    raise no_such_path()


Action = Callable[..., Json | None]


def _named(call: Action) -> Action:
    """A call that wants only what the path names."""
    return lambda cloud, request, *names: call(cloud, *names)


def _with_body(call: Action) -> Action:
    """A call that wants the body too."""

    def action(cloud: Cloud, request: Request, *names: str) -> Json | None:
        if request.body is None:
            raise bad_request("Body contains invalid data")
        return call(cloud, *names, request.body)

    return action


def _extensions(cloud: Cloud) -> Json:
    return {
        "extensions": [
            {"alias": alias, "name": alias, "description": "", "links": []}
            for alias in sorted(cloud.extensions)
        ]
    }


def _extension(cloud: Cloud, alias: str) -> Json:
    if alias not in cloud.extensions:
        raise no_such_path()
    return {"extension": {"alias": alias}}


def _project(cloud: Cloud) -> Json:
    return {"project": {"project_id": DEFAULT_PROJECT}}


def _list(cloud: Cloud, request: Request, collection: str) -> Json:
    return listing.listed(cloud, collection, request.query, f"{request.base}{request.path}")


def _show(cloud: Cloud, request: Request, collection: str, name: str) -> Json:
    return listing.show(cloud, collection, name, request.query)


def _update_port(cloud: Cloud, request: Request, name: str) -> Json:
    return ports.update(cloud, name, request.body, request.revision)


def _delete_port(cloud: Cloud, request: Request, name: str) -> None:
    ports.delete(cloud, name, request.revision)


def _delete_group(cloud: Cloud, name: str) -> None:
    cloud.remove("security-groups", name)


def _detach(cloud: Cloud, request: Request, server: str, port: str) -> None:
    nova.detach(cloud, server, port, request.id)


NAME = r"([^/]+)"
COLLECTION = rf"/({'|'.join(KINDS)})"
SERVER = f"/v2.1/servers/{NAME}"
TAGS = rf"/(networks|subnets|ports)/{NAME}/tags"

ROUTES: list[tuple[str, str, int, Action]] = [
    ("GET", "/extensions", 200, _named(_extensions)),
    ("GET", f"/extensions/{NAME}", 200, _named(_extension)),
    ("GET", COLLECTION, 200, _list),
    ("GET", f"{COLLECTION}/{NAME}", 200, _show),
    ("POST", "/ports", 201, _with_body(ports.create)),
    ("PUT", f"/ports/{NAME}", 200, _update_port),
    ("DELETE", f"/ports/{NAME}", 204, _delete_port),
    ("POST", "/networks", 201, _with_body(networks.create_network)),
    ("DELETE", f"/networks/{NAME}", 204, _named(networks.delete_network)),
    ("POST", "/subnets", 201, _with_body(networks.create_subnet)),
    ("DELETE", f"/subnets/{NAME}", 204, _named(networks.delete_subnet)),
    ("POST", "/security-groups", 201, _with_body(networks.create_security_group)),
    ("DELETE", f"/security-groups/{NAME}", 204, _named(_delete_group)),
    ("GET", "/quotas/project", 200, _named(_project)),
    ("GET", f"/quotas/{NAME}/details", 200, _named(networks.quota_details)),
    ("PUT", f"/quotas/{NAME}", 200, _with_body(networks.set_quota)),
    ("DELETE", f"/quotas/{NAME}", 204, _named(networks.reset_quota)),
    ("GET", TAGS, 200, _named(tags.show)),
    ("POST", TAGS, 200, _with_body(tags.add)),
    ("PUT", TAGS, 200, _with_body(tags.replace)),
    ("DELETE", TAGS, 204, _named(tags.clear)),
    ("GET", f"{TAGS}/{NAME}", 204, _named(tags.require)),
    ("PUT", f"{TAGS}/{NAME}", 201, _named(tags.add_one)),
    ("DELETE", f"{TAGS}/{NAME}", 204, _named(tags.remove)),
    ("POST", "/floatingips", 201, _with_body(floatingips.create)),
    ("PUT", f"/floatingips/{NAME}", 200, _with_body(floatingips.update)),
    ("DELETE", f"/floatingips/{NAME}", 204, _named(floatingips.delete)),
    ("POST", "/routers", 201, _with_body(floatingips.create_router)),
    ("DELETE", f"/routers/{NAME}", 204, _named(floatingips.delete_router)),
    ("PUT", f"/routers/{NAME}/add_router_interface", 200, _with_body(floatingips.add_interface)),
    (
        "PUT",
        f"/routers/{NAME}/remove_router_interface",
        200,
        _with_body(floatingips.remove_interface),
    ),
    ("GET", SERVER, 200, _named(nova.show_server)),
    ("GET", f"{SERVER}/os-interface", 200, _named(nova.list_interfaces)),
    ("POST", f"{SERVER}/os-interface", 200, _with_body(nova.attach)),
    ("DELETE", f"{SERVER}/os-interface/{NAME}", 202, _detach),
    ("GET", f"{SERVER}/os-instance-actions/{NAME}", 200, _named(nova.show_action)),
]
