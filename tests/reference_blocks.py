"""The code blocks of the description of the Credit System's own state manager, as printed there."""

from __future__ import annotations

STATE_TYPES = """\
class StateType(Enum):
    USER = "user"           # User-related states
    TRANSACTION = "transaction"  # Payment/transaction states
    SUBSCRIPTION = "subscription"  # Subscription management
    FEATURE = "feature"     # Feature flags and rollouts
    SESSION = "session"     # Authentication sessions
"""

STATE_TRANSITIONS = """\
class StateTransition(Enum):
    CREATE = "create"       # Initial state creation
    UPDATE = "update"       # State modification
    ACTIVATE = "activate"   # Activate/start state
    SUSPEND = "suspend"     # Temporarily suspend
    RESUME = "resume"       # Resume suspended state
    EXPIRE = "expire"       # Mark as expired
    DELETE = "delete"       # Remove state
"""

STATE_REGISTRATION_AND_MANAGEMENT = """\
# Get singleton instance (recommended)
state_manager = StateManager.get_instance()

# Or create instance (returns same singleton)
state_manager = StateManager()

# Register a new state
user_state = {
    "name": "user_account_state",
    "type": StateType.USER.value,
    "data": {
        "user_id": "12345",
        "status": "active",
        "email": "user@example.com"
    },
    "metadata": {
        "version": "1.0",
        "environment": "production"
    }
}

result = state_manager.register_state(
    state_id="user_12345",
    state_type=StateType.USER,
    initial_data=user_state
)
"""

STATE_RETRIEVAL_AND_QUERYING = """\
# Get single state
user_state = state_manager.get_state("user_12345")

# Get all user states
user_states = state_manager.get_states_by_type(StateType.USER)

# Search states with filters
active_users = state_manager.search_states(
    state_type=StateType.USER,
    filters={"data.status": "active"}
)
"""

STATE_TRANSITIONS_AND_UPDATES = """\
# Update state with transition
updated_data = {
    "name": "user_account_state",
    "type": StateType.USER.value,
    "data": {
        "user_id": "12345",
        "status": "suspended",
        "suspended_reason": "payment_failed"
    }
}

result = state_manager.update_state(
    state_id="user_12345",
    new_data=updated_data,
    transition=StateTransition.SUSPEND
)
"""

STATE_HISTORY_AND_AUDIT_TRAIL = """\
# Get state history
history = state_manager.get_state_history("user_12345")

# Get recent changes
recent_changes = state_manager.get_recent_changes(
    state_id="user_12345",
    limit=10
)

# Get changes by transition type
suspensions = state_manager.get_changes_by_transition(
    state_id="user_12345",
    transition_type=StateTransition.SUSPEND
)
"""

STATE_CALLBACKS_AND_EVENT_HANDLING = """\
# Define callback function
def user_suspended_callback(state_id: str, old_state: dict, new_state: dict, transition_type: str):
    # Send notification to user
    notification_service.send_suspension_notice(state_id)

    # Update external systems
    billing_service.suspend_billing(state_id)

# Register callback
state_manager.register_callback("user_suspended", user_suspended_callback)

# Callback is automatically triggered on state transitions
"""

STATE_VALIDATION_AND_CONSTRAINTS = """\
# Custom validation function
def validate_user_state(state_data: dict) -> bool:
    required_fields = ["user_id", "status", "email"]
    return all(field in state_data.get("data", {}) for field in required_fields)

# Register validation
state_manager.register_validator(StateType.USER, validate_user_state)
"""

SINGLETON_PATTERN_USAGE = """\
# Recommended: Get singleton instance with managers
state_manager = StateManager.get_instance(
    redis_manager=app_manager.redis_manager,
    database_manager=app_manager.database_manager
)

# Alternative: Create instance (returns same singleton)
state_manager = StateManager(
    redis_manager=app_manager.redis_manager,
    database_manager=app_manager.database_manager
)

# Verify singleton behavior
state_manager_1 = StateManager.get_instance()
state_manager_2 = StateManager.get_instance()
assert state_manager_1 is state_manager_2  # Same instance
"""

REDIS_INTEGRATION = """\
# State caching for performance
state_manager = StateManager.get_instance(
    redis_manager=app_manager.redis_manager
)
"""

DATABASE_INTEGRATION = """\
# Persistent state storage
state_manager = StateManager.get_instance(
    database_manager=app_manager.database_manager
)
"""

TESTING_SUPPORT = """\
# Reset singleton for clean testing
StateManager.reset_instance()

# Run tests with fresh instance
state_manager = StateManager.get_instance()
"""

EXAMPLE_TEST = '''\
def test_user_state_lifecycle():
    """Test complete user state lifecycle."""
    state_manager = StateManager()

    # Create user state
    user_state = create_user_state("test_user")
    state_manager.register_state("test_user", StateType.USER, user_state)

    # Activate user
    state_manager.update_state("test_user", activate_user_data(), StateTransition.ACTIVATE)

    # Suspend user
    state_manager.update_state("test_user", suspend_user_data(), StateTransition.SUSPEND)

    # Resume user
    state_manager.update_state("test_user", resume_user_data(), StateTransition.RESUME)

    # Verify history
    history = state_manager.get_state_history("test_user")
    assert len(history) == 4  # create + activate + suspend + resume
'''

USER_MANAGEMENT = """\
# User registration flow
def register_user(user_data: dict):
    state_manager = StateManager()

    # Create initial user state
    initial_state = {
        "name": "user_registration",
        "type": StateType.USER.value,
        "data": {
            "user_id": user_data["id"],
            "status": "pending_verification",
            "email": user_data["email"]
        }
    }

    state_manager.register_state(
        state_id=user_data["id"],
        state_type=StateType.USER,
        initial_data=initial_state
    )

    # Send verification email
    send_verification_email(user_data["email"])

# User verification callback
def on_user_verified(user_id: str):
    state_manager = StateManager()

    updated_state = {
        "name": "user_registration",
        "type": StateType.USER.value,
        "data": {
            "user_id": user_id,
            "status": "active",
            "verified_at": datetime.now().isoformat()
        }
    }

    state_manager.update_state(
        state_id=user_id,
        new_data=updated_state,
        transition=StateTransition.ACTIVATE
    )
"""

TRANSACTION_PROCESSING = """\
# Transaction state management
def process_transaction(transaction_id: str, amount: float):
    state_manager = StateManager()

    # Create transaction state
    transaction_state = {
        "name": "payment_transaction",
        "type": StateType.TRANSACTION.value,
        "data": {
            "transaction_id": transaction_id,
            "amount": amount,
            "status": "pending",
            "created_at": datetime.now().isoformat()
        }
    }

    state_manager.register_state(
        state_id=transaction_id,
        state_type=StateType.TRANSACTION,
        initial_data=transaction_state
    )

    # Process payment
    payment_result = payment_processor.process(transaction_id, amount)

    if payment_result.success:
        # Update to completed
        completed_state = {
            "name": "payment_transaction",
            "type": StateType.TRANSACTION.value,
            "data": {
                "transaction_id": transaction_id,
                "amount": amount,
                "status": "completed",
                "completed_at": datetime.now().isoformat()
            }
        }

        state_manager.update_state(
            state_id=transaction_id,
            new_data=completed_state,
            transition=StateTransition.ACTIVATE
        )
    else:
        # Update to failed
        failed_state = {
            "name": "payment_transaction",
            "type": StateType.TRANSACTION.value,
            "data": {
                "transaction_id": transaction_id,
                "amount": amount,
                "status": "failed",
                "error": payment_result.error,
                "failed_at": datetime.now().isoformat()
            }
        }

        state_manager.update_state(
            state_id=transaction_id,
            new_data=failed_state,
            transition=StateTransition.EXPIRE
        )
"""

LOGGING = """\
# Structured logging for state operations
state_manager.log_state_operation(
    operation="state_update",
    state_id="user_12345",
    transition_type="activate",
    duration_ms=45
)
"""

HEALTH_CHECKS = """\
# State manager health status
health_status = state_manager.get_health_status()
# Returns: {"status": "healthy", "state_count": 1250, "cache_hit_rate": 0.95}
"""
