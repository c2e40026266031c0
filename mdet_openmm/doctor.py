"""What is installed, what will be used, and what does not go together (``mdet doctor``)."""

import importlib.metadata
import importlib.util
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

GOOD, NOTE, PROBLEM = "ok", "note", "problem"

EXTRAS = {
    "train": ("lightning", "h5py"),
    "label": ("tblite", "h5py"),
    "teachers": ("so3krates_torch",),
    "dft": ("pyscf",),
    "dask": ("distributed",),
    "qcml": ("array_record",),
    "openmm-ml": ("openmmml",),
    "torchsim": ("torch_sim",),
    "completion": ("argcomplete",),
}
"""Modules that tell whether an extra is there."""


@dataclass(frozen=True)
class Finding:
    """One line of the report; `cure` is a command or a sentence."""

    state: str
    text: str
    cure: str = ""


def examine() -> list[Finding]:
    """Look at everything, the heavy imports last."""
    return [*_machine(), *_packages(), *_forces(), *_gpu(), *_extras()]


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _machine() -> Iterator[Finding]:
    from mdet_openmm.cores import available_cores

    yield Finding(GOOD, f"Python {platform.python_version()} on {platform.system()} {platform.machine()}, "
                        f"{available_cores()} core(s)")  # fmt: skip
    name, release = platform.libc_ver()
    if name == "glibc":
        new = tuple(int(p) for p in release.split(".")[:2]) >= (2, 34)
        cure = "" if new else "PyPI's wheels of openmm and openmmtorch need glibc 2.34: use conda, or a newer system"
        yield Finding(GOOD if new else PROBLEM, f"glibc {release}", cure)
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    yield Finding(GOOD if free > 1 else PROBLEM, f"{free:.0f} GB free here", "" if free > 1 else "make room")


def _packages() -> Iterator[Finding]:
    for name in ("mdet-openmm", "torch", "openmm", "openmmtorch", "numpy", "mdtraj", "ase", "rdkit"):
        version = _version(name)
        if version is None and name == "openmmtorch":
            asked_for = platform.system() == "Linux" and platform.machine() == "x86_64"  # as in pyproject.toml
            cure = "pip install 'openmmtorch>=1.5,<1.6'" if asked_for else ""
            yield Finding(NOTE, "openmmtorch is not installed: PythonForce does the work of TorchForce", cure)
        elif version is None:
            yield Finding(PROBLEM, f"{name} is not installed", f"pip install {name}")
        else:
            yield Finding(GOOD, f"{name} {version}")
    torch, openmmtorch = _version("torch"), _version("openmmtorch")
    if torch and openmmtorch and openmmtorch.startswith("1.5") and not torch.startswith("2.9"):
        yield Finding(
            PROBLEM,
            f"openmmtorch {openmmtorch} of PyPI is built against torch 2.9, and torch {torch} is installed",
            "pip install 'torch>=2.9,<2.10' (or use --backend python)",
        )


def _forces() -> Iterator[Finding]:
    # torch before openmm: the other way round openmm's torch plugin does not find torch's libraries
    from mdet_openmm.system.force import NOT_INSTALLED, python_problem, torch_problem
    from mdet_openmm.system.platform import choose_platform

    for name, problem in (("TorchForce", torch_problem()), ("PythonForce", python_problem())):
        state = GOOD if not problem else NOTE if problem == NOT_INSTALLED else PROBLEM
        yield Finding(state, f"{name} {f'fails: {problem}' if problem else 'works'}")
    if torch_problem() and python_problem():
        yield Finding(PROBLEM, "no backend works", "pip install 'openmm>=8.6.1,<8.7'")
    yield Finding(GOOD, f"runs use the {choose_platform().reason}")
    import openmm

    failures = [" ".join(failure.split()) for failure in openmm.Platform.getPluginLoadFailures()]
    without = [text for text in failures if "OpenCL" not in text]
    if len(without) < len(failures):
        yield Finding(NOTE, "OpenMM's OpenCL plugins did not load, which nothing here needs")
    for text in without:
        yield Finding(NOTE, f"an OpenMM plugin did not load: {text[:160]}")


def _gpu() -> Iterator[Finding]:
    import torch

    if torch.cuda.is_available():
        yield Finding(GOOD, f"CUDA device: {torch.cuda.get_device_name(0)} (torch built for CUDA {torch.version.cuda})")
    elif shutil.which("nvidia-smi"):
        yield Finding(
            PROBLEM,
            f"there is an NVIDIA driver, but torch {torch.__version__} sees no CUDA device",
            "nvidia-smi says which CUDA the driver can do; install the torch that was built for it (pytorch.org)",
        )
    else:
        yield Finding(NOTE, "no CUDA device: runs and trainings use the CPU")


def _extras() -> Iterator[Finding]:
    for extra, modules in EXTRAS.items():
        missing = [m for m in modules if importlib.util.find_spec(m) is None]
        if missing:
            yield Finding(NOTE, f"extra '{extra}' is not installed", f"pip install 'mdet-openmm[{extra}]'")
        else:
            yield Finding(GOOD, f"extra '{extra}'")


def report(findings: list[Finding]) -> str:
    """The findings, a line each, with what mends them."""
    lines = []
    for finding in findings:
        lines.append(f"{finding.state:8}{finding.text}")
        if finding.cure:
            lines.append(f"{'':8}→ {finding.cure}")
    problems = sum(finding.state == PROBLEM for finding in findings)
    lines.append("" if not problems else f"\n{problems} problem(s)")
    return "\n".join(lines).rstrip()
