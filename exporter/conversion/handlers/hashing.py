"""Hashes of integers, computed as TensorFlow does, in 64-bit arithmetic.

TensorFlow hashes the decimal digits of an integer as text. ONNX cannot look into text, but digits can be computed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from headgate.exporter.conversion.handlers.nodes import add, cast, constant, has_type, replace

#: "-9223372036854775808" is the longest.
_MAX_BYTES = 20
#: BitwiseXor, without which none of this can be said.
_OPSET = 18

_TEXT_ADVICE = (
    "hash text before the model and feed integers, or look it up in a vocabulary with num_oov_indices=1; integers need "
    "opset=18"
)
ADVICE = {
    "SparseCross": "cross integers, such as the indices of a StringLookup; that needs opset=18",
    "StringToHashBucketFast": _TEXT_ADVICE,
    "StringToHashBucketStrong": _TEXT_ADVICE,
}


class Word:
    """A tensor of unsigned 64-bit integers that wrap around, written as in C."""

    def __init__(self, ctx: Any, tensor: str) -> None:
        self._ctx = ctx
        self.tensor = tensor

    def _node(self, operator: str, other: Word | int, **attributes: Any) -> Word:
        operand = other if isinstance(other, Word) else _word(self._ctx, other)
        return Word(self._ctx, add(self._ctx, operator, self.tensor, operand.tensor, **attributes))

    def __add__(self, other: Word | int) -> Word:
        return self._node("Add", other)

    def __mul__(self, other: Word | int) -> Word:
        return self._node("Mul", other)

    def __mod__(self, other: int) -> Word:
        return self._node("Mod", other)

    def __floordiv__(self, other: Word) -> Word:
        return self._node("Div", other)

    def __xor__(self, other: Word | int) -> Word:
        return self._node("BitwiseXor", other)

    def __lshift__(self, bits: int) -> Word:
        return self._node("BitShift", bits, direction="LEFT")

    def __rshift__(self, bits: int) -> Word:
        return self._node("BitShift", bits, direction="RIGHT")

    def rotate_right(self, bits: int) -> Word:
        """Rotate by 1 to 63 bits."""
        return (self >> bits) + (self << (64 - bits))

    def rotate_left(self, bits: int) -> Word:
        """Rotate by 1 to 63 bits."""
        return self.rotate_right(64 - bits)

    def signed(self) -> str:
        """Return the same bits as int64, the type that operators such as Where take."""
        return cast(self._ctx, self.tensor, "INT64")


def fingerprint(text: DecimalText) -> Word:
    """Return farmhash's Fingerprint64 of up to 32 bytes (https://github.com/google/farmhash, farmhashna::Hash64)."""
    k0, k1, k2 = 0xC3A5C85C97CB3127, 0xB492B66FBE98F273, 0x9AE16A3B2F90404F
    length = text.length
    mul = length * 2 + k2

    def combined(u: Word, v: Word) -> Word:
        a = _mix((u ^ v) * mul)
        return _mix((v ^ a) * mul) * mul

    first, last = text.bytes_from_start(0, 1), text.bytes_to_end(1, 1)
    y = first + (text.middle() << 8)
    z = length + (last << 2)
    tiny = _mix((y * k2) ^ (z * k0)) * k2

    short = combined(length + (text.bytes_from_start(0, 4) << 3), text.bytes_to_end(4, 4))

    a, b = text.bytes_from_start(0, 8) + k2, text.bytes_to_end(8, 8)
    medium = combined(b.rotate_right(37) * mul + a, (a.rotate_right(25) + b) * mul)

    a, b = text.bytes_from_start(0, 8) * k1, text.bytes_from_start(8, 8)
    c, d = text.bytes_to_end(8, 8) * mul, text.bytes_to_end(16, 8) * k2
    long = combined((a + b).rotate_right(43) + c.rotate_right(30) + d, a + (b + k2).rotate_right(18) + c)
    return text.by_length(tiny, (4, short), (8, medium), (17, long))


def keyed_hash(text: DecimalText, key: tuple[int, int]) -> Word:
    """Return SipHash-2-4 of up to 23 bytes (https://www.aumasson.jp/siphash/siphash.pdf)."""
    ctx = text.ctx
    state = tuple(
        _word(ctx, half ^ word)
        for half, word in zip(key * 2, (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573),
                              strict=True)
    )  # fmt: skip

    def rounds(state: tuple[Word, ...], count: int) -> tuple[Word, ...]:
        v0, v1, v2, v3 = state
        for _ in range(count):
            v0, v2 = v0 + v1, v2 + v3
            v1, v3 = v1.rotate_left(13) ^ v0, v3.rotate_left(16) ^ v2
            v0 = v0.rotate_left(32)
            v2, v0 = v2 + v1, v0 + v3
            v1, v3 = v1.rotate_left(17) ^ v2, v3.rotate_left(21) ^ v0
            v2 = v2.rotate_left(32)
        return v0, v1, v2, v3

    for block in range(0, _MAX_BYTES + 1, 8):
        word = text.block(block)
        v0, v1, v2, v3 = state
        v0, v1, v2, v3 = rounds((v0, v1, v2, v3 ^ word), 2)
        after = (v0 ^ word, v1, v2, v3)
        state = after if block == 0 else tuple(
            text.by_length(old, (block, new)) for old, new in zip(state, after, strict=True)
        )  # fmt: skip
    v0, v1, v2, v3 = state
    v0, v1, v2, v3 = rounds((v0, v1, v2 ^ 0xFF, v3), 4)
    return v0 ^ v1 ^ v2 ^ v3


class DecimalText:
    """The decimal digits of integers, as the bytes that printing them makes; every tensor has a row an integer."""

    def __init__(self, ctx: Any, integers: str) -> None:
        """Take an int64 tensor [n, 1]."""
        self.ctx = ctx
        zero, one = constant(ctx, np.array(0)), constant(ctx, np.array(1))
        negative = cast(ctx, add(ctx, "Less", integers, zero), "INT64")
        # The smallest integer has no absolute value, but the right bits.
        magnitude = Word(ctx, cast(ctx, add(ctx, "Abs", integers), "UINT64"))
        quotients = magnitude // Word(ctx, constant(ctx, np.array([10**place for place in range(_MAX_BYTES)], "u8")))
        present = cast(ctx, cast(ctx, quotients.tensor, "BOOL"), "INT64")
        ones = constant(ctx, np.ones((_MAX_BYTES, 1), np.int64))
        # Zero has one digit, too.
        count = add(ctx, "Max", add(ctx, "MatMul", present, ones), one)
        self._length = add(ctx, "Add", count, negative)
        self.length = Word(ctx, cast(ctx, self._length, "UINT64"))
        # From the last byte to the first: digits, then a minus where there is one.
        digits = add(ctx, "Add", (quotients % 10).signed(), constant(ctx, np.array(ord("0"))))
        places = constant(ctx, np.arange(_MAX_BYTES)[None])
        is_digit = add(ctx, "Less", places, count)
        self._backward = add(ctx, "Where", is_digit, digits, constant(ctx, np.array(ord("-"))))
        # From the first byte to the last, then zeros.
        source = add(ctx, "Sub", add(ctx, "Sub", self._length, one), places)
        forward = add(ctx, "GatherElements", self._backward, add(ctx, "Max", source, zero), axis=1)
        self._forward = add(ctx, "Where", add(ctx, "GreaterOrEqual", source, zero), forward, zero)

    def bytes_from_start(self, start: int, count: int) -> Word:
        """Return `count` bytes from byte `start` on, the first in the lowest 8 bits."""
        return self._word(self._forward, {start + place: place for place in range(count)})

    def bytes_to_end(self, before_end: int, count: int) -> Word:
        """Return `count` bytes, from `before_end` bytes before the end on, the first in the lowest 8 bits."""
        return self._word(self._backward, {before_end - 1 - place: place for place in range(count)})

    def middle(self) -> Word:
        """Return the byte at half the length."""
        half = add(self.ctx, "Div", self._length, constant(self.ctx, np.array(2)))
        byte = add(self.ctx, "GatherElements", self._forward, half, axis=1)
        return Word(self.ctx, cast(self.ctx, byte, "UINT64"))

    def block(self, start: int) -> Word:
        """Return the 8 bytes from `start` on; where they are the last, the highest is the length."""
        block = self.bytes_from_start(start, 8)
        return self.by_length(block + (self.length << 56), (start + 8, block))

    def by_length(self, otherwise: Word, *cases: tuple[int, Word]) -> Word:
        """Return the word of the last of the cases whose number of bytes is reached."""
        chosen = otherwise.signed()
        for length, word in cases:
            reached = add(self.ctx, "GreaterOrEqual", self._length, constant(self.ctx, np.array(length)))
            chosen = add(self.ctx, "Where", reached, word.signed(), chosen)
        return Word(self.ctx, cast(self.ctx, chosen, "UINT64"))

    def _word(self, characters: str, places: dict[int, int]) -> Word:
        """Put bytes together: those of some columns, each at its place of the word."""
        weights = np.zeros((_MAX_BYTES, 1), np.uint64)
        for column, place in places.items():
            if column < _MAX_BYTES:
                weights[column] = 1 << 8 * place
        # Not ReduceSum, which onnxruntime computes in double precision.
        return Word(
            self.ctx, add(self.ctx, "MatMul", cast(self.ctx, characters, "UINT64"), constant(self.ctx, weights))
        )


def to_bucket(ctx: Any, node: Any, **_: Any) -> None:
    """Map StringToHashBucketFast and StringToHashBucketStrong of printed integers."""
    source = node.inputs[0]
    while source.type == "Identity":
        source = source.inputs[0]
    if source.type != "Cast" or ctx.opset < _OPSET:
        raise ValueError("text is hashed, or integers below operator set 18")
    integers = source.input[0]
    text = DecimalText(ctx, _column(ctx, integers))
    if node.type == "StringToHashBucketFast":
        hashed = fingerprint(text)
    else:
        first, second = node.get_attr_value("key")
        hashed = keyed_hash(text, (first, second))
    bucket = (hashed % node.get_attr_value("num_buckets")).signed()
    replace(ctx, node, add(ctx, "Reshape", bucket, add(ctx, "Shape", integers)))


def cross(ctx: Any, node: Any, **_: Any) -> None:
    """Map SparseCross of single columns of integers, as tf.sparse.cross_hashed makes it."""
    columns = list(node.input)
    is_plain = node.get_attr_value("hashed_output") and node.get_attr_value("N") == 0
    are_integers = all(has_type(ctx, column, "INT64") for column in columns)
    if not (is_plain and are_integers and ctx.opset >= _OPSET):
        raise ValueError("text is crossed, or integers below operator set 18")
    k_mul = 0xC6A4A7935BD1E995
    hashed = _word(ctx, node.get_attr_value("hash_key"))
    for column in columns:
        # tsl::FingerprintCat64 (tsl/platform/fingerprint.h)
        feature = Word(ctx, cast(ctx, _column(ctx, column), "UINT64"))
        mixed = hashed ^ k_mul ^ (_mix(feature * k_mul) * k_mul)
        hashed = _mix(_mix(mixed * k_mul) * k_mul)
    buckets = (hashed % (node.get_attr_value("num_buckets") or 2**63 - 1)).signed()
    values = add(ctx, "Reshape", buckets, constant(ctx, np.array([-1])))
    everywhere = add(ctx, "NonZero", add(ctx, "Equal", columns[0], columns[0]))
    replace(ctx, node, add(ctx, "Transpose", everywhere, perm=[1, 0]), values, add(ctx, "Shape", columns[0]))


def _mix(value: Word) -> Word:
    return value ^ (value >> 47)


def _word(ctx: Any, value: int) -> Word:
    return Word(ctx, constant(ctx, np.array(value % 2**64, np.uint64)))


def _column(ctx: Any, tensor: str) -> str:
    return cast(ctx, add(ctx, "Reshape", tensor, constant(ctx, np.array([-1, 1]))), "INT64")


HANDLERS = {"StringToHashBucketFast": to_bucket, "StringToHashBucketStrong": to_bucket, "SparseCross": cross}
