"""The payment provider, simulated: the card decides the outcome, so that every run sees the same."""

from __future__ import annotations

from dataclasses import dataclass

TEST_CARDS = {
    "4242": "is charged",
    "0002": "is declined",
    "9995": "has insufficient funds",
    "0341": "stays pending, for 15 minutes at most",
}
_REFUSALS = {"0002": "card_declined", "9995": "insufficient_funds"}
_SLOW = "0341"


@dataclass(frozen=True, slots=True)
class PaymentResult:
    """What the provider answers.

    :param outcome: ``charged``, ``refused`` or ``processing``.
    :param reference: the provider's number for the payment.
    :param error: why it was refused.
    """

    outcome: str
    reference: str
    error: str | None = None


def charge(purchase_id: str, amount_cents: int, card: str) -> PaymentResult:
    """Ask for money.

    :param purchase_id: our number, by which the provider recognises a repeated question.
    :param amount_cents: how much, in cents.
    :param card: the last four digits.
    """
    reference = f"sim_{purchase_id}_{amount_cents}"
    if card in _REFUSALS:
        return PaymentResult("refused", reference, _REFUSALS[card])
    return PaymentResult("processing" if card == _SLOW else "charged", reference)
