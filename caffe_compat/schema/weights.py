"""The part of Caffe's binary files that every fork agrees on: names, types, blobs and solver history.

A caffemodel is read with this schema and not with a dialect's, because forks (also ones unknown here) reuse tags with
other wire types; what it does not name is carried along untouched. Blob values are declared as `bytes`: packed floats
have the same encoding, and numpy reads them in place of a Python list (30 times faster on some protobuf versions).
"""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor_pool import DescriptorPool

from caffe_compat.schema.descriptors import PACKAGE, file_descriptor, make_pool
from caffe_compat.schema.tables import parse_tables

# `data` and its like are repeated: a writer may split packed values into several chunks.
_TABLE = """
message BlobShape
  dim = 1 repeated int64 packed
message BlobProto
  num = 1 int32 default=0
  channels = 2 int32 default=0
  height = 3 int32 default=0
  width = 4 int32 default=0
  data = 5 repeated bytes
  diff = 6 repeated bytes
  shape = 7 BlobShape
  double_data = 8 repeated bytes
  double_diff = 9 repeated bytes
message LayerParameter
  name = 1 string
  type = 2 string
  blobs = 7 repeated BlobProto
message V0LayerParameter
  name = 1 string
  type = 2 string
  blobs = 50 repeated BlobProto
message V1LayerParameter
  layer = 1 V0LayerParameter
  name = 4 string
  type = 5 int32
  blobs = 6 repeated BlobProto
message NetParameter
  name = 1 string
  layers = 2 repeated V1LayerParameter
  layer = 100 repeated LayerParameter
message SolverState
  iter = 1 int32
  learned_net = 2 string
  history = 3 repeated BlobProto
  current_step = 4 int32 default=0
"""


@cache
def _pool() -> DescriptorPool:
    return make_pool(file_descriptor("weights", parse_tables(_TABLE, ("weights",))["weights"]))


@cache
def weights_class(name: str) -> Any:
    """Class of one of the messages above, such as `weights_class("NetParameter")`."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"{PACKAGE}.{name}"))
