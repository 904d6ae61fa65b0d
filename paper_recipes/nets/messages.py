"""From a net's dict to the protobuf message of its dialect."""

from __future__ import annotations

from typing import Any

from google.protobuf import json_format

from caffe_compat import schema


def to_message(net: dict[str, Any], message: str, dialect: str) -> Any:
    """The dict as a `message` ("NetParameter" or "SolverParameter").

    Raises ValueError for a field that the dialect lacks or a value that the field does not take.
    """
    try:
        return json_format.ParseDict(net, schema.message_class(dialect, message)())
    except json_format.ParseError as error:
        raise ValueError(f"no {message} of {dialect}: {error}") from error
