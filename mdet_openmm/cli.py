"""The ``mdet`` command: one subcommand per step, from molecules to analysis."""

import argparse
import functools
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mdet_openmm import __version__
from mdet_openmm.errors import InputError, exit_status
from mdet_openmm.export.options import FORCES, OFFSETS, ORIENTATIONS, PRECISION_HELP, PRECISIONS, ForceOptions
from mdet_openmm.published.settings import ImportSettings
from mdet_openmm.settings import OneLineParser, add_flags, from_mapping, from_namespace, read_settings, read_yaml
from mdet_openmm.walltime import HELP as WALLTIME_HELP
from mdet_openmm.walltime import Walltime

Command = Callable[[argparse.Namespace], None]


def _need(extra: str, *modules: str) -> None:
    """Fail with the command that installs what is missing."""
    from importlib.util import find_spec

    missing = [m for m in modules if find_spec(m) is None]
    if missing:
        raise InputError(f"{', '.join(missing)} not installed; run: pip install 'mdet-openmm[{extra}]'")


def _label(args: argparse.Namespace) -> None:
    _need("label", "h5py")
    from mdet_openmm.dask_cluster import check_one_place
    from mdet_openmm.data.config import read_config
    from mdet_openmm.data.label import run_label

    config = read_config(args.config)
    output = args.output or Path("data") / (args.config.name.split(".")[0] + ".h5")
    check_one_place(args.workers, args.scheduler)
    summary = run_label(
        config,
        output,
        workers=args.workers,
        restart=args.restart,
        max_walltime=args.max_walltime,
        scheduler=args.scheduler,
    )
    print(json.dumps(summary, indent=1))


def _collect(args: argparse.Namespace) -> None:
    _need("label", "h5py")
    from mdet_openmm.data.partial import collect

    print(json.dumps(collect(args.partial, args.output), indent=1))


def _convert(args: argparse.Namespace) -> None:
    _need("label", "h5py")
    from mdet_openmm.conversion.convert import convert
    from mdet_openmm.conversion.settings import ConvertSettings

    print(json.dumps(convert(from_namespace(ConvertSettings, args)), indent=1))


def _merge_data(args: argparse.Namespace) -> None:
    _need("label", "h5py")
    from mdet_openmm.data.merge import merge_data

    print(json.dumps(merge_data(args.data, args.additions, args.output, args.share), indent=1))


def _train(args: argparse.Namespace, start_from: str | None = None) -> None:
    _need("train", "lightning", "h5py")
    from mdet_openmm.training.config import TrainConfig
    from mdet_openmm.training.fit import run_training

    config = args.train_config if start_from else read_settings(args.config, TrainConfig)
    model = args.output or Path("models") / config.name
    run = args.run_folder or Path("runs") / config.name
    folder = run_training(
        config,
        model_folder=model,
        run_folder=run,
        restart=args.restart,
        continue_from=args.continue_from,
        cooldown=args.cooldown,
        quiet=args.quiet,
        max_walltime=args.max_walltime,
    )
    print(f"model written: {folder}")


def _written(path: Path, fixed: dict[str, Any]) -> dict[str, Any]:
    """Settings of a fine-tuning in a YAML file, beside those that are fixed."""
    from mdet_openmm.training.config import TrainConfig

    settings = read_yaml(path)
    taken = sorted({*fixed, "network"} & set(settings)) if isinstance(settings, dict) else []
    if taken:
        raise InputError(f"{path}: leave out {', '.join(taken)}; the command line and the model give them")
    read = from_mapping(TrainConfig, {**fixed, **settings} if isinstance(settings, dict) else settings, str(path))
    return {key: getattr(read, key) for key in settings}


def _finetune(args: argparse.Namespace) -> None:
    from mdet_openmm.training.config import FINETUNE_DEFAULTS, HEAD_DEFAULTS, TrainConfig

    given = {
        "steps": args.steps, "learning_rate": args.learning_rate, "batch_size": args.batch_size, "seed": args.seed,
        "train_only": args.train_only,
    }  # fmt: skip
    args.continue_from = args.cooldown = None
    fixed = {"name": args.name, "data": args.data, "start_from": args.model}
    written = _written(args.config, fixed) if args.config else {}
    config = {
        **HEAD_DEFAULTS.get(args.train_only or written.get("train_only", "all"), FINETUNE_DEFAULTS),
        "description": f"Fine-tuned from {args.model}.",
        **written,
        **{k: v for k, v in given.items() if v is not None},
        **fixed,
    }
    args.train_config = from_namespace(TrainConfig, argparse.Namespace(**config))
    _train(args, start_from=args.model)


def _export(args: argparse.Namespace) -> None:
    from mdet_openmm.export.model_folder import load_model
    from mdet_openmm.export.module_file import export
    from mdet_openmm.export.standing import sentences
    from mdet_openmm.molecules.readers import read_molecule

    molecule = read_molecule(args.system, charge=args.charge, multiplicity=args.multiplicity)
    model = load_model(args.model)
    _note(sentences(model, molecule))
    export(model, molecule, args.output, from_namespace(ForceOptions, args))
    print(f"written: {args.output}")


def _predict(args: argparse.Namespace) -> None:
    from mdet_openmm.export.predict import check_output, predict, write

    if args.output is not None:
        check_output(args.output)
    options = from_namespace(ForceOptions, args)
    result = predict(args.model, args.system, charge=args.charge, multiplicity=args.multiplicity, options=options)
    _note(result["notes"])
    if args.output is None:
        print(json.dumps(result, indent=1))
    else:
        write(args.output, result)
        print(f"written: {args.output}")


def _evaluate(args: argparse.Namespace) -> None:
    _need("label", "h5py")
    from mdet_openmm.evaluation.evaluate import PAGE_NAME, evaluate, table
    from mdet_openmm.evaluation.settings import EvaluateSettings

    settings = from_namespace(EvaluateSettings, args)
    print(table(evaluate(settings)))
    print(f"report: {settings.folder / PAGE_NAME}")


def _import(args: argparse.Namespace) -> None:
    from mdet_openmm.published.importing import import_model

    print(f"model written: {import_model(from_namespace(ImportSettings, args))}")


def _push(args: argparse.Namespace) -> None:
    from mdet_openmm.published.push import push

    print(f"pushed: {push(args.model, args.repository, private=args.private, licence=args.licence)}")


def _note(notes: Sequence[str]) -> None:
    """Say on stderr what the user should know, so that stdout stays what it is."""
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def _run_nvt(args: argparse.Namespace) -> None:
    from mdet_openmm.simulation.command import run
    from mdet_openmm.simulation.settings import NvtSettings

    run(args, NvtSettings)


def _run_nve(args: argparse.Namespace) -> None:
    from mdet_openmm.simulation.command import run
    from mdet_openmm.simulation.settings import NveSettings

    run(args, NveSettings)


def _scan_torsion(args: argparse.Namespace) -> None:
    from mdet_openmm.simulation.scan import run_scan
    from mdet_openmm.simulation.torsion_settings import ScanSettings

    run_scan(from_namespace(ScanSettings, args))


def _metadynamics(args: argparse.Namespace) -> None:
    from mdet_openmm.simulation.metadynamics import run_metadynamics
    from mdet_openmm.simulation.torsion_settings import MetadynamicsSettings

    run_metadynamics(from_namespace(MetadynamicsSettings, args))


def _analyze(args: argparse.Namespace) -> None:
    from mdet_openmm.analysis.report import run_analysis
    from mdet_openmm.analysis.settings import AnalyzeSettings

    run_analysis(from_namespace(AnalyzeSettings, args))


def _diagnose(args: argparse.Namespace) -> None:
    from mdet_openmm.trust.command import run

    run(args)


def _study(args: argparse.Namespace, name: str) -> None:
    from mdet_openmm.studies.command import run

    run(args, name)


def _pick(args: argparse.Namespace) -> None:
    from mdet_openmm.studies.pick import pick
    from mdet_openmm.studies.pick_settings import PickSettings

    print(json.dumps(pick(from_namespace(PickSettings, args)), indent=1))


def _learn_from_failures(args: argparse.Namespace) -> None:
    _need("train", "lightning", "h5py")
    from mdet_openmm.studies.failure_settings import FailureSettings
    from mdet_openmm.studies.failures import learn_from_failures

    settings = from_namespace(FailureSettings, args)
    learn_from_failures(settings, args.data, args.systems, vars(args).keys() & vars(settings).keys())


def _models(args: argparse.Namespace) -> None:
    from mdet_openmm.inventory import models, table_of

    found = models()
    print(json.dumps(found, indent=1) if args.json else table_of(found))


def _info(args: argparse.Namespace) -> None:
    from mdet_openmm.inventory import describe

    found = describe(args.what)
    if args.json:
        print(json.dumps(found, indent=1))
        return
    for key, value in found.items():
        if value is not None:
            print(f"{key:16}{' '.join(map(str, value)) if isinstance(value, list) else value}")


def _doctor(args: argparse.Namespace) -> None:
    from mdet_openmm.doctor import PROBLEM, examine, report
    from mdet_openmm.errors import RunStopped

    findings = examine()
    print(report(findings))
    if any(finding.state == PROBLEM for finding in findings):
        raise RunStopped("something does not go together, see above")


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
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    def add(name: str, run: Command, text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    label = add("label", _label, "Label conformations of molecules with a teacher (GFN2-xTB by default).")
    label.add_argument("config", type=Path, help="YAML file, see docs/data-format.md")
    label.add_argument("--output", type=Path, help="HDF5 file [data/<name of the config>.h5]")
    label.add_argument("--workers", type=int, help="worker processes [all cores]")
    label.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask scheduler, or local for one of this machine")

    collected = add(
        "collect", _collect, "Write what a running or interrupted mdet label has done so far as a data set."
    )
    collected.add_argument("partial", type=Path, help="the folder <output>.partial")
    collected.add_argument("--output", type=Path, required=True, help="HDF5 file to write")

    converted = add("convert", _convert, "Make a data set of files of other formats, or extended XYZ of one.")
    add_flags(converted, ConvertSettings, positional=("sources", "dest"))

    merge = add("merge-data", _merge_data, "Join data sets of one teacher into one file.")
    merge.add_argument("data", type=Path, help="HDF5 file whose frames stand first")
    merge.add_argument("additions", type=Path, nargs="+", help="HDF5 files to add")
    merge.add_argument("--output", type=Path, required=True, help="HDF5 file to write")
    merge.add_argument("--share", type=float, help="part of the training frames that added ones are to be")

    train = add("train", _train, "Train a network on labelled data and write a model folder.")
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

    tune = add("finetune", _finetune, "Train an existing model on further data.")
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

    export = add("export", _export, "Write a TorchScript force module bound to one molecule.")
    export.add_argument("model", help="model folder or name")
    export.add_argument("system", help=SYSTEM_HELP)
    place = export.add_mutually_exclusive_group(required=True)
    place.add_argument("--output", type=Path, help="file to write, .pt")
    place.add_argument("--out", dest="output", type=Path, help=argparse.SUPPRESS)  # its former name
    _add_molecule_flags(export)
    export.add_argument("--offset", choices=OFFSETS, help="rotation offset [hashed; none for conservative forces]")
    export.add_argument("--seed", type=int, default=0, help="seed of the hashed offset")

    predict = add("predict", _predict, "Print forces (eV/Å), and energy and dipole where the model has them, as JSON.")
    predict.add_argument("model", help="model folder or name")
    predict.add_argument("system", help=SYSTEM_HELP)
    predict.add_argument("--output", type=Path, help="file to write instead: .xyz or .extxyz (extended XYZ), or .json")
    _add_molecule_flags(predict)
    predict.add_argument("--raw", action="store_true", help="leave net force and torque in direct forces")

    evaluated = add("evaluate", _evaluate, "Errors of a model, and of others beside it, on labelled data: a report.")
    add_flags(evaluated, EvaluateSettings, positional=("model", "data"))

    imported = add("import", _import, "Make a model folder of weights from the authors' own code (MD-ET v1 or v2).")
    add_flags(imported, ImportSettings, positional=("source",))

    pushed = add("push", _push, "Upload a model folder to the Hugging Face hub, with a card that it can read.")
    pushed.add_argument("model", help="model folder or name")
    pushed.add_argument("repository", help="OWNER/NAME; made if it is not there")
    pushed.add_argument("--private", action="store_true", help="make it private")
    pushed.add_argument("--licence", default="mit", help="as the hub writes licences [mit]")

    nvt = add("run-nvt", _run_nvt, "Constant-temperature dynamics, like simulations/run_nvt.py.")
    add_run_arguments(nvt, NvtSettings)
    nve = add("run-nve", _run_nve, "Constant-energy dynamics and its drift, like simulations/run_nve.py.")
    add_run_arguments(nve, NveSettings)

    scan = add("scan-torsion", _scan_torsion, "A relaxed scan of a dihedral, like simulations/scan_torsion.py.")
    add_flags(scan, ScanSettings, positional=("system", "dihedral"))
    biased = add("metadynamics", _metadynamics, "Free energy of a dihedral, like simulations/metadynamics.py.")
    add_flags(biased, MetadynamicsSettings, positional=("system", "dihedral"))

    add_diagnose_arguments(add("diagnose", _diagnose, "Can a model be trusted with a molecule? A report."))

    for name, study in STUDIES.items():
        add_study_arguments(add(name, functools.partial(_study, name=name), study.description), name)

    picked = add("pick", _pick, "Of the frames of dynamics, those that are worth labelling: different, and unsure.")
    add_flags(picked, PickSettings, positional=("trajectories",))

    failures = add("learn-from-failures", _learn_from_failures, "Run, label what went wrong, fine-tune, and run again.")
    add_flags(failures, FailureSettings, positional=("model",))
    failures.add_argument("data", metavar="DATA", type=Path, help="HDF5 file that the model was trained on")
    failures.add_argument("systems", metavar="SYSTEM", nargs="+", help="structure file or SMILES")

    listed = add("models", _models, "The shipped models, and what each knows.")
    listed.add_argument("--json", action="store_true", help="everything, as JSON")

    info = add("info", _info, "What a model, run, training, data set, force, configuration or structure is.")
    info.add_argument("what", help="file, folder, name of a shipped model, or a SMILES")
    info.add_argument("--json", action="store_true", help="as JSON")

    add("doctor", _doctor, "What is installed, what will be used, and what does not go together.")

    analyse = add("analyze", _analyze, "Analyse a run folder, like simulations/analyze.py.")
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
            _need("completion", "argcomplete")
            import argcomplete

            argcomplete.autocomplete(parser)
        args = parser.parse_args(argv)
        args.run(args)

    return exit_status(command)


if __name__ == "__main__":
    sys.exit(main())
