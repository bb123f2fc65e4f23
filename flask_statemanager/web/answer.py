"""Answers: what an operation returns, and how it is written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from flask import Response
from msgspec import Raw, Struct
from werkzeug.datastructures import Headers

JSON = "application/json"

_BEGINNING, _END = b'{"success":true,"data":', b"}"
_ALWAYS = (("Cache-Control", "private, no-cache"),)
_WITHOUT_BODY = frozenset((204, 304))


class _Complete(Response):
    """A response whose headers are as they are to be sent, so that nothing has to be looked for and put right."""

    def get_wsgi_headers(self, environ: Any) -> Headers:
        """Return the headers as they are.

        :param environ: not used.
        """
        return self.headers


class Answer(Struct, frozen=True):
    """What an operation came to.

    :param data: the JSON value of ``data``; a :class:`msgspec.Raw` is written as it is.
    :param status: the HTTP status.
    :param version: the version of what is shown, which becomes the ``ETag``; None for none.
    :param headers: further headers.
    :param links: URLs by relation, for ``Link`` (RFC 8288).
    :param media_type: what it is; where it is no JSON, ``data`` is the whole body as text.
    """

    data: Any
    status: int = 200
    version: int | None = None
    headers: Mapping[str, str] = {}
    links: Mapping[str, str] = {}
    media_type: str = JSON


def encoded(data: Any) -> bytes:
    """Write a JSON value, or take one that is written already.

    :param data: the value.
    """
    return bytes(data) if type(data) is Raw else orjson.dumps(data)


def enveloped(data: Any) -> bytes:
    """Write the body of a good answer.

    :param data: the JSON value of ``data``.
    """
    return _BEGINNING + encoded(data) + _END


def etag(version: int) -> str:
    """Write a version as a strong entity tag.

    :param version: the version.
    """
    return f'"{version}"'


def response(answer: Answer, request_id: str | None) -> Response:
    """Return the response to a request.

    :param answer: the answer.
    :param request_id: the request's id, to be sent back.
    """
    headers = [*_ALWAYS]
    if answer.version is not None:
        headers.append(("ETag", etag(answer.version)))
    if request_id is not None:
        headers.append(("X-Request-ID", request_id))
    if answer.links:
        headers.append(("Link", ", ".join(f'<{url}>; rel="{relation}"' for relation, url in answer.links.items())))
    headers += answer.headers.items()
    if answer.media_type != JSON:
        return Response(
            answer.data, answer.status, Headers(headers), content_type=f"{answer.media_type}; charset=utf-8"
        )
    if answer.status in _WITHOUT_BODY:
        return Response([], answer.status, Headers(headers))
    body = enveloped(answer.data)
    headers += (("Content-Type", JSON), ("Content-Length", str(len(body))))
    made = Response if answer.headers else _Complete
    # A list of one, with its length told, is sent as it is.
    return made([body], answer.status, Headers(headers))
