"""Protobuf descriptors made from the field tables; no generated code and no protoc.

Each dialect has a descriptor pool of its own, because the forks give one tag to different fields. Works with
protobuf 4 to 7, whose generated modules are not interchangeable while descriptors are.
"""

from __future__ import annotations

import struct

from google.protobuf import descriptor_pb2, descriptor_pool

from caffe_compat.schema.tables import Field, Tables

PACKAGE = "caffe"
_F = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    name: getattr(_F, f"TYPE_{name.upper()}")
    for name in ("float", "double", "int32", "int64", "uint32", "uint64", "bool", "string", "bytes")
}


def _float_default(text: str) -> str:
    # Caffe's defaults are C++ floats: 2.71828 means 2.7182800769805908 there. Some protobuf runtimes keep the decimal.
    return repr(struct.unpack("f", struct.pack("f", float(text)))[0])


def _add_field(message: descriptor_pb2.DescriptorProto, spec: Field, enums: dict[str, dict[str, int]]) -> None:
    made = message.field.add(name=spec.name, number=spec.number)
    made.label = getattr(_F, f"LABEL_{spec.label.upper()}")
    if spec.type in _SCALARS:
        made.type = _SCALARS[spec.type]
    else:
        made.type = _F.TYPE_ENUM if spec.type in enums else _F.TYPE_MESSAGE
        made.type_name = f".{PACKAGE}.{spec.type}"
    if spec.packed:
        made.options.packed = True
    if spec.default is not None:
        made.default_value = _float_default(spec.default) if spec.type == "float" else spec.default


def file_descriptor(name: str, table: Tables) -> descriptor_pb2.FileDescriptorProto:
    """A whole schema as one proto2 file, named `caffe/NAME.proto`."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{PACKAGE}/{name}.proto", package=PACKAGE)
    made = {}
    for message, specs in table.messages.items():
        made[message] = file.message_type.add(name=message)
        for spec in specs:
            _add_field(made[message], spec, table.enums)
    for enum_name, values in table.enums.items():
        owner, _, short = enum_name.rpartition(".")
        enum = made[owner].enum_type.add(name=short) if owner else file.enum_type.add(name=short)
        for value, number in values.items():
            enum.value.add(name=value, number=number)
    return file


def make_pool(file: descriptor_pb2.FileDescriptorProto) -> descriptor_pool.DescriptorPool:
    """A pool that holds this file and nothing else."""
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return pool
