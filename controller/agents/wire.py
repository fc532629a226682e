"""JSON-RPC on the wire as Go's net/rpc/jsonrpc server speaks it (facts: go.dev/src/net/rpc/jsonrpc):
one JSON object a request, params a list of one, errors as texts, answers as Go's encoder writes them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

LONGEST_LINE = 65_536
"""Bytes of one request; a real heartbeat has about 200."""


def _no_constant(name: str) -> None:
    """Refuse NaN and Infinity, which Python takes for JSON and Go does not."""
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)
_SURROGATES = re.compile("[\ud800-\udfff]")
# What Go's encoder escapes beyond JSON's need, so that its output can stand in HTML.
_HTML = str.maketrans(
    {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
)
_KINDS = {
    str: "string",
    bool: "bool",
    int: "number",
    float: "number",
    list: "array",
    dict: "object",
}


class Garbage(Exception):
    """What was sent is no request; Go's server closes the connection then."""


class Refused(Exception):
    """A call that is answered with an error; the connection stays."""


class Call(NamedTuple):
    """One request.

    Attributes:
        method: `Agent.ReportStatus`; checked by nobody yet.
        params: as sent, or None where they are missing.
        id: as JSON, to be given back.
    """

    method: str
    params: Any
    id: bytes


def read_calls(line: bytes) -> Iterator[Call]:
    """The requests of one line; Go's decoder does not ask for line breaks between them.

    Raises:
        Garbage: it holds something else.
    """
    text = line.decode("utf-8", "replace").strip()
    try:
        try:
            yield _call(_DECODER.decode(text))
            return
        except json.JSONDecodeError as error:
            if error.msg != "Extra data":
                raise
        at = 0
        while at < len(text):
            value, at = _DECODER.raw_decode(text, at)
            yield _call(value)
            while at < len(text) and text[at].isspace():
                at += 1
    except (ValueError, RecursionError):
        raise Garbage from None


def _call(value: Any) -> Call:
    if not isinstance(value, dict):
        raise Garbage
    method = value.get("method", "")
    if not isinstance(method, str):
        raise Garbage
    number = value.get("id")
    text = b"%d" % number if type(number) is int else encode(number)
    return Call(method, value.get("params"), text)


def first_param(call: Call, kind: str) -> dict[str, Any]:
    """The object that a call is about.

    Args:
        kind: Go's name of it, for the error.

    Raises:
        Refused: there is none; said as Go would.
    """
    if call.params is None:
        raise Refused("jsonrpc: request body missing params")
    if not isinstance(call.params, list):
        raise Refused(
            f"json: cannot unmarshal {_KINDS[type(call.params)]} into Go value of type [1]interface {{}}"
        )
    param = call.params[0] if call.params else None
    if param is None:
        return {}
    if not isinstance(param, dict):
        raise Refused(f"json: cannot unmarshal {_KINDS[type(param)]} into Go value of type {kind}")
    return param


def text_field(param: dict[str, Any], name: str, kind: str) -> str:
    """A text of a call's object; empty where it is missing.

    Raises:
        Refused: it is no text; said as Go would.
    """
    value = param.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Refused(
            f"json: cannot unmarshal {_KINDS[type(value)]} into Go struct field "
            f"{kind.rpartition('.')[2]}.{name} of type string"
        )
    return value


def encode(value: Any) -> bytes:
    """JSON as Go's encoder writes it.

    Raises:
        ValueError: a number in it is greater than any in JSON (`1e999`).
        RecursionError: it goes too deep.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    text = text.translate(_HTML)
    return text.encode() if text.isascii() else _SURROGATES.sub("\ufffd", text).encode()


def answer(number: bytes, result: bytes) -> bytes:
    """The line that a call is answered with.

    Args:
        number: the call's id.
        result: JSON.
    """
    return b'{"id":%b,"result":%b,"error":null}\n' % (number, result)


def refusal(number: bytes, reason: str) -> bytes:
    """The line that a call is refused with."""
    return b'{"id":%b,"result":null,"error":%b}\n' % (number, encode(reason))
