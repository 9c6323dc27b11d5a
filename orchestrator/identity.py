"""Run ids: BLAKE2b-80 over a frozen encoding of a run's resolved parameters.

A run's parameters are encoded as *leaves*: pairs of a dotted path (``l1.start``) and an encoded value, in sorted order
of the path. Because a leaf's bytes depend on nothing but its own value, a grid can encode each axis value once and
assemble a run's encoding from such fragments. The encoding is frozen: ``tests/test_identity.py`` holds golden ids.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterable, Mapping

ID_BYTES = 10
"""80 bits: a 1 % chance of any collision at 1.6 · 10¹¹ runs."""

ID_TEXT = 16
"""Length of an id as text."""

Leaf = bool | int | float | str | list["Leaf"] | tuple["Leaf", ...] | None
"""What a leaf may hold; an empty mapping never appears, a list may nest."""


def encode(value: Leaf) -> bytes:
    """Encode one leaf's value.

    Numbers that compare equal encode equally (``1``, ``1.0``; ``0.0``, ``-0.0``), so that it does not matter how a grid
    spells a value; booleans, text and ``None`` are of other kinds and never equal to a number.

    Raises
    ------
    ValueError
        For NaN and the infinities: no configuration holds them.
    TypeError
        For anything that is not a leaf.
    """
    if value is None:
        return b"n"
    if value is True:
        return b"t"
    if value is False:
        return b"f"
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} is not a finite number")
        if not value.is_integer():
            return b"d" + repr(value).encode()
        value = int(value)
    if isinstance(value, int):
        return b"i%d" % value
    if isinstance(value, str):
        text = value.encode()
        return b"s%d:%s" % (len(text), text)
    if isinstance(value, (list, tuple)):
        items = [encode(item) for item in value]
        return b"l%d:%s" % (len(items), b"".join(b"%d:%s" % (len(item), item) for item in items))
    raise TypeError(f"a parameter cannot be a {type(value).__name__}")


def leaf(path: str, value: Leaf) -> bytes:
    """Encode one (path, value) pair as the fragment that :func:`digest` concatenates."""
    text, data = path.encode(), encode(value)
    return b"%d:%s%d:%s" % (len(text), text, len(data), data)


def prefix(experiment: str, version: int) -> bytes:
    """Return the head of the encoding: the experiment's name and its version."""
    name = experiment.encode()
    return b"orch1:%d:%s%d;" % (len(name), name, version)


def digest(head: bytes, leaves: Iterable[bytes]) -> bytes:
    """Hash :func:`prefix` and the fragments of :func:`leaf`, which must come in sorted order of their paths.

    Returns
    -------
    bytes
        ``ID_BYTES`` raw bytes; :func:`to_text` spells them.
    """
    return hashlib.blake2b(head + b"".join(leaves), digest_size=ID_BYTES).digest()


def run_id(experiment: str, version: int, leaves: Mapping[str, Leaf]) -> str:
    """Return the id (text, 16 characters) of one run from its resolved leaves, ``{dotted path: value}``."""
    return to_text(digest(prefix(experiment, version), (leaf(path, leaves[path]) for path in sorted(leaves))))


def to_text(raw: bytes) -> str:
    """Spell ``ID_BYTES`` raw bytes as 16 lower-case base32 characters."""
    return base64.b32encode(raw).decode().lower()


def from_text(text: str) -> bytes:
    """Read an id's text back to its raw bytes.

    Raises
    ------
    ValueError
        If ``text`` is not an id.
    """
    if len(text) != ID_TEXT:
        raise ValueError(f"{text!r} is not a run id: it has {len(text)} characters, not {ID_TEXT}")
    return base64.b32decode(text.upper())
