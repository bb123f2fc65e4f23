"""Sending: everything into the table that the chat page shows; on WhatsApp also to its API, where there is one."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from urllib.request import Request, urlopen

from flask import current_app
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from flask_statemanager.flows import Message, Messaging

from ..clock import clock
from ..extensions import db, state_manager
from ..models import ChatMessage

TIMEOUT = 10.0
"""Seconds to wait for the API of WhatsApp."""

SHOWN = 40


class ChatMessaging(Messaging):
    """Writes each message into a table once, whatever is sent again with the same key."""

    def send(self, message: Message) -> None:
        """Send a message.

        :param message: the message.
        :raises OSError: when the API of WhatsApp cannot be reached, or refuses.
        """
        url = current_app.config["WHATSAPP_URL"]
        if message.channel.type == "whatsapp" and url is not None:
            post(url, message)
        keep(message.channel.type, message.channel.identifier, text_of(message.body), key=message.key)


def post(url: str, message: Message) -> None:
    """Send a message by the Cloud API of WhatsApp.

    :param url: ``https://graph.facebook.com/<version>/<phone number id>/messages``.
    :param message: the message; its key goes along, so that a repetition can be told.
    :raises OSError: when it cannot be sent.
    """
    body = {
        "messaging_product": "whatsapp",
        "to": message.channel.identifier,
        "type": "text",
        "text": {"body": text_of(message.body)},
        "biz_opaque_callback_data": message.key,
    }
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {current_app.config['WHATSAPP_TOKEN']}"}
    request = Request(url, json.dumps(body).encode(), headers, method="POST")  # noqa: S310 - the operator's own setting
    with urlopen(request, timeout=TIMEOUT):  # noqa: S310
        pass


def keep(channel_type: str, channel_id: str, text: str, *, key: str | None, mine: bool = False) -> None:
    """Write a message into the table, in a transaction of its own.

    :param channel_type: the channel's type.
    :param channel_id: who is at the other end.
    :param text: what is said.
    :param key: a message of this key is there once.
    :param mine: whether the user has said it.
    """
    line = ChatMessage(
        channel=f"{channel_type}:{channel_id}", key=key, mine=mine, text=text[:2000], created_at=clock.now()
    )
    with Session(db.engine) as session:
        session.add(line)
        try:
            session.commit()
        except IntegrityError:
            session.rollback()


def transcript(channel_type: str, channel_id: str) -> list[ChatMessage]:
    """Return what was said on a channel in the last day, the newest at the end.

    :param channel_type: the channel's type.
    :param channel_id: who is at the other end.
    """
    since = clock.now() - timedelta(days=1)
    found = (
        select(ChatMessage)
        .where(ChatMessage.channel == f"{channel_type}:{channel_id}", ChatMessage.created_at > since)
        .order_by(ChatMessage.id.desc())
        .limit(SHOWN)
    )
    return list(reversed(db.session.scalars(found).all()))


def text_of(body: Any) -> str:
    """Return the text of a message.

    :param body: text, or an object with ``text``.
    """
    return str(body.get("text", "")) if isinstance(body, dict) else str(body)


state_manager.flows.use_messaging(ChatMessaging())
