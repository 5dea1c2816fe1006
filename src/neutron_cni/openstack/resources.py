"""Lists, single objects and changes of any collection: what the typed calls are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Self, TypeVar
from uuid import UUID

from neutron_cni.openstack.calls import page, understand
from neutron_cni.openstack.client import Answer, Client
from neutron_cni.openstack.cloud import Cloud
from neutron_cni.openstack.errors import NotFound, Refused
from neutron_cni.openstack.service import Service
from neutron_cni.openstack.shapes import an_id
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import Code

T = TypeVar("T")


class Resources:
    """What one service of a cloud has, within one deadline."""

    service: ClassVar[Service]

    def __init__(self, client: Client, deadline: Deadline) -> None:
        self._client = client
        self._deadline = deadline

    @classmethod
    def connect(
        cls,
        cloud: str | None,
        file: str | None,
        deadline: Deadline,
        keep_in: str | None = None,
    ) -> Self:
        """For the cloud named in clouds.yaml; it is not called yet. Raises Unauthorized.

        To be closed at the end (`contextlib.closing`).

        `keep_in`: the folder of this node in which the login is kept for other calls.
        """
        found = Cloud.from_clouds_yaml(cloud, file, deadline, keep_in)
        return cls(Client(found, cls.service), deadline)

    @classmethod
    def beside(cls, other: Resources) -> Self:
        """This service of the same cloud, with the login, connections and deadline of `other`.

        Closed with it.
        """
        return cls(other._client.beside(cls.service), other._deadline)

    def within(self, deadline: Deadline) -> Self:
        """The same session under another deadline."""
        return type(self)(self._client, deadline)

    @property
    def deadline(self) -> Deadline:
        """When the calls have to be answered."""
        return self._deadline

    def close(self) -> None:
        """End the connections, also for all others that were made of this one.

        Whoever connected has to: urllib3 keeps them for as long as the process lives.
        """
        self._client.close()

    def _understand(self, doing: str, read: Callable[[], T]) -> T:
        return understand(self.service, doing, read)

    def _get(self, path: str, doing: str, **query: Any) -> Any:
        return self._client.get(path, doing, self._deadline, **query)

    def _list(
        self, collection: str, doing: str, read: Callable[[Mapping[str, Any]], T], **query: Any
    ) -> list[T]:
        """All items, from as many pages as the cloud makes of them (`pagination_max_limit`)."""
        key = collection.replace("-", "_")
        items: list[T] = []
        markers: list[str] = []
        while True:
            more = {"marker": markers[-1]} if markers else {}
            try:
                raw = self._get(f"/{collection}", doing, **query, **more)
            except NotFound:
                if not markers:
                    raise
                items, markers = [], []  # the last item of a page is gone: from the beginning
                continue
            found, following = self._understand(doing, partial(page, raw, key, read))
            items += found
            if not following:
                return items
            if following in markers:
                raise self.service.foreign(doing, "a page that leads back to one before it")
            markers.append(following)

    def _change(self, method: str, path: str, doing: str, body: Any = None, **more: Any) -> Any:
        return self._changed(method, path, doing, body, **more).body

    def _changed(self, method: str, path: str, doing: str, body: Any, **more: Any) -> Answer:
        return self._client.change(method, path, doing, self._deadline, body, **more)

    def _delete(self, where: str, doing: str) -> str:
        """The request's id. Deletions have no body; what comes with one is from somebody else."""
        answer = self._changed("DELETE", where, doing, None)
        if answer.body is not None:
            raise self.service.foreign(doing, "a good status and a body")
        return answer.request

    def _one(
        self,
        collection: str,
        name_or_id: str,
        read: Callable[[Mapping[str, Any]], T],
        **query: str,
    ) -> T:
        kind = collection.removesuffix("s").replace("-", " ")
        by = "id" if _is_uuid(name_or_id) else "name"
        found = self._list(
            collection,
            f"looking up {kind} {name_or_id}",
            lambda raw: (an_id(raw, "id"), read(raw)),
            **{by: name_or_id},
            **query,
        )
        if len(found) == 1:
            return found[0][1]
        if not found:
            raise NotFound(
                Code.NOT_FOUND,
                f"{kind} {name_or_id} does not exist, or this project can't see it",
                "check the name in the ipam section",
            )
        ids = ", ".join(sorted(item_id for item_id, _ in found))
        raise Refused(
            Code.INVALID_CONFIG,
            f"{len(found)} {collection} are named {name_or_id}",
            f"use an id: {ids}",
        )


def _is_uuid(text: str) -> bool:
    """Whether it is an id as Neutron writes it; 32 digits without dashes are somebody's name."""
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False


def filters_in_words(query: Mapping[str, Any]) -> str:
    """The filters of a list, for the sentence that says what was asked."""
    return ", ".join(f"{key}={value}" for key, value in query.items()) or "nothing"
