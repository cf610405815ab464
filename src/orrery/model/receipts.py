"""What a delete is answered with, and what becomes of what it hid (docs/formats/receipt.md)."""

import msgspec


class Receipt(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``id`` is the offset of the delete's record in the log. Times are ns since 1970, ranges
    inclusive.

    ``samples`` counts what could be read when the delete was received, and is hidden by it:
    exactly where ``is_exact``, else at most so many. ``rewritten_ns`` is when the manifest was
    committed that lists no block with them any more, ``removed_ns`` when the last file that held
    them was found gone: None until then.
    """

    id: int
    tenant: str
    matchers: tuple[tuple[str, str, str], ...]
    min_ns: int
    max_ns: int
    accepted_ns: int
    series: int
    samples: int
    is_exact: bool
    rewritten_ns: int | None = None
    removed_ns: int | None = None


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What still holds samples that a delete hides: live blocks, files that no reader uses and
    that are removed after their grace, and the log. Backups are not looked into."""

    blocks: int
    block_bytes: int
    files: int
    log_bytes: int

    @property
    def is_nothing(self) -> bool:
        return not (self.blocks or self.files or self.log_bytes)
