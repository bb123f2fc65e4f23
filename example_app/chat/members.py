"""The members behind conversations: their accounts, their dashboards, their numbers, their offers."""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from flask_statemanager import StateNotFound, StateValidationError

from ..accounts import account_of, register
from ..extensions import db, state_manager, unit_of_work
from ..ledger import book, is_booked
from ..models import Account, LedgerEntry

GIFT = 50
"""Credits that a new member begins with."""

CODE_TTL, NUMBER_TTL = 600.0, 30 * 86400.0
"""Seconds that a code counts, and that a number is remembered."""

NO_CODE = {"code": ["This code does not count (any more). Write 'code' to get another one."]}

ENTRIES = 3
JSONObject = dict[str, Any]


def onboard(firstname: str, lastname: str, channel: str, key: str) -> JSONObject:
    """Open an account; the same key opens one and the same.

    :param firstname: the first name.
    :param lastname: the last name.
    :param channel: ``type:identifier``, remembered so that the member is recognised.
    :param key: the caller's key for the request.
    :returns: the dashboard.
    :raises StateManagerError: when it is not possible.
    """
    login = f"{re.sub(r'[^a-z0-9]', '', firstname.casefold()) or 'member'}-{_digest(key)[:6]}"
    account = db.session.scalar(select(Account).where(Account.login == login))
    if account is None:
        with unit_of_work():
            account = register(login, f"{login}@chat.example.com", f"{firstname} {lastname}")
            book(account.id, GIFT, "welcome", account.state_id)
            state_manager.update_state(account.state_id, transition="activate", actor=login, reason="by chat")
    remember(channel, account.state_id)
    return dashboard(account.state_id)


def dashboard(member_id: str) -> JSONObject:
    """Return what a member sees of the account.

    :param member_id: the member.
    :raises StateNotFound: when there is no such member.
    """
    account = account_of(member_id)
    if account is None:
        raise StateNotFound(member_id)
    newest = select(LedgerEntry).where(LedgerEntry.account_id == account.id).order_by(LedgerEntry.id.desc())
    entries = [{"what": entry.kind, "amount": entry.amount} for entry in db.session.scalars(newest.limit(ENTRIES))]
    first = account.display_name.split()[0]
    return {
        "member": {"memberID": member_id, "firstname": first, "handle": account.login},
        "account": {"accountID": str(account.id), "balance": account.balance, "entries": entries},
    }


def offer(member_id: str, handle: str, amount: int, key: str) -> JSONObject:
    """Move credits from a member to another; the same key moves them once.

    :param member_id: who gives.
    :param handle: who gets.
    :param amount: how many credits.
    :param key: the caller's key for the request.
    :returns: what was done.
    :raises StateValidationError: when there is no such member, or it is the same one.
    :raises NotEnoughCreditsError: when the balance does not cover it.
    """
    giver, taker = account_of(member_id), db.session.scalar(select(Account).where(Account.login == handle))
    if giver is None or taker is None or giver.id == taker.id:
        raise StateValidationError({"to": [f"Nobody else has the handle {handle!r}."]})
    reference = f"offer_{_digest(key)[:24]}"
    action = {"id": reference, "amount": amount, "to": handle}
    if is_booked("offer", reference):
        return action
    try:
        with unit_of_work():
            # In the order of the accounts, so that two who give to each other do not wait for each other.
            for account, moved, kind in sorted(
                ((giver, -amount, "offer"), (taker, amount, "receipt")), key=lambda each: each[0].id
            ):
                book(account.id, moved, kind, reference)
    except IntegrityError:
        # The same request, by another process: it has moved them.
        return action
    return action


def new_code(member_id: str) -> str:
    """Return a code with which another channel joins the member's conversation, once.

    :param member_id: the member.
    :raises StorageError: when the storage fails.
    """
    code = f"{secrets.randbelow(10**6):06d}"
    state_manager.kv.set(f"link-code:{code}", {"member": member_id, "by": None}, ttl=CODE_TTL)
    return code


def take_code(code: str, channel: str) -> str:
    """Return whose code it is, which counts for no other channel then.

    :param code: six digits.
    :param channel: ``type:identifier`` of who has written it, remembered from now on.
    :raises StateValidationError: when it does not count.
    """
    name = f"link-code:{code}"
    given = state_manager.kv.get(name) if re.fullmatch(r"[0-9]{6}", code) else None
    # A request that is repeated finds the code taken by itself.
    if given is None or given["by"] not in (None, channel):
        raise StateValidationError(NO_CODE)
    if not state_manager.kv.compare_and_swap(name, given, {**given, "by": channel}):
        raise StateValidationError(NO_CODE)
    remember(channel, given["member"])
    return str(given["member"])


def remember(channel: str, member_id: str) -> None:
    """Remember who writes on a channel, so that a conversation that begins there knows it.

    :param channel: ``type:identifier``.
    :param member_id: the member.
    """
    state_manager.kv.set(f"chat-member:{_digest(channel)}", member_id, ttl=NUMBER_TTL)


def behind(channel_type: str, channel_id: str) -> str | None:
    """Return who writes on a channel, or None.

    :param channel_type: its type.
    :param channel_id: who is at the other end; a logged-in user of the chat page by the user's state.
    """
    if channel_type == "web" and account_of(channel_id) is not None:
        return channel_id
    found: str | None = state_manager.kv.get(f"chat-member:{_digest(f'{channel_type}:{channel_id}')}")
    return found if found is not None and account_of(found) is not None else None


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
