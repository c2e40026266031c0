"""The network that a training run starts from."""

import dataclasses

import numpy as np
import torch

from mdet_openmm.data.store import Store
from mdet_openmm.errors import InputError
from mdet_openmm.export.model_folder import load_model
from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.network.edge_transformer import EdgeTransformer
from mdet_openmm.network.electrons import N_ROWS
from mdet_openmm.training.batches import load_batch
from mdet_openmm.training.config import TrainConfig


def build_network(config: TrainConfig, store: Store) -> EdgeTransformer:
    """The network of the model to start from, or a fresh one whose force scale is the RMS force of the data.

    With ``train_only: dipole`` nothing but the dipole head requires gradients.

    Raises
    ------
    InputError
        If the network has no force head, or does not know the elements whose dipoles it is to learn.
    """
    if config.start_from is not None:
        return _continued(config, config.start_from, store)
    _check_trainable(config.network)
    torch.manual_seed(config.seed)
    total, count = 0.0, 0
    composition, energies = [], []
    for group in store.by_size("train").values():
        sample = np.random.default_rng([config.seed, len(group)]).choice(
            group, size=-(-len(group) // 20), replace=False
        )
        batch = load_batch(store, np.sort(sample))
        total, count = total + float(batch.forces.square().sum()), count + batch.forces.numel()
        composition.append(torch.nn.functional.one_hot(batch.atomic_numbers, N_ROWS).sum(dim=1).double())
        energies.append(batch.energy)
    scale = float(f"{(total / count) ** 0.5:.6g}")
    network = EdgeTransformer(dataclasses.replace(config.network, force_scale=scale))
    if config.network.energy_head:
        # The minimum-norm solution gives elements that always occur together their shares, and absent ones zero.
        solution = torch.linalg.pinv(torch.cat(composition)) @ torch.cat(energies)
        network.atom_energies.copy_(solution)
    return network


def _continued(config: TrainConfig, start_from: str, store: Store) -> EdgeTransformer:
    """A model's network with the heads that this training has a use for, in fp32 and training mode."""
    model = load_model(start_from)
    network = model.network
    _check_trainable(network.config)
    alone = config.train_only == "dipole"
    unknown = sorted(set(store.elements) - set(model.elements))
    if alone and unknown:
        raise InputError(f"{config.data} has elements {unknown}, which {model.name} was not trained on")
    if network.config.energy_head and not config.energy_weight and not alone:
        print("the energy head is left out: without energy_weight it would not follow the forces")
    if network.config.dipole_head and not config.dipole_weight:
        print("the dipole head is left out: without dipole_weight it would not follow the forces")
    shape = dataclasses.replace(
        network.config,
        energy_head=network.config.energy_head and (bool(config.energy_weight) or alone),
        dipole_head=bool(config.dipole_weight),
    )
    if shape != network.config:
        torch.manual_seed(config.seed)
        changed = EdgeTransformer(shape)
        before, state = network.state_dict(), changed.state_dict()
        # a new dipole head keeps the weights that it was drawn with
        changed.load_state_dict({key: before.get(key, value) for key, value in state.items()})
        network = changed
    network.to(torch.float32).requires_grad_(not alone).train()
    if network.dipole_head is not None:
        network.dipole_head.requires_grad_(True)
    return network


def _check_trainable(config: NetworkConfig) -> None:
    if not config.force_head:
        raise InputError("this network has no force_head: energy-conserving ones can be imported and run, not trained")
