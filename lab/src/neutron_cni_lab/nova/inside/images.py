"""What Nova asks of an image service to make a server: one image. A stand-in, and no Glance."""

import json
import os
from collections.abc import Callable, Iterable
from typing import Any

_IMAGE_ID = "11111111-2222-3333-4444-555555555555"
_TIME = "2026-01-01T00:00:00Z"
_IMAGE: dict[str, Any] = {
    "id": _IMAGE_ID,
    "name": "none",
    "status": "active",
    "visibility": "public",
    "container_format": "bare",
    "disk_format": "raw",
    "min_ram": 0,
    "min_disk": 0,
    "size": 1,
    "virtual_size": 1,
    "checksum": "d41d8cd98f00b204e9800998ecf8427e",
    "created_at": _TIME,
    "updated_at": _TIME,
    "tags": [],
    "protected": False,
    "owner": os.environ["LAB_PROJECT_ID"],
    "self": f"/v2/images/{_IMAGE_ID}",
    "file": f"/v2/images/{_IMAGE_ID}/file",
    "schema": "/v2/schemas/image",
}
_DOCUMENTS: dict[str, Any] = {
    "/image": {"versions": [{"id": "v2.9", "status": "CURRENT", "links": []}]},
    f"/image/v2/images/{_IMAGE_ID}": _IMAGE,
    # Nova takes a property that is not named here for one of the image's makers.
    "/image/v2/schemas/image": {
        "name": "image",
        "properties": {name: {} for name in _IMAGE},
        "additionalProperties": {"type": "string"},
    },
}


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer the documents that Nova reads, and 404 to all else."""
    path = environ["PATH_INFO"].rstrip("/")
    status = "200 OK" if path in _DOCUMENTS else "404 Not Found"
    body = json.dumps(_DOCUMENTS.get(path, {})).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response(status, headers)
    return [body]
