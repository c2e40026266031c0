"""What a user would pick instead: MACE, ANI-2x and AIMNet2 on ethanol, aspirin and two capped peptides.

``python benchmarks/peers.py --threads N --repeats R`` prints a Markdown table of milliseconds per force call on the
CPU. A call does what an MD step asks of the package: energy and forces at new positions, neighbour list included,
through the ASE calculator that the package comes with. Nothing is downloaded: published architectures, random weights.
The peers are no dependencies of this package: ``pip install mace-torch torchani aimnet "torch>=2.9,<2.10"``.
"""

import argparse
import contextlib
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module  # not `import mace`: type checkers need not find what is not a dependency
from importlib.metadata import PackageNotFoundError, version
from timeit import timeit
from typing import Any

import numpy as np
import torch
from ase import Atoms

from mdet_openmm.molecules.smiles import molecule_from_smiles

Call = Callable[[], object]  # energy and forces, once
Make = Callable[[np.ndarray, np.ndarray, torch.dtype], Call]  # of atomic numbers (n,), positions (n, 3) in Å and dtype
ALA, SER = "N[C@@H](C)C(=O)", "N[C@@H](CO)C(=O)"
SMILES = ("CCO", "CC(=O)Oc1ccccc1C(=O)O", f"CC(=O){3 * ALA}NC", f"CC(=O){5 * ALA}{2 * SER}NC")


@dataclass(frozen=True)
class Peer:
    """A model of another package: what builds a force call (None if nothing can), and how it is built or why not."""

    name: str
    make: Make | None
    why: str


def step_call(calculator: Any, atomic_numbers: np.ndarray, positions: np.ndarray) -> Call:
    """Energy and forces from an ASE calculator; every other atom moves by 1e-6 Å a call, so that no cache is hit."""
    atoms = Atoms(numbers=atomic_numbers, positions=positions)

    def call() -> object:
        atoms.positions[::2] += 1e-6
        # Not get_forces and get_potential_energy: where a calculator keeps only what was asked for, that is two runs.
        calculator.calculate(atoms, ["energy", "forces"], ["positions"])
        return calculator.results["energy"], calculator.results["forces"]

    return call


def make_mace(irreps: str, cutoff: float, numbers: np.ndarray, positions: np.ndarray, dtype: torch.dtype) -> Call:
    """MACE-OFF23's hyperparameters: two layers, l ≤ 3 on the edges, correlation order 3, ten elements."""
    modules, irreps_class = import_module("mace.modules"), import_module("e3nn.o3").Irreps
    blocks, elements = modules.interaction_classes, [1, 6, 7, 8, 9, 15, 16, 17, 35, 53]
    size = {"num_interactions": 2, "correlation": 3, "max_ell": 3, "num_bessel": 8, "num_polynomial_cutoff": 5}
    scale = {"avg_num_neighbors": 15.0, "atomic_inter_scale": 1.0, "atomic_inter_shift": 0.0}  # no matter for the time
    species = {"atomic_numbers": elements, "num_elements": len(elements), "atomic_energies": np.zeros(len(elements))}
    shapes = {"hidden_irreps": irreps_class(irreps), "MLP_irreps": irreps_class("16x0e"), "r_max": cutoff}
    first, second = blocks["RealAgnosticInteractionBlock"], blocks["RealAgnosticResidualInteractionBlock"]
    layers = {"interaction_cls_first": first, "interaction_cls": second, "use_reduced_cg": False}  # no cuequivariance
    with import_module("mace.tools.torch_tools").default_dtype(dtype):
        model = modules.ScaleShiftMACE(gate=torch.nn.functional.silu, **(size | scale | species | shapes | layers))
    options = {"device": "cpu", "default_dtype": str(dtype).removeprefix("torch.")}
    return step_call(import_module("mace.calculators").MACECalculator(models=[model], **options), numbers, positions)


def make_ani2x(numbers: np.ndarray, positions: np.ndarray, dtype: torch.dtype) -> Call:
    """Eight members as published, fused and scripted by torchani's own means, its fastest way on a CPU (measured)."""
    assembler = import_module("torchani.arch").Assembler(periodic_table_index=True)
    assembler.set_symbols(import_module("torchani.utils").SYMBOLS_2X)
    assembler.set_global_cutoff_fn("cosine")
    assembler.set_aev_computer(radial="ani2x", angular="ani2x", strategy="pyaev")
    assembler.set_atomic_networks(ctor="ani2x")
    assembler.set_gsaes_as_self_energies("wb97x-631gd")
    scripted = torch.jit.script(assembler.assemble(8).requires_grad_(False).to(dtype=dtype).to_infer_model())
    return step_call(import_module("torchani.ase").Calculator(scripted), numbers, positions)


def make_aimnet2(numbers: np.ndarray, positions: np.ndarray, dtype: torch.dtype) -> Call:
    """One member, the calculator's default, with all-pairs Coulomb and D3 outside of the network as in its exports."""
    if dtype != torch.float32:
        raise TypeError("aimnet's calculator computes in float32 only")
    settings, folder = import_module("aimnet.config"), import_module("aimnet.models").__path__[0]
    config = settings.load_yaml(f"{folder}/aimnet2_dftd3_wb97m.yaml")
    core, coulomb, _, d3, *_ = import_module("aimnet.models.utils").strip_lr_modules_from_yaml(config, {})
    model = settings.build_module(core)
    model.outputs.atomic_shift.double()  # as when weights are loaded
    model._metadata = {"coulomb_mode": coulomb, "d3_params": d3, "has_embedded_lr": True}
    calculators = import_module("aimnet.calculators")
    base = calculators.AIMNet2Calculator(model, device="cpu", needs_coulomb=True, needs_dispersion=True)
    return step_call(calculators.AIMNet2ASE(base), numbers, positions)


def available() -> dict[str, Peer]:
    """The peers by name, those that cannot be built here too."""
    peers = {}
    for name, package, make, why in (
        ("MACE small", "mace-torch", partial(make_mace, "96x0e", 4.5), "as MACE-OFF23 small: 4.5 Å, l = 0"),
        ("MACE medium", "mace-torch", partial(make_mace, "128x0e+128x1o", 5.0), "as MACE-OFF23 medium: 5 Å, l ≤ 1"),
        ("ANI-2x", "torchani", make_ani2x, "ensemble of 8 members, fused and scripted"),
        ("AIMNet2", "aimnet", make_aimnet2, "one member of the ωB97M-D3 model, 5 Å, with Coulomb and D3"),
    ):
        try:
            peers[name] = Peer(name, make, f"{why}; {package} {version(package)}")
        except PackageNotFoundError:
            peers[name] = Peer(name, None, f"{package} is not installed")
    return peers


def row(peer: Peer, dtype: torch.dtype, repeats: int) -> str:
    """A line of the table: median times after two calls that do not count; a failure ends it with the reason."""
    cells, note = [], ""
    # Packages greet and warn on import and at the first call; standard output is for the table.
    with warnings.catch_warnings(action="ignore"), contextlib.redirect_stdout(io.StringIO()):
        try:
            for molecule in map(molecule_from_smiles, SMILES):
                if peer.make is None:
                    raise ModuleNotFoundError(peer.why)
                torch.manual_seed(0)
                call = peer.make(molecule.atomic_numbers, molecule.positions, dtype)
                cells.append(f"{1e3 * np.median([timeit(call, number=1) for _ in range(2 + repeats)][2:]):.1f}")
        except Exception as error:  # whatever a peer stumbles over is a result, not the end of the others
            note = f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"
    cells += ["–"] * (len(SMILES) - len(cells))
    return f"| {peer.name} | {str(dtype).removeprefix('torch.')} | {' | '.join(cells)} | {note} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="milliseconds per force call of other packages, random weights, CPU")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=10, help="calls that count, after two that do not")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    heads = " | ".join(f"{len(molecule_from_smiles(smiles).atomic_numbers)} atoms" for smiles in SMILES)
    print(f"ms per force call; torch {torch.__version__}, {options.threads} thread(s), median of {options.repeats}\n")
    print(f"| model | precision | {heads} | note |\n|---|---|{len(SMILES) * '---:|'}---|", flush=True)
    for peer in available().values():
        for dtype in (torch.float32, torch.float64):
            print(row(peer, dtype, options.repeats), flush=True)
    print("", *(f"* {peer.name}: {peer.why}" for peer in available().values()), sep="\n")


if __name__ == "__main__":
    main()
