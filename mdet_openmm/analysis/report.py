"""From a run folder to its report: numbers as JSON, plots as PNG, and a page that shows both."""

import dataclasses
import json
from pathlib import Path

from mdet_openmm.analysis.settings import AnalyzeSettings
from mdet_openmm.errors import InputError
from mdet_openmm.files import write_file

JSON_NAME, PAGE_NAME = "analysis.json", "report.html"


def analyze(folder: Path, reference: Path | None = None, output: Path | None = None) -> Path:
    """Analyse a run and write its report.

    Parameters
    ----------
    folder
        Output folder of run_nvt.py or run_nve.py, or of one of its replicas.
    reference
        Run folder or trajectory of the same atoms to compare with.
    output
        Where analysis.json, the PNG files and report.html go; ``folder/analysis`` by default. An earlier analysis
        there is rewritten, nothing else is touched.

    Returns
    -------
    Path
        Of the HTML page.

    Raises
    ------
    InputError
        If the run or the reference cannot be read, or the output folder holds something that is no analysis.
    """
    from mdet_openmm.analysis.plots import NAMES
    from mdet_openmm.analysis.replica_study import is_run_of_replicas

    folder = Path(folder)
    target = folder / "analysis" if output is None else Path(output)
    files = (
        _of_replicas(folder, reference, target) if is_run_of_replicas(folder) else _of_run(folder, reference, target)
    )
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            write_file(target / name, content)
    except OSError as error:
        raise InputError(f"cannot write the report in {target}: {error.strerror}; give another --output") from None
    for name in NAMES:  # an earlier analysis may have drawn what there is no more
        if f"{name}.png" not in files:
            (target / f"{name}.png").unlink(missing_ok=True)
    return target / PAGE_NAME


def _of_run(folder: Path, reference: Path | None, target: Path) -> dict[str, bytes]:
    from mdet_openmm.analysis.reference import read_reference
    from mdet_openmm.simulation.ended_run import read_run

    run = read_run(folder)
    _check_output(target)
    compared = None if reference is None else read_reference(Path(reference), run)

    from mdet_openmm.analysis.contents import make_page
    from mdet_openmm.analysis.numbers import numbers_of
    from mdet_openmm.analysis.page import render
    from mdet_openmm.analysis.plots import draw
    from mdet_openmm.analysis.run_analysis import analyze_run
    from mdet_openmm.analysis.verdicts import judge

    found = analyze_run(run, compared)
    verdicts = judge(found)
    drawings = draw(found)
    numbers = numbers_of(found) | {"verdicts": [dataclasses.asdict(verdict) for verdict in verdicts]}
    return {
        JSON_NAME: (json.dumps(numbers, indent=1, allow_nan=False) + "\n").encode(),
        **{f"{name}.png": drawing.png for name, drawing in drawings.items() if drawing.png},
        PAGE_NAME: render(make_page(found, drawings, verdicts)).encode(),
    }


def _of_replicas(folder: Path, reference: Path | None, target: Path) -> dict[str, bytes]:
    from mdet_openmm.analysis.replica_report import report_files
    from mdet_openmm.analysis.replica_study import study_replicas

    if reference is not None:
        raise InputError(f"{folder} is a run of replicas; compare one of them: mdet analyze {folder}/replica-00")
    study = study_replicas(folder)
    _check_output(target)
    return report_files(study, JSON_NAME, PAGE_NAME)


def _check_output(target: Path) -> None:
    if target.exists() and not target.is_dir():
        raise InputError(f"{target} is a file; give a folder for the report")
    if target.is_dir() and not (target / JSON_NAME).is_file() and any(target.iterdir()):
        raise InputError(f"{target} holds something that is no analysis of ours; give another --output")


def run_analysis(settings: AnalyzeSettings) -> Path:
    """Analyse as the command line does: say what is rewritten, print the summary, notes, and the path of the report."""
    target = settings.folder / "analysis" if settings.output is None else settings.output
    if (target / JSON_NAME).is_file():
        print(f"rewriting the analysis in {target}")
    page = analyze(settings.folder, settings.reference, settings.output)
    numbers = json.loads((page.parent / JSON_NAME).read_text(encoding="utf-8"))
    for line in [verdict["text"] for verdict in numbers["verdicts"]] + [f"note: {note}" for note in numbers["notes"]]:
        print(line)
    print(f"report: {page}")
    return page
