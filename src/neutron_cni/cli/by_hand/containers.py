"""A container as a runtime knows it, whichever runtime it is."""

from __future__ import annotations

from dataclasses import dataclass, field

from neutron_cni.values.attachment import PodRef

SHORT = 12
"""Characters of an id that runtimes show."""
_PREFIX = 4
"""The fewest characters that stand for an id which begins with them."""


@dataclass(frozen=True, slots=True)
class Container:
    """What is known of a container. `pid` is that of its first process, 0 where none runs.

    `names`: what people call it, the usual one first. `sandbox`: the id of the container whose
    network it shares, its own if it shares none.
    """

    runtime: str
    id: str
    names: tuple[str, ...]
    pid: int
    sandbox: str = ""
    pod: PodRef = field(default_factory=PodRef)

    @property
    def network_id(self) -> str:
        """The id of the container that the network namespace is of."""
        return self.sandbox or self.id

    def is_called(self, word: str) -> bool:
        """Whether an operator can mean it by `word`: a name, an id or the beginning of an id.

        The sandbox's too: by default CRI-O's has no process, and its containers have the network.
        """
        ids = {self.id, self.network_id}
        begins = len(word) >= _PREFIX and any(item.startswith(word) for item in ids)
        return begins or word in self.names or word in ids

    def __str__(self) -> str:
        name = self.names[0] if self.names else self.id
        shown = f" ({self.id[:SHORT]})" if name != self.id else ""
        return f"the {self.runtime} container {name}{shown}"
