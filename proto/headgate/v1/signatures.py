"""A model's signature as it is stored inside an ONNX file."""

import hashlib

from google.protobuf import json_format

from headgate.v1.signature_pb2 import Signature

#: The key in the ONNX file's `metadata_props`.
METADATA_KEY = "headgate.signature"
#: The `Signature.schema_version` that this release writes, and the highest that it reads.
SCHEMA_VERSION = 1


def signature_to_json(signature: Signature) -> str:
    """Write a signature as protobuf JSON on one line, field names as in the .proto files.

    Names are in alphabetical order, since protobuf's maps have none: the same signature gives the same text.
    """
    return json_format.MessageToJson(
        signature, preserving_proto_field_name=True, indent=None, sort_keys=True, ensure_ascii=False
    )


def signature_from_json(text: str) -> Signature:
    """Read what `signature_to_json` wrote.

    Raises:
        ValueError: the text is no signature, or was written by a newer release with another schema.

    >>> signature_from_json('{"schema_version": 1, "heads": [{"name": "price"}]}').heads[0].name
    'price'
    >>> signature_from_json('{"schema_version": 99}')
    Traceback (most recent call last):
    ...
    ValueError: the signature has schema version 99, this headgate reads versions up to 1; upgrade headgate
    """
    signature = Signature()
    try:
        json_format.Parse(text, signature, ignore_unknown_fields=True)
    except json_format.ParseError as error:
        raise ValueError(f"the metadata under '{METADATA_KEY}' is no signature: {error}") from error
    if signature.schema_version > SCHEMA_VERSION:
        raise ValueError(
            f"the signature has schema version {signature.schema_version}, "
            f"this headgate reads versions up to {SCHEMA_VERSION}; upgrade headgate"
        )
    if signature.schema_version < 1:
        raise ValueError("the signature has no schema_version; export the model again")
    return signature


def inputs_hash(signature: Signature) -> int:
    """Return a number of 64 bits, not 0, for what a model takes: its inputs, their meanings and how they are padded.

    >>> one = Signature(inputs=[{"name": "age"}, {"name": "sex"}])
    >>> other = Signature(inputs=[{"name": "sex"}, {"name": "age"}])
    >>> inputs_hash(one) == inputs_hash(other)
    False
    """
    taken = Signature(inputs=signature.inputs, input_meanings=signature.input_meanings, paddings=signature.paddings)
    return int.from_bytes(hashlib.sha256(signature_to_json(taken).encode()).digest()[:8]) or 1
