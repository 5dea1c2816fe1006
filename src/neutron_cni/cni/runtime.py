"""The other side of the protocol: a network's plugins called in order, as a container runtime does.

Source: CNI SPEC, section 1 ("Network configuration format") and section 3 ("Execution of Network
Configurations"). What they leave open is done as libcni does it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from neutron_cni.cni.codec import result_from_document, result_to_document
from neutron_cni.cni.delegate import execute, find_plugin
from neutron_cni.cni.document import convert, decode, invalid
from neutron_cni.cni.environment import NAME, Command
from neutron_cni.cni.request import Invocation
from neutron_cni.cni.versions import SUPPORTED
from neutron_cni.values.attachment import Attachment, PodRef
from neutron_cni.values.deadline import Deadline
from neutron_cni.values.errors import CniError, Code

ROLLBACK_SECONDS = 30.0
"""The most seconds that a failed ADD is given to take back what it began."""

Document = dict[str, Any]


class _ListIn(msgspec.Struct, rename="camel"):
    name: str
    cni_version: str = ""
    cni_versions: list[str] | None = None
    plugins: list[dict[str, Any]] | None = None
    load_only_inlined_plugins: bool = False


class _PluginIn(msgspec.Struct):
    type: str
    capabilities: dict[str, bool] | None = None


@dataclass(frozen=True, slots=True)
class Network:
    """A network's configuration. `version` is what its plugins are spoken to in.

    `plugins` are their objects as the file has them, in order.
    """

    name: str
    version: str
    plugins: tuple[Document, ...]

    @property
    def types(self) -> tuple[str, ...]:
        """The types of the plugins, in order."""
        return tuple(str(item["type"]) for item in self.plugins)

    def document(self) -> Document:
        """The network as `read_network` reads it."""
        return {
            "cniVersion": self.version,
            "name": self.name,
            "plugins": list(self.plugins),
        }


def read_network(document: Mapping[str, Any], more: Sequence[Document] = ()) -> Network:
    """The network of a file: a list of plugins, or one plugin alone; `more` are further plugins.

    Raises CniError INVALID_CONFIG and INCOMPATIBLE_VERSION.
    """
    given = convert(document, _ListIn)
    if not NAME.fullmatch(given.name):
        raise invalid("name", f"{given.name!r:.80} is not a network name")
    own = [dict(document)] if "type" in document else given.plugins or []
    plugins = [*own, *more]
    if not plugins:
        raise invalid("plugins", "is empty", "the list of the network's plugins")
    for index, item in enumerate(plugins):
        kind = convert(item, _PluginIn, f"plugins[{index}]").type
        if not kind or "/" in kind or kind in (".", ".."):
            raise invalid(f"plugins[{index}].type", f"{kind!r:.80} is not the name of a plugin")
    return Network(given.name, _version(given), tuple(plugins))


def further_plugins(document: Mapping[str, Any]) -> str:
    """The name of the folder, beside a list's file, that may have further plugins of the network.

    Empty where the list says that there are none (`loadOnlyInlinedPlugins`). Raises CniError
    INVALID_CONFIG.
    """
    given = convert(document, _ListIn)
    return "" if given.load_only_inlined_plugins or not NAME.fullmatch(given.name) else given.name


def _version(given: _ListIn) -> str:
    """The newest version that the file names and we speak. Raises CniError."""
    named = [item for item in (given.cni_version, *(given.cni_versions or ())) if item]
    known = [item for item in SUPPORTED if item in named]
    if not known:
        raise CniError(
            Code.INCOMPATIBLE_VERSION,
            f"network {given.name} is of CNI {', '.join(named) or '0.1.0'}",
            f"supported: {', '.join(SUPPORTED)}",
        )
    return known[-1]


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is asked for beside the configuration: addresses ("10.0.0.5/24") and a MAC, or none."""

    ips: tuple[str, ...] = ()
    mac: str = ""

    @property
    def capabilities(self) -> Document:
        """Those that plugins with such capabilities are told in `runtimeConfig`."""
        return {key: value for key, value in (("ips", list(self.ips)), ("mac", self.mac)) if value}


@dataclass(frozen=True, slots=True)
class Chain:
    """The calls of all plugins of `network` for one attachment.

    `path`: the folders that have the plugins (CNI_PATH). `pod` is named to the plugins, if it is
    one. `guard` is called before each plugin of ADD; it raises CniError to stop.
    """

    network: Network
    path: tuple[str, ...]
    attachment: Attachment
    pod: PodRef = field(default_factory=PodRef)
    wishes: Wishes = field(default_factory=Wishes)
    guard: Callable[[], None] = lambda: None

    def add(self, deadline: Deadline) -> Document:
        """ADD of all plugins, each with the result of the one before; the last one's result.

        All executables are looked for before the first is called. Raises the CniError of the first
        plugin that fails; DELEGATE also for an answer that is no result.
        """
        self._require_wishes_heard()
        found = [find_plugin(kind, self.path) for kind in self.network.types]
        result: Document | None = None
        for executable, plugin in zip(found, self.network.plugins, strict=True):
            self.guard()
            call = self._call(plugin, result, self.attachment.netns)
            result = self._result(execute(executable, Command.ADD, call, deadline), executable)
        self.guard()
        assert result is not None
        return result

    def delete(self, result: Document | None, deadline: Deadline, netns: str | None = None) -> None:
        """DEL of all plugins, the last one first; `result` is that of ADD, if it is still known.

        `netns` takes the place of the attachment's path; it is empty where the namespace ended. The
        first plugin that fails ends it, as in libcni: what it has not taken back may refer to
        what the plugins before it hold. Raises its CniError.
        """
        path = self.attachment.netns if netns is None else netns
        for plugin in reversed(self.network.plugins):
            call = self._call(plugin, result, path)
            execute(find_plugin(plugin["type"], self.path), Command.DEL, call, deadline)

    def take_back(self, netns: str) -> CniError | None:
        """DEL after an ADD that failed; what it met, None where all is taken back."""
        try:
            self.delete(None, Deadline.after(ROLLBACK_SECONDS), netns)
        except CniError as error:
            return error
        return None

    def _call(self, plugin: Document, result: Document | None, netns: str) -> Invocation:
        """A plugin's environment and input (SPEC, section 3: "Deriving request configuration")."""
        known = convert(plugin, _PluginIn).capabilities or {}
        hears = {key: value for key, value in self.wishes.capabilities.items() if known.get(key)}
        request = {key: value for key, value in plugin.items() if key != "capabilities"}
        request |= {"name": self.network.name, "cniVersion": self.network.version}
        request |= {"runtimeConfig": hears} if hears else {}
        request |= {"prevResult": result} if result is not None else {}
        variables = {key: value for key, value in os.environ.items() if not key.startswith("CNI_")}
        variables |= {
            "CNI_CONTAINERID": self.attachment.container_id,
            "CNI_IFNAME": self.attachment.ifname,
            "CNI_NETNS": netns,
            "CNI_PATH": ":".join(self.path),
            "CNI_ARGS": self._arguments(),
        }
        return Invocation(variables, msgspec.json.encode(request))

    def _arguments(self) -> str:
        """CNI_ARGS: the pod, and addresses that no plugin has a capability for."""
        pod = {
            "K8S_POD_NAMESPACE": self.pod.namespace,
            "K8S_POD_NAME": self.pod.name,
            "K8S_POD_UID": self.pod.uid,
        }
        pairs = {"IgnoreUnknown": "1", **(pod if self.pod.name else {})}
        if self.wishes.ips and not self._hears("ips"):
            pairs["IP"] = ",".join(self.wishes.ips)
        return ";".join(f"{key}={value}" for key, value in pairs.items())

    def _hears(self, capability: str) -> bool:
        objects = (convert(item, _PluginIn).capabilities or {} for item in self.network.plugins)
        return any(item.get(capability) for item in objects)

    def _require_wishes_heard(self) -> None:
        if self.wishes.mac and not self._hears("mac"):
            raise CniError(
                Code.UNSUPPORTED_FIELD,
                f"no plugin of network {self.network.name} takes a MAC",
                'one that does has "capabilities": {"mac": true} in its object',
            )

    def _result(self, output: bytes, executable: str) -> Document:
        """What a plugin answered to ADD, in the network's version."""
        try:
            document = decode(output, "its answer")
            result = result_from_document(document, "result")
        except CniError as error:
            raise CniError(
                Code.DELEGATE,
                f"the plugin {executable} answered ADD with something else than a CNI result",
                str(error),
            ) from None
        if document.get("cniVersion") != self.network.version:
            return result_to_document(result, self.network.version)
        return document
