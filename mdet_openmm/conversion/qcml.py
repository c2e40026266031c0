"""QCML's dft_force_field (Ganscha et al., Sci. Data 12, 406 (2025)), records of TFDS in array_record files.

TensorFlow is not needed: a record is a serialised ``tf.train.Example``, which is a map of names to lists of numbers.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mdet_openmm.conversion.pieces import AT_ONCE, Piece, by_composition, units_of
from mdet_openmm.conversion.settings import ConvertSettings
from mdet_openmm.errors import InputError

LEVEL: Final = "PBE0 (QCML)"
ENERGIES: Final = {"total": "pbe0_energy", "formation": "pbe0_formation_energy"}
"""What ``level`` may name."""


def read_qcml(path: Path, settings: ConvertSettings) -> Iterator[Piece]:
    """The frames of one shard; what QCML marks as outlier is left out, as its authors do.

    Raises
    ------
    InputError
        If the reader of array_record is missing, the file is none, or a record has not what it should have.
    """
    level = settings.level or "total"
    if level not in ENERGIES:
        raise InputError(f"{path}: --level must be one of {', '.join(ENERGIES)}, not {level}")
    reader = _reader(path)
    units = units_of(settings, "bohr", "hartree")
    total = reader.num_records()
    for start in range(0, total, AT_ONCE):
        records = reader.read(start, min(start + AT_ONCE, total))
        examples = [
            _example(record, f"{path}, record {start + k}", ENERGIES[level]) for k, record in enumerate(records)
        ]
        kept = [e for e in examples if not e["is_outlier"]]
        if not kept:
            continue
        count, most = len(kept), max(len(e["numbers"]) for e in kept)
        numbers = np.zeros((count, most), dtype=np.int64)
        positions, forces = np.zeros((2, count, most, 3))
        for k, e in enumerate(kept):
            n = len(e["numbers"])
            numbers[k, :n], positions[k, :n], forces[k, :n] = e["numbers"], e["positions"], e["forces"]
        yield from by_composition(
            settings,
            numbers,
            source=path.name,
            positions=positions * units.length,
            forces=forces * units.force,
            energy=np.array([e["energy"] for e in kept]) * units.energy,
            charge=np.array([e["charge"] for e in kept]),
            multiplicity=np.array([e["multiplicity"] for e in kept]),
        )


def _reader(path: Path) -> Any:
    try:
        from array_record.python.array_record_module import ArrayRecordReader
    except ImportError:
        raise InputError(f"{path} needs the package array-record; run: pip install 'mdet-openmm[qcml]'") from None
    reader = ArrayRecordReader(str(path))
    if not reader.ok() or not reader.num_records():
        raise InputError(f"{path} is no array_record file, or is cut short")
    return reader


def _example(record: bytes, where: str, energy: str) -> dict[str, Any]:
    """Numbers (n,), positions and forces (n, 3) in the file's units, energy, charge, multiplicity, is_outlier."""
    try:
        found = parse_example(record)
        numbers = found["atomic_numbers"].astype(np.int64)
        return {
            "numbers": numbers,
            "positions": found["positions"].reshape(len(numbers), 3),
            "forces": found["pbe0_forces"].reshape(len(numbers), 3),
            "energy": float(found[energy][0]),
            "charge": int(found["charge"][0]),
            "multiplicity": int(found["multiplicity"][0]),
            "is_outlier": bool(found["is_outlier"][0]) if "is_outlier" in found else False,
        }
    except (KeyError, ValueError, IndexError) as error:
        raise InputError(f"{where} is no structure of dft_force_field ({type(error).__name__}: {error})") from None


def parse_example(record: bytes) -> dict[str, NDArray[Any]]:
    """The lists of numbers of a serialised ``tf.train.Example`` by name; lists of bytes are left out.

    Protocol buffers: Example {1: Features}, Features {1: map entries}, an entry {1: name, 2: Feature}, a Feature
    {2: FloatList} or {3: Int64List}, and both have their numbers, packed, as field 1.

    Raises
    ------
    ValueError, IndexError
        If it is none.
    """
    found: dict[str, NDArray[Any]] = {}
    for field, features in _fields(record):
        for _, entry in _fields(features) if field == 1 else ():
            parts = dict(_fields(entry))
            for kind, content in _fields(parts.get(2, b"")):
                values = [_numbers(kind, part) for number, part in _fields(content) if number == 1 and kind in (2, 3)]
                if values:
                    found[parts[1].decode()] = np.concatenate(values)
    return found


def _numbers(kind: int, content: bytes) -> NDArray[Any]:
    if kind == 2:
        return np.frombuffer(content, dtype="<f4")
    raw = np.frombuffer(content, dtype=np.uint8)
    if (raw < 128).all():
        return raw.astype(np.int64)
    values, at = [], 0
    while at < len(content):
        value, at = _varint(content, at)
        values.append(value - (1 << 64) if value >> 63 else value)
    return np.array(values, dtype=np.int64)


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and content of each field of a message; of a number that is not packed, its bytes."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        wire = key & 7
        if wire == 2:
            length, at = _varint(message, at)
            end = at + length
        elif wire == 0:
            end = _varint(message, at)[1]
        elif wire in (1, 5):
            end = at + (8 if wire == 1 else 4)
        else:
            raise ValueError("not a protocol buffer")
        if end > len(message):
            raise ValueError("cut short")
        yield key >> 3, message[at:end]
        at = end


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
