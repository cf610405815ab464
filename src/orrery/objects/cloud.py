"""Objects in S3, Google Cloud Storage or Azure, through ``obstore``; one URL names the place."""

import contextlib
from collections.abc import Iterator

import obstore
from obstore import exceptions as failures
from obstore.store import ObjectStore, from_url

from orrery.errors import Denied, Invalid, OrreryError, Unavailable
from orrery.objects.contract import check_name, check_prefix, check_range


class CloudObjects:
    """``url`` is ``s3://bucket/prefix``, ``gs://``, ``az://``, ``file:///`` or ``memory:///``.

    Put-if-absent rests on the store's conditional put; retries and time-outs are the client's.
    """

    def __init__(self, url: str = "", *, store: ObjectStore | None = None, **options: str) -> None:
        with _as_errors("open objects at", url):
            self._store = store if store is not None else _open(url, options)

    def put(self, name: str, content: bytes) -> None:
        check_name(name)
        with _as_errors("put object", name):
            obstore.put(self._store, name, bytes(content), mode="overwrite")

    def put_if_absent(self, name: str, content: bytes) -> bool:
        check_name(name)
        with _as_errors("put object", name):
            try:
                obstore.put(self._store, name, bytes(content), mode="create", use_multipart=False)
            except (failures.AlreadyExistsError, failures.PreconditionError):
                return False
            return True

    def get(self, name: str, start: int = 0, length: int | None = None) -> bytes | None:
        check_name(name)
        check_range(name, start, length)
        with _as_errors("read object", name):
            try:
                if start == 0 and length is None:
                    return bytes(obstore.get(self._store, name).bytes())
                return self._get_range(name, start, length)
            except FileNotFoundError:
                return None

    def list(self, prefix: str) -> Iterator[tuple[str, int]]:
        check_prefix(prefix)
        with _as_errors("list objects below", prefix):
            pages = obstore.list(self._store, prefix or None)
            found = sorted((meta["path"], meta["size"]) for page in pages for meta in page)
        return iter(found)

    def delete(self, name: str) -> None:
        check_name(name)
        with _as_errors("delete object", name), contextlib.suppress(FileNotFoundError):
            obstore.delete(self._store, name)

    def _get_range(self, name: str, start: int, length: int | None) -> bytes:
        # The size is asked first: stores disagree on what a range behind the end gives.
        size = obstore.head(self._store, name)["size"]
        end = size if length is None else min(size, start + length)
        if start >= end:
            return b""
        return bytes(obstore.get_range(self._store, name, start=start, end=end))


def _open(url: str, options: dict[str, str]) -> ObjectStore:
    if not url:
        raise Invalid("cannot open objects at '': the URL is empty")
    if url.startswith("file://"):
        return from_url(url, mkdir=True)
    # The options are the client's own names (region, endpoint, ...); it refuses unknown ones.
    return from_url(url, **options)  # type: ignore[call-overload, no-any-return]


@contextlib.contextmanager
def _as_errors(verb: str, name: str) -> Iterator[None]:
    try:
        yield
    except OrreryError:
        raise
    except (failures.PermissionDeniedError, failures.UnauthenticatedError) as error:
        raise Denied(f"cannot {verb} {name!r}: {_first_line(error)}") from error
    except (
        failures.InvalidPathError,
        failures.NotSupportedError,
        failures.UnknownConfigurationKeyError,
        ValueError,
    ) as error:
        raise Invalid(f"cannot {verb} {name!r}: {_first_line(error)}") from error
    except (failures.BaseError, OSError) as error:
        raise Unavailable(f"cannot {verb} {name!r}: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    # obstore prints its own debugging tree behind the message.
    return str(error).split("\n", 1)[0]
