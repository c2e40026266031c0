"""What each subcommand of ``mdet`` does with its arguments; the packages that it needs are loaded then."""

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mdet_openmm.configuration import from_mapping, read_settings, read_yaml
from mdet_openmm.errors import InputError
from mdet_openmm.export.options import ForceOptions
from mdet_openmm.flags import from_namespace
from mdet_openmm.published.settings import ImportSettings

if TYPE_CHECKING:
    from mdet_openmm.training.config import TrainConfig


def need(extra: str, *modules: str) -> None:
    """Fail with the command that installs what is missing."""
    from importlib.util import find_spec

    missing = [m for m in modules if find_spec(m) is None]
    if missing:
        raise InputError(f"{', '.join(missing)} not installed; run: pip install 'mdet-openmm[{extra}]'")


def label(args: argparse.Namespace) -> None:
    need("label", "h5py")
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


def collect(args: argparse.Namespace) -> None:
    need("label", "h5py")
    from mdet_openmm.data.partial import collect

    print(json.dumps(collect(args.partial, args.output), indent=1))


def convert(args: argparse.Namespace) -> None:
    need("label", "h5py")
    from mdet_openmm.conversion.convert import convert
    from mdet_openmm.conversion.settings import ConvertSettings

    print(json.dumps(convert(from_namespace(ConvertSettings, args)), indent=1))


def merge_data(args: argparse.Namespace) -> None:
    need("label", "h5py")
    from mdet_openmm.data.merge import merge_data

    print(json.dumps(merge_data(args.data, args.additions, args.output, args.share), indent=1))


def train(args: argparse.Namespace) -> None:
    need("train", "lightning", "h5py")
    from mdet_openmm.training.config import TrainConfig

    _train(read_settings(args.config, TrainConfig), args, args.continue_from, args.cooldown)


def _train(
    config: "TrainConfig", args: argparse.Namespace, continue_from: Path | None = None, cooldown: int | None = None
) -> None:
    """What `train` and `finetune` have in common, by the flags that both have."""
    from mdet_openmm.training.fit import run_training

    folder = run_training(
        config,
        model_folder=args.output or Path("models") / config.name,
        run_folder=args.run_folder or Path("runs") / config.name,
        restart=args.restart,
        continue_from=continue_from,
        cooldown=cooldown,
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


def finetune(args: argparse.Namespace) -> None:
    from mdet_openmm.export.model_folder import load_model
    from mdet_openmm.training.config import FINETUNE_DEFAULTS, FINETUNE_ENERGY_WEIGHT, HEAD_DEFAULTS, TrainConfig

    given = {
        "steps": args.steps, "learning_rate": args.learning_rate, "batch_size": args.batch_size, "seed": args.seed,
        "train_only": args.train_only,
    }  # fmt: skip
    fixed = {"name": args.name, "data": args.data, "start_from": args.model}
    written = _written(args.config, fixed) if args.config else {}
    config = {
        **HEAD_DEFAULTS.get(args.train_only or written.get("train_only", "all"), FINETUNE_DEFAULTS),
        "description": f"Fine-tuned from {args.model}.",
        **written,
        **{k: v for k, v in given.items() if v is not None},
        **fixed,
    }
    settings = from_namespace(TrainConfig, argparse.Namespace(**config))
    need("train", "lightning", "h5py")
    if settings.train_only == "all" and "energy_weight" not in written and load_model(args.model).has_energy:
        settings = dataclasses.replace(settings, energy_weight=FINETUNE_ENERGY_WEIGHT)
    _train(settings, args)


def export(args: argparse.Namespace) -> None:
    from mdet_openmm.export.model_folder import load_model
    from mdet_openmm.export.module_file import export
    from mdet_openmm.export.standing import sentences
    from mdet_openmm.molecules.readers import read_molecule

    molecule = read_molecule(args.system, charge=args.charge, multiplicity=args.multiplicity)
    model = load_model(args.model)
    _note(sentences(model, molecule))
    export(model, molecule, args.output, from_namespace(ForceOptions, args))
    print(f"written: {args.output}")


def predict(args: argparse.Namespace) -> None:
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


def evaluate(args: argparse.Namespace) -> None:
    need("label", "h5py")
    from mdet_openmm.evaluation.evaluate import PAGE_NAME, evaluate, table
    from mdet_openmm.evaluation.settings import EvaluateSettings

    settings = from_namespace(EvaluateSettings, args)
    print(table(evaluate(settings)))
    print(f"report: {settings.folder / PAGE_NAME}")


def import_(args: argparse.Namespace) -> None:
    from mdet_openmm.published.importing import import_model

    print(f"model written: {import_model(from_namespace(ImportSettings, args))}")


def push(args: argparse.Namespace) -> None:
    from mdet_openmm.published.push import push

    print(f"pushed: {push(args.model, args.repository, private=args.private, licence=args.licence)}")


def _note(notes: Sequence[str]) -> None:
    """Say on stderr what the user should know, so that stdout stays what it is."""
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def run_nvt(args: argparse.Namespace) -> None:
    from mdet_openmm.simulation.command import run
    from mdet_openmm.simulation.settings import NvtSettings

    run(args, NvtSettings)


def run_nve(args: argparse.Namespace) -> None:
    from mdet_openmm.simulation.command import run
    from mdet_openmm.simulation.settings import NveSettings

    run(args, NveSettings)


def scan_torsion(args: argparse.Namespace) -> None:
    from mdet_openmm.simulation.scan import run_scan
    from mdet_openmm.simulation.torsion_settings import ScanSettings

    run_scan(from_namespace(ScanSettings, args))


def metadynamics(args: argparse.Namespace) -> None:
    from mdet_openmm.simulation.metadynamics import run_metadynamics
    from mdet_openmm.simulation.torsion_settings import MetadynamicsSettings

    run_metadynamics(from_namespace(MetadynamicsSettings, args))


def analyze(args: argparse.Namespace) -> None:
    from mdet_openmm.analysis.report import run_analysis
    from mdet_openmm.analysis.settings import AnalyzeSettings

    run_analysis(from_namespace(AnalyzeSettings, args))


def diagnose(args: argparse.Namespace) -> None:
    from mdet_openmm.trust.command import run

    run(args)


def study(args: argparse.Namespace, name: str) -> None:
    from mdet_openmm.studies.command import run

    run(args, name)


def pick(args: argparse.Namespace) -> None:
    from mdet_openmm.studies.pick import pick
    from mdet_openmm.studies.pick_settings import PickSettings

    print(json.dumps(pick(from_namespace(PickSettings, args)), indent=1))


def learn_from_failures(args: argparse.Namespace) -> None:
    need("train", "lightning", "h5py")
    from mdet_openmm.studies.failure_settings import FailureSettings
    from mdet_openmm.studies.failures import learn_from_failures

    settings = from_namespace(FailureSettings, args)
    learn_from_failures(settings, args.data, args.systems, vars(args).keys() & vars(settings).keys())


def models(args: argparse.Namespace) -> None:
    from mdet_openmm.inventory import models, table_of

    found = models()
    print(json.dumps(found, indent=1) if args.json else table_of(found))


def info(args: argparse.Namespace) -> None:
    from mdet_openmm.inventory import describe

    found = describe(args.what)
    if args.json:
        print(json.dumps(found, indent=1))
        return
    for key, value in found.items():
        if value is not None:
            print(f"{key:16}{' '.join(map(str, value)) if isinstance(value, list) else value}")


def doctor(args: argparse.Namespace) -> None:
    from mdet_openmm.doctor import PROBLEM, examine, report
    from mdet_openmm.errors import RunStopped

    findings = examine()
    print(report(findings))
    if any(finding.state == PROBLEM for finding in findings):
        raise RunStopped("something does not go together, see above")
