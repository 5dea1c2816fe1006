"""Nova's and Placement's tables in the lab's MariaDB, made by their own migrations.

They are made once: MariaDB's folder becomes part of the `Snapshot`. So no path may be stored in
them: the cells' addresses are templates, which each lab's nova.conf fills.
"""

from pathlib import Path

from neutron_cni_lab.database import Database
from neutron_cni_lab.paths import Places
from neutron_cni_lab.processes import end, run, running

DATABASES = ("placement", "nova_api", "nova_cell0", "nova")

_TEMPLATE = "{scheme}://{username}@{hostname}"


def make(places: Places, venv: Path, database: Database) -> None:
    """Make them, unless that has been done; half-made ones are made anew."""
    stamp = places.database / "nova-migrated"
    if stamp.exists():
        return
    for program in ("nova-manage", "placement-manage"):
        end(running(places.folder, program))
    for name in DATABASES:
        drop = f"DROP DATABASE IF EXISTS {name}"
        database.sql(f"{drop}; CREATE DATABASE {name} CHARACTER SET utf8mb3")

    def manage(program: str, *words: str) -> None:
        tool = venv / "bin" / f"{program}-manage"
        file = places.nova / f"{program}.conf"
        run([tool, "--config-file", file, *words], env=places.environment, timeout=300)

    manage("placement", "db", "sync")
    manage("nova", "api_db", "sync")
    cell0 = f"{_TEMPLATE}/nova_cell0?{{query}}"
    manage("nova", "cell_v2", "map_cell0", "--database_connection", cell0)
    cell1 = ["--database_connection", f"{_TEMPLATE}/nova?{{query}}", "--transport-url", "fake:/"]
    manage("nova", "cell_v2", "create_cell", "--name", "cell1", *cell1)
    manage("nova", "db", "sync")
    stamp.touch()
