"""Mutations of documents and of bytes, the same for the same seed."""

from __future__ import annotations

import copy
import json
import random
import re
from typing import Any

DEEP, LONG, DIGITS = "@deep@", "@long@", "@digits@"  # put in as text afterwards: no writer makes them
TEXTS = {DEEP: "[" * 20000 + "]" * 20000, LONG: '"' + "x" * 300000 + '"', DIGITS: "9" * 6000}
INTEGERS = (0, 1, -1, 2, 3, 16, 255, 1 << 16, 1 << 31, -(1 << 31), 1 << 40, (1 << 63) - 1, 1 << 64, 1 << 200)
FLOATS = (0.5, -0.0, 1e308, 1e-320, float("nan"), float("inf"), float("-inf"))
WORDS = ("", "x", "0", "1e400", "../../etc/passwd", "/dev/zero", "\0", "\n\x1b[2J", DEEP, LONG, DIGITS)
HOLDERS: tuple[Any, ...] = ([], [0], [[]], [-1, -1], {}, {"a": 1}, {"": {}})
VALUES: tuple[Any, ...] = (None, True, False, *INTEGERS, *FLOATS, *WORDS, *HOLDERS)
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)


def document(rng: random.Random, valid: Any) -> Any:
    """A JSON value with one to three places changed."""
    made = json.loads(json.dumps(valid))
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = list(_places(made))
        if not places:
            return _value(rng)
        holder, key = rng.choice(places)
        _change(rng, holder, key)
    return made


def _value(rng: random.Random) -> Any:
    """One of `VALUES`, of its own: later changes of it must not change what the next seed makes."""
    return copy.deepcopy(rng.choice(VALUES))


def _places(value: Any) -> Any:
    """Every (holder, key) of a JSON value."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in list(keys):
        yield value, key
        yield from _places(value[key])


def _change(rng: random.Random, holder: Any, key: Any) -> None:
    value = holder[key]
    match rng.randrange(8):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[rng.choice(("more", "schema", "version", "", "x" * 300, str(key).upper()))] = _value(rng)
        case 1 | 2 if isinstance(holder, list):
            holder[key:key] = [json.loads(json.dumps(value))] * rng.choice((1, 2, 100))
        case 3 if isinstance(value, (int, float)) and not isinstance(value, bool):
            holder[key] = rng.choice((value + 1, value - 1, -value, value * 2, value * 1000, value // 2, value + 0.5))
        case 4 if isinstance(value, str):
            holder[key] = rng.choice((value + "x", value[:-1], value.upper(), value * 50, value[::-1], value + "\n"))
        case 5 if isinstance(holder, list):
            rng.shuffle(holder)
        case 6 if isinstance(holder, dict):
            other = rng.choice(list(holder))
            holder[key], holder[other] = holder[other], value
        case _:
            holder[key] = _value(rng)


def json_text(rng: random.Random, valid: Any) -> bytes:
    """A JSON file of a changed document; now and then its text is changed instead, or doubled fields are written."""
    if rng.random() < 0.15:
        return blob(rng, json.dumps(valid).encode())
    text = json.dumps(document(rng, valid))
    if rng.random() < 0.1:
        pair = re.search(r'"\w+": [^,{}\[\]]+', text)
        text = text if pair is None else text.replace(pair[0], f"{pair[0]}, {pair[0]}", 1)
    for word, put in TEXTS.items():
        text = text.replace(f'"{word}"', put)
    return text.encode()


def toml_text(rng: random.Random, valid: bytes) -> bytes:
    """A TOML file with lines taken out, doubled, swapped, or with other values."""
    if rng.random() < 0.15:
        return blob(rng, valid)
    lines = valid.decode().splitlines()
    for _ in range(rng.choice((1, 1, 2))):
        at = rng.randrange(len(lines))
        key, equals, _ = lines[at].partition("=")
        match rng.randrange(5):
            case 0:
                del lines[at]
            case 1:
                lines.insert(at, lines[at])
            case 2:
                other = rng.randrange(len(lines))
                lines[at], lines[other] = lines[other], lines[at]
            case _ if equals:
                lines[at] = f"{key}= {_toml(rng.choice(VALUES))}"
            case _:
                lines[at] = rng.choice(("[" * 5000, "[a.b.c]", "x = 1", "[[name]]", '"' * 7, "a.b = 1", "\x00", "x = {" * 900))
    return "\n".join(lines).encode(errors="surrogatepass")


def _toml(value: Any) -> str:
    text = json.dumps(value)
    for word, put in TEXTS.items():
        text = text.replace(f'"{word}"', put)
    return text.replace("NaN", "nan").replace("Infinity", "inf")


def blob(rng: random.Random, valid: bytes, start: int = 0, stop: int | None = None) -> bytes:
    """Bytes with one to four places changed between `start` and `stop`: flips, cuts, insertions, copies, length fields."""
    made = bytearray(valid)
    stop = len(made) if stop is None else stop
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(start, max(start + 1, min(stop, len(made))))
        size = rng.choice((1, 2, 4, 8))
        match rng.randrange(7):
            case 0:
                del made[at:]
            case 1 if made[at : at + 1]:
                made[at] ^= 1 << rng.randrange(8)
            case 2:
                made[at : at + size] = rng.choice(NUMBERS).to_bytes(8, rng.choice(("little", "big")))[:size]
            case 3:
                made[at:at] = rng.randbytes(rng.choice((1, 8, 100)))
            case 4:
                del made[at : at + rng.choice((1, 8, 100))]
            case 5:
                other, count = rng.randrange(len(made) + 1), rng.choice((4, 16, 200))
                made[at : at + count] = made[other : other + count]
            case _:
                made[at : at + size] = rng.randbytes(size)
    return bytes(made)
