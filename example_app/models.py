"""The application's own tables. Where a thing stands in its life is not a column here: the state manager keeps it."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

from sqlalchemy import DateTime, ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.types import TypeDecorator
from werkzeug.security import check_password_hash, generate_password_hash

from .clock import clock
from .extensions import db

if TYPE_CHECKING:
    from .extensions import Base as Model
else:
    Model = db.Model

LOCKED = "!"
"""In the place of a hash: nobody can log in."""


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime on every database, SQLite included."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: object) -> datetime | None:
        """Give the time zone back that SQLite drops.

        :param value: what the driver gave.
        :param dialect: the database's dialect.
        """
        if value is None:
            return None
        return value.replace(tzinfo=timezone.utc) if value.tzinfo is None else value.astimezone(timezone.utc)


class Account(Model):
    """Somebody who can log in and owns credits."""

    __tablename__ = "account"

    id: Mapped[int] = mapped_column(primary_key=True)
    login: Mapped[str] = mapped_column(String(80), unique=True)
    display_name: Mapped[str] = mapped_column(String(120))
    email: Mapped[str] = mapped_column(String(254), unique=True)
    password_hash: Mapped[str] = mapped_column(String(255), default=LOCKED)
    is_admin: Mapped[bool] = mapped_column(default=False)
    balance: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=clock.now)

    @property
    def state_id(self) -> str:
        """The id of this account's user state."""
        return f"user_{self.id}"

    def set_password(self, password: str) -> None:
        """Keep a salted hash of a password.

        :param password: what the user types.
        """
        self.password_hash = generate_password_hash(password)

    def has_password(self, password: str) -> bool:
        """Tell whether a password is this account's.

        :param password: what the user typed.
        """
        return self.password_hash != LOCKED and check_password_hash(self.password_hash, password)


class CreditPackage(Model):
    """So many credits for so much money."""

    __tablename__ = "credit_package"

    code: Mapped[str] = mapped_column(String(40), primary_key=True)
    title: Mapped[str] = mapped_column(String(80))
    credits: Mapped[int]
    price_cents: Mapped[int]


class LedgerEntry(Model):
    """One movement of credits. The entries of an account add up to its balance."""

    __tablename__ = "ledger_entry"
    __table_args__ = (UniqueConstraint("reference", "kind"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id"), index=True)
    kind: Mapped[str] = mapped_column(String(20))
    reference: Mapped[str] = mapped_column(String(255))
    amount: Mapped[int]
    balance_after: Mapped[int]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=clock.now)


class Notice(Model):
    """A message on a user's page."""

    __tablename__ = "notice"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[str] = mapped_column(String(255), index=True)
    text: Mapped[str] = mapped_column(String(500))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime, default=clock.now)


class ChatMessage(Model):
    """A line of a conversation, as the chat page shows it; ``key`` tells a repetition."""

    __tablename__ = "chat_message"

    id: Mapped[int] = mapped_column(primary_key=True)
    channel: Mapped[str] = mapped_column(String(255), index=True)
    key: Mapped[str | None] = mapped_column(String(255), unique=True)
    mine: Mapped[bool]
    text: Mapped[str] = mapped_column(String(2000))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class SentMail(Model):
    """A mail to a user, which a real system would have handed to a mail server.

    It is written by a durable effect, in the transaction that notes the effect as done, so however often a worker dies,
    there is one for each change. ``key`` is the effect's stable key.
    """

    __tablename__ = "sent_mail"

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(String(640), unique=True)
    user_id: Mapped[str] = mapped_column(String(255), index=True)
    address: Mapped[str] = mapped_column(String(254))
    subject: Mapped[str] = mapped_column(String(200))
    text: Mapped[str] = mapped_column(String(1000))
    attempt: Mapped[int]
    happened_at: Mapped[datetime] = mapped_column(UtcDateTime)
