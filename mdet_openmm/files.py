"""Files and folders that are whole whenever they are seen, and folders that one process at a time works in."""

import contextlib
import errno
import json
import logging
import math
import os
import secrets
import shutil
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from mdet_openmm.errors import InputError

log = logging.getLogger("mdet_openmm")
LOCK: Final = ".lock"
_UNFINISHED: Final = ".unfinished"
DAMAGED_ARCHIVE: Final = (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What a .npz that is none, or is damaged, raises: RuntimeError of members that seem to be encrypted or compressed in
other ways."""


@contextlib.contextmanager
def unfinished(path: Path) -> Iterator[Path]:
    """A path beside another, for a file or folder to be made there, which is then put in its place.

    If an exception is raised nothing is left of it, and what stood in the place stays; what a killed process leaves,
    `locked` removes.
    """
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_UNFINISHED}")
    try:
        yield beside
        put(beside, path)
    finally:
        _remove(beside)


def put(made: Path, path: Path) -> None:
    """Bring a file or folder onto the disk, then put it in its place on the same disk, over a file that is there."""
    for file in made.rglob("*") if made.is_dir() else (made,):
        if file.is_file():
            with file.open("rb") as content:
                os.fsync(content.fileno())
    os.replace(made, path)


def write_file(path: Path, content: bytes | str) -> None:
    """Put a file in its place in one go: readers see the old content or the new, also after a crash."""
    with unfinished(path) as beside:
        # what UTF-8 has not is a file name with other bytes; JSON reads its escape back as such
        beside.write_bytes(content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content)


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, in one go."""
    write_file(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def plain(value: Any, other: Callable[[Any], Any] | None = None) -> Any:
    """A value in types that JSON and YAML know, with null for a number that is not finite, which JSON cannot say.

    Parameters
    ----------
    value
        Mappings, sequences, NumPy's arrays and numbers, and what JSON knows.
    other
        Makes such a value of anything else, ``str`` for example.

    Raises
    ------
    TypeError
        For anything else, without ``other``.
    """
    if value is None or (isinstance(value, (str, bool, int)) and not hasattr(value, "tolist")):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(each, other) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each, other) for each in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist(), other)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if other is None:
        raise TypeError(f"{type(value).__name__} is nothing that JSON knows")
    return plain(other(value), other)


def check_new_file(path: Path) -> None:
    """Refuse to write over a file, or into a folder that is not there.

    Raises
    ------
    InputError
        Before anything is computed for it.
    """
    if path.exists():
        raise InputError(f"{path} exists; remove it or choose another name")
    if not path.parent.is_dir():
        raise InputError(f"the folder {path.parent} does not exist; make it first")


def check_version(found: Any, known: int, where: Path) -> None:
    """Refuse a file of a format version that is not known here, from 1 to ``known``.

    Raises
    ------
    InputError
        Naming both versions.
    """
    version = plain(found, str)
    if type(version) is not int or not 1 <= version <= known:
        raise InputError(
            f"{where}: format version {version!r} is not known here, only {known}; perhaps a newer mdet-openmm reads it"
        )


def holds_nothing(folder: Path, but: Collection[str] = ()) -> bool:
    """Whether a folder is empty but for these names, the lock, and unfinished files of a process that was killed."""
    return all(p.name in (LOCK, *but) or p.name.endswith(_UNFINISHED) for p in folder.iterdir())


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make a folder and work in it alone, until the end or until the process ends, however it ends.

    On a file system without locks a warning says so, and nothing else is different.

    Raises
    ------
    InputError
        If the folder cannot be written, or another process (or thread) works in it.
    OSError
        From within, with the folder for its file name if it has none.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("w")
    except OSError as error:
        raise InputError(f"cannot write the output folder {folder}: {error.strerror}") from None
    with file:
        if _lock(file.fileno(), folder):
            for left in folder.glob(f".*{_UNFINISHED}"):
                _remove(left)
        try:
            yield
        except OSError as error:
            if error.errno is not None and error.filename is None:
                error.filename = str(folder)
            raise


def _lock(descriptor: int, folder: Path) -> bool:
    """Whether the folder is ours now, as far as one can know."""
    try:
        import fcntl
    except ImportError:  # Windows
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
            raise InputError(f"another process is writing {folder}; wait for it or stop it") from None
        log.warning(
            "the file system of %s has no locks (%s); see to it that no second process writes there",
            folder,
            error.strerror,
        )
        return False
    return True


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
