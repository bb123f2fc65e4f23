"""django-fsm-2 with django-fsm-log on a model of Django.

As in the README of django-fsm-2: ``ConcurrentTransitionMixin`` and ``save()`` within ``transaction.atomic()``, which it
asks for against races; the log as in the README of django-fsm-log. The log has the statuses, not the data.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import Any

import django
from django.conf import settings
from django.core.management import call_command
from django.db import connection, models, transaction
from django_fsm import ConcurrentTransitionMixin, FSMField, FSMModelMixin
from django_fsm import transition as moves
from sqlalchemy import make_url

from benchmarks.rounds import Batch, timed
from benchmarks.work import DOCUMENT, GET, HISTORY, LISTED, PAGE, REGISTER, SEARCH, SEEN, UPDATE, VERSIONS


def configure(url: str, durable: bool) -> None:
    """Set Django up.

    :param url: its database, as an SQLAlchemy URL.
    :param durable: whether a commit waits for the disk.
    """
    where = make_url(url)
    if where.get_backend_name() == "sqlite":
        pragma = f"PRAGMA synchronous={'FULL' if durable else 'NORMAL'};"
        options = {"init_command": pragma, "transaction_mode": "IMMEDIATE"}
        database: dict[str, Any] = {"ENGINE": "django.db.backends.sqlite3", "OPTIONS": options}
    else:
        database = {"ENGINE": "django.db.backends.postgresql", "HOST": where.host, "PORT": where.port}
        database |= {"USER": where.username, "PASSWORD": where.password}
    settings.configure(
        DATABASES={"default": {"NAME": where.database, **database}},
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django_fsm", "django_fsm_log"],
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        USE_TZ=True,
    )
    django.setup()
    call_command("migrate", verbosity=0)


class Accounts:
    """What an application would write."""

    def __init__(self) -> None:
        class Account(ConcurrentTransitionMixin, FSMModelMixin, models.Model):
            name = models.CharField(max_length=255, unique=True)
            status = FSMField(default="active")
            data = models.JSONField()
            created_at = models.DateTimeField(auto_now_add=True)
            updated_at = models.DateTimeField(auto_now=True)

            class Meta:
                app_label = "bench"
                indexes = (models.Index(fields=("status", "created_at", "name"), name="ix_account_status"),)

            @moves(field=status, source="active", target="suspended")
            def suspend(self) -> None:
                """Move."""

            @moves(field=status, source="suspended", target="active")
            def resume(self) -> None:
                """Move back."""

        from django_fsm_log.models import StateLog  # noqa: PLC0415  Django's models wait for its set-up

        self.account, self.log = Account, StateLog
        self.document = json.loads(DOCUMENT)
        with connection.schema_editor() as editor:
            editor.create_model(Account)
        listed = [(f"listed_{number}", ("active", "suspended")[number % 2]) for number in range(LISTED)]
        given = [*((f"seen_{number}", "active") for number in range(SEEN)), ("long", "active"), *listed]
        Account.objects.bulk_create(Account(name=name, status=status, data=self.document) for name, status in given)
        for turn in range(VERSIONS):
            self.move("long", turn)

    def move(self, name: str, number: int) -> None:
        """Move a state.

        :param name: its id.
        :param number: new data.
        """
        with transaction.atomic():
            account = self.account.objects.get(name=name)
            account.suspend() if account.status == "active" else account.resume()
            account.data["turn"] = number
            account.save()

    def update(self, number: int) -> None:
        """Move a state."""
        self.move(f"seen_{number % SEEN}", number)

    def register(self, number: int) -> None:
        """Make a state."""
        self.account.objects.create(name=f"new_{number}", data=self.document)

    def get(self, number: int) -> Any:
        """Read a state."""
        return self.account.objects.get(name=f"seen_{number % SEEN}").data

    def search(self, _number: int) -> list[Any]:
        """Read a page."""
        return list(self.account.objects.filter(status="active").order_by("created_at", "name")[: PAGE + 1])

    def history(self, _number: int) -> list[Any]:
        """Read the log of a state."""
        return list(self.log.objects.for_(self.account.objects.get(name="long")))


def works(stack: ExitStack, url: str, durable: bool) -> dict[str, Batch]:
    """Return what it can do.

    :param stack: closes the connection.
    :param url: its database.
    :param durable: whether a commit waits for the disk.
    """
    configure(url, durable)
    stack.callback(connection.close)
    accounts = Accounts()
    found = {UPDATE: accounts.update, REGISTER: accounts.register, GET: accounts.get}
    found |= {SEARCH: accounts.search, HISTORY: accounts.history}
    return {work: timed(operation) for work, operation in found.items()}
