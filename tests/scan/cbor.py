"""What schemathesis must be told of this interface: how bodies in CBOR are made, and what a proof looks like.

Read by schemathesis (SCHEMATHESIS_HOOKS) for tests/scan.rs. What does not belong: checks, and what fits which path; a
scanner that knew more would only ask what we expect it to ask.
"""

import os

import schemathesis
from hypothesis import strategies as st


def head(major, number):
    """The head of an item in its shortest form (RFC 8949, section 4.2.1)."""
    if number < 24:
        return bytes([major << 5 | number])
    size, info = next((size, info) for size, info in ((1, 24), (2, 25), (4, 26), (8, 27)) if number < 1 << 8 * size)
    return bytes([major << 5 | info]) + number.to_bytes(size, "big")


def encode(value):
    """Canonical CBOR of what the strategies below make."""
    if value is None:
        return b"\xf6"
    if isinstance(value, bool):
        return b"\xf5" if value else b"\xf4"
    if isinstance(value, int):
        return head(0, value) if value >= 0 else head(1, -1 - value)
    if isinstance(value, bytes):
        return head(2, len(value)) + value
    if isinstance(value, str):
        text = value.encode()
        return head(3, len(text)) + text
    return head(4, len(value)) + b"".join(encode(item) for item in value)


# Lengths of identifiers, nonces, digests, signatures and points, so that some come further than the first field.
fixed = st.sampled_from([16, 32, 48, 64, 96, 97]).flatmap(lambda size: st.binary(min_size=size, max_size=size))
numbers = st.integers(0, 9) | st.integers(-(2**63), 2**64 - 1)
leaf = st.none() | st.booleans() | numbers | fixed | st.binary(max_size=64) | st.text(max_size=20)
value = st.recursive(leaf, lambda inner: st.lists(inner, max_size=7), max_leaves=20)
# A frame is an array of its kind and its fields; the two that need no key are in the mix as they should be.
frame = st.tuples(st.integers(0, 9), st.lists(value, max_size=6)).map(list)
hello = st.binary(min_size=32, max_size=32).map(lambda nonce: [0, [nonce]])
nonce = st.just([1, []])
# Well-formed, and anything else.
body = (hello | nonce | frame | value).map(encode) | st.binary(max_size=256)

schemathesis.openapi.media_type("application/cbor", body)


@schemathesis.hook
def before_call(context, case, kwargs):
    """Half of what needs a session comes with the proof of one, made for another request: scribe has to judge it."""
    secured = case.operation.definition.raw.get("security")
    if secured and isinstance(case.body, bytes) and len(case.body) % 2 == 0:
        case.headers["Peri-Proof"] = os.environ["PERI_PROOF"]
