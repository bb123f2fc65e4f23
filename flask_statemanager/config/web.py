"""The settings of the API."""

from __future__ import annotations

from .access import Roles, Token, a_url_prefix, some_buckets, some_origins, some_roles, some_tokens
from .declared import declared
from .live import LiveSettings
from .values import a_flag, one_of, some_bytes


class WebSettings(LiveSettings):
    """The settings of the API; they are a part of :class:`~flask_statemanager.config.Settings`."""

    api_enabled: bool = declared(
        a_flag, False, "Whether the app answers at ``STATEMANAGER_API_PREFIX`` (the extra ``web``): :doc:`rest`."
    )
    api_prefix: str = declared(a_url_prefix, "/api/v1/state", "The path that the URLs of the API begin with.")
    api_docs: str = declared(
        one_of("read", "public", "off"),
        "read",
        "Who sees the OpenAPI document at ``openapi.json`` and its page at ``docs``: whoever may ``read``, everybody "
        "(``public``), or nobody (``off``).",
    )
    api_tokens: tuple[Token, ...] = declared(
        some_tokens,
        (),
        'Bearer tokens, kept as hashes: ``{"<SHA-256 in hexadecimal>": {"user": "ada", "roles": ["admin"]}}``. '
        "``flask state token`` makes one. A hash can also be written as ``sha256:…`` or ``sha512:…``.",
        secret=True,
    )
    api_roles: Roles | None = declared(
        some_roles,
        None,
        'Which roles may ``read``, ``write``, and ``admin`` (snapshots): ``{"write": ["admin", "service"]}``; '
        '``"*"`` stands for whoever is known. Default, also for a permission that is left out: whoever is '
        "known reads, the role ``admin`` does the rest.",
    )
    api_buckets: frozenset[str] | None = declared(
        some_buckets, None, "The buckets that the API shows. Default: all that are declared."
    )
    api_origins: frozenset[str] = declared(
        some_origins,
        frozenset(),
        "Origins other than its own from whose pages a browser may write with its cookies, such as "
        "``https://app.example.com``. A bearer token needs none of this.",
    )
    api_require_match: bool = declared(
        a_flag,
        False,
        "Whether ``PUT``, ``PATCH`` and ``DELETE`` of keys and states need ``If-Match`` or ``If-None-Match``; "
        "without it is 428 then.",
    )
    api_max_body: int = declared(some_bytes, 4 * 2**20, "The most bytes of a request's body.")
