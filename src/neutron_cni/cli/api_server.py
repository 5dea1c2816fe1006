"""What the command-line tool asks a Kubernetes API server; the client for it is optional."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from neutron_cni import files
from neutron_cni.values.errors import CniError, Code

if TYPE_CHECKING:
    from neutron_cni.ipam.audit.leavings import NodeKnown

CALL_SECONDS = 30
"""What one call of the API server may take."""

_BY_HAND = "name them with --service-cidr instead of --kubeconfig; nothing was written"


def known_nodes(kubeconfig: str) -> NodeKnown:
    """Asks the API server named in a kubeconfig. Raises CniError when it can't be asked.

    Every node is looked at: the tag has the host name, and a node may be registered by another
    name (a cloud provider's, or the fully qualified one). When in doubt it is known.
    """

    def ask(node: str) -> bool:
        hint = "nothing was removed: a node that may still be there keeps its addresses"
        with _asked(kubeconfig, hint) as (client, api):
            found = client.CoreV1Api(api).list_node(_request_timeout=CALL_SECONDS)
            return any(_short(node) in map(_short, _names(item)) for item in found.items)

    return ask


def service_cidrs(kubeconfig: str) -> list[str]:
    """The cluster's service networks, such as ["10.96.0.0/12", "fd96::/112"].

    From the ServiceCIDR objects that Kubernetes has since 1.33, also those that are being deleted,
    as services may still have addresses of them; else from what kubeadm has recorded. Raises
    CniError TRY_AGAIN if the API server can't be asked, INVALID_CONFIG if it says nothing of them.
    """
    with _asked(kubeconfig, _BY_HAND) as (client, api):
        found = _of_objects(client, api) or _of_kubeadm(client, api)
    if not found:
        raise CniError(
            Code.INVALID_CONFIG,
            f"the cluster of {kubeconfig} has neither ServiceCIDR objects (Kubernetes 1.33) nor "
            "kubeadm's record of its service networks",
            _BY_HAND,
        )
    return list(dict.fromkeys(found))


@contextmanager
def _asked(kubeconfig: str, hint: str) -> Iterator[tuple[Any, Any]]:
    """The client's module, and its connection to the API server of a kubeconfig.

    Every error of the client's is a CniError with `hint`.
    """
    try:
        from kubernetes import client, config
    except ImportError as error:
        raise CniError(
            Code.INVALID_CONFIG,
            "asking the API server needs the Kubernetes client",
            "install neutron-cni[kubernetes]",
        ) from error
    try:
        _require_readable(kubeconfig)
        yield client, config.new_client_from_config(kubeconfig)
    except OSError as error:
        why = f"{error.filename} {error.strerror}" if error.filename else str(error)
        raise _unanswered(kubeconfig, why, hint) from error
    except client.ApiException as error:
        raise _unanswered(kubeconfig, f"{error.status} {error.reason}", hint) from error
    except Exception as error:  # urllib3's and the client's own have no common base
        # urllib3 says first how often it has tried.
        why = str(getattr(error, "reason", None) or error)
        raise _unanswered(kubeconfig, why, hint) from error


def _require_readable(kubeconfig: str) -> None:
    """Raise OSError where the client would wait for ever; a list of files is one too."""
    for path in kubeconfig.split(os.pathsep):
        files.require_readable(path)


def _unanswered(kubeconfig: str, why: str, hint: str) -> CniError:
    first = next(iter(why.splitlines()), "no reason was given")
    return CniError(
        Code.TRY_AGAIN, f"the API server of {kubeconfig} can't be asked: {first[:200]}", hint
    )


def _names(node: Any) -> set[str]:
    """Everything that a node of the API is called by."""
    labels = node.metadata.labels or {}
    addresses = (node.status and node.status.addresses) or ()
    names = {node.metadata.name, labels.get("kubernetes.io/hostname", "")}
    names |= {item.address for item in addresses if item.type in ("Hostname", "InternalDNS")}
    return {name for name in names if name}


def _short(name: str) -> str:
    return name.partition(".")[0].lower()


def _of_objects(client: Any, api: Any) -> list[str]:
    """The CIDRs of all ServiceCIDR objects; none if the API server does not know such objects.

    They are read as plain JSON, as older clients have no class for them.
    """
    try:
        answer = client.CustomObjectsApi(api).list_cluster_custom_object(
            "networking.k8s.io", "v1", "servicecidrs", _request_timeout=CALL_SECONDS
        )
        return [str(cidr) for item in answer["items"] for cidr in item["spec"]["cidrs"]]
    except client.ApiException as error:
        if error.status == 404:
            return []
        raise
    except (KeyError, TypeError, ValueError):
        raise ValueError("it does not answer as an API server does") from None


def _of_kubeadm(client: Any, api: Any) -> list[str]:
    """What kubeadm was told when it made the cluster; none if it did not make it."""
    import yaml

    try:
        found = client.CoreV1Api(api).read_namespaced_config_map(
            "kubeadm-config", "kube-system", _request_timeout=CALL_SECONDS
        )
    except client.ApiException as error:
        if error.status == 404:
            return []
        raise
    try:
        recorded = yaml.safe_load((found.data or {}).get("ClusterConfiguration", "")) or {}
        subnets = (recorded.get("networking") or {}).get("serviceSubnet") or ""
        return [item.strip() for item in subnets.split(",") if item.strip()]
    except (AttributeError, yaml.YAMLError):
        raise ValueError("kubeadm's record in the ConfigMap kubeadm-config is damaged") from None
