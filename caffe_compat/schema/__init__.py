"""Caffe's messages in four dialects, as protobuf classes built at run time from a table (`fields.txt`).

A dialect is the schema and the semantics of one Caffe: `bvlc` (stock), `rll_cvpr19`, `rll_tpami`, `osm_aaai19`.
A message knows its dialect: `dialect_of(message)`.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message

from caffe_compat.errors import DialectError
from caffe_compat.schema.descriptors import PACKAGE, file_descriptor, make_pool
from caffe_compat.schema.layer_types import agree, dialects_of_type
from caffe_compat.schema.tables import DIALECTS, tables

__all__ = ["DIALECTS", "agree", "check_dialect", "dialect_of", "dialects_of_type", "message_class"]


def check_dialect(dialect: str) -> str:
    """Return `dialect`, or raise `DialectError` when there is no such dialect."""
    if dialect not in DIALECTS:
        raise DialectError(f'there is no dialect "{dialect}"', DIALECTS)
    return dialect


@cache
def _pool(dialect: str) -> DescriptorPool:
    return make_pool(file_descriptor(check_dialect(dialect), tables()[dialect]))


@cache
def message_class(dialect: str, name: str) -> Any:
    """Class of a message, such as `message_class("rll_tpami", "NetParameter")`.

    Raises:
        DialectError: no such dialect.
        KeyError: the dialect has no such message.
    """
    return message_factory.GetMessageClass(_pool(dialect).FindMessageTypeByName(f"{PACKAGE}.{name}"))


def dialect_of(message: Message) -> str:
    """Dialect whose schema a message (or a part of one, such as a LayerParameter) was made from."""
    name = message.DESCRIPTOR.file.name
    dialect = name.removeprefix(f"{PACKAGE}/").removesuffix(".proto")
    if dialect not in DIALECTS:
        raise DialectError(f"a {message.DESCRIPTOR.full_name} of {name} belongs to no dialect")
    return dialect
