"""The code blocks of the descriptions of the two chat systems' state management, as printed there."""

from __future__ import annotations

CORE_STATE = """\
{
    "channel": {
        "type": str,        # Channel type (e.g., "whatsapp")
        "identifier": str   # Channel ID
    },
    "flow_data": {
        "context": str,     # Current flow context
        "component": str,   # Active component
        "data": dict,       # Flow-specific data
        "validation": {     # Validation state
            "in_progress": bool,
            "attempts": int,
            "last_attempt": dict
        }
    },
    "_metadata": {
        "initialized_at": datetime,
        "updated_at": datetime
    },
    "_validation": {
        "in_progress": bool,
        "attempts": dict,
        "last_attempt": dict,
        "error": Optional[str]
    }
}
"""

DISPLAY_COMPONENT = """\
class ViewLedger(DisplayComponent):
    def validate_display(self, value: Any) -> ValidationResult:
        active_account_id = self.state_manager.get("active_account_id")
        dashboard = self.state_manager.get("dashboard")
        # Format for display...
"""

INPUT_COMPONENT = """\
class AmountInput(InputComponent):
    def validate(self, value: Any) -> ValidationResult:
        # Validate format...
        self.update_state(str(amount), ValidationResult.success(amount))
"""

API_COMPONENT = """\
class UpgradeMemberApiCall(ApiComponent):
    def validate(self, value: Any) -> ValidationResult:
        # Get member data from dashboard
        dashboard = self.state_manager.get("dashboard")
        member_id = dashboard.get("member", {}).get("memberID")

        # Make API call
        response = make_api_request(url, headers, payload)

        # Let handlers update state
        response_data, error = handle_api_response(
            response=response,
            state_manager=self.state_manager
        )

        # Use action data for flow
        flow_data = self.state_manager.get_flow_state()
        action_data = flow_data.get("action", {})
        return ValidationResult.success({"action": action_data})
"""

CONFIRM_COMPONENT = """\
class ConfirmUpgrade(ConfirmBase):
    def handle_confirmation(self, value: bool) -> ValidationResult:
        # Get member data from dashboard
        dashboard = self.state_manager.get("dashboard")
        member_id = dashboard.get("member", {}).get("memberID")

        # Get confirmation data from flow
        flow_data = self.state_manager.get_flow_state()
        confirm_data = flow_data.get("data", {})

        # Validate and update state...
        return ValidationResult.success({
            "confirmed": value,
            "member_id": member_id,
            "data": confirm_data
        })
"""

STATE_ACCESS = """\
# CORRECT - Use proper accessor methods
channel_id = state_manager.get_channel_id()
member_id = state_manager.get_member_id()

# WRONG - Direct state access
channel = state_manager.get("channel")  # Don't access directly!
member_id = state_manager.get("member_id")  # Don't access directly!
"""

STATE_UPDATES = """\
# CORRECT - Update with validation tracking
state_manager.update_state({
    "flow_data": {
        "context": context,
        "component": component,
        "data": data,
        "validation": {
            "in_progress": True,
            "attempts": current + 1,
            "last_attempt": datetime.utcnow()
        }
    }
})

# WRONG - Update without validation
state_manager.update_state({
    "value": new_value  # Don't update without validation!
})
"""

ERROR_HANDLING = """\
# CORRECT - Use ErrorHandler
try:
    result = state_manager.atomic_state.atomic_get(key)
except Exception as e:
    error_context = ErrorContext(
        error_type="system",
        message=str(e),
        details={
            "code": "STATE_GET_ERROR",
            "service": "state_manager",
            "action": "get"
        }
    )
    ErrorHandler.handle_error(e, state_manager, error_context)

# WRONG - Handle errors directly
try:
    result = redis_client.get(key)  # Don't access directly!
except Exception as e:
    logger.error(str(e))  # Don't handle directly!
"""

ATOMIC_OPERATIONS = """\
# CORRECT - Use atomic operations
success, data, error = atomic_state.execute_atomic(
    key=key,
    operation='set',
    value=value,
    ttl=300
)

# WRONG - Direct Redis operations
redis_client.set(key, value)  # Don't use Redis directly!
"""

MEMBER_STATE = """\
{
    # Core identity - SINGLE SOURCE OF TRUTH
    "member_id": "unique_member_id",  # Primary identifier, ONLY AND ALWAYS at top level

    # Channel information
    "channel": {
        "type": "whatsapp",
        "identifier": "channel_specific_id"
    },

    # Authentication
    "jwt_token": "token",  # 5-minute expiry
    "authenticated": true,

    # Profile and accounts
    "profile": { ... },
    "current_account": { ... },

    # Flow state
    "flow_data": {
        "id": "flow_id",
        "step": current_step,
        "data": {
            "flow_type": "flow_type",
            "channel": {
                "type": "whatsapp",
                "identifier": "channel_specific_id"
            },
            "_validation_context": {},
            "_validation_state": {}
        }
    },

    # Version and audit
    "_version": 1,
    "_last_updated": timestamp
}
"""
