"""The components, each with one responsibility: to show, to validate, to call, to have confirmed."""

from __future__ import annotations

import re
from typing import Any

from flask_statemanager.flows import ApiComponent, ConfirmBase, DisplayComponent, InputComponent, ValidationResult

from .service import handle_api_response, make_api_request

MOST = 1000
"""Credits of one offer."""


class Welcome(DisplayComponent):
    """Greets somebody who is not known."""

    def validate_display(self, value: Any) -> ValidationResult:
        """Make the greeting.

        :param value: what the user wrote.
        """
        return ValidationResult.success("Welcome to the Credit System! Two questions, and you have an account.")


class NameInput(InputComponent):
    """A first or a last name."""

    title = ""

    def prompt(self) -> str:
        """Return the question."""
        return f"What is your {self.title} name?"

    def validate(self, value: Any) -> ValidationResult:
        """Check that it looks like a name, and store it.

        :param value: what the user wrote.
        """
        name = " ".join(str(value).split())
        if not re.fullmatch(r"[^\W\d_][\w' .-]{1,39}", name):
            return ValidationResult.failure("A name has 2 to 40 letters. Please try again.", field=self.title)
        result = ValidationResult.success(name)
        self.update_state(name, result)
        return result


class FirstNameInput(NameInput):
    """The first name."""

    title = "first"


class LastNameInput(NameInput):
    """The last name."""

    title = "last"


class OnboardMemberApiCall(ApiComponent):
    """Opens the account."""

    def validate_api_call(self, value: Any) -> ValidationResult:
        """Ask the credit system for an account.

        :param value: the last name.
        """
        data = self.state_manager.get_flow_data()
        payload = {
            "firstname": data["first_name"],
            "lastname": data["last_name"],
            "channel": f"{self.state_manager.get_channel_type()}:{self.state_manager.get_channel_id()}",
        }
        response = make_api_request("/api/members", payload=payload)
        found, error = handle_api_response(response=response, state_manager=self.state_manager)
        return ValidationResult.success(found) if error is None else ValidationResult.failure(error)


class DashboardApiCall(ApiComponent):
    """Reads the member's dashboard anew."""

    def validate_api_call(self, value: Any) -> ValidationResult:
        """Ask the credit system.

        :param value: what came before.
        """
        response = make_api_request(f"/api/members/{self.state_manager.get_member_id()}")
        found, error = handle_api_response(response=response, state_manager=self.state_manager)
        return ValidationResult.success(found) if error is None else ValidationResult.failure(error)


class ViewDashboard(DisplayComponent):
    """Shows the dashboard."""

    def validate_display(self, value: Any) -> ValidationResult:
        """Make what is shown.

        :param value: what came before.
        """
        dashboard = self.state_manager.get("dashboard")
        member, account = dashboard["member"], dashboard["account"]
        lines = [
            f"{member['firstname']}, your balance is {account['balance']} credits. Your handle is {member['handle']}.",
            *(f"{entry['what']}: {entry['amount']:+d}" for entry in account["entries"]),
            "Write 'offer' to send credits, or 'code' to go on with your phone.",
        ]
        return ValidationResult.success("\n".join(lines))


class AmountInput(InputComponent):
    """How many credits."""

    def prompt(self) -> str:
        """Return the question."""
        return f"How many credits do you want to send? (1 to {MOST})"

    def validate(self, value: Any) -> ValidationResult:
        """Check the amount, and store it.

        :param value: what the user wrote.
        """
        text = str(value).strip()
        if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:9]) <= MOST:
            return ValidationResult.failure(f"That is no whole number from 1 to {MOST}.", field="amount")
        amount = int(text)
        self.update_state(str(amount), ValidationResult.success(amount))
        return ValidationResult.success(amount)


class HandleInput(InputComponent):
    """To whom."""

    def prompt(self) -> str:
        """Return the question."""
        return "What is the handle of the member who gets them? (try 'demo')"

    def validate(self, value: Any) -> ValidationResult:
        """Check that it looks like a handle; whether there is such a member, the credit system says.

        :param value: what the user wrote.
        """
        handle = str(value).strip().casefold()
        if not re.fullmatch(r"[a-z0-9][a-z0-9_.-]{1,79}", handle):
            return ValidationResult.failure("A handle is one word of letters and digits.", field="handle")
        return ValidationResult.success(handle)


class ConfirmOffer(ConfirmBase):
    """Has the offer confirmed."""

    def prompt(self) -> str:
        """Return the question."""
        data = self.state_manager.get_flow_data()
        return f"Send {data['amount']} credits to {data['handle']}? (yes or no)"

    def handle_confirmation(self, value: bool) -> ValidationResult:
        """Pass the answer on.

        :param value: whether the user agreed.
        """
        dashboard = self.state_manager.get("dashboard")
        member_id = dashboard.get("member", {}).get("memberID")
        confirm_data = self.state_manager.get_flow_state().get("data", {})
        return ValidationResult.success({"confirmed": value, "member_id": member_id, "data": confirm_data})


class CreateOfferApiCall(ApiComponent):
    """Moves the credits."""

    def validate_api_call(self, value: Any) -> ValidationResult:
        """Ask the credit system.

        :param value: what was confirmed.
        """
        data = self.state_manager.get_flow_data()
        payload = {"from": self.state_manager.get_member_id(), "to": data["handle"], "amount": int(data["amount"])}
        response = make_api_request("/api/offers", payload=payload)
        _found, error = handle_api_response(response=response, state_manager=self.state_manager)
        if error is not None:
            return ValidationResult.failure(error)
        return ValidationResult.success({"action": self.state_manager.get_flow_state().get("action", {})})


class OfferSent(DisplayComponent):
    """Says what was sent."""

    def validate_display(self, value: Any) -> ValidationResult:
        """Make the message.

        :param value: what came before.
        """
        action = self.state_manager.get("action")
        return ValidationResult.success(f"Done: {action['amount']} credits went to {action['to']}.")


class OfferGivenUp(DisplayComponent):
    """Ends an offer that came to nothing."""

    def validate_display(self, value: Any) -> ValidationResult:
        """Make the message.

        :param value: what came before.
        """
        return ValidationResult.success("That was three times, so nothing was sent. Back to the dashboard.")


class CodeApiCall(ApiComponent):
    """Gets a code with which another channel joins."""

    def validate_api_call(self, value: Any) -> ValidationResult:
        """Ask the credit system.

        :param value: what came before.
        """
        response = make_api_request("/api/codes", payload={"member": self.state_manager.get_member_id()})
        found, error = handle_api_response(response=response, state_manager=self.state_manager)
        return ValidationResult.success(found) if error is None else ValidationResult.failure(error)


class ViewCode(DisplayComponent):
    """Shows the code."""

    def validate_display(self, value: Any) -> ValidationResult:
        """Make the message.

        :param value: what came before.
        """
        code = self.state_manager.get("action")["code"]
        return ValidationResult.success(f"Write 'link {code}' on your phone within ten minutes.")


class LinkApiCall(ApiComponent):
    """Joins this channel to the member whose code the user has written."""

    def validate_api_call(self, value: Any) -> ValidationResult:
        """Ask the credit system whose code it is.

        :param value: ``link`` and the code.
        """
        channel = f"{self.state_manager.get_channel_type()}:{self.state_manager.get_channel_id()}"
        payload = {"code": str(value).split()[-1], "channel": channel}
        response = make_api_request("/api/links", payload=payload)
        found, error = handle_api_response(response=response, state_manager=self.state_manager)
        return ValidationResult.success(found) if error is None else ValidationResult.failure(error)
