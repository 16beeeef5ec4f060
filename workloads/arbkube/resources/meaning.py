"""What a typed value means, apart from how it was written.

For: digests that stay the same under another order of lists, another spelling of a number, and defaults written out; and
comparisons that see a change only where there is one. May not: do I/O.
"""

from __future__ import annotations

import hashlib
from decimal import Decimal
from enum import Enum
from typing import Any

import msgspec

from arbkube.resources.scalars import Bps, Duration


def meaning(value: object) -> Any:
    """`value` as JSON's own types in one canonical form: lists are sets and sorted, numbers have no trailing zeros."""
    match value:
        case msgspec.Struct():
            names = zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True)
            return {name: meaning(getattr(value, attribute)) for name, attribute in names}
        case Decimal():
            return _plain(value)
        case Bps():
            return _plain(value.fraction)
        case Duration():
            return value.ns
        case Enum():
            return value.value
        case dict():
            return {str(key): meaning(part) for key, part in value.items()}
        case tuple() | list():
            return sorted((meaning(part) for part in value), key=canonical)
    return value


def canonical(value: object) -> str:
    """The one JSON text of a meaning."""
    return msgspec.json.encode(value, order="sorted").decode()


def digest(value: object) -> str:
    """The first 12 hexadecimal digits of the SHA-256 of what `value` means."""
    return hashlib.sha256(canonical(meaning(value)).encode()).hexdigest()[:12]


def _plain(number: Decimal) -> str:
    return format(number.normalize(), "f") if number else "0"
