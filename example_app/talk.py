"""The steps of the check that talk: on the chat page, on the phone beside it, over the webhook."""

from __future__ import annotations

import json
import re

from .browser import Browser, Page
from .chat.whatsapp import PATH, SIGNATURE, delivery_of, signature_of
from .visit import Visit, expect, require, wait_for


class Talk(Visit):
    """A conversation with everything that may happen in one."""

    def chat_onboard(self) -> str:
        """Somebody unknown opens an account in the chat."""
        self._say(self.late, "hello", "Lars")
        page = self._say(self.guest, "hello")
        require("What is your first name?" in page.words, page.words[:400])
        page = self._say(self.guest, "Nele", "Neumann")
        found = re.search(r"Nele, your balance is (\d+) credits. Your handle is ([\w-]+)\.", page.words)
        require(found is not None and found[1] == "50", page.words[-600:])
        return f"handle {found[2]}, {found[1]} credits" if found else ""

    def chat_wrong(self) -> str:
        """Who is wrong three times in the chat comes back to the dashboard."""
        page = self._say(self.guest, "offer", "much", "-1", "1001")
        require("That was three times, so nothing was sent" in page.words, page.words[-900:])
        return "three attempts, then the branch for that"

    def chat_back(self) -> str:
        """A step of the chat is taken back, and what was confirmed is sent once."""
        page = self._say(self.guest, "offer", "5", "back", "6", "nobody-there", "yes", "7", "demo")
        require("Nobody else has the handle" in page.words, page.words[-1500:])
        form = page.form("/chat/say")
        answers = [self.guest.send(form, text="yes") for _ in range(3)]
        require("Done: 7 credits went to demo." in answers[0].words, answers[0].words[-900:])
        require("your balance is 43 credits" in answers[2].words, answers[2].words[-900:])
        return "6 taken for 5, 7 sent to demo, once although the form came three times"

    def chat_phone(self) -> str:
        """An offer that was begun in the chat goes on on the phone."""
        page = self._say(self.guest, "code")
        found = re.search(r"link (\d{6})", page.words)
        require(found is not None, page.words[-900:])
        code = found[1] if found else ""
        self._say(self.guest, "offer", "9")
        page = self._say(self.guest, f"link {code}", "demo", side="phone")
        require("Send 9 credits to demo?" in page.words, page.words[-900:])
        page = self._say(self.guest, "yes")
        require("Done: 9 credits went to demo." in page.words, page.words[-900:])
        return "begun on the page, handle from the phone, confirmed on the page"

    def chat_webhook(self) -> str:
        """The webhook takes what is signed, and each message once."""
        body = delivery_of("4915550100", "hello", "wamid.check")
        sent = json.loads(body)
        expect(self.program.call("POST", PATH[1:], sent, X_Hub_Signature_256="sha256=0"), 401)
        signed = {SIGNATURE.replace("-", "_"): signature_of(json.dumps(sent).encode(), self.secret)}
        answers = [expect(self.program.call("POST", PATH[1:], sent, **signed), 200).json for _ in range(3)]
        require(answers == [{"messages": 1}] * 3, str(answers))
        return "401 without a signature, 200 with one"

    def chat_timeout(self) -> str:
        """A conversation that was left alone is forgotten, and says so."""
        waited = wait_for(lambda: "No conversation is under way" in self._chat(self.late).words, "it is still there")
        page = self._say(self.late, "Lund")
        require("That took a while, so we begin again." in page.words, page.words[-900:])
        return f"begun anew after {waited:.1f} s more"

    def _chat(self, browser: Browser) -> Page:
        return expect(browser.get("chat/"), 200)

    def _say(self, browser: Browser, *texts: str, side: str = "say") -> Page:
        page = self._chat(browser)
        for text in texts:
            page = expect(browser.send(page.form(f"/chat/{side}"), text=text), 200)
        return page
