"""Whether a bound force fits into memory."""

import os
from pathlib import Path

from mdet_openmm.errors import InputError
from mdet_openmm.export.compiled_attention import derivative_problem, kernel_problem
from mdet_openmm.export.model_folder import Model
from mdet_openmm.export.options import PRECISIONS, ForceOptions
from mdet_openmm.network.attention import MOST_SCORES
from mdet_openmm.network.attention_operator import gpu_problem
from mdet_openmm.network.config import NetworkConfig
from mdet_openmm.settings import one_of


def peak_bytes(
    shape: NetworkConfig,
    n_atoms: int,
    orientations: int,
    precision: str,
    *,
    differentiated: bool = False,
    compiled: bool = False,
) -> int:
    """Estimate of the peak memory of one call.

    The compiled attention has nothing that grows with n³: 20 n² e numbers per orientation in all. The other one has
    40 n² e and four times the scores (n³ H, or as many as it holds at a time), their softmax and the copies between.
    The factors were fitted to peaks measured on a CPU (30 to 120 atoms), which they meet from above within a factor of
    two and fall short of by at most 5 %. A gradient keeps, of every layer, n³ (e + 2 H) for the attention and 30 n² e
    for the rest.

    Parameters
    ----------
    shape
        Of the network.
    n_atoms, orientations, precision
        As for `mdet_openmm.export.force_module.bind`. The trunk's numbers have 8 bytes in "double",
        4 in "mixed" and "fp32".
    differentiated
        As in `ForceOptions`.
    compiled
        Whether the attention is the compiled one.

    Returns
    -------
    int
        Bytes.
    """
    one_of("precision", precision, PRECISIONS)
    n, e, heads = n_atoms, shape.embd_dim, shape.n_heads
    itemsize = 8 if precision == "double" else 4
    if differentiated and compiled:
        return orientations * itemsize * (40 + 15 * shape.n_layers) * n**2 * e
    if differentiated:
        kept = shape.n_layers * (n**3 * (e + 2 * heads) + 30 * n**2 * e)
        return orientations * itemsize * (4 * n**3 * heads + 40 * n**2 * e + kept)
    if compiled:
        return orientations * itemsize * 20 * n**2 * e
    scores = min(orientations * n**3 * heads, max(MOST_SCORES, orientations * n**2 * heads))
    return itemsize * (4 * scores + orientations * 40 * n**2 * e)


def check_memory(
    model: Model, n_atoms: int, options: ForceOptions, available: int | None = None, replicas: int = 1
) -> None:
    """Refuse, before anything is computed, what would not fit.

    Parameters
    ----------
    model, options
        As for `mdet_openmm.export.force_module.bind`.
    n_atoms
        Of the molecule.
    available
        Bytes; by default the main memory that is free (give a GPU's there).
    replicas
        Copies of the molecule in one call.

    Raises
    ------
    InputError
        With the numbers and what to reduce.
    """
    options = options.resolved(model)
    orientations, precision = options.orientations, options.precision
    on_cpu = derivative_problem if options.differentiated else kernel_problem
    problem = on_cpu if available is None else gpu_problem
    used = options.compiled and not problem()
    free = available_memory() if available is None else available

    def bytes_for(orientations: int, precision: str) -> int:
        shape = model.network.config
        return peak_bytes(
            shape, n_atoms, orientations * replicas, precision, differentiated=options.differentiated, compiled=used
        )

    needed = bytes_for(orientations, precision)
    if needed <= free:
        return
    smaller = {
        "--orientations 1": bytes_for(1, precision),
        "--precision mixed": bytes_for(orientations, "mixed"),
        "--orientations 1 --precision mixed": bytes_for(1, "mixed"),
    }
    advice = [flags for flags, bytes_then in smaller.items() if bytes_then <= free][:1]
    if replicas > 1:
        advice.insert(0, f"--replicas {max(1, int(replicas * free / needed))}")
    advice += ["a smaller molecule", "a machine with more memory"]
    copies = f" and {replicas} replicas" if replicas > 1 else ""
    raise InputError(
        f"{n_atoms} atoms with {orientations} orientation{'s' if orientations > 1 else ''} in {precision} precision"
        f"{copies} need more memory than there is: about {needed / 1e9:,.1f} GB of {free / 1e9:,.1f} GB; "
        f"use {' or '.join(advice)}"
    )


def available_memory() -> int:
    """Bytes of main memory that this process can still take, also inside a container."""
    free = []
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free.append(int(line.split()[1]) * 1024)
    except OSError:
        pass
    if not free:  # no Linux: all of the physical memory
        free.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    try:
        group = Path("/sys/fs/cgroup")
        free.append(int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    except (OSError, ValueError):  # no control group, or no limit ("max")
        pass
    try:  # ulimit -v, which some queues set
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        taken = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        free += [limit - taken] if limit != resource.RLIM_INFINITY else []
    except (ImportError, OSError):
        pass
    return max(0, min(free))
