"""Steps per second on a GPU by size, precision, number of orientations and backend, with and without CUDA graphs.

``python benchmarks/gpu.py`` measures what is missing from the results of its device, most wanted first, writes them
after every row, and prints a table; ``--minutes`` ends it early, and the next call goes on. ``--device cpu --quick``
runs the same code on a CPU. Published size: 12 layers, width 192, 12 heads, Fourier directions; random weights.

* python, torch: OpenMM's LangevinMiddleIntegrator in double precision with the force through PythonForce or TorchForce.
* textbook: the network of tests/stand_ins/textbook.py, the formula with the n³ e product built, under ASE's Langevin.
* replicas: many copies of ethanol in one call, the shipped model in mixed precision, through either backend.
* fused: python with a graph after TorchScript's own fusion of kernels, which `run_plainly` switches off.
* so3lr: SO3LR under ASE's Langevin, where So3krates-torch is installed.
* floors: see `gpu_floors`.
"""

import argparse
import functools
import gc
import itertools
import json
import math
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch  # before openmm # isort: skip
import numpy as np
import openmm
from ase import Atoms, units
from ase.calculators.calculator import Calculator, all_changes
from ase.md.langevin import Langevin
from gpu_floors import Rates, floors, measure_rates, synchronize
from published_size import PUBLISHED, TEXTBOOK_TENSORS, WIDTH, TextbookNetwork, atoms, network, processor, slug

from mdet_openmm.data.config import TeacherConfig
from mdet_openmm.data.so3lr import so3lr_version
from mdet_openmm.data.teacher import make_teacher
from mdet_openmm.errors import InputError
from mdet_openmm.export.force_module import bind
from mdet_openmm.export.memory import available_memory, peak_bytes
from mdet_openmm.export.model_folder import Model, load_model
from mdet_openmm.export.options import DEFAULT_MODEL, ForceOptions
from mdet_openmm.files import write_json
from mdet_openmm.molecules.molecule import Species
from mdet_openmm.molecules.readers import read_molecule
from mdet_openmm.simulation.dynamics import nanoseconds_per_day
from mdet_openmm.simulation.thermostat import replica_seeds
from mdet_openmm.system.force import add_force, choose_backend, make_system
from mdet_openmm.system.platform import choose_platform
from mdet_openmm.units import (
    ANGSTROM_PER_NM,
    BOHR_PER_ANGSTROM,
    EV_PER_ANGSTROM_PER_ATOMIC_FORCE,
    NM_PER_ANGSTROM,
)

RESULTS = Path(__file__).parent / "results"
ETHANOL = Path(__file__).resolve().parents[1] / "simulations" / "systems" / "ethanol.pdb"
SIZES, ORIENTATIONS, PRECISIONS = (9, 21, 42, 84, 168, 300), (1, 12, 60), ("double", "mixed", "fp32")
REPLICAS = (256, 32)
"""Copies of ethanol in one call."""
ONCE = ("fused", "so3lr")
"""Rows of one size only: 21 atoms."""
TIMESTEP_FS = 0.5
"""For ns/day. What is run has steps of 1e-6 ps and atoms of 1e6 dalton: forces of random weights lead nowhere."""
WARM_UP = {"cuda": 15, "cpu": 1}
"""Steps that do not count; TorchForce captures its graph after ten."""
WANTED = {(21, "double", 1), (21, "mixed", 1), (21, "mixed", 60), (300, "mixed", 1)}
"""What there are targets for: measured first."""


@dataclass(frozen=True)
class Case:
    """One row: ``what`` is "python", "torch", "textbook", or one of `ONCE`."""

    what: str
    n: int
    precision: str
    orientations: int = 1
    graph: bool = False
    replicas: int = 1

    @property
    def key(self) -> str:
        """Its name in the results."""
        if self.replicas > 1:
            return f"{self.what}{' graph' if self.graph else ''}, {self.replicas} replicas of ethanol, {self.precision}"
        return f"{self.what}{' graph' if self.graph else ''}, n {self.n}, {self.precision}, frames {self.orientations}"

    @property
    def structures(self) -> int:
        """In one call."""
        return self.replicas * self.orientations

    @property
    def order(self) -> tuple[bool, bool, bool, int, str, bool]:
        """Wanted ones first, then by their cost, captured before plain; those of one module together."""
        once = self.what in ONCE
        wanted = (
            once
            or self.replicas > 1
            or (self.n, "double" if self.what == "textbook" else self.precision, self.orientations) in WANTED
        )
        cost = self.structures * self.n**2 * (WIDTH + self.n)
        return not wanted, once, self.precision == "fp32" and not wanted, cost, self.precision, not self.graph


def cases(sizes: list[int], orientations: list[int], replicas: Sequence[int] = ()) -> list[Case]:
    """All rows, in the order in which they are measured."""
    options = itertools.product(("python", "torch"), sizes, PRECISIONS, orientations, (True, False))
    stepped = [Case(*option) for option in options]
    stepped += [Case("textbook", n, p) for n in sizes for p in ("double", "fp32")]
    ways = itertools.product(("python", "torch"), replicas, (True, False))
    stepped += [Case(what, 9, "mixed", graph=graph, replicas=copies) for what, copies, graph in ways]
    if 21 in sizes:
        stepped += [Case("fused", 21, "mixed", graph=True), Case("so3lr", 21, "fp32"), Case("so3lr", 21, "double")]
    return sorted(stepped, key=lambda c: c.order)


published = functools.cache(network)
ethanol = functools.partial(read_molecule, ETHANOL)


shipped = functools.partial(functools.cache(load_model), DEFAULT_MODEL)


def model_of(case: Case) -> Model:
    """Of replicas the shipped one, else random weights of the published size."""
    return shipped() if case.replicas > 1 else published()[1]


@functools.lru_cache(maxsize=1)
def module_of(n: int, precision: str, orientations: int, replicas: int = 1) -> torch.jit.ScriptModule:
    """The last one is kept: rows that differ in backend and graph follow each other."""
    options = ForceOptions(precision=precision, orientations=orientations, offset="hashed")
    if replicas > 1:
        return bind(shipped(), ethanol(), options, replica_seeds(0, replicas))
    return bind(published()[1], Species(np.full(n, 6)), options)


class Textbook(Calculator):
    """The textbook network for ASE: positions go to the device and forces come back at each step."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012  (ASE's interface)

    def __init__(self, n: int, dtype: torch.dtype, device: str) -> None:
        super().__init__()
        self._network = TextbookNetwork(published()[0], PUBLISHED, dtype).eval().to(device)
        self._device = device
        self._fixed = [torch.full((1, n), 6), torch.tensor([0]), torch.tensor([1])]
        self._fixed = [value.to(device) for value in self._fixed]

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        """Forces in eV/Å; no energy."""
        super().calculate(atoms, properties, system_changes)
        centred = atoms.positions - atoms.positions.mean(axis=0)
        numbers, charge, multiplicity = self._fixed
        with torch.no_grad():
            x = torch.tensor(BOHR_PER_ANGSTROM * centred, device=self._device)[None]
            forces = self._network(numbers, x, charge, multiplicity)["forces"][0].cpu().numpy()
        self.results = {"energy": 0.0, "forces": EV_PER_ANGSTROM_PER_ATOMIC_FORCE * forces.astype(np.float64)}


class So3lrCalculator(Calculator):
    """SO3LR for ASE, one structure at a time."""

    implemented_properties = ["energy", "forces"]  # noqa: RUF012  (ASE's interface)

    def __init__(self, n: int, dtype: torch.dtype, device: str) -> None:
        super().__init__()
        precision = "fp64" if dtype == torch.float64 else "fp32"
        config = TeacherConfig(kind="so3lr", device=device, precision=precision)
        self._teacher = make_teacher(config, Species(np.full(n, 6)))

    def calculate(self, atoms: Any = None, properties: Any = None, system_changes: Any = all_changes) -> None:
        """Energy in eV and forces in eV/Å."""
        super().calculate(atoms, properties, system_changes)
        label = self._teacher(atoms.positions)
        self.results = {"energy": label.energy, "forces": label.forces}


def stepper(case: Case, device: str) -> Callable[[int], object]:
    """What advances by a number of steps and returns when they are done."""
    x = atoms(case.n).numpy()
    if case.replicas > 1:
        x = np.tile(NM_PER_ANGSTROM * ethanol().positions, (case.replicas, 1))
    if case.what in ("textbook", "so3lr"):
        dtype = torch.float64 if case.precision == "double" else torch.float32
        molecule = Atoms(numbers=[6] * case.n, positions=ANGSTROM_PER_NM * x, masses=[1e6] * case.n)
        molecule.calc = (Textbook if case.what == "textbook" else So3lrCalculator)(case.n, dtype, device)
        return Langevin(molecule, 1e-3 * units.fs, temperature_K=300, friction=0.001 / units.fs).run
    choice = choose_platform("CUDA" if device == "cuda" else "Reference", case.precision)
    system = make_system([1e6] * len(x))
    module = module_of(case.n, case.precision, case.orientations, case.replicas)
    add_force(system, module, "torch" if case.what == "torch" else "python", device, case.graph)
    if case.what == "fused":
        torch.jit.set_fusion_strategy([("STATIC", 2)])  # until the next force is made
    integrator = openmm.LangevinMiddleIntegrator(300, 1, 1e-6)
    context = openmm.Context(system, integrator, choice.platform, choice.properties)
    context.setPositions(x)

    def advance(steps: int) -> object:
        integrator.step(steps)
        return context.getState(positions=True)  # which waits for them

    return advance


def seconds_per_step(advance: Callable[[int], object], device: str, budget: float) -> tuple[float, float]:
    """Seconds of the first step, and of one of the later ones: the median of three blocks that fill the budget."""

    def timed(steps: int) -> float:
        synchronize(device)
        start = time.perf_counter()
        advance(steps)
        synchronize(device)
        return time.perf_counter() - start

    first = timed(1)
    timed(WARM_UP[device])
    one = timed(1)
    block = max(1, round(budget / (3 * one)))
    return first, sorted(timed(block) / block for _ in range(3))[1]


def free_bytes(device: str) -> int:
    """Memory of the device that is free."""
    return int(torch.cuda.mem_get_info()[0]) if device == "cuda" else available_memory()


def answers(device: str) -> bool:
    """Whether the device still works for this process; after a fault in a kernel it does not."""
    try:
        synchronize(device)
    except RuntimeError:
        return False
    return True


def obstacle(case: Case, device: str) -> str:
    """Why a row cannot be measured here; empty if it can."""
    if case.what == "so3lr":
        try:
            so3lr_version()
        except InputError as error:
            return str(error).partition(";")[0]
        return ""
    if case.what == "textbook":
        needed = TEXTBOOK_TENSORS * case.n**3 * WIDTH * (8 if case.precision == "double" else 4)
    else:
        needed = peak_bytes(model_of(case).network.config, case.n, case.structures, case.precision)
        backend, why = choose_backend("auto", "CUDA" if device == "cuda" else "Reference")
        if case.what == "torch" and backend != "torch":
            return why
    free = free_bytes(device)
    return f"needs about {needed / 1e9:.1f} GB of {free / 1e9:.1f} GB" if needed > 0.9 * free else ""


def named(case: Case) -> dict[str, Any]:
    """What a row says of its case."""
    row: dict[str, Any] = asdict(case)
    row["frames"] = row.pop("orientations")  # the name in files of results
    return row


def measure(case: Case, rates: Rates, device: str, budget: float) -> dict[str, Any]:
    """A row: seconds and bytes, or why there are none."""
    row = named(case)
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    reason = obstacle(case, device)
    if reason:
        return {**row, "skipped": reason}
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            first, step = seconds_per_step(stepper(case, device), device, budget)
    except (RuntimeError, InputError, openmm.OpenMMException) as error:  # out of memory, or a capture that failed
        return {**row, "failed": " ".join(str(error).split())[:300]}
    shape = model_of(case).network.config
    arithmetic, moved = floors(rates, case.n, case.structures, case.precision, shape.n_layers, shape.embd_dim)
    return {
        **row,
        "first_step_s": first,
        "step_s": step,
        "steps_per_s": 1.0 / step,
        "ns_per_day": nanoseconds_per_day(step / case.replicas, TIMESTEP_FS),
        "peak_bytes": torch.cuda.max_memory_allocated() if device == "cuda" else None,
        "arithmetic_s": arithmetic,
        "bytes_s": moved,
        "warnings": sorted({str(w.message)[:300] for w in caught if "CUDA graph" in str(w.message)}),
    }


def about(device: str) -> dict[str, Any]:
    """What the figures belong to."""
    name = torch.cuda.get_device_name() if device == "cuda" else processor()
    versions = {"torch": torch.__version__, "cuda": torch.version.cuda, "openmm": openmm.Platform.getOpenMMVersion()}
    return {"device": name, **versions, "threads": torch.get_num_threads(), "timestep_fs": TIMESTEP_FS}


def stored(path: Path, what: dict[str, Any]) -> dict[str, Any] | None:
    """Earlier results to go on with: those of the same device and versions."""
    measured = json.loads(path.read_text()) if path.is_file() else {}
    return measured if measured.get("about") == what else None


def table(measured: dict[str, Any]) -> str:
    """Markdown: steps per second, ratios of one run, and peak memory of the fastest way."""
    rows = [r for r in measured["rows"].values() if r.get("replicas", 1) == 1 and r["what"] not in ONCE]
    head = [
        "n",
        "precision",
        "orientations",
        *(f"{what}{graph}" for what in ("python", "torch") for graph in ("", " graph")),
    ]
    head += ["ns/day", "textbook", "÷ textbook", "floor", "peak MB"]
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    for n, precision, orientations in sorted({(r["n"], r["precision"], r["frames"]) for r in rows}):
        here = {
            (r["what"], r["graph"]): r
            for r in rows
            if (r["n"], r["precision"], r["frames"]) == (n, precision, orientations)
        }
        ways = [here.get((what, graph), {}) for what in ("python", "torch") for graph in (False, True)]
        best = max(ways, key=lambda r: r.get("steps_per_s", 0.0))
        if "step_s" not in best:
            continue
        theirs = measured["rows"].get(Case("textbook", n, "double" if precision == "double" else "fp32").key, {})
        cells = [
            str(n),
            precision,
            str(orientations),
            *(f"{r['steps_per_s']:.4g}" if "step_s" in r else "–" for r in ways),
        ]
        cells.append(f"{best['ns_per_day']:.3g}")
        ratio = best["steps_per_s"] / theirs["steps_per_s"] if "step_s" in theirs else None
        cells += [f"{theirs['steps_per_s']:.4g}", f"{ratio:.3g}"] if ratio else ["–", "–"]
        cells.append(f"{1.0 / max(best['arithmetic_s'], best['bytes_s']):.4g}")
        cells.append(f"{best['peak_bytes'] / 1e6:.0f}" if best["peak_bytes"] else "–")
        lines.append("| " + " | ".join(cells) + " |")
    many = [r for r in measured["rows"].values() if r.get("replicas", 1) > 1 and "step_s" in r]
    if many:
        lines += ["", "| replicas of ethanol | way | steps/s | µs/day in all | floor | peak MB |", "| --- " * 6 + "|"]
    for r in sorted(many, key=lambda r: (r["replicas"], r["step_s"])):
        floor, way = 1.0 / max(r["arithmetic_s"], r["bytes_s"]), r["what"] + (" graph" if r["graph"] else "")
        peak = f"{r['peak_bytes'] / 1e6:.0f}" if r["peak_bytes"] else "–"
        pace = f"{r['steps_per_s']:.4g} | {1e-3 * r['ns_per_day']:.3g} | {floor:.4g}"
        lines.append(f"| {r['replicas']} | {way} | {pace} | {peak} |")
    once = [(k, r) for k, r in measured["rows"].items() if r["what"] in ONCE and "step_s" in r]
    lines += ["", *(f"* {key}: {r['steps_per_s']:.4g} steps/s" for key, r in once)]
    missing = [
        f"* {k}: {r.get('failed') or r.get('skipped')}" for k, r in measured["rows"].items() if "step_s" not in r
    ]
    return "\n".join([*lines, "", *missing])


def main() -> None:
    """Measure, write and print."""
    parser = argparse.ArgumentParser(description="steps per second on a GPU")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--orientations", "--frames", type=int, nargs="+", default=list(ORIENTATIONS))
    parser.add_argument("--replicas", type=int, nargs="*", default=list(REPLICAS), help="copies of ethanol")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each row, warming up not counted")
    parser.add_argument("--minutes", type=float, default=math.inf, help="no row is begun after this time")
    parser.add_argument("--quick", action="store_true", help="two small sizes, 1 and 12 orientations, 0.1 s a row")
    parser.add_argument("--retry", action="store_true", help="measure again what failed")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder for DEVICE.json [benchmarks/results]")
    options = parser.parse_args()
    if options.quick:
        options.sizes, options.orientations, options.seconds = [9, 21], [1, 12], 0.1
        options.replicas = [4]
    end, what = time.monotonic() + 60 * options.minutes, about(options.device)
    path = options.output / f"{slug(what['device'])}.json"
    measured = stored(path, what) or stored(RESULTS / path.name, what) or {"about": what, "rows": {}}
    rates = Rates(**measured["rates"]) if "rates" in measured else measure_rates(options.device)
    measured["rates"] = asdict(rates)
    path.parent.mkdir(parents=True, exist_ok=True)
    for case in cases(options.sizes, options.orientations, options.replicas):
        done = measured["rows"].get(case.key, {})
        if done and not (options.retry and "failed" in done):
            continue
        if time.monotonic() > end:
            print("out of time: call it again to go on", file=sys.stderr)
            break
        # what ends the process, such as a fault in a library, is then not met again
        measured["rows"][case.key] = {**named(case), "failed": "the process ended while this was measured"}
        write_json(path, measured)
        row = measure(case, rates, options.device, options.seconds)
        measured["rows"][case.key] = row
        write_json(path, measured)
        pace = f"{row['steps_per_s']:.4g} steps/s" if "step_s" in row else row.get("failed") or row["skipped"]
        print(f"{case.key}: {pace}", file=sys.stderr, flush=True)
        if "failed" in row and not answers(options.device):
            print("the device does not answer any more: call it again to go on", file=sys.stderr)
            break
    print(f"{what['device']}, torch {what['torch']}; steps per second\n\n{table(measured)}")


if __name__ == "__main__":
    main()
