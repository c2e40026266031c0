"""How good a trained network is on structures that it never saw."""

import copy
from collections import defaultdict
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from mdet_openmm.data.store import Store
from mdet_openmm.export.compiled_attention import compile_attention
from mdet_openmm.export.fast_linear import use_onednn
from mdet_openmm.export.net_force import remove_net_force_and_torque
from mdet_openmm.export.rotations import rotation_group
from mdet_openmm.measure.definitions import antisymmetric_ratio, antisymmetric_share, equivariance_error
from mdet_openmm.network.edge_transformer import EdgeTransformer
from mdet_openmm.network.gradient import minus_gradient
from mdet_openmm.training.batches import Batch, load_batch, random_orthogonal
from mdet_openmm.training.penalties import jacobian_products
from mdet_openmm.units import (
    ANGSTROM_PER_BOHR,
    DEBYE_PER_E_ANGSTROM,
    EV_PER_ANGSTROM_PER_ATOMIC_FORCE,
    EV_PER_HARTREE,
    KCAL_PER_MOL_PER_EV,
)

MEV_PER_ANGSTROM = 1e3 * EV_PER_ANGSTROM_PER_ATOMIC_FORCE
KCAL_PER_MOL_ANGSTROM = KCAL_PER_MOL_PER_EV * EV_PER_ANGSTROM_PER_ATOMIC_FORCE

RECORDED = (
    "single", "twelve", "label", "e_eq", "dipole", "dipole_12", "dipole_label", "gradient", "gradient_e_eq",
    "gradient_lambda", "difference", "difference_e_eq", "difference_lambda",
)  # fmt: skip
PAIRS_WITH_GRAPH = 4000
"""Structures times atoms squared that are differentiated at once: a graph keeps every layer's activations."""
PROBES = 6
"""Random directions for lambda of one structure, each some force calls; an exact Jacobian has 3n rows of them."""
LARGEST_FOR_LAMBDA = 24
"""Atoms: differentiated twice, larger ones take a minute each. They count where there are no smaller ones."""
SMALL = 8
"""Atoms up to which the Jacobian is exact."""
MEV = 1e3 * EV_PER_HARTREE


def random_rotations(count: int, generator: torch.Generator) -> Tensor:
    """Uniform proper rotations, (count, 3, 3) float64."""
    q = random_orthogonal(count, generator)
    return q * torch.linalg.det(q)[:, None, None]


def rotated_forces(network: EdgeTransformer, batch: Batch, rotations: Tensor) -> Tensor:
    """Forces of every molecule under its own K rotations, turned back: (K, b, n, 3) in Ha/bohr.

    Parameters
    ----------
    network
        In eval mode.
    batch
        b molecules of n atoms.
    rotations
        (K, b, 3, 3); positions (rows) become x R.
    """
    k, b, n = *rotations.shape[:2], batch.positions.shape[1]
    forces = network.from_pairs(*_turned(network, batch, rotations))[1].double().view(k, b, n, 3)
    return torch.einsum("kbnj,kbij->kbni", forces, rotations.double())


def rotated_gradients(network: EdgeTransformer, batch: Batch, rotations: Tensor) -> Tensor:
    """Minus the energy's gradient under K rotations, turned back: (K, b, n, 3) in Ha/bohr; see `rotated_forces`."""
    k, b, n = *rotations.shape[:2], batch.positions.shape[1]
    pairs, positions, types = _turned(network, batch, rotations)
    found = []
    for rows in torch.arange(k * b, device=positions.device).split(max(1, PAIRS_WITH_GRAPH // n**2)):
        with torch.enable_grad():
            x = positions[rows].detach().requires_grad_(True)
            energy = network.from_pairs(pairs[rows], x, types[rows] if types is not None else None)[0]
            found.append(minus_gradient(energy, x))
    return torch.einsum("kbnj,kbij->kbni", torch.cat(found).double().view(k, b, n, 3), rotations.double())


def rotated_dipoles(network: EdgeTransformer, batch: Batch, rotations: Tensor) -> Tensor:
    """Dipoles of every molecule under its own K rotations, turned back: (K, b, 3) in e bohr; see `rotated_forces`."""
    k, b = rotations.shape[:2]
    pairs, x, types = _turned(network, batch, rotations)
    dipoles = network.dipole_readout(network.trunk(pairs, x, types), x)
    return torch.einsum("kbj,kbij->kbi", dipoles.double().view(k, b, 3), rotations.double())


def _turned(network: EdgeTransformer, batch: Batch, rotations: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """Pair features, turned positions and pair types of K b structures, as `EdgeTransformer.from_pairs` takes them."""
    k, b, n = *rotations.shape[:2], batch.positions.shape[1]
    x = torch.einsum("bni,kbij->kbnj", batch.positions, rotations).reshape(k * b, n, 3)
    pairs = network.node_pairs(batch.atomic_numbers, batch.charge, batch.multiplicity)
    types = network.pair_types(batch.atomic_numbers)
    return pairs.repeat(k, 1, 1, 1), x, types.repeat(k, 1, 1) if types is not None else None


def force_jacobian(network: EdgeTransformer, batch: Batch, gradient: bool = False) -> Tensor:
    """Derivatives (3n, 3n) of the force, or of minus the energy's gradient, row by row, of a batch of one."""
    x = batch.positions.clone().requires_grad_(True)
    energy, forces = network(batch.atomic_numbers, x, batch.charge, batch.multiplicity)
    forces = (minus_gradient(energy, x, create_graph=True) if gradient else forces).reshape(-1)
    return torch.stack([torch.autograd.grad(f, x, retain_graph=True)[0].reshape(-1) for f in forces])


def evaluate(
    network: EdgeTransformer,
    store: Store,
    splits: tuple[str, ...],
    *,
    seed: int = 0,
    n_rotations: int = 8,
    most_frames: int = 600,
    most_jacobians: int = 24,
    gradient: bool = False,
) -> dict[str, Any]:
    """Errors on the held-out splits of a data set, molecule by molecule.

    Parameters
    ----------
    network
        Trained; evaluated on the device where it is, its trunk in fp32 (1e-6 off), lambda in fp64.
    store
        Labelled data.
    splits
        Which splits of it.
    seed
        Of the rotations.
    n_rotations
        Uniform rotations per structure for E_eq.
    most_frames
        Of each split; of a larger one so many are drawn.
    most_jacobians
        For lambda, of each split. One or two of a molecule; where there are more molecules, of some of them, up to 24
        atoms.
    gradient
        Also of the gradient of the energy, and of its difference from the direct forces, in one orientation.

    Returns
    -------
    dict
        ``{split: {"all": {...}, "by_molecule": {...}, "by_element": {...}}}``. Forces have their net force and torque
        removed, as in a simulation; ``mae`` is component-wise. Errors are in meV/Å, E_eq in kcal/mol/Å; ``_12``
        stands for the average over the rotation group T at one random offset; ``lambda`` is missing where it was not
        measured. With a dipole head, and where the data has dipoles, also their component-wise errors (charged
        molecules: about the centroid).
    """
    network = network.to(torch.float64).eval()
    fast = copy.deepcopy(network)  # without derivatives, which lambda needs
    device = next(network.parameters()).device
    if device.type == "cpu" and isinstance(fast, EdgeTransformer):
        fast.to_mixed()
        compile_attention(fast)
        for part in (fast.layers, fast.radial):
            use_onednn(part)
    generator = torch.Generator().manual_seed(seed)
    group = rotation_group(12).to(device)
    report: dict[str, Any] = {}
    for split in splits:
        groups = _drawn(store, split, most_frames, seed)
        if not groups:
            continue
        measured = _some_molecules(store, groups, most_jacobians)
        chunks = [c for n in sorted(groups) for c in np.array_split(groups[n], max(1, len(groups[n]) // 40))]
        errors: dict[int, dict[str, list[Tensor]]] = defaultdict(lambda: defaultdict(list))
        by_element: dict[int, list[Tensor]] = defaultdict(list)
        ratios: dict[int, list[float]] = defaultdict(list)
        for chunk in tqdm(chunks, desc=f"evaluating {split}", leave=False):
            held, owners, b = load_batch(store, chunk), store.molecule[chunk], len(chunk)
            batch = Batch(*(t.to(device) for t in held))
            known = torch.isfinite(held.dipole).all(dim=-1) & network.has_dipole
            with torch.no_grad():
                uniform = random_rotations(n_rotations * b, generator).view(n_rotations, b, 3, 3).to(device)
                turned = rotated_forces(fast, batch, uniform)
                e_eq = equivariance_error(turned) * KCAL_PER_MOL_ANGSTROM
                orientations = torch.einsum("kij,bjl->kbil", group, uniform[0])
                averaged = rotated_forces(fast, batch, orientations)
                energy = network.reference_energy(batch.atomic_numbers).double()
                if network.has_energy:
                    energy = energy + fast.from_pairs(*_turned(fast, batch, uniform[:1]))[0].double()
                if bool(known.any()):
                    dipole = (rotated_dipoles(fast, batch, orientations) - batch.dipole).cpu()
                if gradient:
                    conserving = rotated_gradients(network, batch, uniform)
                    conserving = conserving - conserving.mean(dim=2, keepdim=True)
                    both_e_eq = torch.stack([equivariance_error(f) for f in (conserving, conserving - turned)])
                    both_e_eq = (both_e_eq * KCAL_PER_MOL_ANGSTROM).cpu()
                    used = remove_net_force_and_torque(batch.positions, turned[0])
                    lacking, conserving = (conserving[0] - used).cpu(), (conserving[0] - batch.forces).cpu()
                single = remove_net_force_and_torque(batch.positions, turned[0]) - batch.forces
                twelve = remove_net_force_and_torque(batch.positions, averaged.mean(dim=0)) - batch.forces
            single, twelve, e_eq, energy = single.cpu(), twelve.cpu(), e_eq.cpu(), energy.cpu()
            for i, owner in enumerate(owners):
                record = errors[int(owner)]
                record["single"].append(single[i])
                record["twelve"].append(twelve[i])
                record["label"].append(held.forces[i])
                record["e_eq"].append(e_eq[i])
                if gradient:
                    record["gradient"].append(conserving[i])
                    record["difference"].append(lacking[i])
                    record["gradient_e_eq"].append(both_e_eq[0, i])
                    record["difference_e_eq"].append(both_e_eq[1, i])
                if network.has_energy:
                    record["energy"].append(energy[i])
                    record["energy_label"].append(held.energy[i])
                if bool(known[i]):
                    record["dipole"].append(dipole[0, i])
                    record["dipole_12"].append(dipole[:, i].mean(dim=0))
                    record["dipole_label"].append(held.dipole[i])
            for z in held.atomic_numbers.unique():
                by_element[int(z)].append(twelve[held.atomic_numbers == z])
            for owner in np.intersect1d(owners, measured):
                if len(ratios[int(owner)]) < 2:
                    one = int(np.flatnonzero(owners == owner)[0])
                    alone = Batch(*(t[one : one + 1] for t in batch))
                    ratio, *of_gradient = _lambdas(network, alone, generator, gradient)
                    ratios[int(owner)].append(ratio)
                    for name, value in zip(("difference_lambda", "gradient_lambda"), of_gradient, strict=False):
                        errors[int(owner)][name].append(torch.tensor(value))
        names = [store.molecules[i].name for i in range(len(store.molecules))]
        by_molecule = {
            names[m]: _summary(errors[m], ratios[m]) | (_energy_errors(errors[m]) if errors[m]["energy"] else {})
            for m in sorted(errors)
        }
        every = {key: [t for r in errors.values() for t in r[key]] for key in RECORDED}
        report[split] = {
            "all": _summary(every, [v for r in ratios.values() for v in r]) | _mean_energy_errors(by_molecule),
            "by_molecule": by_molecule,
            "by_element": {str(z): _mae_rmse(torch.cat(v)) for z, v in sorted(by_element.items())},
        }
    return report


def _lambdas(network: EdgeTransformer, batch: Batch, generator: torch.Generator, gradient: bool) -> list[float]:
    """Of a batch of one: of the direct forces, and then of what they lack to be the gradient, and of the gradient.

    Exact for a small molecule; else by probes, which never build the (3n, 3n) Jacobian, and without the gradient, whose
    products with probes are the same from both sides.
    """
    n = batch.positions.shape[1]
    if n <= SMALL:
        direct = force_jacobian(network, batch)
        second = [force_jacobian(network, batch, gradient=True)] if gradient else []
        jacobians = [direct, *(s - direct for s in second), *second]
        return [float(antisymmetric_ratio(jacobian)) for jacobian in jacobians]
    squares = []
    for _ in range(PROBES):
        probes = torch.randn(1, n, 3, generator=generator, dtype=torch.float64).to(batch.positions.device)
        forward, backward = (product.detach() for product in jacobian_products(network, batch, probes))
        shares = [antisymmetric_share(forward, backward)]
        if gradient:
            both = _hessian_products(network, batch, probes)
            shares.append(antisymmetric_share(both - forward, both - backward))
        squares.append([float(share) for share in shares])
    return [float(x) for x in np.sqrt(np.mean(squares, axis=0))]


def _hessian_products(network: EdgeTransformer, batch: Batch, probes: Tensor) -> Tensor:
    """The symmetric Jacobian of minus the energy's gradient times a probe (b, n, 3) for each of b structures."""
    x = batch.positions.detach().requires_grad_(True)
    energy = network(batch.atomic_numbers, x, batch.charge, batch.multiplicity)[0]
    return torch.autograd.grad(minus_gradient(energy, x, create_graph=True), x, probes)[0]


def _drawn(store: Store, split: str, most: int, seed: int) -> dict[int, NDArray[np.int64]]:
    """Frames of a split by their number of atoms: all, or ``most`` of them drawn at random."""
    groups = store.by_size(split)
    total = sum(len(group) for group in groups.values())
    if total <= most:
        return groups
    drawn = np.random.default_rng(seed).choice(total, size=most, replace=False)
    taken = np.zeros(total, dtype=bool)
    taken[drawn] = True
    ends = np.cumsum([len(group) for group in groups.values()])
    parts = np.split(taken, ends[:-1])
    return {n: group[part] for (n, group), part in zip(groups.items(), parts, strict=True) if part.any()}


def _some_molecules(store: Store, groups: dict[int, NDArray[np.int64]], most: int) -> NDArray[np.int64]:
    """Molecules whose lambda is measured, on two structures each: all, or some spread over the list."""
    small = [group for n, group in groups.items() if n <= LARGEST_FOR_LAMBDA] or list(groups.values())
    present = np.unique(np.concatenate([store.molecule[group] for group in small]))
    return present[:: max(1, -(-2 * len(present) // most))]


def _mae_rmse(error: Tensor) -> dict[str, float]:
    return {
        "mae_12": round(float(error.abs().mean()) * MEV_PER_ANGSTROM, 3),
        "rmse_12": round(float(error.square().mean().sqrt()) * MEV_PER_ANGSTROM, 3),
    }


def _summary(record: dict[str, list[Tensor]], ratios: list[float]) -> dict[str, float]:
    single = torch.cat([t.reshape(-1) for t in record["single"]])
    label = torch.cat([t.reshape(-1) for t in record["label"]])
    twelve = torch.cat([t.reshape(-1) for t in record["twelve"]])
    return {
        "frames": len(record["single"]),
        "mae": round(float(single.abs().mean()) * MEV_PER_ANGSTROM, 3),
        "rmse": round(float(single.square().mean().sqrt()) * MEV_PER_ANGSTROM, 3),
        **_mae_rmse(twelve),
        "reference_rms": round(float(label.square().mean().sqrt()) * MEV_PER_ANGSTROM, 1),
        "e_eq_kcal_mol_A": round(float(torch.stack(record["e_eq"]).mean()), 4),
        **({"lambda": round(float(np.mean(ratios)), 4)} if ratios else {}),
        **(_gradient_errors(record) if record["gradient"] else {}),
        **(_dipole_errors(record) if record["dipole"] else {}),
    }


def _gradient_errors(record: dict[str, list[Tensor]]) -> dict[str, float]:
    """Of minus the energy's gradient, whose lambda is 0, and of what direct forces lack to be it; one orientation."""
    found = {}
    for of in ("gradient", "difference"):
        error = torch.cat([t.reshape(-1) for t in record[of]])
        found[f"{of}_mae"] = round(float(error.abs().mean()) * MEV_PER_ANGSTROM, 3)
        found[f"{of}_rmse"] = round(float(error.square().mean().sqrt()) * MEV_PER_ANGSTROM, 3)
        found[f"{of}_e_eq_kcal_mol_A"] = round(float(torch.stack(record[f"{of}_e_eq"]).mean()), 4)
        if record[f"{of}_lambda"]:
            found[f"{of}_lambda"] = round(float(torch.stack(record[f"{of}_lambda"]).mean()), 4)
    return found


def _dipole_errors(record: dict[str, list[Tensor]]) -> dict[str, float]:
    """Mean absolute errors of the components, and the RMS component of the labels, in e Å and D."""
    single, twelve, label = (
        torch.stack(record[key]) * ANGSTROM_PER_BOHR for key in ("dipole", "dipole_12", "dipole_label")
    )
    return {
        "dipole_mae_D": round(float(single.abs().mean()) * DEBYE_PER_E_ANGSTROM, 5),
        "dipole_mae_12_D": round(float(twelve.abs().mean()) * DEBYE_PER_E_ANGSTROM, 5),
        "dipole_mae_12_e_A": round(float(twelve.abs().mean()), 6),
        "dipole_reference_rms_D": round(float(label.square().mean().sqrt()) * DEBYE_PER_E_ANGSTROM, 4),
    }


def _energy_errors(record: dict[str, list[Tensor]]) -> dict[str, float]:
    """Of one molecule, meV: mean error; and, about it, the spread, beside that of the energies themselves.

    Dynamics knows nothing of the mean, which is a constant.
    """
    label = torch.stack(record["energy_label"])
    error = torch.stack(record["energy"]) - label
    return {
        "energy_offset_meV": round(float(error.mean()) * MEV, 2),
        "energy_rmse_meV": round(float(error.std(correction=0)) * MEV, 2),
        "energy_reference_rms_meV": round(float(label.std(correction=0)) * MEV, 2),
    }


def _mean_energy_errors(by_molecule: dict[str, dict[str, float]]) -> dict[str, float]:
    """Means over the molecules of what `_energy_errors` gives for each; {} without an energy head."""
    keys = ("energy_rmse_meV", "energy_reference_rms_meV")
    rows = [row for row in by_molecule.values() if "energy_rmse_meV" in row]
    return {key: round(float(np.mean([row[key] for row in rows])), 2) for key in keys if rows}
