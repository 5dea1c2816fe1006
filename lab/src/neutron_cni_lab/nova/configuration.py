"""Nova's and Placement's configuration: no Keystone, no message bus, no image or volume service."""

from pathlib import Path

from neutron_cni_lab.database import Database
from neutron_cni_lab.neutron import API_PORT
from neutron_cni_lab.paths import Places
from neutron_cni_lab.switch import API_ADDRESS, Switch

NOVA_PORT = 8774
"""Nova's port as the nodes see it; on the host it is a free one."""
NODE_URL = f"http://{API_ADDRESS}:{NOVA_PORT}/v2.1"
"""The compute endpoint, from a node."""

# Nova refuses to start where its database knows this host and the file with this is lost.
_COMPUTE_ID = "5c0e0000-0000-4000-8000-00000000cafe"

_NOVA = """\
[DEFAULT]
# As Neutron binds ports to it.
host = {chassis}
my_ip = 127.0.0.1
compute_driver = lab_driver.LabDriver
state_path = {folder}/state
# Between the threads of one process.
transport_url = fake:/
log_options = false
periodic_fuzzy_delay = 0
# Nodes that are off for a moment would be taken for stopped, and then be stopped again.
sync_power_state_interval = -1

[oslo_concurrency]
lock_path = {folder}/state/locks

[database]
connection = {cell}

[api_database]
connection = {api}

[neutron]
# The WSGI module has a plugin of its own, which says in headers who calls.
auth_type = none
endpoint_override = http://{address}:{neutron_port}

[placement]
auth_type = admin_token
token = admin
endpoint = http://{address}:{port}/placement
endpoint_override = http://{address}:{port}/placement

[glance]
endpoint_override = http://{address}:{port}/image

[cinder]
# There is none: see inside.callers.
auth_type = none

[key_manager]
backend = nova.keymgr.conf_key_mgr.ConfKeyManager
fixed_key = 0000000000000000000000000000000000000000000000000000000000000000

[vnc]
enabled = false
"""

_PLACEMENT = """\
[DEFAULT]
state_path = {folder}/state

[api]
auth_strategy = noauth2

[placement_database]
connection = {placement}
"""


def write(places: Places, venv: Path, switch: Switch, database: Database) -> None:
    """Have all files in the folder of the lab's Nova."""
    folder = places.nova
    (folder / "state").mkdir(parents=True, exist_ok=True)
    values = {
        "folder": folder,
        "chassis": switch.chassis,
        "address": API_ADDRESS,
        "port": NOVA_PORT,
        "neutron_port": API_PORT,
        "cell": database.url_of("nova"),
        "api": database.url_of("nova_api"),
        "placement": database.url_of("placement"),
    }
    (folder / "nova.conf").write_text(_NOVA.format(**values))
    (folder / "placement.conf").write_text(_PLACEMENT.format(**values))
    # Nova's own, less the asking of Keystone: who calls is told in headers.
    paste = (venv / "etc" / "nova" / "api-paste.ini").read_text()
    paste = paste.replace(" authtoken keystonecontext", " keystonecontext")
    (folder / "api-paste.ini").write_text(paste)
    (folder / "compute_id").write_text(f"{_COMPUTE_ID}\n")
