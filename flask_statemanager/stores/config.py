"""What a store manager is told: by the application, by an app's config, or by a ``config.toml``."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct
from msgspec.structs import asdict

from ..config import Settings
from ..config.stores import MAX_VALUE
from ..errors import ConfigurationError, shown

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CLIENT, MEMORY, REDIS, DATABASE = "client", "memory", "redis", "database"

CONFIG_FILE = "config.toml"
"""What :func:`get_state_manager_config` reads, in the current folder."""

WEEK = 7 * 86400.0


class StateBackendConfig(Struct, frozen=True):
    """How a backend keeps values.

    :param default_ttl: seconds that a store lives behind its last write, where the write does not say; None for ever.
    :param key_prefix: what the names of stores begin with, to tell applications in one database or Redis apart.
    :param redis_url: the Redis; None for the one of the app.
    :param database_url: SQLAlchemy URL of the database; None for the one of the app.
    :param enable_compression: whether values from 2 KB on are compressed.
    :param max_value_size: the most bytes of a value, before it is compressed.
    :param history: the ids of the stores whose earlier values are kept.
    :param history_ttl: seconds that these are kept.
    :raises ConfigurationError: when one of them is unusable.
    """

    default_ttl: float | None = 3600.0
    key_prefix: str = ""
    redis_url: str | None = None
    database_url: str | None = None
    enable_compression: bool = True
    max_value_size: int = MAX_VALUE
    history: tuple[str, ...] = ()
    history_ttl: float = WEEK

    def __post_init__(self) -> None:
        _check(self)


class StateManagerConfig(Struct, frozen=True):
    """What a store manager is told.

    >>> StateManagerConfig("memory", default_ttl=60).enable_user_isolation
    True

    :param backend_type: ``client``, ``memory``, ``redis`` or ``database``; anything else counts as ``client``, with a
        warning.
    :param enable_user_isolation: whether each user has stores of their own.
    :param default_ttl: as in :class:`StateBackendConfig`, like the others.
    :param on_unavailable: what becomes of a call while the server cannot be reached: an ``error``, or ``client``, that
        the browser is to keep the value.
    :param rollout: for how many percent of the users the server keeps a store, by store; ``"*"`` stands for the others.
    :param session_ttl: seconds that the session id of a page of Dash is good for.
    :raises ConfigurationError: when one of them is unusable.
    """

    backend_type: str = CLIENT
    enable_user_isolation: bool = True
    default_ttl: float | None = 3600.0
    key_prefix: str = ""
    redis_url: str | None = None
    database_url: str | None = None
    enable_compression: bool = True
    max_value_size: int = MAX_VALUE
    history: tuple[str, ...] = ()
    history_ttl: float = WEEK
    on_unavailable: str = "error"
    rollout: Mapping[str, float] = {}
    session_ttl: float = WEEK

    def __post_init__(self) -> None:
        _check(self)

    @classmethod
    def of(cls, settings: Settings) -> StateManagerConfig:
        """Return what an app's settings say.

        :param settings: the settings.
        """
        return cls(**{option: getattr(settings, name) for option, name in _SETTINGS.items()})

    def backend(self) -> StateBackendConfig:
        """Return the part of it that a backend is told."""
        options = asdict(self)
        return StateBackendConfig(**{name: options[name] for name in StateBackendConfig.__struct_fields__})


def get_state_manager_config(path: str | Path = CONFIG_FILE) -> StateManagerConfig:
    """Return what a TOML file says: ``STATE_BACKEND``, ``STATE_TTL_DEFAULT`` and the other keys of the stores.

    The environment fills in what the file leaves out; a file that is not there leaves out everything.

    :param path: the file.
    :raises ConfigurationError: when it is no TOML, or a value in it is unusable.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        text = ""
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"The file {path} cannot be read: {error}.") from error
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"The file {path} is no TOML: {error}.") from error
    return StateManagerConfig.of(Settings.from_mapping(found, os.environ))


def settings_of(config: StateBackendConfig, kind: str, app: Settings | None) -> Settings:
    """Return the settings of a backend of its own.

    :param config: how it keeps values.
    :param kind: which backend it is.
    :param app: the settings of the current app, whose Redis it is where no other is named; None without an app.
    """
    options = asdict(config) | {"backend_type": kind}
    # Without an end a store lives as long as its writer says; how long that is, is the backend's own business.
    given = {_SETTINGS[option]: value for option, value in options.items() if value is not None}
    redis = {"redis_url": config.redis_url}
    if app is not None and config.redis_url in (None, app.redis_url):
        redis = {"redis_url": app.redis_url, "redis_prefix": app.redis_prefix}
    return Settings(**redis, **given)


_SETTINGS = {
    "backend_type": "stores_backend",
    "enable_user_isolation": "stores_user_isolation",
    "default_ttl": "stores_ttl",
    "key_prefix": "stores_prefix",
    "redis_url": "stores_redis_url",
    "database_url": "stores_database_url",
    "enable_compression": "stores_compression",
    "max_value_size": "stores_max_value_bytes",
    "history": "stores_history",
    "history_ttl": "stores_history_ttl",
    "on_unavailable": "stores_unavailable",
    "rollout": "stores_rollout",
    "session_ttl": "stores_session_ttl",
}
"""Which setting each option is."""

_READ = {name: each.read for name, each in Settings.declarations.items()}


def _check(config: StateBackendConfig | StateManagerConfig) -> None:
    for option, value in asdict(config).items():
        if value is None and option in ("default_ttl", "redis_url", "database_url"):
            continue
        try:
            _READ[_SETTINGS[option]](value)
        except (ValueError, TypeError, OverflowError) as error:
            told = option if option.endswith("_url") else f"{option}={shown(value)}"
            raise ConfigurationError(f"{told} is unusable: it {error}.") from error
