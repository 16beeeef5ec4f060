"""What was probably meant: the remedy that goes with a violation's message.

For: traders' usual slips, such as `BTCUSDT`, `0.1%`, `1e3` or a limit written as a number. May not: do I/O or decide what is
wrong; a hint is only ever text, and every spelling it proposes is one that would be accepted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches

from arbkube.resources.scalars import BPS_PATTERN, DECIMAL_PATTERN, DURATION_PATTERN, NAME_PATTERN, Bps, Duration
from arbkube.resources.shape import Scalar

_QUOTES = ("FDUSD", "USDT", "USDC", "TUSD", "USD", "EUR", "GBP", "JPY", "TRY", "BTC", "ETH", "BNB")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` (did you mean …?)` for a slip of a known word, else nothing."""
    folded = {name.replace("_", "").replace("-", "").lower(): name for name in known}
    close = get_close_matches(word.replace("_", "").replace("-", "").lower(), folded, n=1, cutoff=0.7)
    return f" (did you mean {folded[close[0]]}?)" if close else ""


def for_value(shape: Scalar, value: object) -> str:
    """`: write …` for a value of the wrong type, else nothing."""
    if isinstance(value, bool):
        return ": YAML reads yes, no, on and off so; put it in quotes" if shape.type is not int else ""
    if isinstance(value, int | float) and shape.type is not str:
        return for_text(shape, format(value, "f") if isinstance(value, float) else str(value)) or for_unit(shape, value)
    if isinstance(value, int | float):
        return f': put it in quotes, "{value}"'
    if isinstance(value, str) and shape.type in (int, bool):
        return ": leave the quotes off" if re.fullmatch(r"-?[0-9]+|true|false", value) else ""
    return ""


def for_unit(shape: Scalar, value: float) -> str:
    """How a bare number of this shape is written."""
    if shape.type is Decimal and re.fullmatch(DECIMAL_PATTERN, str(value)):
        return f': YAML numbers are not exact, write "{value}"'
    return ""


def for_text(shape: Scalar, text: str) -> str:
    """`: write …` for a text that is not spelled right, else nothing."""
    proposal = _proposal(shape, text.strip())
    return f": write {proposal}" if proposal and proposal != text else ""


def _proposal(shape: Scalar, text: str) -> str:
    number = _number(text.rstrip("%bps "))
    if shape.type is Bps and number is not None:
        bps = format((number * 100 if text.endswith("%") else number).normalize(), "f") + "bps"
        return bps if re.fullmatch(BPS_PATTERN, bps) else ""
    if shape.type is Duration:
        return _duration(text)
    if shape.type is Decimal and number is not None:
        plain = format(number, "f")
        return f'"{plain}"' if re.fullmatch(DECIMAL_PATTERN, plain) else ""
    if shape.type is str and shape.pattern is not None:
        return next((guess for guess in _spellings(text) if re.fullmatch(shape.pattern, guess)), "")
    return ""


def _number(text: str) -> Decimal | None:
    try:
        number = Decimal(text.replace(",", "").replace("_", ""))
    except InvalidOperation:
        return None
    return number if number.is_finite() and abs(number) < 10**18 and abs(number.adjusted()) < 40 else None


def _duration(text: str) -> str:
    match = re.fullmatch(r"([0-9.]+) ?(ms|s|m|h|d|sec|min|hours?|days?)?", text)
    number = _number(match[1]) if match else None
    if match is None or number is None:
        return ""
    unit = {"sec": "s", "min": "m", "hour": "h", "hours": "h", "day": "d", "days": "d", None: "s"}.get(match[2], match[2])
    thousandth = {"s": (1000, "ms"), "m": (60, "s"), "h": (60, "m"), "d": (24, "h")}.get(unit)
    if number != int(number) and thousandth:
        number, unit = number * thousandth[0], thousandth[1]
    written = f"{int(number)}{unit}" if number == int(number) else ""
    return written if re.fullmatch(DURATION_PATTERN, written) else ""


def _spellings(text: str) -> Iterable[str]:
    """Other ways to write an instrument, an asset, a venue or a name."""
    upper = re.sub(r"[/_:.\s]", "-", text.upper()).removesuffix("-SWAP").replace("-PERPETUAL", "-PERP")
    yield upper + "-PERP" if text.upper().endswith("-SWAP") else upper
    for quote in _QUOTES:
        if upper.endswith(quote) and len(upper) > len(quote) and "-" not in upper:
            yield f"{upper.removesuffix(quote)}-{quote}"
    yield text.lower()
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:50].strip("-")
    if re.fullmatch(NAME_PATTERN, name):
        yield name
