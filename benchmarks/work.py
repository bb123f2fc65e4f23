"""The pieces of work, and what everybody does them on."""

import json

UPDATE, REGISTER, GET = "update_state", "register_state", "get_state"
SEARCH, HISTORY = "search, page of 50", "history of 20 versions"
REDIS_HIT, NEAR_HIT = "get_state, Redis hit", "get_state, near-cache hit"

KV_GET, KV_SWAP, KV_UPDATE = "kv.get", "kv.compare_and_swap", "kv.update"
FLOW_TURN, FLOW_TURN_LINKED = "one turn of a conversation", "one turn of a member's conversation"
KV_KEYS, KV_STATS = "kv.keys(prefix), page of 50", "kv.stats"
SNAPSHOT, RESTORE, PLAIN_READ = "create_snapshot, a key", "restore_snapshot, a key", "plain read, compressed"

STORE_GET, STORE_SET = "get_store_data", "set_store_data"
STORE_SIZES = {"1 KB": 16, "100 KB": 1_500, "5 MB": 74_000}
"""How many rows of a table are about so much as JSON."""

REGISTER_MANY = "register_many of 100,000"
HOT = "update_state, one state, 8 processes"
HTTP = "GET a state through gunicorn"
HTTP_KEY, HTTP_MOVE = "GET /<key> of the API, through gunicorn", "a transition by the API, through gunicorn"
HTTP_HELLO = "GET a greeting through gunicorn"
LIVE = "live event to 1,000 WebSockets, 99th percentile of a delivery"
AMONG = " among so many"
"""Behind the name of a piece of work that is measured among different numbers of states."""

ADMIN = "an admin page among 1,000,000 states"
ADMIN_SLOWEST = f"{ADMIN}: the slowest of all"

FEW, MANY = "10,000 states", "1,000,000 states"
IMPORT_TIME, IMPORT_MEMORY, IMPORT_EXTRAS = "import, time", "import, memory", "import, optional packages"

DRIVER, EXTENSION, ORM = "bare driver", "Flask-StateManager", "Flask-SQLAlchemy by hand"
HELLO, BY_HAND, NEAR = "hello, nothing read", "bare driver, by hand", f"{EXTENSION}, near cache"
TRACKED, UNSAMPLED = f"{EXTENSION}, tracked", f"{EXTENSION}, tracked, none of it sampled"
ONE_STATEMENT, ONE_TRIP = "bare driver, one statement", "Flask-StateManager, expect= and cached"

BARE_LOOP, THREADS, GREENLETS = "bare sockets, sendall in a loop", f"{EXTENSION}, threads", f"{EXTENSION}, gevent"

SEEN = 64
"""How many states the reads and updates go round."""

LISTED = 2000
"""How many states a search goes through, half of them in the status that it asks for."""

PAGE = 50
"""How many states a page has."""

VERSIONS = 20
"""How many versions a history has."""

DOCUMENT = json.dumps(
    {
        "email": "ada@example.com",
        "plan": "pro",
        "amount": 1250,
        "share": 0.25,
        "active": True,
        "tags": ["new", "eu", "annual"],
        "address": {"street": "12 Long Lane", "city": "Berlin", "zip": "10115"},
        "limits": {"seats": 25, "bytes": 5_000_000},
        "notes": "x" * 75,
    },
    separators=(",", ":"),
)
"""300 bytes, as every state has them."""
