"""The table of filter cases: documents, filters, and which documents each filter finds, on every backend alike."""

from __future__ import annotations

from typing import NamedTuple

from ..core.codec import clean
from ..core.record import JSON, JSONObject


class Case(NamedTuple):
    """One search.

    :param filters: what :func:`flask_statemanager.core.query.parse_filters` takes.
    :param found: the names of the documents that are found, separated by spaces.
    """

    filters: dict[str, JSON]
    found: str


_RAW: dict[str, JSONObject] = {
    "null": {"v": None},
    "true": {"v": True},
    "false": {"v": False},
    "zero": {"v": 0},
    "one": {"v": 1},
    "one_float": {"v": 1.0},
    "half": {"v": 0.5},
    "minus": {"v": -2},
    "big": {"v": 2**63 - 1},
    "big_less": {"v": 2**63 - 2},
    "smallest": {"v": -(2.0**63)},
    "double": {"v": 2**53 + 1},
    "whole": {"v": 1.2345678901234567e18},
    "huge": {"v": 1e308},
    "tiny": {"v": 5e-324},
    "empty": {"v": ""},
    "text_one": {"v": "1"},
    "text_true": {"v": "true"},
    "text_null": {"v": "null"},
    "upper": {"v": "Zebra"},
    "lower": {"v": "apple"},
    "umlaut": {"v": "äpfel"},
    "bmp": {"v": "\uffe6"},
    "emoji": {"v": "\U0001f600"},
    "percent": {"v": "100%_\\"},
    "quote": {"v": 'it\'s "quoted"'},
    "list": {"v": [1, "one", None, True, 1.5]},
    "list_text": {"v": ["1", "onerous"]},
    "list_empty": {"v": []},
    "list_nested": {"v": [[1], {"one": 1}]},
    "object": {"v": {"in": 1, "0": "zeroth"}},
    "object_empty": {"v": {}},
    "deep": {"v": {"in": {"deeper": "found"}}},
    "missing": {},
}
DOCUMENTS: dict[str, JSONObject] = {name: clean(document, "data", 100_000) for name, document in _RAW.items()}
"""The data of each document; every JSON type under the one name ``v``."""

_TEXTS = ("empty", "text_one", "text_true", "text_null", "upper", "lower", "umlaut", "bmp", "emoji", "percent", "quote")
_NUMBERS = (
    "zero",
    "one",
    "one_float",
    "half",
    "minus",
    "smallest",
    "big",
    "big_less",
    "double",
    "whole",
    "huge",
    "tiny",
)
_ABOVE_ONE = "big big_less double whole huge"
_UNLIKE_TEXT = "null true false zero one list object missing"


def _but(*names: str) -> str:
    return " ".join(name for name in DOCUMENTS if name not in names)


_EQUALITY = [
    Case({}, _but()),
    Case({"data.v": None}, "null"),
    Case({"data.v": True}, "true"),
    Case({"data.v": False}, "false"),
    Case({"data.v": 0}, "zero"),
    Case({"data.v": -0.0}, "zero"),
    Case({"data.v": 1}, "one one_float"),
    Case({"data.v": 1.0}, "one one_float"),
    Case({"data.v": 0.5}, "half"),
    Case({"data.v": 2**63 - 1}, "big"),
    Case({"data.v": -(2**63)}, "smallest"),
    Case({"data.v": -(2.0**63)}, "smallest"),
    Case({"data.v": 2**53}, ""),
    Case({"data.v": 2.0**53}, ""),
    Case({"data.v": 2**53 + 1}, "double"),
    Case({"data.v": 1.2345678901234567e18}, "whole"),
    Case({"data.v": int(1.2345678901234567e18)}, "whole"),
    Case({"data.v": 1e308}, "huge"),
    Case({"data.v": 5e-324}, "tiny"),
    Case({"data.v": ""}, "empty"),
    Case({"data.v": "1"}, "text_one"),
    Case({"data.v": "true"}, "text_true"),
    Case({"data.v": "null"}, "text_null"),
    Case({"data.v": "zebra"}, ""),
    Case({"data.v": "a\u0308pfel"}, ""),
    Case({"data.v": "\U0001f600"}, "emoji"),
    Case({"data.v": 'it\'s "quoted"'}, "quote"),
    Case({"data.v": "' OR 1=1 --"}, ""),
    Case({"data.v__eq": 1}, "one one_float"),
    Case({"data.v__ne": None}, _but("null")),
    Case({"data.v__ne": True}, _but("true")),
    Case({"data.v__ne": 1}, _but("one", "one_float")),
    Case({"data.v__ne": "1"}, _but("text_one")),
    Case({"data.v__ne": 2**63 - 1}, _but("big")),
    Case({"data.v__in": [1, "1", None]}, "one one_float text_one null"),
    Case({"data.v__in": [True]}, "true"),
    Case({"data.v__in": [False, 0.5, "Zebra", "nobody"]}, "false half upper"),
    Case({"data.v__in": ()}, ""),
]
_ORDER = [
    Case({"data.v__gt": 0}, f"one one_float half tiny {_ABOVE_ONE}"),
    Case({"data.v__gt": 1}, _ABOVE_ONE),
    Case({"data.v__gte": 1}, f"one one_float {_ABOVE_ONE}"),
    Case({"data.v__gte": 1.0}, f"one one_float {_ABOVE_ONE}"),
    Case({"data.v__lt": 0}, "minus smallest"),
    Case({"data.v__lte": -(2**63)}, "smallest"),
    Case({"data.v__lt": -(2**63) + 1}, "smallest"),
    Case({"data.v__lt": 0.5}, "zero minus smallest tiny"),
    Case({"data.v__lte": 0.5}, "zero half minus smallest tiny"),
    Case({"data.v__gt": 2**63 - 2}, "big huge"),
    Case({"data.v__gt": 2**53}, "big big_less double whole huge"),
    Case({"data.v__gte": 1.2345678901234567e18}, "big big_less whole huge"),
    Case({"data.v__lte": 1.2345678901234567e18, "data.v__gt": 1}, "double whole"),
    Case({"data.v__lt": 1e308}, " ".join(name for name in _NUMBERS if name != "huge")),
    Case({"data.v__gte": -1e308}, " ".join(_NUMBERS)),
    Case({"data.v__gte": ""}, " ".join(_TEXTS)),
    Case({"data.v__gt": ""}, " ".join(_TEXTS[1:])),
    Case({"data.v__lt": ""}, ""),
    Case({"data.v__gt": "Zebra"}, "text_true text_null lower umlaut bmp emoji quote"),
    Case({"data.v__gt": "apple"}, "text_true text_null umlaut bmp emoji quote"),
    Case({"data.v__gte": "z"}, "umlaut bmp emoji"),
    Case({"data.v__gt": "\uffe6"}, "emoji"),
    Case({"data.v__gte": "\uffe6"}, "bmp emoji"),
    Case({"data.v__lt": "\U0001f600"}, " ".join(name for name in _TEXTS if name != "emoji")),
    Case({"data.v__lte": "1"}, "empty text_one"),
    Case({"data.v__gt": 0, "data.v__lt": 1}, "half tiny"),
]
_PARTS = [
    Case({"data.v__contains": "one"}, "list"),
    Case({"data.v__contains": "pp"}, "lower"),
    Case({"data.v__contains": "PP"}, ""),
    Case({"data.v__contains": "%"}, "percent"),
    Case({"data.v__contains": "_"}, "percent"),
    Case({"data.v__contains": "\\"}, "percent"),
    Case({"data.v__contains": "\U0001f600"}, "emoji"),
    Case({"data.v__contains": "pfe"}, "umlaut"),
    Case({"data.v__contains": ""}, " ".join(_TEXTS)),
    Case({"data.v__contains": "1"}, "list_text text_one percent"),
    Case({"data.v__contains": 1}, "list"),
    Case({"data.v__contains": 1.0}, "list"),
    Case({"data.v__contains": 1.5}, "list"),
    Case({"data.v__contains": True}, "list"),
    Case({"data.v__contains": False}, ""),
    Case({"data.v__contains": None}, "list"),
    Case({"data.v__startswith": "a"}, "lower"),
    Case({"data.v__startswith": "A"}, ""),
    Case({"data.v__startswith": "ä"}, "umlaut"),
    Case({"data.v__startswith": ""}, " ".join(_TEXTS)),
    Case({"data.v__startswith": "100%_"}, "percent"),
    Case({"data.v__startswith": "1_"}, ""),
    Case({"data.v__startswith": "%"}, ""),
    Case({"data.v__startswith": "_"}, ""),
    Case({"data.v__startswith": "\U0001f600"}, "emoji"),
    Case({"data.v__startswith": "1"}, "text_one percent"),
    Case({"data.v__startswith": "apple pie"}, ""),
]
_PATHS = [
    Case({"data.v__exists": True}, _but("missing")),
    Case({"data.v__exists": False}, "missing"),
    Case({"data.nowhere__exists": False}, _but()),
    Case({"data.nowhere__ne": 1}, _but()),
    Case({"data.nowhere": None}, ""),
    Case({"data.v.in__exists": True}, "object deep"),
    Case({"data.v.in": 1}, "object"),
    Case({"data.v.in__ne": 1}, _but("object")),
    Case({"data.v.in__exists": False, "data.v__exists": True}, _but("missing", "object", "deep")),
    Case({"data.v.in.deeper": "found"}, "deep"),
    Case({"data.v.in.deeper.still__exists": False}, _but()),
    Case({"data.v.0": "zeroth"}, "object"),
    Case({"data.v.0__exists": True}, "object"),
    Case({"data.v.0": 1}, ""),
    Case({"data.v.-1__exists": True}, ""),
    Case({"data.V__exists": True}, ""),
    Case({"metadata.v__exists": True}, ""),
]

FILTER_CASES: list[Case] = [*_EQUALITY, *_ORDER, *_PARTS, *_PATHS]
"""Every operator against every JSON type."""

ODD_NAMES = ("a b", "ß", "\U0001f600", "$", "x[0]", "#", "%", "?", ":n", "'", "-", "*", "@", "A", "\x7f", "{}", "{a,b}")
"""Member names that a filter's path may hold; each must find itself and nothing else."""
