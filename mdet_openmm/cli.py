"""The ``mdet`` command: one subcommand per step, from molecules to analysis."""

import argparse
import functools
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from mdet_openmm import __version__, commands
from mdet_openmm.errors import exit_status
from mdet_openmm.export.options import FORCES, OFFSETS, ORIENTATIONS, PRECISION_HELP, PRECISIONS
from mdet_openmm.flags import OneLineParser, add_flags
from mdet_openmm.published.settings import ImportSettings
from mdet_openmm.walltime import HELP as WALLTIME_HELP
from mdet_openmm.walltime import Walltime

Command = Callable[[argparse.Namespace], None]


def _add_molecule_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--charge", type=int, help="total charge, e (default: the file's, else 0)")
    parser.add_argument("--multiplicity", type=int, help="2S + 1 (default: the file's, else 1)")
    parser.add_argument("--precision", choices=PRECISIONS, default="double", help=PRECISION_HELP)
    for flag, shown in (("--orientations", "orientations to average over"), ("--frames", argparse.SUPPRESS)):
        parser.add_argument(flag, dest="orientations", type=int, choices=ORIENTATIONS, default=1, help=shown)
    parser.add_argument("--forces", choices=FORCES, help="the network's own, or the gradient of its energy")


def build_parser() -> argparse.ArgumentParser:
    """The parser with all subcommands."""
    from mdet_openmm.analysis.settings import AnalyzeSettings
    from mdet_openmm.conversion.settings import ConvertSettings
    from mdet_openmm.evaluation.settings import EvaluateSettings
    from mdet_openmm.molecules.files import SYSTEM_HELP
    from mdet_openmm.simulation.command import add_arguments as add_run_arguments
    from mdet_openmm.simulation.settings import NveSettings, NvtSettings
    from mdet_openmm.simulation.torsion_settings import MetadynamicsSettings, ScanSettings
    from mdet_openmm.studies.command import STUDIES
    from mdet_openmm.studies.command import add_arguments as add_study_arguments
    from mdet_openmm.studies.failure_settings import FailureSettings
    from mdet_openmm.studies.pick_settings import PickSettings
    from mdet_openmm.trust.command import add_arguments as add_diagnose_arguments

    parser = OneLineParser(prog="mdet", description="MD-ET force fields: label, train, export, run, analyse.")
    parser.add_argument("--version", action="version", version=f"mdet-openmm {__version__}")
    parser.set_defaults(run=lambda args: parser.print_help())
    subcommands = parser.add_subparsers(dest="command", metavar="COMMAND")

    def add(name: str, run: Command, text: str) -> argparse.ArgumentParser:
        sub = subcommands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    label = add("label", commands.label, "Label conformations of molecules with a teacher (GFN2-xTB by default).")
    label.add_argument("config", type=Path, help="YAML file, see docs/data-format.md")
    label.add_argument("--output", type=Path, help="HDF5 file [data/<name of the config>.h5]")
    label.add_argument("--workers", type=int, help="worker processes [all cores]")
    label.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask scheduler, or local for one of this machine")

    collected = add(
        "collect", commands.collect, "Write what a running or interrupted mdet label has done so far as a data set."
    )
    collected.add_argument("partial", type=Path, help="the folder <output>.partial")
    collected.add_argument("--output", type=Path, required=True, help="HDF5 file to write")

    converted = add("convert", commands.convert, "Make a data set of files of other formats, or extended XYZ of one.")
    add_flags(converted, ConvertSettings, positional=("sources", "dest"))

    merge = add("merge-data", commands.merge_data, "Join data sets of one teacher into one file.")
    merge.add_argument("data", type=Path, help="HDF5 file whose frames stand first")
    merge.add_argument("additions", type=Path, nargs="+", help="HDF5 files to add")
    merge.add_argument("--output", type=Path, required=True, help="HDF5 file to write")
    merge.add_argument("--share", type=float, help="part of the training frames that added ones are to be")

    train = add("train", commands.train, "Train a network on labelled data and write a model folder.")
    train.add_argument("config", type=Path, help="YAML file, see docs/training.md")
    train.add_argument(
        "--continue-from", type=Path, metavar="RUN", help="run folder whose newest checkpoint to go on from"
    )
    train.add_argument(
        "--cooldown",
        type=int,
        metavar="STEPS",
        help="with it: let the rates fall over so many steps, and write a model",
    )

    tune = add("finetune", commands.finetune, "Train an existing model on further data.")
    tune.add_argument("model", help="model folder or name to start from")
    tune.add_argument("data", type=Path, help="labelled data, HDF5")
    tune.add_argument("--name", required=True, help="name of the new model")
    tune.add_argument("--steps", type=int, help="optimiser steps [2000]")
    tune.add_argument(
        "--learning-rate", type=float, help="peak learning rate [5e-5; of a head alone 2e-3 (dipole), 1e-3 (energy)]"
    )
    tune.add_argument("--batch-size", type=int, help="structures per step [64]")
    tune.add_argument("--seed", type=int, help="seed [0]")
    tune.add_argument("--train-only", choices=("all", "dipole", "energy"), help="that head, and no force changes [all]")
    tune.add_argument("--config", type=Path, help="YAML file with any other setting, see docs/training.md")
    for sub in (train, tune):
        sub.add_argument("--output", type=Path, help="model folder [models/NAME]")
        sub.add_argument("--run-folder", type=Path, help="checkpoints and logs [runs/NAME]")
    for sub in (label, train, tune):
        sub.add_argument("--restart", action="store_true", help="go on with an interrupted run")
        sub.add_argument("--max-walltime", type=Walltime, metavar="TIME", help=WALLTIME_HELP)
    for sub in (train, tune):
        sub.add_argument("--quiet", action="store_true", help="no progress bar")

    export = add("export", commands.export, "Write a TorchScript force module bound to one molecule.")
    export.add_argument("model", help="model folder or name")
    export.add_argument("system", help=SYSTEM_HELP)
    place = export.add_mutually_exclusive_group(required=True)
    place.add_argument("--output", type=Path, help="file to write, .pt")
    place.add_argument("--out", dest="output", type=Path, help=argparse.SUPPRESS)  # its former name
    _add_molecule_flags(export)
    export.add_argument("--offset", choices=OFFSETS, help="rotation offset [hashed; none for conservative forces]")
    export.add_argument("--seed", type=int, default=0, help="seed of the hashed offset")

    predict = add(
        "predict", commands.predict, "Print forces (eV/Å), and energy and dipole where the model has them, as JSON."
    )
    predict.add_argument("model", help="model folder or name")
    predict.add_argument("system", help=SYSTEM_HELP)
    predict.add_argument("--output", type=Path, help="file to write instead: .xyz or .extxyz (extended XYZ), or .json")
    _add_molecule_flags(predict)
    predict.add_argument("--raw", action="store_true", help="leave net force and torque in direct forces")

    evaluated = add(
        "evaluate", commands.evaluate, "Errors of a model, and of others beside it, on labelled data: a report."
    )
    add_flags(evaluated, EvaluateSettings, positional=("model", "data"))

    imported = add(
        "import", commands.import_, "Make a model folder of weights from the authors' own code (MD-ET v1 or v2)."
    )
    add_flags(imported, ImportSettings, positional=("source",))

    pushed = add("push", commands.push, "Upload a model folder to the Hugging Face hub, with a card that it can read.")
    pushed.add_argument("model", help="model folder or name")
    pushed.add_argument("repository", help="OWNER/NAME; made if it is not there")
    pushed.add_argument("--private", action="store_true", help="make it private")
    pushed.add_argument("--licence", default="mit", help="as the hub writes licences [mit]")

    nvt = add("run-nvt", commands.run_nvt, "Constant-temperature dynamics, like simulations/run_nvt.py.")
    add_run_arguments(nvt, NvtSettings)
    nve = add("run-nve", commands.run_nve, "Constant-energy dynamics and its drift, like simulations/run_nve.py.")
    add_run_arguments(nve, NveSettings)

    scan = add("scan-torsion", commands.scan_torsion, "A relaxed scan of a dihedral, like simulations/scan_torsion.py.")
    add_flags(scan, ScanSettings, positional=("system", "dihedral"))
    biased = add("metadynamics", commands.metadynamics, "Free energy of a dihedral, like simulations/metadynamics.py.")
    add_flags(biased, MetadynamicsSettings, positional=("system", "dihedral"))

    add_diagnose_arguments(add("diagnose", commands.diagnose, "Can a model be trusted with a molecule? A report."))

    for name, study in STUDIES.items():
        add_study_arguments(add(name, functools.partial(commands.study, name=name), study.description), name)

    picked = add(
        "pick", commands.pick, "Of the frames of dynamics, those that are worth labelling: different, and unsure."
    )
    add_flags(picked, PickSettings, positional=("trajectories",))

    failures = add(
        "learn-from-failures", commands.learn_from_failures, "Run, label what went wrong, fine-tune, and run again."
    )
    add_flags(failures, FailureSettings, positional=("model",))
    failures.add_argument("data", metavar="DATA", type=Path, help="HDF5 file that the model was trained on")
    failures.add_argument("systems", metavar="SYSTEM", nargs="+", help="structure file or SMILES")

    listed = add("models", commands.models, "The shipped models, and what each knows.")
    listed.add_argument("--json", action="store_true", help="everything, as JSON")

    info = add("info", commands.info, "What a model, run, training, data set, force, configuration or structure is.")
    info.add_argument("what", help="file, folder, name of a shipped model, or a SMILES")
    info.add_argument("--json", action="store_true", help="as JSON")

    add("doctor", commands.doctor, "What is installed, what will be used, and what does not go together.")

    analyse = add("analyze", commands.analyze, "Analyse a run folder, like simulations/analyze.py.")
    add_flags(analyse, AnalyzeSettings, positional=("folder",))
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the ``mdet`` command.

    Returns
    -------
    int
        The exit status, see `mdet_openmm.errors.exit_status`.
    """

    def command() -> None:
        parser = build_parser()
        if "_ARGCOMPLETE" in os.environ:  # the shell asks, having been told: register-python-argcomplete mdet
            commands.need("completion", "argcomplete")
            import argcomplete

            argcomplete.autocomplete(parser)
        args = parser.parse_args(argv)
        args.run(args)

    return exit_status(command)


if __name__ == "__main__":
    sys.exit(main())
