"""What does correcting direct forces every M steps cost and keep? (docs/conservative.md)

``python experiments/conservative.py MODEL SYSTEM...``: NVE from every start with direct forces (in one orientation,
with hashed rotations, and held), the gradient alone, and every M; with ``--bath`` also Langevin dynamics. Prints tables
of drift, cost, angular momentum and temperatures, and draws a figure; what is in the folder of runs is not computed
again.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Before OpenMM loads its plugins: openmmtorch's need libraries that come with torch.
import torch  # isort: skip
import numpy as np
import openmm

from mdet_openmm.analysis.style import BLUE, GREEN, MUTED, ORANGE, RED, as_png, drawing, new_figure
from mdet_openmm.digits import shown, shown_with_error
from mdet_openmm.errors import RunStopped, exit_status
from mdet_openmm.export.force_module import bind
from mdet_openmm.export.model_folder import load_model
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.measure.block_average import blocked_mean
from mdet_openmm.molecules.readers import read_molecule
from mdet_openmm.simulation import run_folder
from mdet_openmm.simulation.conservation import MEV_PER_KJ_MOL
from mdet_openmm.simulation.log_file import KINETIC, POTENTIAL, TIME, read_table, temperature_of
from mdet_openmm.simulation.nve import run_nve
from mdet_openmm.simulation.nvt import run_nvt
from mdet_openmm.simulation.settings import NveSettings, NvtSettings, RunSettings
from mdet_openmm.simulation.structures import atomic_masses
from mdet_openmm.units import NM_PER_ANGSTROM

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HOLD_PS = 0.1
COLOURS = (RED, ORANGE, MUTED, BLUE, GREEN)


def conditions(cycles: list[int]) -> dict[str, dict[str, Any]]:
    """Settings of a run by the name of the condition."""
    one: dict[str, Any] = {"forces": "direct", "offset": "none"}
    return {
        "direct": one,
        "direct, hashed": {"forces": "direct", "offset": "hashed"},
        "direct, held": {**one, "hold_energy": HOLD_PS},
        "gradient": {"forces": "conservative"},
        **{f"M = {cycle}": {"multiple_time_steps": cycle} for cycle in cycles},
    }


def ended(settings: RunSettings) -> dict[str, Any]:
    """The summary of a run, which is done now, or gone on with, unless it has ended."""
    summary = settings.folder / run_folder.SUMMARY
    if not summary.exists() or json.loads(summary.read_text())["exit_reason"] == "interrupted":
        again = (settings.folder / run_folder.SETTINGS).exists()
        given = {"restart"} if again else None
        run: Any = run_nve if isinstance(settings, NveSettings) else run_nvt
        try:
            run(type(settings)(**{**vars(settings), "restart": again}), given)
        except RunStopped as stop:
            print(f"{settings.folder}: {stop}")
    return dict(json.loads(summary.read_text()))


def angular_momentum(folder: Path, masses: np.ndarray) -> float:
    """Of the last checkpoint, dalton nm²/ps about the centre of mass; it is 0 at the start of an NVE run."""
    state = openmm.XmlSerializer.deserialize((folder / run_folder.STATE).read_text())
    x, v = (f(asNumpy=True)._value for f in (state.getPositions, state.getVelocities))
    x = x - masses @ x / masses.sum()
    return float(np.linalg.norm((masses[:, None] * np.cross(x, v)).sum(axis=0)))


def seconds_of_calls(model: str, system: Path, options: ForceOptions) -> dict[str, float]:
    """The fastest of several calls of each kind of force, taken in turn; processor time of the one thread."""
    molecule, loaded = read_molecule(system), load_model(model)
    fast, slow = options.split()
    kinds = {"direct": fast, "difference": slow, "gradient": replace(slow, forces="conservative")}
    modules = {name: torch.jit.freeze(bind(loaded, molecule, kind)) for name, kind in kinds.items()}
    x = torch.tensor(NM_PER_ANGSTROM * molecule.positions)
    fastest = dict.fromkeys(modules, float("inf"))
    for _ in range(10):
        for name, module in modules.items():
            start = time.process_time()
            module(x)
            fastest[name] = min(fastest[name], time.process_time() - start)
    return fastest


def cost(name: str, seconds: dict[str, float]) -> float:
    """Of a step, over that of one with direct forces alone."""
    if name.startswith("M = "):
        # the direct force at the end of a cycle comes with the difference
        return 1.0 + (seconds["difference"] / seconds["direct"] - 1.0) / int(name.removeprefix("M = "))
    return seconds["gradient" if name == "gradient" else "direct"] / seconds["direct"]


def draw(runs: dict[str, list[Path]], costs: dict[str, float], rows: list[dict[str, Any]], n_atoms: int) -> "Figure":
    """Energy along the runs from the first start, and drift against cost."""
    figure = new_figure(11.0, 4.2)
    left, right = figure.subplots(1, 2)
    for k, (name, folders) in enumerate(runs.items()):
        look: dict[str, Any] = {"color": COLOURS[k % len(COLOURS)], "label": name}
        log = read_table(folders[0] / run_folder.LOG)
        total = (log[POTENTIAL] + log[KINETIC]) * MEV_PER_KJ_MOL / n_atoms
        left.plot(log[TIME], total - total[0], lw=1.0, ls="-" if k < len(COLOURS) else "--", **look)
        drifts = [abs(row["energy_drift_meV_per_atom_ps"]) for row in rows if row.get("condition") == name]
        right.semilogy([costs[name]] * len(drifts), drifts, "o" if k < len(COLOURS) else "s", **look)
    left.set_yscale("symlog", linthresh=2.0)  # where one of them breaks a bond the others are still seen
    left.set(xlabel="time / ps", ylabel="energy less its start / meV per atom")
    right.set(xlabel="cost of a step / that of direct forces alone", ylabel="drift / meV per atom and ps")
    right.legend(frameon=False, fontsize=8)
    return figure


def main() -> None:
    """Run, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("model")
    parser.add_argument("systems", nargs="+", type=Path, metavar="SYSTEM")
    parser.add_argument("--time", type=float, default=100.0, help="ps of NVE")
    parser.add_argument("--bath", type=float, default=0.0, help="ps of Langevin dynamics of each M; 0: none")
    parser.add_argument("--starts", type=int, default=3)
    parser.add_argument("--cycles", type=int, nargs="+", default=[1, 2, 4, 8, 16])
    parser.add_argument("--orientations", type=int, default=1)
    parser.add_argument("--precision", default="double")
    parser.add_argument("--teacher", help="gfn2: whose energy judges, in place of the model's")
    parser.add_argument("--folder", type=Path, default=Path("runs/conservative"))
    parser.add_argument("--output", type=Path, help="JSON file for all numbers")
    parser.add_argument("--figure", type=Path, help="PNG file, of the first system")
    args = parser.parse_args()
    torch.set_num_threads(1)
    common: dict[str, Any] = {
        "model": args.model, "precision": args.precision, "orientations": args.orientations, "watch_equivariance": 0,
        "quiet": True,
    }  # fmt: skip
    result: list[dict[str, Any]] = []
    for system in args.systems:
        molecule = read_molecule(system)
        seconds = seconds_of_calls(args.model, system, ForceOptions(args.precision, args.orientations))
        times = {name: shown(seconds[name] / seconds["direct"]) for name in ("gradient", "difference")}
        print(
            f"\n{system.stem}: a direct call takes {1e3 * seconds['direct']:.1f} ms, the gradient {times['gradient']} "
            f"times that, the difference {times['difference']} times\n"
        )
        print(
            "| forces | cost | start | ps | drift, meV/atom/ps | fluctuation, meV/atom | drift ratio | L, Da nm²/ps |"
        )
        print("| --- " * 8 + "|")
        runs: dict[str, list[Path]] = {}
        for name, own in conditions(args.cycles).items():
            for start in range(args.starts):
                folder = (
                    args.folder
                    / f"{system.stem}-{args.orientations}"
                    / f"{name.replace(' ', '').replace(',', '-')}-{start}"
                )
                folder.parent.mkdir(parents=True, exist_ok=True)
                runs.setdefault(name, []).append(folder)
                settings = NveSettings(
                    system, time=args.time, seed=start + 1, output=folder, teacher=args.teacher, **common, **own
                )
                summary = ended(settings)
                row = {
                    "system": system.stem, "condition": name, "start": start, "cost": cost(name, seconds),
                    "angular_momentum": angular_momentum(folder, atomic_masses(molecule)),
                    **{k: v for k, v in summary.items() if k.startswith(("energy_", "drift", "temperature_", "time_"))},
                }  # fmt: skip
                result.append(row)
                drift = shown_with_error(
                    row["energy_drift_meV_per_atom_ps"], row["energy_drift_error_meV_per_atom_ps"], sign=True
                )
                print(
                    f"| {name} | {row['cost']:.2f} | {start + 1} | {row['time_ps']:g} | {drift} | "
                    f"{shown(row['energy_fluctuation_meV_per_atom'])} | {shown(row['drift_ratio'])} | "
                    f"{shown(row['angular_momentum'])} |",
                    flush=True,
                )
        if args.figure is not None and system == args.systems[0]:
            costs = {name: cost(name, seconds) for name in runs}
            with drawing():
                args.figure.write_bytes(as_png(draw(runs, costs, result, molecule.n_atoms)))
        for cycle in args.cycles if args.bath else []:
            folder = args.folder / f"{system.stem}-{args.orientations}" / f"bath-{cycle}"
            ended(NvtSettings(system, time=args.bath, seed=1, output=folder, multiple_time_steps=cycle, **common))
            log = read_table(folder / run_folder.LOG)
            symbols = [name.split("_")[1] for name in log if name.startswith("temperature_") and name.count("_") > 1]
            means = {symbol: blocked_mean(log[temperature_of(symbol)]) for symbol in symbols}
            text = ", ".join(f"{symbol} {shown_with_error(m.mean, m.error)} K" for symbol, m in means.items())
            print(f"M = {cycle}, Langevin at 300 K, {args.bath:g} ps: {text}")
            result.append({"system": system.stem, "bath": cycle, **{s: [m.mean, m.error] for s, m in means.items()}})
    if args.output is not None:
        args.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    raise SystemExit(exit_status(main))
