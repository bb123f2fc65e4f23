"""A private PostgreSQL."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from pathlib import Path
from uuid import uuid4

import psycopg
from psycopg import sql

from tests.servers.executables import postgres_folder
from tests.servers.process import Server, ServerFailed

# Nothing here outlives the tests, so nothing waits for the disk.
FAST = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

USES = 40
"""How many tests get one database after another: what is dropped in it leaves its catalogs larger."""

SCHEMA_OF_THE_OWNER = 150000
"""Since which version the schema `public` belongs to whoever owns the database."""


class PostgresServer(Server):
    """A PostgreSQL cluster of its own, with one superuser `postgres` that needs no password.

    As root, PostgreSQL refuses to start; then it runs as the user `postgres`, or `nobody` where there is none.

    :param durable: whether commits wait for the disk, for tests that kill the server.
    :param settings: further server settings.
    """

    title = "PostgreSQL"
    # A fast shutdown: open transactions are rolled back, clients are disconnected.
    stop_signal = signal.SIGINT

    def __init__(self, *, durable: bool = False, settings: dict[str, str] | None = None) -> None:
        super().__init__()
        self.account = _other_account() if os.geteuid() == 0 else None
        self.settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "max_connections": "200",
            "timezone": "UTC",
            **({} if durable else FAST),
            **(settings or {}),
        }
        self._programs: Path | None = None
        self._emptied: dict[str, int] = {}
        self._uses: dict[str, int] = {}

    @property
    def url(self) -> str:
        """The SQLAlchemy URL of the database `postgres`, which tests leave as it is.

        :returns: a postgresql+psycopg:// URL.
        """
        return self._url("postgres")

    def create_database(self, *, template: str = "template1") -> str:
        """Create a database of its own for a test.

        :param template: a database to copy, one that nobody is connected to.
        :returns: its SQLAlchemy URL.
        """
        name = f"test_{uuid4().hex}"
        self._execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(_name(template)))
        )
        return self._url(name)

    def drop_database(self, url: str) -> None:
        """Drop a database and end whatever is connected to it still.

        :param url: what `create_database` returned.
        """
        self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(_name(url))))

    def lend_database(self) -> str:
        """Return an empty database for a test, to be taken back: one that was emptied, if there is one.

        :returns: its SQLAlchemy URL.
        """
        if not self._emptied:
            return self.create_database()
        name, uses = self._emptied.popitem()
        self._uses[name] = uses
        return self._url(name)

    def take_back(self, url: str) -> None:
        """Empty a database for the next test, which takes a third of what it takes to drop it and to create another.

        It gets another name: what a test has left behind, a thread for example, must not find it again.

        :param url: what `lend_database` returned.
        """
        uses, fresh = self._uses.pop(_name(url), 0) + 1, f"test_{uuid4().hex}"
        if uses < USES and self._empty(url) and self._renamed(url, fresh):
            self._emptied[fresh] = uses
        else:
            self.drop_database(url)

    def _empty(self, url: str) -> bool:
        """Make a database as a new one is, and tell whether that can be done here."""
        self.disconnect(url)
        name = sql.Identifier(_name(url))
        with self._connect(database=_name(url)) as connection:
            if connection.info.server_version < SCHEMA_OF_THE_OWNER:
                return False
            found = "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'"
            for [schema] in connection.execute(found).fetchall():
                connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(str(schema))))
            connection.execute("CREATE SCHEMA public AUTHORIZATION pg_database_owner")
            connection.execute("GRANT USAGE ON SCHEMA public TO PUBLIC")
            connection.execute(sql.SQL("ALTER DATABASE {} RESET ALL").format(name))
        return True

    def _renamed(self, url: str, fresh: str) -> bool:
        """Give a database another name, unless somebody has connected to it again."""
        names = sql.Identifier(_name(url)), sql.Identifier(fresh)
        try:
            self._execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(*names))
        except psycopg.errors.ObjectInUse:
            return False
        return True

    def disconnect(self, url: str) -> int:
        """End every connection to a database, as a restart of the server would.

        :param url: what `create_database` returned.
        :returns: how many there were.
        """
        statement = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
        with self._connect() as connection:
            return len(connection.execute(statement, [_name(url)]).fetchall())

    def prepare(self) -> None:
        """Find the programs and make the cluster.

        :raises ServerMissing: when there are none.
        :raises ServerFailed: when initdb fails.
        """
        self._programs = self._reachable(postgres_folder())
        # A collation unlike code point order, where the build has one: it shows a missing COLLATE "C".
        if not self._initdb("--locale-provider=icu", "--icu-locale=en-US") and not self._initdb():
            raise ServerFailed(f"initdb fails:\n{self.log}")

    def command(self, port: int) -> list[str]:
        """Give the command line.

        :param port: where to listen.
        :returns: the program and its arguments.
        """
        settings = [word for name, value in self.settings.items() for word in ("-c", f"{name}={value}")]
        return [str(self._program("postgres")), "-D", str(self._data), "-p", str(port), *settings]

    def answers(self, port: int) -> bool:
        """Tell whether this very server takes requests.

        :param port: where to ask.
        :returns: whether the answer carries our folder.
        """
        try:
            with self._connect(port) as connection:
                row = connection.execute("SHOW data_directory").fetchone()
        except psycopg.OperationalError:
            return False
        return row is not None and row[0] == str(self._data)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _program(self, name: str) -> Path:
        if self._programs is None:
            raise ServerFailed("PostgreSQL was not started")
        return self._programs / name

    def _reachable(self, programs: Path) -> Path:
        """Copy programs that the other account cannot reach, a wheel's below /root for example, into our folder."""
        if self.account is None or self._run(str(programs / "postgres"), "--version"):
            return programs
        package = programs.parents[1]
        # A wheel's programs find their libraries by the relative path to this neighbour.
        libraries = package.with_name(f"{package.name}.libs")
        for part in filter(Path.exists, (programs.parent, libraries)):
            shutil.copytree(part, self.folder / part.relative_to(package.parent), symlinks=True)
        return self.folder / programs.relative_to(package.parent)

    def _initdb(self, *options: str) -> bool:
        common = ("--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync")
        return self._run(str(self._program("initdb")), "-D", str(self._data), *common, *options)

    def _run(self, *command: str) -> bool:
        with (self.folder / "server.log").open("ab") as log:
            try:
                ended = subprocess.run(
                    command,
                    cwd=self.folder,
                    env=self.environment(),
                    user=self.account.pw_uid if self.account else None,
                    group=self.account.pw_gid if self.account else None,
                    extra_groups=[] if self.account else None,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    check=False,
                )
            except PermissionError:
                return False
        return ended.returncode == 0

    def _url(self, database: str) -> str:
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{database}"

    def _connect(
        self, port: int | None = None, *, database: str = "postgres"
    ) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(
            host="127.0.0.1",
            port=port or self.port,
            user="postgres",
            dbname=database,
            autocommit=True,
            connect_timeout=10,
        )

    def _execute(self, statement: sql.Composed) -> None:
        with self._connect() as connection:
            connection.execute(statement)


def _name(url: str) -> str:
    """Give the database's name in a URL; a bare name is its own."""
    return url.rpartition("/")[2]


def _other_account() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")
