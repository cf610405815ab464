"""TLS from a certificate and a key file; ``app`` makes the context, ``listen`` serves it."""

import ssl
from pathlib import Path

from orrery.errors import Invalid


class Certificate:
    """A context whose certificate can be read again: new connections then get the new one."""

    def __init__(self, *, certificate_file: Path, key_file: Path) -> None:
        self._certificate_file = certificate_file
        self._key_file = key_file
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_alpn_protocols(["http/1.1"])
        self.pem = (b"", b"")
        """Key and chain, for what makes contexts of its own."""
        self.reload()

    def reload(self) -> None:
        """Reads both files; where they cannot serve, ``Invalid``, and the old ones stay."""
        # A chain that does not fit its key must not reach the context that is serving.
        self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
        self._load(self.context)
        self.pem = (self._key_file.read_bytes(), self._certificate_file.read_bytes())

    def _load(self, context: ssl.SSLContext) -> None:
        try:
            context.load_cert_chain(self._certificate_file, self._key_file, password=_no_password)
        except (OSError, ssl.SSLError, ValueError) as error:
            raise Invalid(
                f"cannot load certificate {str(self._certificate_file)!r} "
                f"with key {str(self._key_file)!r}: {error}"
            ) from error


def _no_password() -> str:
    raise ValueError("the key is encrypted")


def certificate_of(certificate_file: str | None, key_file: str | None) -> Certificate | None:
    """None where either is not set: then plain HTTP is served."""
    if certificate_file is None or key_file is None:
        return None
    return Certificate(certificate_file=Path(certificate_file), key_file=Path(key_file))
