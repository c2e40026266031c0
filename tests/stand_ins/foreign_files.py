"""Small files in the formats in which others publish, of springs whose energies, forces and units are known."""

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

BOHR, HARTREE, KCAL = 0.529177210903, 27.211386245988, 27.211386245988 / 627.5094740631

ETHANOL = np.array([6, 6, 8, 1, 1, 1, 1, 1, 1])
ETHANOL_A = np.array(
    [[-0.89, 0.16, 0.0], [0.46, -0.52, 0.0], [1.44, 0.49, 0.0], [-1.68, -0.59, 0.0], [-0.99, 0.79, 0.89],
     [-0.99, 0.79, -0.89], [0.57, -1.15, 0.89], [0.57, -1.15, -0.89], [2.30, 0.06, 0.0]]
)  # fmt: skip
WATER = np.array([8, 1, 1])
WATER_A = np.array([[0.0, 0.0, 0.0], [0.96, 0.0, 0.0], [-0.24, 0.93, 0.0]])
HYDRONIUM_A = np.vstack([WATER_A, [[-0.3, -0.4, 0.85]]])


def frames(
    start: NDArray[np.float64], count: int, seed: int = 0, size: float = 0.03
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Positions (f, n, 3) in Å, forces in eV/Å and energies in eV of springs of 40 eV/Å² between all near atoms."""
    rng = np.random.default_rng(seed)
    x = start + rng.normal(scale=size, size=(count, *start.shape))
    i, j = np.triu_indices(len(start), 1)
    rest = np.linalg.norm(start[i] - start[j], axis=1)
    near = rest < 1.7
    i, j, rest = i[near], j[near], rest[near]
    between = x[:, i] - x[:, j]
    length = np.linalg.norm(between, axis=2)
    pull = (-40.0 * (length - rest) / length)[:, :, None] * between
    forces = np.zeros_like(x)
    for k, (a, b) in enumerate(zip(i, j, strict=True)):
        forces[:, a] += pull[:, k]
        forces[:, b] -= pull[:, k]
    return x, forces, -1000.0 + 20.0 * ((length - rest) ** 2).sum(axis=1)


def md17(path: Path, count: int = 200, numbers: NDArray[np.int64] = ETHANOL) -> Path:
    x, f, e = frames(ETHANOL_A, count)
    np.savez(
        path, z=numbers.astype(np.uint8), R=x, F=f / KCAL, E=e[:, None] / KCAL, theory="PBE+vdW-TS", name="e", type="d"
    )
    return path


def rmd17(folder: Path, count: int = 200) -> Path:
    """With the official splits where the archive has them."""
    x, f, e = frames(ETHANOL_A, count)
    (folder / "npz_data").mkdir(parents=True)
    (folder / "splits").mkdir()
    path = folder / "npz_data" / "rmd17_ethanol.npz"
    np.savez_compressed(
        path, nuclear_charges=ETHANOL.astype(np.uint8), coords=x, forces=f / KCAL, energies=e / KCAL,
        old_forces=1.01 * f / KCAL, old_energies=1.01 * e / KCAL, old_indices=np.arange(count),
    )  # fmt: skip
    order = np.random.default_rng(1).permutation(count)
    for part, rows in (("train", order[:100]), ("test", order[100:150])):
        np.savetxt(folder / "splits" / f"index_{part}_01.csv", rows, fmt="%d")
    return path


def spice(path: Path, gradient: float = 1.0) -> Path:
    text = h5py.string_dtype()
    with h5py.File(path, "w") as file:
        for name, smiles, numbers, start in (
            ("ethanol", "[C:1]([C:2]([O:3][H:9])([H:7])[H:8])([H:4])([H:5])[H:6]", ETHANOL, ETHANOL_A),
            (
                "hydronium",
                "[O+:1]([H:2])([H:3])[H:4]",
                np.array([8, 1, 1, 1]),
                np.vstack([WATER_A, [[-0.3, -0.4, 0.85]]]),
            ),
        ):
            x, f, e = frames(start, 60)
            group = file.create_group(name)
            group.create_dataset("subset", data=["SPICE Test"], dtype=text)
            group.create_dataset("smiles", data=[smiles], dtype=text)
            group["atomic_numbers"] = numbers.astype(np.int16)
            group["conformations"] = (x / BOHR).astype(np.float32)
            group["dft_total_energy"] = e / HARTREE
            group["dft_total_gradient"] = (-gradient * f / HARTREE * BOHR).astype(np.float32)
            group["formation_energy"] = e / HARTREE + 35.0
            group["scf_dipole"] = np.tile([0.1, 0.2, 0.3], (60, 1)).astype(np.float32)
            units = {"conformations": "bohr", "dft_total_energy": "hartree", "dft_total_gradient": "hartree/bohr"}
            for key, unit in units.items():
                group[key].attrs["units"] = unit
    return path


def ani1x(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        for name, numbers, start in (("C2H6O1", ETHANOL, ETHANOL_A), ("H2O1", WATER, WATER_A)):
            x, f, e = frames(start, 50)
            group = file.create_group(name)
            group["atomic_numbers"] = numbers.astype(np.uint8)
            group["coordinates"] = x.astype(np.float32)
            group["wb97x_dz.energy"] = e / HARTREE
            group["wb97x_dz.forces"] = (f / HARTREE).astype(np.float32)
            group["wb97x_dz.dipole"] = np.zeros((50, 3), dtype=np.float32)
            tz, tz_forces = e / HARTREE, (f / HARTREE).astype(np.float32)
            tz[10:], tz_forces[10:] = np.nan, np.nan
            group["wb97x_tz.energy"], group["wb97x_tz.forces"] = tz, tz_forces
    return path


def qm7x(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        for molecule, numbers, start in (("1", ETHANOL, ETHANOL_A), ("2", WATER, WATER_A)):
            x, f, e = frames(start, 40, seed=int(molecule))
            for conformer in range(2):
                for k, last in enumerate(["opt", *map(str, range(1, 20))]):
                    row = 20 * conformer + k
                    group = file.create_group(f"{molecule}/Geom-m{molecule}-i1-c{conformer + 1}-{last}")
                    group["atNUM"], group["atXYZ"] = numbers, x[row]
                    group["ePBE0+MBD"], group["ePBE0"] = e[row : row + 1], e[row : row + 1] + 1.0
                    group["totFOR"], group["pbe0FOR"] = f[row], f[row]
                    group["vDIP"] = np.array([0.1, 0.0, 0.0])
    return path


def extended_xyz(path: Path, count: int = 60, head: str = "charge=-1 multiplicity=1 temperature=600") -> Path:
    """Ethoxide, in the form of 3BPA's and AcAc's files."""
    x, f, e = frames(ETHANOL_A[:8], count)
    symbols = ["C", "C", "O", "H", "H", "H", "H", "H"]
    with path.open("w") as file:
        for k in range(count):
            file.write(f'8\nProperties=species:S:1:pos:R:3:forces:R:3 energy={e[k]:.10f} {head} pbc="F F F"\n')
            for symbol, position, force in zip(symbols, x[k], f[k], strict=True):
                file.write(symbol + "".join(f" {v:.9f}" for v in (*position, *force)) + "\n")
    return path


def _varint(value: int) -> bytes:
    value %= 1 << 64
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def example(**values: NDArray[np.generic] | bytes) -> bytes:
    """A serialised tf.train.Example."""
    features = b""
    for name, value in values.items():
        if isinstance(value, bytes):
            feature = _field(1, _field(1, value))
        elif np.issubdtype(value.dtype, np.floating):
            feature = _field(2, _field(1, value.astype("<f4").tobytes()))
        else:
            feature = _field(3, _field(1, b"".join(_varint(int(v)) for v in value.reshape(-1))))
        features += _field(1, _field(1, name.encode()) + _field(2, feature))
    return _field(1, features)


def qcml_records(count: int = 60) -> list[bytes]:
    """Ethanol and the water anion in turn; the last record is an outlier."""
    sets = [(ETHANOL, 0, 1, frames(ETHANOL_A, count)), (WATER, -1, 2, frames(WATER_A, count))]
    records = []
    for k in range(count):
        numbers, charge, multiplicity, (x, f, e) = sets[k % 2]
        records.append(
            example(
                key_hash=b"\x01\x02",
                atomic_numbers=numbers,
                charge=np.array([charge]),
                multiplicity=np.array([multiplicity]),
                positions=x[k] / BOHR,
                pbe0_forces=f[k] / HARTREE * BOHR,
                pbe0_energy=e[k : k + 1] / HARTREE,
                pbe0_formation_energy=e[k : k + 1] / HARTREE + 30.0,
                is_outlier=np.array([int(k == count - 1)]),
            )
        )
    return records
