"""``mdet evaluate``: a model, and others beside it, against labelled data; one file of numbers and one page."""

import contextlib
import dataclasses
import functools
import json
from typing import Any, Final

import numpy as np
import torch
from tqdm import tqdm

from mdet_openmm.configuration import read_yaml
from mdet_openmm.cores import available_cores
from mdet_openmm.dask_cluster import check_scheduler
from mdet_openmm.data.store import Store
from mdet_openmm.data.teacher import check_teachable, make_teacher
from mdet_openmm.errors import InputError
from mdet_openmm.evaluation.chunks import chosen_rows, measure_chunk, plan
from mdet_openmm.evaluation.methods import MethodName
from mdet_openmm.evaluation.settings import EvaluateSettings
from mdet_openmm.evaluation.tally import Tally, frames_of
from mdet_openmm.files import holds_nothing, plain, write_file
from mdet_openmm.molecules.molecule import Species
from mdet_openmm.side_by_side import as_they_come, sigterm_interrupts

FORMAT: Final = "mdet-evaluation 1"
JSON_NAME, PAGE_NAME = "evaluation.json", "evaluation.html"
_NOT_STORED: Final = ("workers", "scheduler", "output", "quiet")


def evaluate(settings: EvaluateSettings) -> dict[str, Any]:
    """Evaluate and write ``evaluation.json`` and ``evaluation.html``.

    The outcome depends on data and settings alone: neither on the number of workers nor on the order of their answers.

    Returns
    -------
    dict
        The contents of the JSON file.

    Raises
    ------
    InputError
        For data, models or calculators that cannot be used, or an output folder that is not empty.
    RunStopped
        If a worker died.
    """
    folder = settings.folder
    if folder.exists() and not (folder.is_dir() and holds_nothing(folder)):
        raise InputError(f"{folder} exists; remove it or choose another --output")
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: torch finds no GPU here; leave it out to compute on the CPU")
    with Store(settings.data) as store:
        rows = chosen_rows(store, settings)
        methods = methods_of(settings)
        facts = [name.facts() for name in methods]
        _check_molecules(store, rows, methods)
        check_scheduler(settings.scheduler)
        chunks, frames = plan(store, rows, settings), frames_of(store, rows)
        data = {
            "file": settings.data.name,
            "teacher": store.attributes.get("teacher", "unknown"),
            "frames": len(rows),
            "molecules": len(np.unique(frames.molecule)),
        }
    tallies = [Tally(rows, chunks) for _ in methods]
    job = functools.partial(measure_chunk, data=settings.data.absolute(), methods=tuple(methods), settings=settings)
    workers = settings.workers or (1 if settings.device == "cuda" else available_cores())
    found = contextlib.closing(as_they_come(job, chunks, range(len(chunks)), workers, settings.scheduler))
    bar = tqdm(total=len(rows), desc="evaluate", unit="frame", disable=settings.quiet, leave=False, mininterval=0.5)
    with sigterm_interrupts(), bar, found as stream:
        for index, measured in stream:
            for tally, one in zip(tallies, measured, strict=True):
                tally.add(chunks[index], one)
            bar.update(len(chunks[index].rows))
    asked = plain({k: v for k, v in dataclasses.asdict(settings).items() if k not in _NOT_STORED}, str)
    numbers = {
        "format": FORMAT,
        "data": data,
        "settings": asked,
        "methods": [{**fact, **tally.errors(frames)} for fact, tally in zip(facts, tallies, strict=True)],
    }

    # Late: matplotlib takes a second to load, which bad input need not wait for.
    from mdet_openmm.analysis.page import render
    from mdet_openmm.evaluation.contents import make_page

    page = render(make_page(numbers, tallies, frames))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_file(folder / JSON_NAME, json.dumps(plain(numbers), indent=1, ensure_ascii=False) + "\n")
        write_file(folder / PAGE_NAME, page)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror}; give another --output") from None
    return numbers


def methods_of(settings: EvaluateSettings) -> list[MethodName]:
    """All that is evaluated, the model first.

    Raises
    ------
    InputError
        If the file of arguments is for another calculator.
    """
    given = read_yaml(settings.arguments) if settings.arguments is not None else {}
    if not isinstance(given, dict) or set(given) - set(settings.calculator):
        raise InputError(f"{settings.arguments} must have the arguments of {', '.join(settings.calculator) or 'none'}")
    return [
        *(MethodName("model", model) for model in (settings.model, *settings.beside)),
        *(MethodName("ase", spec, json.dumps(given.get(spec, {}), sort_keys=True)) for spec in settings.calculator),
        *(MethodName(kind, kind) for kind in settings.teacher),
    ]


def _check_molecules(store: Store, rows: Any, methods: list[MethodName]) -> None:
    """Refuse now what a teacher cannot do."""
    teachers = [name.teacher for name in methods if name.kind != "model"]
    if not teachers:
        return
    molecules, first = np.unique(store.molecule[rows], return_index=True)
    for molecule, k in zip(molecules, first, strict=True):
        row = store.molecules[molecule]
        numbers = store.load(rows[k : k + 1]).atomic_numbers[0]
        species = Species(numbers, row.charge, row.multiplicity)
        for teacher in teachers:
            check_teachable(teacher, row.name, species)
            if k == first[0]:
                make_teacher(teacher, species)  # its class and its arguments


def table(numbers: dict[str, Any]) -> str:
    """The table of all methods, for the terminal."""
    head = ("", "force MAE", "RMSE", "energy MAE", "about its mean", "E_eq", "lambda", "no answer")
    keys = ["force_mae_meV_A", "force_rmse_meV_A", "energy_mae_meV_atom", "relative_energy_mae_meV_atom"]
    keys += ["e_eq_kcal_mol_A", "lambda", "without_answer"]
    rows = [[m["name"], *("–" if m[k] is None else f"{m[k]:.4g}" for k in keys)] for m in numbers["methods"]]
    widths = [max(len(row[c]) for row in (head, *rows)) for c in range(len(head))]
    lines = []
    for name, *cells in (head, *rows):
        lines.append(f"{name:<{widths[0]}} " + " ".join(f"{c:>{w}}" for c, w in zip(cells, widths[1:], strict=True)))
    return "\n".join([*lines, "forces in meV/Å, energies in meV/atom, E_eq in kcal/mol/Å"])
