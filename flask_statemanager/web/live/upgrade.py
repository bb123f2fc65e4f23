"""The opening of a WebSocket (RFC 6455, section 4.2): is it one, and may the page that asks for it."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any

from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, Request
from wsproto.utilities import RemoteProtocolError

PROTOCOL = "statemanager.v1"
"""The subprotocol of the messages; naming it is up to the client."""

TOKEN = "statemanager.token."  # noqa: S105 - the beginning of what a client offers
"""What an offer begins with that holds a token, in base64url without padding: a browser cannot send headers."""


class Upgrade:
    """One client's wish to speak WebSocket.

    :param environ: the WSGI environment.
    :raises ValueError: when the request is none that can be answered so.
    """

    def __init__(self, environ: Mapping[str, Any]) -> None:
        self._connection = WSConnection(ConnectionType.SERVER)
        headers = [
            (name[5:].replace("_", "-").encode("ascii"), str(value).encode("latin-1"))
            for name, value in environ.items()
            if name.startswith("HTTP_")
        ]
        try:
            self._connection.initiate_upgrade_connection(headers, "/")
            request = next(self._connection.events())
        except RemoteProtocolError as error:
            raise ValueError(str(error)) from error
        assert isinstance(request, Request)
        self._offered = request.subprotocols

    def accept(self) -> tuple[WSConnection, bytes]:
        """Return the connection, and what opens it.

        It has no extensions, as compression would make a frame another one for each client.
        """
        subprotocol = PROTOCOL if PROTOCOL in self._offered else None
        return self._connection, self._connection.send(AcceptConnection(subprotocol=subprotocol))


def token_offered(offers: str) -> str | None:
    """Return the token among the subprotocols that a client offers, or None.

    :param offers: the header ``Sec-WebSocket-Protocol``.
    """
    for offer in map(str.strip, offers.split(",")):
        if offer.startswith(TOKEN):
            encoded = offer.removeprefix(TOKEN)
            try:
                return base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode("ascii")
            except (binascii.Error, ValueError):
                return None
    return None


def is_welcome(origin: str | None, host: str, origins: Sequence[str]) -> bool:
    """Tell whether a page may open a WebSocket here, for which browsers ask nobody.

    :param origin: the header ``Origin``; None from what is no browser.
    :param host: the host, with its port if need be, that was asked for; pages from there may.
    :param origins: which others may, such as ``https://app.example.com``; ``*`` is any.
    """
    if origin is None or "*" in origins:
        return True
    lower = origin.strip().lower()
    # A proxy that ends TLS leaves the host as it is, but not the scheme.
    own = {f"http://{host.lower()}", f"https://{host.lower()}"}
    return lower in own or lower in {each.strip().lower().rstrip("/") for each in origins}
