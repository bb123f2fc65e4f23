"""A webhook in the shape of WhatsApp's, and a client that sends to it: ``python -m example_app.chat.whatsapp``.

Meta signs each delivery with the application's secret: ``X-Hub-Signature-256: sha256=…``, an HMAC-SHA256 of the body.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import json
import os
import re
import secrets
import time
from collections.abc import Iterator
from typing import Any
from urllib.request import Request, urlopen

import click
from msgspec import Struct

SIGNATURE = "X-Hub-Signature-256"
PATH = "/webhooks/whatsapp"
NUMBER, NAME = re.compile(r"\+?[0-9]{1,20}"), re.compile(r"[!-~]{1,240}")
UNFIT = re.compile("[\0\ud800-\udfff]")
"""Characters that no database takes."""


class Incoming(Struct, frozen=True):
    """A message that was delivered.

    :param number: who has sent it.
    :param message_id: WhatsApp's name for it; a repetition has the same.
    :param text: what it says; empty for what is no text.
    """

    number: str
    message_id: str
    text: str


def signature_of(body: bytes, secret: str) -> str:
    """Return the header's value for a body.

    :param body: the request's body, as it is sent.
    :param secret: the application's secret.
    """
    return f"sha256={hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}"


def is_signed(body: bytes, secret: str, given: str | None) -> bool:
    """Tell whether a delivery is WhatsApp's.

    :param body: the request's body, as it came.
    :param secret: the application's secret.
    :param given: the header's value.
    """
    return hmac.compare_digest((given or "").encode(), signature_of(body, secret).encode())


def messages_in(delivery: Any) -> Iterator[Incoming]:
    """Yield the messages of a delivery; what else it tells, for example that something was read, is passed over.

    So is a message that cannot be kept: refused, the whole delivery would come again and again.

    :param delivery: the body as JSON.
    """
    for entry in _list(delivery, "entry"):
        for change in _list(entry, "changes"):
            for message in _list(change.get("value"), "messages"):
                found = _incoming(message)
                if found is not None:
                    yield found


def _incoming(message: dict[str, Any]) -> Incoming | None:
    number, name, text = message.get("from"), message.get("id"), message.get("text")
    if not (_fits(NUMBER, number) and _fits(NAME, name)):
        return None
    body = text.get("body") if isinstance(text, dict) else ""
    return Incoming(str(number), str(name), UNFIT.sub("", str(body or "")))


def delivery_of(number: str, text: str, message_id: str | None = None) -> bytes:
    """Return the body of a delivery, as WhatsApp sends it.

    :param number: who writes.
    :param text: what.
    :param message_id: the name of the message; a new one by default.
    """
    message = {
        "from": number,
        "id": message_id or f"wamid.{secrets.token_hex(16)}",
        "timestamp": str(int(time.time())),
        "type": "text",
        "text": {"body": text},
    }
    value = {
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550100", "phone_number_id": "1"},
        "contacts": [{"wa_id": number, "profile": {"name": number}}],
        "messages": [message],
    }
    entry = {"id": "0", "changes": [{"field": "messages", "value": value}]}
    return json.dumps({"object": "whatsapp_business_account", "entry": [entry]}).encode()


def _fits(pattern: re.Pattern[str], found: Any) -> bool:
    return isinstance(found, str) and pattern.fullmatch(found) is not None


def _list(found: Any, name: str) -> list[Any]:
    inside = found.get(name) if isinstance(found, dict) else None
    return [each for each in inside if isinstance(each, dict)] if isinstance(inside, list) else []


def main(arguments: list[str] | None = None) -> int:
    """Send a message to a running application, as WhatsApp would.

    :param arguments: the command line, without the program's name.
    :returns: the exit status.
    """
    parser = argparse.ArgumentParser(prog="python -m example_app.chat.whatsapp", description="Write as a phone does.")
    parser.add_argument("text", help="what to write")
    parser.add_argument("--number", default="263771234567", help="whose phone it is")
    parser.add_argument("--url", default="http://127.0.0.1:5000", help="where the application runs")
    parser.add_argument("--id", default=None, help="the message's id, to send the same one again")
    asked = parser.parse_args(arguments)
    body = delivery_of(asked.number, asked.text, asked.id)
    headers = {"Content-Type": "application/json", SIGNATURE: signature_of(body, os.environ["CREDIT_WHATSAPP_SECRET"])}
    request = Request(f"{asked.url}{PATH}", body, headers, method="POST")  # noqa: S310 - what was typed
    with urlopen(request, timeout=30) as answer:  # noqa: S310
        click.echo(f"{answer.status} {answer.read().decode()}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
