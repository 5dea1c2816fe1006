"""The lab's MariaDB: private, without a TCP port, with Neutron's own migrations."""

from pathlib import Path

from neutron_cni_lab.paths import Places
from neutron_cni_lab.processes import daemon, end, live_pid, run, running, wait_until


class Database:
    """One MariaDB server in the lab's folder."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._data = places.database / "data"
        self._pid_file = places.database / "pid"

    @property
    def pid(self) -> int | None:
        """The server's process id, None when it is down."""
        return live_pid(self._pid_file, self._places.folder)

    @property
    def url(self) -> str:
        """SQLAlchemy's URL of the database ``neutron``."""
        return self.url_of("neutron")

    def url_of(self, database: str) -> str:
        """SQLAlchemy's URL of one of the databases."""
        socket = self._places.database_socket
        return f"mysql+pymysql://root@localhost/{database}?unix_socket={socket}"

    def start(self) -> None:
        """Have the server running. Harmless twice."""
        if self.pid is not None:
            return
        end(self._processes())
        self._create()
        self._pid_file.unlink(missing_ok=True)
        daemon(
            [
                "/usr/sbin/mariadbd",
                "--no-defaults",
                "--user=root",  # the lab's folder may be closed to the user mysql
                f"--datadir={self._data}",
                f"--socket={self._places.database_socket}",
                f"--pid-file={self._pid_file}",
                "--skip-networking",
                # A lab's data need not outlive a power cut, only kill -9 of the server.
                "--innodb-flush-log-at-trx-commit=2",
                "--innodb-log-file-size=16M",
                "--innodb-buffer-pool-size=128M",
                "--max-connections=200",
            ],
            env=self._places.environment,
            log=self._places.logs / "mariadb.log",
        )
        hint = f"See {self._places.logs / 'mariadb.log'}."
        wait_until(self._answers, "MariaDB", 60, hint, self._processes)

    def stop(self) -> None:
        """End the server, if it runs."""
        if self.pid is not None:
            end([self.pid], patience=20)

    def migrate(self, neutron: Path, configuration: Path) -> None:
        """Make Neutron's tables with its own migrations, unless that has been done.

        MariaDB does not roll a half-done migration back: after a crash it begins from nothing.
        """
        stamp = self._places.database / "migrated"
        if stamp.exists():
            return
        end(running(self._places.folder, "neutron-db-manage"))
        self.sql("DROP DATABASE IF EXISTS neutron; CREATE DATABASE neutron CHARACTER SET utf8mb3")
        run(
            [
                *(neutron / "bin" / "neutron-db-manage", "--config-file", configuration),
                *("upgrade", "heads"),
            ],
            env=self._places.environment,
        )
        stamp.touch()

    def _create(self) -> None:
        """Make the data folder; a half-made one (no stamp beside it) is made again."""
        stamp = self._places.database / "created"
        if stamp.exists():
            return
        run(["rm", "-rf", self._data])
        self._data.mkdir(parents=True)
        run(
            [
                *("mariadb-install-db", "--no-defaults", "--user=root", f"--datadir={self._data}"),
                *("--auth-root-authentication-method=normal", "--skip-test-db"),
            ],
            env=self._places.environment,
        )
        stamp.touch()

    def _processes(self) -> set[int]:
        return running(self._places.folder, f"--datadir={self._data}")

    def _answers(self) -> bool:
        return self.pid is not None and bool(self.sql("SELECT 1", check=False))

    def sql(self, statement: str, check: bool = True) -> str:
        """Run a statement as the database's admin, by default in none of its databases."""
        socket = self._places.database_socket
        return run(
            ["mariadb", "--no-defaults", "--user=root", f"--socket={socket}", "-Ne", statement],
            check=check,
        )
