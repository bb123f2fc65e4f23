"""The frame: what stands between Flask and the functions of the pages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any

from flask import Request, Response, current_app, render_template, request, stream_with_context, url_for
from msgspec.structs import replace
from werkzeug.exceptions import HTTPException, LengthRequired, RequestEntityTooLarge
from werkzeug.http import dump_options_header

from ..errors import StateManagerError, StateValidationError
from ..runtime import Runtime
from ..security.identity import Identity
from ..tracking.refusals import FORBIDDEN, RATE, UNKNOWN
from ..web.identity import from_own_site
from ..web.problems import INTERNAL, TOO_MANY_REQUESTS, problem_of
from . import wording
from .answers import FOLDER, Answer, Done, Download, Shown
from .entrance import PERMISSION, Entrance, is_below
from .page import Act, Page, Pages, filled
from .rate import Rate
from .tokens import FIELD, Tokens
from .visit import BLUEPRINT, NO_QUERY, SOURCE, Refusal, Visit

CONFIRMED = "confirmed"
"""The form field that says that a question was answered."""

FORM = 2**16
"""Bytes of a form beside the largest document in it."""

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
"""What a page may load: the own stylesheet and script, and nothing inline (Content Security Policy)."""

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Not "no-referrer": with that browsers send "Origin: null" with forms, and Flask-WTF looks for the referrer.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

_ASKED = f"{BLUEPRINT}.asked"
"""In the environment of a request: whether it was asked who it is."""

_STALE = "This form was open for too long, or is of another login: look over what is typed here and send it again."


class Frame:
    """Lets in who may, calls the functions of pages and acts, and writes their answers.

    :param runtime: the app's running parts.
    :param groups: all pages, in the order of the navigation.
    """

    def __init__(self, runtime: Runtime, groups: Iterable[Pages]) -> None:
        self._runtime = runtime
        self._groups = tuple(groups)
        self._entrance = Entrance(runtime)
        self._tokens = Tokens(runtime.settings.admin_prefix)
        self._rate = Rate(runtime)

    # -- who asks --------------------------------------------------------------------------------------------------

    def admit(self) -> Response | None:
        """Let in who may; called before everything else below the prefix.

        :returns: None, or the page that says who may not.
        :raises ConfigurationError: when it cannot be found out who asks.
        """
        runtime = self._runtime
        if not runtime.completed:
            runtime.complete(current_app.extensions)
        request.environ[_ASKED] = True
        identity = self._entrance.identify(request)
        if identity is None or PERMISSION not in identity.permissions:
            user = None if identity is None else identity.user
            self._note(UNKNOWN if identity is None else FORBIDDEN, user)
            return self._closed(401 if identity is None else 403)
        if runtime.tracking.enabled:
            runtime.tracking.name_user(identity.user)
        request.environ[BLUEPRINT] = identity
        self._bound()
        return None

    def _bound(self) -> None:
        """Have a form be as large as the largest document needs, each of its characters three, and no larger."""
        most = 3 * self._runtime.settings.max_value_bytes + FORM
        if request.content_length is None and "Transfer-Encoding" in request.headers:
            raise LengthRequired("How long a form is has to be said before it is sent, as browsers do.")
        if request.content_length is not None and request.content_length > most:
            raise RequestEntityTooLarge("The form is larger than any document may be: store less, or a reference.")
        # Some versions of Werkzeug give up at half a megabyte.
        request.max_form_memory_size = most

    def _note(self, kind: str, user: str | None, why: str | None = None) -> None:
        """Take a refusal down for operators."""
        self._runtime.refusals.note(kind, SOURCE, request.endpoint, who=user, why=why, address=request.remote_addr)

    def _closed(self, status: int) -> Response:
        """Tell that nothing is to be seen here, the same at every path."""
        text = render_template(
            f"{FOLDER}/closed.html", status=status, login_url=self._entrance.login_url(request), style=_style()
        )
        response = Response(text, status, content_type="text/html; charset=utf-8")
        if status == 401:
            response.headers["WWW-Authenticate"] = "Bearer"
        return secured(response)

    def _visit(self, identity: Identity, asked: Request) -> Visit:
        form = asked.form if asked.method == "POST" else {}
        lists = asked.form.lists() if asked.method == "POST" else ()
        return Visit(
            self._runtime,
            identity,
            query={name: value for name, value in asked.args.items() if name not in NO_QUERY},
            form={name: value for name, value in form.items() if name != FIELD},
            several={name: tuple(values) for name, values in lists if len(values) > 1},
            told=self._tokens.told(asked, identity.user) if asked.method == "GET" else None,
        )

    # -- pages and acts --------------------------------------------------------------------------------------------

    def show(self, page: Page, arguments: Mapping[str, str]) -> Response:
        """Answer with a page.

        :param page: the page.
        :param arguments: those of its path.
        :raises StateManagerError: whatever is to become an error page.
        """
        visit = self._visit(request.environ[BLUEPRINT], request)
        return self._written(visit, page.name, page.function(visit, **arguments))

    def act(self, act: Act, arguments: Mapping[str, str]) -> Response:
        """Do something, or show the page that it came from with why not.

        :param act: the act.
        :param arguments: those of its path.
        :raises StateManagerError: when a page of another site asks for it.
        :raises ConfigurationError: when the app is set up in a way that cannot work.
        """
        visit = self._visit(request.environ[BLUEPRINT], request)
        if not from_own_site(request):
            self._note(FORBIDDEN, visit.identity.user, "a page of another site asked")
            return self.failed(403, "A page of another site asked for this, and nothing was done.")
        if not self._tokens.fits(request, visit.identity.user):
            return self._refused(visit, act, arguments, Refusal(_STALE), 403)
        if act.asks(visit.form) and CONFIRMED not in visit.form:
            return self._asked(visit, act, arguments)
        try:
            self._rate.spend(visit.identity.user)
            seeing = visit if act.reveals is None else visit.revealing(filled(act.reveals, arguments))
            answer = act.function(seeing, **arguments)
        except StateManagerError as error:
            return self._problem(visit, act, arguments, error)
        return self._written(seeing, act.page.name, answer)

    def _problem(self, visit: Visit, act: Act, arguments: Mapping[str, str], error: StateManagerError) -> Response:
        problem = problem_of(error)
        if problem.kind is INTERNAL:
            raise error
        if problem.kind is TOO_MANY_REQUESTS:
            self._note(RATE, visit.identity.user)
        fields = error.errors if isinstance(error, StateValidationError) else {}
        response = self._refused(visit, act, arguments, Refusal(problem.detail, fields), problem.kind.status)
        response.headers.update(problem.headers)
        return response

    def _refused(self, visit: Visit, act: Act, arguments: Mapping[str, str], refusal: Refusal, status: int) -> Response:
        """Show the page that an act came from, with what was typed; where it cannot be shown, the sentence and that."""
        own = {name: value for name, value in arguments.items() if name in act.page.arguments}
        try:
            answer = act.page.function(replace(visit, refusal=refusal), **own)
        except StateManagerError:
            return self._written(visit, act.page.name, _unsent(visit, act, arguments, refusal.sentence, status))
        if isinstance(answer, Shown):
            answer = replace(answer, status=status)
        return self._written(replace(visit, refusal=refusal), act.page.name, answer)

    def _asked(self, visit: Visit, act: Act, arguments: Mapping[str, str]) -> Response:
        """Ask whether something is to be done that cannot be undone; the answer posts the same form again."""
        own = {name: value for name, value in arguments.items() if name in act.page.arguments}
        values = {
            "question": filled(act.destructive or "", {**visit.form, **arguments}),
            **_again(visit, act, arguments),
            "back": visit.url(act.page.name, **{**visit.query, **own}),
        }
        return self._written(visit, act.page.name, Shown("confirm.html", values))

    # -- answers ---------------------------------------------------------------------------------------------------

    def _written(self, visit: Visit, here: str, answer: Answer) -> Response:
        if isinstance(answer, Done):
            return self._done(visit, answer)
        if isinstance(answer, Download):
            return _download(answer)
        nonce = self._tokens.nonce(request)
        token = self._tokens.issue(nonce, visit.identity.user)
        response = self._page(answer, {"visit": visit, "here": here, "token": token})
        self._tokens.remember(response, nonce)
        self._tokens.forget(response)
        return response

    def _page(self, answer: Shown, values: Mapping[str, Any]) -> Response:
        common = {"wording": wording, "groups": self._groups, "style": _style(), "script": _static("admin.js")}
        text = render_template(answer.path, **answer.values, **common, **values)
        # What was typed and refused is shown again, though it may be no text that can be sent (lone surrogates).
        body = text.encode("utf-8", "backslashreplace")
        return secured(Response(body, answer.status, content_type="text/html; charset=utf-8"))

    def _done(self, visit: Visit, answer: Done) -> Response:
        home = visit.url(self._groups[0].entry.name)
        to = answer.to if is_below(answer.to, home) else home
        response = Response(status=303, headers={"Location": to})
        self._tokens.tell(response, answer.message, visit.identity.user)
        return secured(response)

    # -- errors ----------------------------------------------------------------------------------------------------

    def error(self, error: Exception) -> Response:
        """Answer an error of this package or of Werkzeug's.

        :param error: the error.
        :raises Exception: the error itself, where Flask is to log it, and to show it to a developer in debug mode.
        """
        given = getattr(error, "response", None)
        if given is not None and given.status_code < 400:
            redirect: Response = given
            return redirect
        problem = problem_of(error)
        if problem.kind is INTERNAL and not isinstance(error, HTTPException):
            raise error
        response = self.failed(problem.kind.status, problem.detail)
        response.headers.update({name: value for name, value in problem.headers.items() if name not in HEADERS})
        return response

    def failed(self, status: int, sentence: str) -> Response:
        """Answer with a page that says what is wrong; to whoever may see nothing, only that.

        :param status: the HTTP status.
        :param sentence: what is wrong.
        """
        if _ASKED not in request.environ:
            # A hook of the application has refused before, such as one that looks for a form's token of its own.
            closed = self.admit()
            if closed is not None:
                return closed
        identity: Identity | None = request.environ.get(BLUEPRINT)
        if identity is None:
            return self._closed(status if status >= 500 else 401)
        values = {"visit": Visit(self._runtime, identity), "here": None, "token": ""}
        return self._page(Shown("error.html", {"sentence": sentence}, status), {**values, "status": status})


def _again(visit: Visit, act: Act, arguments: Mapping[str, str]) -> dict[str, Any]:
    """Return what a form needs to send the same once more."""
    fields = [(name, value) for name in visit.form for value in visit.chosen(name)]
    return {"fields": fields, "action": visit.url(act.name, **{**visit.query, **arguments})}


def _unsent(visit: Visit, act: Act, arguments: Mapping[str, str], sentence: str, status: int) -> Shown:
    """Return a page with what was typed, which can be sent again where only the server was at fault."""
    values = {"sentence": sentence, "status": status, "again": status >= 500, **_again(visit, act, arguments)}
    return Shown("unsent.html", values, status)


def secured(response: Response) -> Response:
    """Add the headers that keep a page from others.

    :param response: the response.
    """
    response.headers.update(HEADERS)
    response.vary.add("Cookie")
    return response


def _download(answer: Download) -> Response:
    lines = iter(answer.lines)
    # What fails at once does so before the file has begun, and is told on a page.
    first = tuple(islice(lines, 1))
    parts = stream_with_context(_encoded(chain(first, lines)))
    response = Response(parts, content_type=f"{answer.media_type}; charset=utf-8")
    response.headers["Content-Disposition"] = dump_options_header("attachment", {"filename": answer.name})
    return secured(response)


def _encoded(lines: Iterable[str | bytes]) -> Iterator[bytes]:
    for line in lines:
        yield line.encode("utf-8", "backslashreplace") if isinstance(line, str) else line


def _static(name: str) -> str:
    return url_for(f"{BLUEPRINT}.static", filename=name)


def _style() -> str:
    return _static("admin.css")
