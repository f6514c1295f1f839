"""What a kind of key comes down to once its bytes are parsed: closures over the library's own objects.

The bytes of a private key are not kept: ``export`` asks the library for them when a key is saved or compared.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

#: ``verify(signature, message)``; raises ``cryptography.exceptions.InvalidSignature``.
Verifier = Callable[[bytes, bytes], None]
#: ``sign(message)`` gives the signature.
Signer = Callable[[bytes], bytes]


class LoadedPrivateKey(NamedTuple):
    """A private key ready for use; ``public`` and ``export()`` are ``Data`` fields of the key protobufs."""

    public: bytes
    sign: Signer
    export: Callable[[], bytes]
