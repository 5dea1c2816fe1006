"""How Nova tells a Neutron without Keystone who calls: in headers, which Neutron believes."""

import os
from collections.abc import Sequence
from typing import Any

from keystoneauth1 import plugin
from keystoneauth1.exceptions import EndpointNotFound


class Caller(plugin.BaseAuthPlugin):  # type: ignore[misc]
    """A user with `roles` in a project; `service_roles` as a service token's beside that."""

    def __init__(self, user: str, project: str, roles: Sequence[str], service_roles: str) -> None:
        super().__init__()
        self._headers = {
            "X-User-Id": user or "",
            "X-Project-Id": project or "",
            "X-Roles": ",".join(roles),
            "X-Service-Roles": service_roles,
        }

    def get_headers(self, session: Any, **_: Any) -> dict[str, str]:
        """Those that say it."""
        return dict(self._headers)

    def get_endpoint(self, session: Any, **_: Any) -> str:
        """There is no catalog. Services that nova.conf has no address of are not deployed here, as
        Nova takes it to be with volumes then."""
        raise EndpointNotFound


def use() -> None:
    """Have Nova identify itself and its users so.

    Its own calls need the role `service`, as admins may not write a port's binding:profile. Calls
    in a user's name have that role as a real cloud's Nova sends it, in a service token: without it
    Neutron lets no member delete the port that Nova made for him. The context, which Nova passes on
    from service to service, has user, project and roles.
    """
    from nova import context, service_auth

    roles = ("admin", "member", "reader", "service")
    service_auth._AUTHS["neutron"] = Caller("nova", os.environ["LAB_PROJECT_ID"], roles, "")
    context.RequestContext.get_auth_plugin = lambda self: Caller(
        self.user_id, self.project_id, self.roles, "service"
    )
