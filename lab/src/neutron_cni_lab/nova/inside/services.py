"""Starts Nova's services in this process, beside its API."""

import shlex
import threading
from typing import Any

from oslo_log import log as logging

_LOG = logging.getLogger("nova.lab")


class Services:
    """Conductor, scheduler and compute; Nova's message bus leads from thread to thread."""

    def __init__(self) -> None:
        self.ready = False
        self.error = ""
        self._running: list[Any] = []

    def start(self) -> None:
        """Have them started by and by: compute asks Placement, which this process serves."""
        threading.Thread(target=self._start_all, name="lab-start", daemon=True).start()

    def _start_all(self) -> None:
        try:
            self._start()
        except BaseException as error:
            _LOG.exception("a service of the lab's Nova can't be started")
            self.error = repr(error)
        else:
            self.ready = True

    def _start(self) -> None:
        import os_vif
        from nova import context, objects, service, utils
        from nova.compute import rpcapi as compute
        from nova.conductor import rpcapi as conductor
        from nova.objects import host_mapping
        from nova.scheduler import rpcapi as scheduler
        from oslo_privsep import priv_context

        objects.Service.enable_min_version_cache()
        priv_context.init(root_helper=shlex.split(utils.get_root_helper()))
        os_vif.initialize()
        topics: tuple[tuple[str, str, dict[str, str]], ...] = (
            ("nova-conductor", conductor.RPC_TOPIC, {}),
            ("nova-scheduler", scheduler.RPC_TOPIC, {}),
            ("nova-compute", compute.RPC_TOPIC, {"topic_alt": compute.RPC_TOPIC_ALT}),
        )
        for binary, topic, more in topics:
            made = service.Service.create(binary=binary, topic=topic, **more)
            made.start()
            # The first sign of life comes 5 s after the start, and until then a service that the
            # tables' snapshot brought along counts as dead: no host for any server.
            made.service_ref.report_count += 1
            made.service_ref.save()
            self._running.append(made)
        host_mapping.discover_hosts(context.get_admin_context())
