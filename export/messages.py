"""TensorBoard's messages, as far as they are read here: declared by their field numbers, decoded by protobuf.

The rest of a message is kept as unknown fields and looked at by nobody. No TensorFlow, and no TensorBoard, is needed.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

START = 1
"""``SessionLog.status`` of a writer that begins, and takes back what it had written of this step and later."""

SCALARS, TEXT, HPARAMS = "scalars", "text", "hparams"
"""Names of TensorBoard's plugins, which tensor-valued summaries carry in their metadata."""

# Field: (number, type, repeated). A capitalised type is a message.
_MESSAGES: dict[str, dict[str, tuple[int, str, bool]]] = {
    "Event": {
        "wall_time": (1, "double", False),
        "step": (2, "int64", False),
        "summary": (5, "Summary", False),
        "session_log": (7, "SessionLog", False),
    },
    "SessionLog": {"status": (1, "int32", False)},
    "Summary": {"value": (1, "Value", True)},
    "Value": {
        "tag": (1, "string", False),
        "simple_value": (2, "float", False),
        "tensor": (8, "Tensor", False),
        "metadata": (9, "Metadata", False),
    },
    "Metadata": {"plugin_data": (1, "PluginData", False)},
    "PluginData": {"plugin_name": (1, "string", False), "content": (2, "bytes", False)},
    "Tensor": {
        "dtype": (1, "int32", False),
        "tensor_shape": (2, "Shape", False),
        "tensor_content": (4, "bytes", False),
        "float_val": (5, "float", True),
        "double_val": (6, "double", True),
        "int_val": (7, "int32", True),
        "string_val": (8, "bytes", True),
        "int64_val": (10, "int64", True),
        "bool_val": (11, "bool", True),
        "half_val": (13, "int32", True),
        "uint32_val": (16, "uint32", True),
        "uint64_val": (17, "uint64", True),
        "float8_val": (18, "bytes", False),
    },
    "Shape": {"dim": (2, "Dim", True), "unknown_rank": (3, "bool", False)},
    "Dim": {"size": (1, "int64", False)},
    "HParams": {"start": (3, "SessionStart", False)},
    "SessionStart": {"hparams": (1, "Entry", True), "group_name": (4, "string", False)},
    "Entry": {"key": (1, "string", False), "value": (2, "Any", False)},
    "Any": {
        "null": (1, "int32", False),
        "number": (2, "double", False),
        "text": (3, "string", False),
        "flag": (4, "bool", False),
        "group": (5, "bytes", False),
        "list": (6, "bytes", False),
    },
}

_CHOICES = {"Value": ("simple_value", "tensor"), "Any": ("null", "number", "text", "flag", "group", "list")}
"""Fields of which a message has one at most."""


@cache
def message(name: str) -> Any:
    """Return the class of a message."""
    from google.protobuf import message_factory

    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"events.{name}"))


@cache
def _pool() -> Any:
    from google.protobuf import descriptor_pb2, descriptor_pool

    file = descriptor_pb2.FileDescriptorProto(name="events.proto", package="events", syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, fields in _MESSAGES.items():
        declared = file.message_type.add(name=name)
        chosen = _CHOICES.get(name, ())
        if chosen:
            declared.oneof_decl.add(name="kind")
        for field, (number, kind, repeated) in fields.items():
            label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            item = declared.field.add(name=field, number=number, label=label)
            if kind[0].isupper():
                item.type, item.type_name = kinds.TYPE_MESSAGE, f".events.{kind}"
            else:
                item.type = kinds.Type.Value(f"TYPE_{kind.upper()}")
            if field in chosen:
                item.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return pool


# --- tensors of one number

DTYPES: dict[int, str] = {
    1: "<f4", 2: "<f8", 3: "<i4", 4: "<u1", 5: "<i2", 6: "<i1", 9: "<i8", 10: "?", 17: "<u2", 19: "<f2", 22: "<u4",
    23: "<u8",
}  # fmt: skip
"""TensorFlow's number of a type to NumPy's name of it."""

_BFLOAT16, _E5M2, _E4M3 = 14, 24, 25
_FIELDS = {
    1: "float_val", 2: "double_val", 3: "int_val", 4: "int_val", 5: "int_val", 6: "int_val", 9: "int64_val",
    10: "bool_val", 17: "int_val", 22: "uint32_val", 23: "uint64_val", 19: "half_val", 14: "half_val",
}  # fmt: skip
_SIZES = {_BFLOAT16: 2, _E5M2: 1, _E4M3: 1}


def number(tensor: Any) -> float | None:
    """Return the number that a tensor holds, or None where it holds several, or something else.

    Raises
    ------
    ValueError
        If it has one element of a type that is no number.
    """
    if tensor.tensor_shape.unknown_rank or any(dim.size != 1 for dim in tensor.tensor_shape.dim):
        return None
    kind = tensor.dtype
    if kind not in DTYPES and kind not in _SIZES:
        raise ValueError(f"its type has the number {kind}")
    content = tensor.tensor_content or tensor.float8_val
    if content:
        size = _SIZES.get(kind) or np.dtype(DTYPES[kind]).itemsize
        return _from_bytes(kind, content) if len(content) == size else None
    stored = getattr(tensor, _FIELDS[kind]) if kind in _FIELDS else ()
    if len(stored) > 1:
        return None
    # TensorFlow's compression leaves zeros out.
    value = stored[0] if stored else 0
    return _from_bytes(kind, int(value).to_bytes(2, "little")) if _FIELDS.get(kind) == "half_val" else float(value)


def _from_bytes(kind: int, content: bytes) -> float:
    if kind == _BFLOAT16:
        return float(np.frombuffer(b"\0\0" + content, "<f4")[0])
    if kind == _E5M2:
        return float(np.frombuffer(b"\0" + content, "<f2")[0])
    if kind == _E4M3:
        sign, exponent, part = -1.0 if content[0] & 128 else 1.0, content[0] >> 3 & 15, content[0] & 7
        if exponent == 15 and part == 7:
            return float("nan")
        return sign * (part / 8 * 2.0**-6 if not exponent else (1 + part / 8) * 2.0 ** (exponent - 7))
    return float(np.frombuffer(content, DTYPES[kind])[0])
