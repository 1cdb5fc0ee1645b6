"""Within `steady(seed)` the checker's randomness (support.pht) comes from a seed, so that what it makes has the same
bytes at every run: symmetric keys, IVs, and the padding of wrapped keys and of signatures. For corpora only."""

import contextlib
import hashlib
from unittest import mock

from support import pht


class Source:
    def __init__(self, seed):
        self.seed, self.count = seed.encode(), 0

    def bytes(self, size):
        out = b""
        while len(out) < size:
            self.count += 1
            out += hashlib.sha512(self.seed + self.count.to_bytes(8, "big")).digest()
        return out[:size]


def _mask(seed, size):
    """MGF1 with SHA-512."""
    blocks = -(-size // 64)
    return b"".join(hashlib.sha512(seed + count.to_bytes(4, "big")).digest() for count in range(blocks))[:size]


def _xor(one, other):
    return bytes(left ^ right for left, right in zip(one, other, strict=True))


def _wrap(source, key, secret):
    """RSAES-OAEP, RFC 8017 7.1.1."""
    numbers = (key.public_key() if hasattr(key, "public_key") else key).public_numbers()
    size = (numbers.n.bit_length() + 7) // 8
    block = hashlib.sha512(b"").digest() + bytes(size - len(secret) - 130) + b"\x01" + secret
    seed = source.bytes(64)
    masked = _xor(block, _mask(seed, len(block)))
    whole = b"\0" + _xor(seed, _mask(masked, 64)) + masked
    return pow(int.from_bytes(whole, "big"), numbers.e, numbers.n).to_bytes(size, "big")


def _sign_pss(source, key, digest, salt=None):
    """RSASSA-PSS over a digest, RFC 8017 8.1.1 and 9.1.1."""
    private = key.private_numbers()
    public = private.public_numbers
    bits = public.n.bit_length() - 1
    size = (bits + 7) // 8
    salted = source.bytes(pht.pss_salt(key) if salt is None else salt)
    hashed = hashlib.sha512(bytes(8) + digest + salted).digest()
    block = bytes(size - len(salted) - 66) + b"\x01" + salted
    masked = bytearray(_xor(block, _mask(hashed, len(block))))
    masked[0] &= 0xFF >> (8 * size - bits)
    whole = int.from_bytes(bytes(masked) + hashed + b"\xbc", "big")
    return pow(whole, private.d, public.n).to_bytes((public.n.bit_length() + 7) // 8, "big")


@contextlib.contextmanager
def steady(seed):
    source = Source(seed)
    with (mock.patch.object(pht.os, "urandom", source.bytes),
          mock.patch.object(pht, "wrap", lambda key, secret: _wrap(source, key, secret)),
          mock.patch.object(pht, "sign_pss", lambda key, digest, salt=None: _sign_pss(source, key, digest, salt))):
        yield source
