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
from mdet_openmm.measure.definitions import equivariance_error
from mdet_openmm.measure.field import uniform_rotations
from mdet_openmm.measure.turned import rotated, rotated_dipoles, rotated_gradients
from mdet_openmm.network.edge_transformer import EdgeTransformer
from mdet_openmm.training.antisymmetry import lambdas
from mdet_openmm.training.batches import Batch, load_batch
from mdet_openmm.training.error_table import RECORDED, energy_errors, mae_rmse, mean_energy_errors, summary
from mdet_openmm.units import EV_PER_ANGSTROM_PER_ATOMIC_FORCE, KCAL_PER_MOL_PER_EV

KCAL_PER_MOL_ANGSTROM = KCAL_PER_MOL_PER_EV * EV_PER_ANGSTROM_PER_ATOMIC_FORCE
LARGEST_FOR_LAMBDA = 24
"""Atoms: differentiated twice, larger ones take a minute each. They count where there are no smaller ones."""


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
                uniform = uniform_rotations(n_rotations * b, generator).view(n_rotations, b, 3, 3).to(device)
                energies, turned = rotated(fast, batch, uniform)
                e_eq = equivariance_error(turned) * KCAL_PER_MOL_ANGSTROM
                orientations = torch.einsum("kij,bjl->kbil", group, uniform[0])
                averaged = rotated(fast, batch, orientations)[1]
                energy = network.reference_energy(batch.atomic_numbers).double() + energies[0]
                if bool(known.any()):
                    dipole = (rotated_dipoles(fast, batch, orientations) - batch.dipole).cpu()
                if gradient:
                    conserving = rotated_gradients(network, batch, uniform)[1]
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
                    ratio, *of_gradient = lambdas(network, alone, generator, gradient)
                    ratios[int(owner)].append(ratio)
                    for name, value in zip(("difference_lambda", "gradient_lambda"), of_gradient, strict=False):
                        errors[int(owner)][name].append(torch.tensor(value))
        names = [store.molecules[i].name for i in range(len(store.molecules))]
        by_molecule = {
            names[m]: summary(errors[m], ratios[m]) | (energy_errors(errors[m]) if errors[m]["energy"] else {})
            for m in sorted(errors)
        }
        every = {key: [t for r in errors.values() for t in r[key]] for key in RECORDED}
        report[split] = {
            "all": summary(every, [v for r in ratios.values() for v in r]) | mean_energy_errors(by_molecule),
            "by_molecule": by_molecule,
            "by_element": {str(z): mae_rmse(torch.cat(v)) for z, v in sorted(by_element.items())},
        }
    return report


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
