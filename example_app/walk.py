"""The steps of the check, each a method whose docstring is its title."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import click

from .talk import Talk
from .visit import expect, require, wait_for
from .walk_analytics import AnalyticsWalk
from .walk_live import LiveWalk
from .walk_manager import ManagerWalk


class Walk(AnalyticsWalk, LiveWalk, ManagerWalk, Talk):
    """The steps, in an order in which each finds what the one before left."""

    def all(self) -> int:
        """Take every step; one that fails does not keep the others from being taken.

        :returns: how many failed.
        """
        failed = 0
        for step in self._steps():
            title = (step.__doc__ or "").strip().partition("\n")[0].rstrip(".")
            try:
                seen = step()
            except Exception as error:  # noqa: BLE001 - whatever it is, the walk goes on and counts it
                failed += 1
                click.echo(f"  FAILED {title}: {error}")
            else:
                click.echo(f"  ok     {title}: {seen}")
        click.echo(f"{failed} of {len(self._steps())} steps failed." if failed else "Every step succeeded.")
        return failed

    def _steps(self) -> list[Callable[[], str]]:
        return [
            self.health, self.strangers, self.chat_onboard, self.log_in, self.register, self.pages, self.search,
            self.suspend, self.mail, self.conflict, self.resume, self.roll_back, self.suspend_for_a_while, self.buy,
            self.decline, self.deadline, self.refund, self.webhook, self.feature, self.dead_letter, self.prefer,
            self.switch, self.report, self.visits, self.too_often, self.api_reads, self.api_writes, self.problems,
            self.not_found, self.chat_wrong, self.chat_back, self.chat_phone, self.chat_webhook, self.chat_timeout,
            self.statistics, self.tracked, self.described, self.kept_apart, self.live, self.socket,
            self.managed, self.managed_state, self.managed_effect, self.managed_snapshot, self.analysed,
            self.log_out,
        ]  # fmt: skip

    def health(self) -> str:
        """The health check needs no token."""
        report = expect(self.visitor.get("api/health"), 200).json
        require(report["status"] == "healthy" and report["state_count"] > 50, str(report))
        return f"{report['status']}, {report['state_count']} states, cache {report['cache']}"

    def strangers(self) -> str:
        """Strangers are sent to the login, and programs without a token away."""
        page = expect(self.visitor.get("users/"), 200)
        require("/login" in page.url, page.url)
        expect(self.visitor.get("api/users"), 401)
        return "login page, and 401"

    def log_in(self) -> str:
        """Customer and operator log in, a wrong password does not."""
        form = expect(self.visitor.get("login"), 200).form("/login")
        expect(self.visitor.send(form, login="admin", password=self.password), 401)
        for login, browser in (("demo", self.customer), ("admin", self.operator)):
            page = browser.send(browser.get("login").form("/login"), login=login, password=self.logins[login][1])
            require(self.logins[login][0] in expect(page, 200).words, f"{login} sees {page.words[:100]}")
        return "Dora Demo sees her account, Ada Admin the dashboard"

    def register(self) -> str:
        """Somebody registers and verifies the address."""
        fields = {"login": "newcomer", "email": "newcomer@example.com", "display_name": "Nora Newcomer"}
        form = self.visitor.get("register").form("/register")
        page = expect(self.visitor.send(form, password=self.password, **fields), 200)
        link = re.search(r'id="verify" href="([^"]+)"', page.text)
        require(link is not None, "no verification link")
        assert link is not None
        page = expect(self.visitor.get(link[1]), 200)
        require("is verified, the account is active" in page.words, page.words[:200])
        found = self.program.get("api/users?email=newcomer@").json["items"]
        require(len(found) == 1 and found[0]["status"] == "active", str(found))
        self.newcomer = found[0]["state_id"]
        return f"{self.newcomer} is {found[0]['status']}, version {found[0]['version']}"

    def pages(self) -> str:
        """Every main page opens."""
        main = (
            "",
            "users/",
            "purchases/",
            "purchases/buy",
            "subscriptions/",
            "features/",
            "sessions/",
            "mails/",
            "keys/",
        )
        seen = [self._opened(path) for path in (*main, "machines/")]
        for kind in ("user", "purchase", "subscription", "feature", "session"):
            page = expect(self.operator.get(f"machines/{kind}"), 200)
            require("stateDiagram-v2" in page.text and "<svg" in page.text, "no diagram")
        for path in ("users/", "features/", "sessions/", "mails/", "keys/"):
            expect(self.customer.get(path), 403)
        return ", ".join(seen)

    def search(self) -> str:
        """Users are searched, and paged through without a gap."""
        active = self.operator.get("users/?status=active").words
        found = re.search(r"(\d+) found", active)
        ids, path, total = [], "api/users?size=9", -1
        while path:
            answer = expect(self.program.get(path), 200).json
            ids += [state["state_id"] for state in answer["items"]]
            path, total = answer["next"] or "", answer["total"]
        require(len(ids) == len(set(ids)) == total, f"{len(ids)} ids, {total} in all")
        require(found is not None and 0 < int(found[1]) < len(ids), active[:200])
        return f"{found[1] if found else 0} of {len(ids)} are active"

    def suspend(self) -> str:
        """The operator suspends a user, who gets a notice and is logged out everywhere."""
        form = self.visitor.get("login").form("/login")
        expect(self.visitor.send(form, login="newcomer", password=self.password), 200)
        page = self._press(self._user(), "suspend", reason="chargeback")
        require("suspended" in page.words and "Your account was suspended: chargeback" in page.words, page.words[:300])
        require("/login" in self.visitor.get("purchases/").url, "the suspended user is still logged in")
        return "suspended with reason and notice, the session ended"

    def mail(self) -> str:
        """A worker sends the mail about it, once, and the operator sees its key."""
        key = f"state:{self.newcomer}:3:suspension-mail"
        waited = wait_for(lambda: key in self._user().words, "the worker has not sent the mail")
        page = expect(self.operator.get("mails/"), 200)
        require(page.text.count(key) == 1, f"{page.text.count(key)} mails with the key {key}")
        require("0 due now, 0 dead; worker alive" in page.words, page.words[:600])
        return f"{key} after {waited:.1f} s"

    def conflict(self) -> str:
        """A form from an old page gets a conflict and overwrites nothing."""
        old = self._user().form("/transition", "resume")
        self._press(self._user(), "resume", reason="cleared")
        page = expect(self.operator.send(old, transition="suspend", reason="too late"), 409)
        require("Somebody else was faster" in page.words, page.words[:200])
        require("too late" not in self._user().words, "the old page has written")
        return "409, Somebody else was faster"

    def resume(self) -> str:
        """The user is active again, and resuming twice is refused."""
        body = {"transition": "resume"}
        answer = expect(self.program.call("POST", f"api/users/{self.newcomer}/transitions", body), 409).json
        require(answer["status_now"] == "active" and "suspend" in answer["allowed"], str(answer))
        return f"{answer['title']}, allowed are {', '.join(answer['allowed'])}"

    def roll_back(self) -> str:
        """The history shows every change, and going back appends one."""
        page = self._user()
        before = [entry["transition_type"] for entry in self._history()]
        form = next(form for form in page.forms() if form.fields.get("to_version") == "3")
        expect(self.operator.send(form), 200)
        after = self._history()
        require(len(after) == len(before) + 1 and after[-1]["transition_type"] == "rollback", str(after[-1]))
        require(after[-1]["to_status"] == "suspended", str(after[-1]))
        self._press(self._user(), "resume", reason="after the test")
        return f"{', '.join(before)}, then rollback to version 3"

    def suspend_for_a_while(self) -> str:
        """A suspension for some time ends by itself, and one that is ended by hand leaves no timer behind."""
        page = self._press(self._user(), "suspend", reason="for a day", hours="24")
        require("by itself" in page.words and "the suspension is over" in page.words, page.words[:600])
        page = self._press(page, "resume", reason="sooner")
        require("by itself" not in page.words, "the timer is still there")
        self._press(page, "suspend", reason="for a second", hours="0.0003")
        waited = wait_for(lambda: "by itself" not in self._user().words, "the suspension has not ended")
        last = self._history()[-1]
        require((last["to_status"], last["source"]) == ("active", "timer"), str(last))
        return f"active again after {waited:.1f} s, by a timer"

    def buy(self) -> str:
        """Buying credits moves the balance with the purchase."""
        before = self._balance()
        page = self._buy("4242")
        require("The purchase is completed" in page.words and "In the ledger" in page.words, page.words[:300])
        gained = self._balance() - before
        require(gained in (100, 110), f"{gained} credits")
        return f"the balance went from {before} to {before + gained}"

    def decline(self) -> str:
        """A declined card moves nothing, a slow one waits for the operator."""
        before = self._balance()
        require("The purchase is failed" in self._buy("0002").words, "the card was not declined")
        waiting = self._buy("0341")
        require("The purchase is pending" in waiting.words and self._balance() == before, "it did not wait")
        page = self._press(self.operator.get(waiting.url), "complete")
        require("completed" in page.words and self._balance() > before, "it was not completed")
        return "failed with card_declined; pending, then completed by hand"

    def deadline(self) -> str:
        """A payment that does not arrive is given up after a quarter of an hour, and its page says so."""
        page = self._buy("0341")
        require("expire, because pending may not last longer" in page.words, page.words[:600])
        page = self._press(self.operator.get(page.url), "expire", reason="not waiting for it")
        require("expired" in page.words and "by itself" not in page.words, page.words[:600])
        return "it would expire by itself"

    def webhook(self) -> str:
        """The payment provider's message counts once, however often it comes; another one needs another key."""
        waiting = self._buy("0341").url.rpartition("/")[2]
        before = self._balance()
        body = {"purchase_id": waiting, "outcome": "charged", "reference": "evt_1", "at": "2026-01-31T12:00:00Z"}
        send = partial(self.program.call, "POST", "api/payments/webhook")
        expect(send(body), 400)
        answers = [expect(send(body, Idempotency_Key="evt_1"), 200).json for _ in range(3)]
        require(answers[0]["status"] == "completed" and answers[0] == answers[1] == answers[2], str(answers))
        gained = self._balance() - before
        require(gained in (100, 110), f"{gained} credits")
        expect(send({**body, "reference": "evt_2"}, Idempotency_Key="evt_1"), 422)
        return f"three equal answers, {gained} credits; 422 for another message under the same key"

    def refund(self) -> str:
        """The operator refunds a purchase, once."""
        purchase = self._buy("4242").url
        before = self._balance()
        page = self._press(self.operator.get(purchase), "refund", reason="customer request")
        require("refunded" in page.words and self._balance() < before, page.words[:300])
        require(not any("refund" in form.buttons for form in page.forms()), "it could be refunded again")
        return f"the balance went from {before} to {self._balance()}"

    def feature(self) -> str:
        """A feature is rolled out, within its limits."""
        page = expect(self.operator.get("features/feature_bonus_credits"), 200)
        page = expect(self.operator.send(page.form("/rollout"), rollout="100", reason="for everybody"), 200)
        require("Rollout: 100 percent" in page.words, page.words[:200])
        expect(self.operator.send(page.form("/rollout"), rollout="101"), 422)
        return "100 percent, and 101 refused with 422"

    def dead_letter(self) -> str:
        """A mail that cannot be sent becomes a dead letter, which the operator discards."""
        fields = {"login": "gone", "email": "gone@bounces.example.com", "display_name": "G. Gone"}
        state_id = expect(self.program.call("POST", "api/users", fields), 201).json["state_id"]
        expect(self.program.call("POST", f"api/users/{state_id}/transitions", {"transition": "suspend"}), 200)
        wait_for(lambda: "0 due now, 1 dead" in self.operator.get("mails/").words, "there is no dead letter")
        page = self.operator.get("mails/")
        require(f"state:{state_id}:2:suspension-mail dead" in page.words, page.words[:600])
        form = page.form("/retry")
        page = expect(self.operator.send(replace(form, action=form.action.replace("/retry", "/discard"))), 200)
        require("is given up" in page.words and "0 dead" in page.words, page.words[:600])
        return "dead after one attempt, then discarded"

    def prefer(self) -> str:
        """The customer chooses a theme, which every page has from then on."""
        form = expect(self.customer.get("preferences/"), 200).form("/preferences/")
        page = expect(self.customer.send(form, theme="dark", language="de", notices="on"), 200)
        require('data-theme="dark"' in page.text and "are saved" in page.words, page.words[:200])
        require('data-theme="dark"' in self.customer.get("purchases/").text, "another page is light")
        return "dark, in German, with notices"

    def switch(self) -> str:
        """The operator closes registration and opens it again; a page from before cannot throw the switch."""
        page = expect(self.operator.get("keys/"), 200)
        old = page.form("/switches/registration", "off")
        page = expect(self.operator.send(old, to="off", reason="robots"), 200)
        require("Registration is off" in page.words and "switch:registration" in page.words, page.words[:300])
        expect(self.visitor.get("register"), 503)
        expect(self.operator.send(old, to="off"), 409)
        expect(self.operator.send(page.form("/switches/registration", "on"), to="on"), 200)
        expect(self.visitor.get("register"), 200)
        return "503 while it is off, 409 for the old page"

    def report(self) -> str:
        """The operator makes a report, by a lease."""
        form = expect(self.operator.get("keys/"), 200).form("/report")
        page = expect(self.operator.send(form), 200)
        found = re.search(r"([\d,]+) active users", page.words)
        require(found is not None and "Report of" in page.words, page.words[:300])
        return found[0] if found else ""

    def visits(self) -> str:
        """The dashboard counts visits."""
        seen = [re.search(r"Visits today ([\d,]+)", self.operator.get("").words) for _ in range(2)]
        counts = [int(found[1].replace(",", "")) for found in seen if found is not None]
        require(len(counts) == 2 and 0 < counts[0] < counts[1], str(counts))
        return f"{counts[1]} so far"

    def too_often(self) -> str:
        """Who guesses passwords has to wait."""
        form = expect(self.visitor.get("login"), 200).form("/login")
        codes = [self.visitor.send(form, login="nobody", password=self.password).code for _ in range(11)]
        require(codes == [401] * 10 + [429], str(codes))
        return "429 at the eleventh attempt"

    def api_reads(self) -> str:
        """The JSON endpoints answer."""
        totals = [
            f"{expect(self.program.get(f'api/{name}'), 200).json['total']} {name}"
            for name in ("users", "purchases", "subscriptions", "features")
        ]
        newest = expect(self.program.get("api/changes?limit=3"), 200).json["items"]
        require(len(newest) == 3 and newest[0]["revision"] > newest[1]["revision"], str(newest))
        return ", ".join(totals)

    def api_writes(self) -> str:
        """The JSON endpoints write, and refuse an old version."""
        order = {"user_id": self.newcomer, "package": "plus", "card": "4242"}
        done = expect(self.program.call("POST", "api/purchases", order), 201).json
        body = {"rollout": 42, "expect": 1}
        answer = expect(self.program.call("PATCH", "api/features/feature_dark_receipts", body), 409).json
        return f"{done['state_id']} is {done['status']}; expected 1, actual {answer['actual']}"

    def problems(self) -> str:
        """Bad input is refused field by field, a form without its token altogether."""
        body = {"login": "x", "email": "no address", "display_name": "X"}
        answer = expect(self.program.call("POST", "api/users", body), 422).json
        form = self._user().form("/transition")
        form.fields.pop("csrf_token")
        expect(self.operator.send(form, transition="suspend"), 400)
        return f"{', '.join(answer['errors'])}; 400 without token"

    def not_found(self) -> str:
        """What does not exist is not found, for people and programs."""
        for path in ("users/user_999999", "users/%20", "nowhere", "machines/nothing", "purchases/user_1"):
            require("404" in expect(self.operator.get(path), 404).words, path)
        answer = expect(self.program.get("api/users/user_999999"), 404).json
        return f"404, {answer['title']}"

    def log_out(self) -> str:
        """Logging out ends the session."""
        expect(self.customer.send(self.customer.get("purchases/").form("/logout")), 200)
        require("/login" in self.customer.get("purchases/").url, "still logged in")
        return "the login page"
