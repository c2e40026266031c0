"""Files that travel from one machine to the next: packed into parts of 15 MiB, and checked when they are unpacked."""

import gzip
import hashlib
import io
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from mdet_openmm.errors import InputError

PART_BYTES = 15 * 2**20
MOST_PARTS = 4
"""At most 8 files and 64 MiB come back from the machine of shared/gpu; results and logs are among them."""
SUMS = "state.sha256"


class _Parts(io.RawIOBase):
    """A stream that goes on in another file after `PART_BYTES`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.paths: list[Path] = []
        self._file: BinaryIO | None = None

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        left = memoryview(data)
        while len(left):
            if self._file is None or self._file.tell() == PART_BYTES:
                self.close()
                self.paths.append(self.folder / f"state.tar.{len(self.paths)}")
                self._file = self.paths[-1].open("wb")
            left = left[self._file.write(left[: PART_BYTES - self._file.tell()]) :]
        return len(data)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def pack(root: Path, files: Iterable[Path], out: Path) -> list[Path]:
    """Write files, by their paths below the root, to ``out/state.tar.0`` and on, in the place of earlier ones.

    Raises
    ------
    InputError
        If they are too large to be carried.
    """
    out.mkdir(parents=True, exist_ok=True)
    for old in (*out.glob("state.tar.*"), *out.glob(SUMS)):
        old.unlink()
    parts = _Parts(out)
    with (
        gzip.GzipFile(fileobj=parts, mode="wb", compresslevel=4) as packed,
        tarfile.open(fileobj=packed, mode="w|") as archive,
    ):
        for file in files:
            archive.add(file, arcname=str(file.relative_to(root)))
    parts.close()
    if len(parts.paths) > MOST_PARTS:
        raise InputError(
            f"{len(parts.paths)} parts of 15 MiB are too many to be carried; choose fewer molecules or recipes"
        )
    (out / SUMS).write_text("".join(f"{_sha256(p)}  {p.name}\n" for p in parts.paths))
    return parts.paths


def unpack(folder: Path, root: Path) -> None:
    """Write what was packed below a root that does not exist yet.

    Raises
    ------
    InputError
        If a part is missing or damaged; nothing is written then.
    """
    try:
        sums = [line.split() for line in (folder / SUMS).read_text().splitlines()]
        contents = [(folder / name).read_bytes() for _, name in sums]
    except OSError as error:
        raise InputError(f"{folder} does not hold what was carried: {error}") from None
    for (wanted, name), content in zip(sums, contents, strict=True):
        if hashlib.sha256(content).hexdigest() != wanted:
            raise InputError(f"{folder / name} is damaged: its SHA-256 is not the one in {SUMS}")
    root.mkdir(parents=True)
    with tarfile.open(fileobj=io.BytesIO(b"".join(contents)), mode="r:gz") as archive:
        archive.extractall(root, filter="data")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
