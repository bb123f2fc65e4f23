"""StateManager: what an application holds in its hands."""

from __future__ import annotations

import importlib
import os
import threading
import warnings
from typing import TYPE_CHECKING, Any, ClassVar

from flask import Flask, current_app, has_app_context, has_request_context

from .backends.registry import backend_of_app, backend_of_manager, same_manager
from .config import Settings
from .core.buckets import BucketRegistry
from .core.clock import Clock
from .core.powers import JoinsTransaction
from .effects.callbacks import CallbackRegistry
from .effects.outbox import Outbox, OutboxVerbs
from .effects.registering import EffectVerbs
from .errors import ConfigurationError
from .flows.access import FlowAccess
from .flows.definitions import FlowDefinitions
from .flows.parts import FlowParts
from .flows.turns import Conduct
from .globals import UNBOUND, UNINITIALISED, find_runtime
from .integrations import load, load_part, storage_at
from .kv.access import KvAccess
from .kv.parts import KvParts
from .lifecycle.bulk import LifecycleBulk
from .lifecycle.declares import LifecycleDeclares
from .lifecycle.definitions import Definitions
from .lifecycle.events import known_events
from .lifecycle.machine import Machine
from .lifecycle.parts import Parts
from .lifecycle.reads import LifecycleReads
from .lifecycle.scheduling import LifecycleScheduling
from .lifecycle.transactions import LifecycleTransactions
from .lifecycle.types import StateType
from .lifecycle.writes import LifecycleWrites
from .operating import Operating
from .runtime import EXTENSION, Declarations, Runtime, check_managers
from .security.actor import ActorLoader
from .security.identity import IdentityLoader
from .tracking.propagation import ReachRule
from .workshop import check_shareable

if TYPE_CHECKING:
    from .snapshots.archive import Archive

TRACKS = f"{__package__}.tracks"
ADMIN, REFUSING = f"{__package__}.admin.mounting", f"{__package__}.refusing"
"""Loaded by name, as most apps track nothing and have no admin pages."""


class StateManager(
    LifecycleReads,
    LifecycleWrites,
    LifecycleBulk,
    LifecycleScheduling,
    LifecycleTransactions,
    LifecycleDeclares,
    EffectVerbs,
    OutboxVerbs,
    KvAccess,
    FlowAccess,
    Operating,
):
    """The extension, one object in a process: ``StateManager()`` and :meth:`get_instance` always give the same.

    Types, machines, validators and callbacks belong to the manager and are shared by all its apps; settings,
    connections, caches and states belong to the app. A verb acts on the app of the current app context.

    Before any ``init_app`` a manager serves scripts and tests: in memory, which it says in a warning, or in the
    database of ``database_manager``, with the Redis of ``redis_manager`` as read cache.

    >>> from flask import Flask
    >>> app = Flask("shop")
    >>> app.config["STATEMANAGER_BACKEND"] = "memory"
    >>> manager = StateManager(app)
    >>> with app.app_context():
    ...     state = manager.register_state("user_1", "user", {"email": "a@example.com"})
    ...     manager.update_state("user_1", transition="activate").status
    'active'

    :param app: initialise this app at once.
    :param redis_manager: for use without an app: a redis-py client, a URL, or an object with one.
    :param database_manager: for use without an app: an engine, a URL, a Flask-SQLAlchemy object, or an object with one.
    :param db: the app's Flask-SQLAlchemy object, where it should be named.
    :raises ConfigurationError: when the managers contradict earlier ones, or an app is initialised wrongly.
    """

    _instance: ClassVar[StateManager | None] = None
    _creation: ClassVar[threading.RLock] = threading.RLock()

    _declarations: Declarations
    _unbound: Runtime | None
    _managers: dict[str, Any]
    _initialised: bool

    def __new__(
        cls, app: Flask | None = None, *, redis_manager: Any = None, database_manager: Any = None, db: Any = None
    ) -> StateManager:
        """Return the one manager, made at the first call."""
        with StateManager._creation:
            instance = StateManager._instance
            if instance is None:
                instance = super().__new__(cls)
                instance._declarations = Declarations()
                instance._unbound = None
                instance._managers = {}
                instance._initialised = False
                StateManager._instance = instance
            return instance

    def __init__(
        self, app: Flask | None = None, *, redis_manager: Any = None, database_manager: Any = None, db: Any = None
    ) -> None:
        self._take_managers({"redis_manager": redis_manager, "database_manager": database_manager})
        if app is not None:
            self.init_app(app, db=db)
        elif db is not None:
            raise ConfigurationError("db= names the database of an app: pass it together with app, or to init_app().")

    @classmethod
    def get_instance(cls, *, redis_manager: Any = None, database_manager: Any = None) -> StateManager:
        """Return the manager, made at the first call.

        :param redis_manager: as for the class.
        :param database_manager: as for the class.
        :raises ConfigurationError: when the managers contradict earlier ones.
        """
        return cls(redis_manager=redis_manager, database_manager=database_manager)

    @classmethod
    def reset_instance(cls) -> None:
        """Forget the manager, so that the next one starts empty. Apps keep what they were initialised with."""
        with StateManager._creation:
            instance, StateManager._instance = StateManager._instance, None
        if instance is not None and instance._unbound is not None:
            instance._unbound.close()

    def _take_managers(self, given: dict[str, Any]) -> None:
        fresh = {name: value for name, value in given.items() if value is not None}
        if not fresh:
            return
        check_managers(**given)
        if any(
            name in self._managers and not same_manager(self._managers[name], value) for name, value in fresh.items()
        ):
            raise ConfigurationError(
                "The state manager has other managers already: pass the same, or reset_instance()."
            )
        if fresh.keys() <= self._managers.keys():
            return
        if self._initialised:
            raise ConfigurationError(
                f"{' and '.join(fresh)} shape a manager without an app, and this one has one: "
                "configure the app's Flask-SQLAlchemy and Flask-Caching instead."
            )
        if self._unbound is not None:
            raise ConfigurationError(
                f"{' and '.join(fresh)} come too late, the manager is in use: pass them at the first call, "
                "or reset_instance() first."
            )
        self._managers |= fresh

    # -- apps ------------------------------------------------------------------------------------------------------

    def init_app(self, app: Flask, *, db: Any = None) -> None:
        """Give an app its states: read its config, declare the tables, and wait for the first use to connect.

        :param app: the app; Flask-SQLAlchemy, if it has it, must be initialised on it already.
        :param db: its Flask-SQLAlchemy object, where it should be named; found by itself otherwise.
        :raises ConfigurationError: for a second call on one app, unusable settings, or the wrong order.
        """
        if EXTENSION in app.extensions:
            raise ConfigurationError("This app has a state manager already: call init_app() once for each app.")
        if self._managers:
            raise ConfigurationError(
                "This manager was given redis_manager or database_manager, which shape one without an app: "
                "leave them out, or call reset_instance() first."
            )
        settings = Settings.from_mapping(app.config, os.environ)
        backend = backend_of_app(app, settings, db)
        owns = isinstance(backend, JoinsTransaction) and "sqlalchemy" not in app.extensions
        storage = storage_at(settings.snapshots, app.instance_path)
        runtime = Runtime(settings, self._declarations, backend, owns_database=owns, snapshot_storage=storage)
        if settings.track_requests:
            runtime.tracking = importlib.import_module(TRACKS).track(app, runtime)
        if settings.keeps_refusals:
            importlib.import_module(REFUSING).keep_refusals(app, runtime)
        runtime.shelves.check()
        app.extensions[EXTENSION] = runtime
        if settings.worker == "embedded":
            check_shareable(backend, "STATEMANAGER_WORKER='embedded'", also_memory=True)
            app.before_request(_attend)
        if settings.dispatch == "celery":
            check_shareable(backend, "STATEMANAGER_DISPATCH='celery'")
            celery = load("celery", wanted_by="STATEMANAGER_DISPATCH='celery'")
            runtime.workshop.dispatch = celery.CeleryDispatch(app, runtime.workshop.make_worker)
        if settings.api_enabled:
            load_part("web.mounting", extra="web", wanted_by="STATEMANAGER_API_ENABLED").mount(app, runtime)
        if settings.admin_enabled:
            importlib.import_module(ADMIN).mount(app, runtime)
        self._initialised = True

    def _runtime(self) -> Runtime:
        found = find_runtime()
        if found is not None:
            return found
        if self._initialised:
            raise ConfigurationError(UNINITIALISED if has_app_context() else UNBOUND)
        with StateManager._creation:
            if self._unbound is None:
                self._unbound = self._without_app()
            return self._unbound

    def _without_app(self) -> Runtime:
        database, redis = self._managers.get("database_manager"), self._managers.get("redis_manager")
        if database is None:
            warnings.warn(
                "Flask-StateManager works in memory, and nothing outlives the process: "
                "call init_app(app), or pass database_manager=.",
                stacklevel=4,
            )
        runtime = Runtime(Settings(), self._declarations, backend_of_manager(database), redis_manager=redis)
        runtime.complete({})
        return runtime

    def _parts(self) -> Parts:
        return self._runtime().lifecycle.parts

    def _outbox(self) -> Outbox:
        return self._runtime().workshop.outbox

    @property
    def snapshots(self) -> Archive:
        """The snapshots of this app's buckets: to make, check and restore them."""
        return self._runtime().snapshots

    def _kv_parts(self, name: str) -> KvParts:
        return self._runtime().shelves.parts(name)

    def _flow_parts(self) -> FlowParts:
        return self._runtime().reception.parts()

    def _flow_conduct(self) -> Conduct:
        return self._runtime().reception.conduct()

    def _declaring_flows(self) -> FlowDefinitions:
        return self._outside_requests().flows

    # -- declaring -------------------------------------------------------------------------------------------------

    def _outside_requests(self) -> Declarations:
        if has_request_context():
            raise ConfigurationError(
                "Types, validators and callbacks cannot be registered during a request, where other workers would "
                "not hear of it: register them where the application is put together."
            )
        return self._declarations

    def _declaring(self) -> Definitions:
        return self._outside_requests().definitions

    def _declaring_buckets(self) -> BucketRegistry:
        return self._outside_requests().buckets

    def _registering(self) -> tuple[CallbackRegistry, frozenset[str]]:
        declarations = self._outside_requests()
        return declarations.callbacks, known_events(declarations.definitions)

    def actor_loader(self, loader: ActorLoader) -> ActorLoader:
        """Set the function that names the present user during a request; usable as a decorator.

        :param loader: returns the user's id (text or a number), or None for ``system``.
        :raises ConfigurationError: when a request is under way.
        """
        self._outside_requests().actor.loader = loader
        return loader

    def identity_loader(self, loader: IdentityLoader) -> IdentityLoader:
        """Set the function that names the present user and their roles to the API; usable as a decorator.

        >>> # @state_manager.identity_loader
        >>> # def present_user():
        >>> #     return (current_user.id, current_user.roles) if current_user.is_authenticated else None

        :param loader: returns the user's id (text or a number), ``(id, roles)``, or None for nobody. Bearer tokens of
            ``STATEMANAGER_API_TOKENS`` go before it; the ``actor_loader`` serves where there is none.
        :raises ConfigurationError: when a request is under way.
        """
        self._outside_requests().identity.loader = loader
        return loader

    def propagation_rule(self, rule: ReachRule) -> ReachRule:
        """Set the function that says to whom the changes of a record are told as live events; usable as a decorator.

        >>> # @state_manager.propagation_rule
        >>> # def teams_too(record, reach):
        >>> #     return Reach(reach.everyone, reach.users | members_of(record.data.get("team")))

        :param rule: called with the record and whose it is by the rules of :doc:`live`; returns a :class:`Reach`. It is
            called outside of any app context, for each change, and must be quick.
        :raises ConfigurationError: when a request is under way.
        """
        self._outside_requests().propagation.rule = rule
        return rule

    def use_clock(self, clock: Clock) -> None:
        """Take the time from another clock, in tests or to load data of the past.

        :param clock: anything with ``now()``, which returns an aware datetime.
        :raises ConfigurationError: when it has no ``now()``, or a request is under way.
        """
        if not callable(getattr(clock, "now", None)):
            raise ConfigurationError(f"A clock has a method now(), and {clock!r} has none.")
        self._outside_requests().clock.clock = clock

    def get_machine(self, state_type: str | StateType) -> Machine:
        """Return the machine of a type: its statuses, its transitions, what is allowed from where.

        :param state_type: a declared type.
        :raises StateValidationError: when the type is unknown, with the known ones.
        """
        return self._declarations.definitions.get(state_type).machine

    @property
    def types(self) -> list[str]:
        """The names of the declared types, sorted."""
        return sorted(self._declarations.definitions.types)


def _attend() -> None:
    """Have the embedded worker running from the first request of a process on."""
    runtime: Runtime = current_app.extensions[EXTENSION]
    runtime.workshop.embedded.ensure(current_app._get_current_object())  # type: ignore[attr-defined]
