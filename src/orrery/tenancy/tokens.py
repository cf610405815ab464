"""Tokens: opaque random secrets, kept as hashes. ``Access`` checks them, ``Administration`` makes
them."""

import hashlib
import hmac
import string
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from msgspec import Struct

from orrery.clock import Chance
from orrery.model.selector import Matcher, Operator
from orrery.store.documents import decode_document, encode_document
from orrery.tenancy.documents import Documents

PREFIX = "orr_"
SECRET_BYTES = 32
SECRET_DIGITS = 43
"""Base-62 digits that any 32 bytes fit in."""

ID_CHARACTERS = 24
FORMAT = 1
COLLECTION = "tokens"
TOKENS_KEPT_MAX = 1024
_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase


class Permission(StrEnum):
    READ = "read"
    WRITE = "write"
    DELETE = "delete"
    ADMIN = "admin"


class Token(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is stored of a token: everything but the secret. ``id`` begins its digest."""

    id: str
    digest: str
    tenant: str
    permissions: tuple[Permission, ...]
    created_ns: int
    expires_ns: int | None
    revoked_ns: int | None
    description: str
    forced_labels: tuple[tuple[str, str], ...]
    forced_matchers: tuple[tuple[str, Operator, str], ...]

    def matchers(self) -> tuple[Matcher, ...]:
        return tuple(Matcher(*triple) for triple in self.forced_matchers)

    def refusal(self, now_ns: int) -> str | None:
        """Why the token is not good any more."""
        if self.revoked_ns is not None:
            return "the token is revoked"
        if self.expires_ns is not None and now_ns >= self.expires_ns:
            return "the token has expired"
        return None


@dataclass(frozen=True, slots=True)
class Minted:
    """A new secret and what is kept of it; the secret is shown once."""

    secret: str
    id: str
    digest: str

    def __repr__(self) -> str:
        return f"Minted(id={self.id!r})"


def mint(chance: Chance) -> Minted:
    secret = PREFIX + _base62(chance.token_bytes(SECRET_BYTES))
    digest = digest_of(secret)
    return Minted(secret, digest[:ID_CHARACTERS], digest)


def _base62(content: bytes) -> str:
    number = int.from_bytes(content, "big")
    digits = []
    for _ in range(SECRET_DIGITS):
        number, digit = divmod(number, 62)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))


def digest_of(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def token_of(secret: str, documents: Documents) -> Token | None:
    """The stored token of a secret; None for one that was never given out."""
    if not secret.startswith(PREFIX) or len(secret) != len(PREFIX) + SECRET_DIGITS:
        return None
    digest = digest_of(secret)
    found = documents.read(document_name(digest[:ID_CHARACTERS]), keep_absent=False)
    if found.content is None:
        return None
    token = decode(found.content)
    return token if hmac.compare_digest(token.digest, digest) else None


def document_name(token_id: str) -> str:
    return f"{COLLECTION}/{token_id}"


@lru_cache(maxsize=TOKENS_KEPT_MAX)
def decode(content: bytes) -> Token:
    return decode_document(content, Token, name="a token's document", format_version=FORMAT)


def encode(token: Token) -> bytes:
    """The bytes of docs/formats/control.md."""
    return encode_document(token, format_version=FORMAT)
