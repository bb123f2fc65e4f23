"""What the data of each type must look like, and the business rules that a schema cannot say."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, fields, validate

from flask_statemanager import StateType

from .extensions import state_manager
from .machines import PURCHASE

USER_WORDS = ("pending_verification", "active", "suspended", "closed")
CYCLES = ("monthly", "yearly")

Moment = fields.AwareDateTime
Count = fields.Integer


class UserData(Schema):
    """The data of a user."""

    user_id = fields.String(required=True, validate=validate.Length(1, 40))
    status = fields.String(required=True, validate=validate.OneOf(USER_WORDS))
    email = fields.Email(required=True)
    display_name = fields.String(required=True, validate=validate.Length(1, 120))
    country = fields.String(validate=validate.Length(max=2))
    verified_at = Moment()
    suspended_reason = fields.String(validate=validate.Length(max=500))


class PurchaseData(Schema):
    """The data of a purchase."""

    account_id = Count(required=True, strict=True)
    package = fields.String(required=True)
    credits = Count(required=True, strict=True, validate=validate.Range(min=1))
    bonus = Count(strict=True, validate=validate.Range(min=0))
    amount_cents = Count(required=True, strict=True, validate=validate.Range(min=1))
    currency = fields.String(required=True, validate=validate.Equal("EUR"))
    card = fields.String(required=True, validate=validate.Regexp(r"\d{4}\Z", error="Must be the last four digits."))
    provider_reference = fields.String()
    error = fields.String()
    completed_at = Moment()
    failed_at = Moment()
    refunded_at = Moment()


class SubscriptionData(Schema):
    """The data of a subscription."""

    account_id = Count(required=True, strict=True)
    plan = fields.String(required=True, validate=validate.OneOf(["basic", "pro", "team"]))
    cycle = fields.String(required=True, validate=validate.OneOf(CYCLES))
    price_credits = Count(required=True, strict=True, validate=validate.Range(min=0))
    period = Count(required=True, strict=True, validate=validate.Range(min=0))
    period_started_at = Moment(required=True)


class FeatureData(Schema):
    """The data of a feature flag."""

    key = fields.String(required=True)
    description = fields.String(required=True, validate=validate.Length(max=200))
    rollout = Count(required=True, strict=True, validate=validate.Range(0, 100, error="Must be 0 to 100 percent."))


class SessionData(Schema):
    """The data of a login session."""

    user_id = fields.String(required=True)
    address = fields.String()
    agent = fields.String(validate=validate.Length(max=200))


def validate_user_state(state_data: dict[str, Any]) -> bool:
    """Require what every user state must have.

    :param state_data: the state as it would be stored.
    """
    required_fields = ["user_id", "status", "email"]
    return all(field in state_data.get("data", {}) for field in required_fields)


def validate_bonus(state_data: dict[str, Any]) -> None:
    """Keep the bonus below the credits that were paid for.

    :param state_data: the state as it would be stored.
    :raises ValueError: when it is not.
    """
    data = state_data["data"]
    if data.get("bonus", 0) > data["credits"]:
        raise ValueError("the bonus is larger than what was bought")


state_manager.register_schema(StateType.USER, UserData)
state_manager.register_schema(PURCHASE, PurchaseData)
state_manager.register_schema(StateType.SUBSCRIPTION, SubscriptionData)
state_manager.register_schema(StateType.FEATURE, FeatureData)
state_manager.register_schema(StateType.SESSION, SessionData)
state_manager.register_validator(StateType.USER, validate_user_state)
state_manager.register_validator(PURCHASE, validate_bonus)
