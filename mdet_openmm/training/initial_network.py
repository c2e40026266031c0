"""The network that a training run starts from."""

import dataclasses

import numpy as np
import torch
from torch import Tensor

from mdet_openmm.data.store import Store
from mdet_openmm.errors import InputError
from mdet_openmm.export.model_folder import load_model
from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.network.edge_transformer import EdgeTransformer
from mdet_openmm.network.electrons import N_ROWS
from mdet_openmm.training.batches import Batch, load_batch
from mdet_openmm.training.config import TrainConfig


def build_network(config: TrainConfig, store: Store, shape: NetworkConfig | None = None) -> EdgeTransformer:
    """The network of the model to start from, or a fresh one whose force scale is the RMS force of the data.

    With ``shape``, that of a checkpoint whose weights will be put in, nothing is taken from the data.

    With ``train_only: dipole`` or ``energy`` nothing but that head requires gradients.

    Raises
    ------
    InputError
        If the network has no force head, or does not know the elements that a head alone is to learn.
    """
    if config.start_from is not None:
        return _continued(config, config.start_from, store)
    _check_trainable(config.network)
    torch.manual_seed(config.seed)
    if shape is not None:
        return EdgeTransformer(shape)
    sample = _sample(config, store)
    total = sum(float(batch.forces.square().sum()) for batch in sample)
    scale = float(f"{(total / sum(batch.forces.numel() for batch in sample)) ** 0.5:.6g}")
    network = EdgeTransformer(dataclasses.replace(config.network, force_scale=scale))
    if config.network.energy_head:
        network.atom_energies.copy_(_atom_energies(sample))
    return network


MOST_SAMPLED = 5000
"""Structures of one size whose energies are read."""
MOST_EVALUATED = 16
"""Structures of one size whose energies are computed."""


def _sample(config: TrainConfig, store: Store, most: int = MOST_SAMPLED, one_in: int = 20) -> list[Batch]:
    """One structure of so many, by size."""
    sample = []
    for group in store.by_size("train").values():
        count = min(-(-len(group) // one_in), most)
        chosen = np.random.default_rng([config.seed, len(group)]).choice(group, size=count, replace=False)
        sample.append(load_batch(store, np.sort(chosen)))
    return sample


def _shift_of_level(network: EdgeTransformer, sample: list[Batch]) -> Tensor:
    """What the elements' energies of a trained network, in double, need, Ha, to be those of the data.

    Electronic energies of two levels of theory are many hartree apart, which no network could learn.
    """
    errors = []
    for batch in sample:
        with torch.no_grad():
            energy, _ = network(batch.atomic_numbers, batch.positions, batch.charge, batch.multiplicity)
        errors.append(batch._replace(energy=batch.energy - energy))
    return _atom_energies(errors)


def _atom_energies(sample: list[Batch]) -> Tensor:
    """Energies of the elements, Ha, that explain those of the structures best; strained structures count less."""
    composition, energies = [], []
    for batch in sample:
        weight = 1.0 / batch.forces.square().sum(dim=(1, 2)).clamp(min=1e-6)
        atoms = torch.nn.functional.one_hot(batch.atomic_numbers, N_ROWS).sum(dim=1).double()
        composition.append(weight.unsqueeze(1) * atoms)
        energies.append(weight * batch.energy)
    # The minimum-norm solution gives elements that always occur together their shares, and absent ones zero.
    return torch.linalg.pinv(torch.cat(composition)) @ torch.cat(energies)


def _continued(config: TrainConfig, start_from: str, store: Store) -> EdgeTransformer:
    """A model's network with the heads that this training has a use for, in fp32 and training mode."""
    model = load_model(start_from)
    network = model.network
    _check_trainable(network.config)
    whole = config.train_only == "all"
    unknown = sorted(set(store.elements) - set(model.elements))
    if unknown and not whole:
        raise InputError(f"{config.data} has elements {unknown}, which {model.name} was not trained on")
    before = network.config
    if before.energy_head and whole and not config.energy_weight:
        print("the energy head is left out: without energy_weight it would not follow the forces")
    if before.dipole_head and whole and not config.dipole_weight:
        print("the dipole head is left out: without dipole_weight it would not follow the forces")
    new_energy = (config.train_only == "energy" or config.forces == "both") and not before.energy_head
    shape = dataclasses.replace(
        before,
        energy_head=new_energy or (before.energy_head and (bool(config.energy_weight) or not whole)),
        energy_pooling="atoms" if new_energy else before.energy_pooling,
        dipole_head=bool(config.dipole_weight) or (before.dipole_head and not whole),
    )
    if shape != before:
        torch.manual_seed(config.seed)
        changed = EdgeTransformer(shape)
        kept, state = network.state_dict(), changed.state_dict()
        # a new head keeps the weights that it was drawn with
        changed.load_state_dict({key: kept.get(key, value) for key, value in state.items()})
        network = changed
    if new_energy:
        network.atom_energies.copy_(_atom_energies(_sample(config, store)))
    elif network.config.energy_head and config.energy_weight:
        shift = _shift_of_level(network.double().eval(), _sample(config, store, MOST_EVALUATED, 1))
        network.atom_energies.add_(shift)
    network.to(torch.float32).requires_grad_(whole).train()
    if config.frozen_layers:
        _freeze(network, config.frozen_layers)
    own = {"dipole": (network.dipole_head,), "energy": (network.energy_head, network.atomic_energies)}
    for head in own.get(config.train_only, ()):
        if head is not None:
            head.requires_grad_(True)
    return network


def _freeze(network: EdgeTransformer, layers: int) -> None:
    """Keep the weights of the first layers, and of what makes the features that they take."""
    if layers >= len(network.layers):
        raise InputError(f"frozen_layers: {layers} leaves none of the network's {len(network.layers)} layers to train")
    before = (network.nodes, network.basis, network.radial, network.directions, network.composer)
    for part in (*before, *network.layers[:layers]):
        part.requires_grad_(False)


def _check_trainable(config: NetworkConfig) -> None:
    if not config.force_head:
        raise InputError("this network has no force_head: energy-conserving ones can be imported and run, not trained")
