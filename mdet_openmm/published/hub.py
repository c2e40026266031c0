"""Run folders of the authors on the Hugging Face hub: ``hf://OWNER/NAME[@REVISION][/SUBFOLDER...]``."""

import glob
import logging
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mdet_openmm.errors import InputError

DEFAULT_CHECKPOINT: Final = "best_model.pth"
NAME: Final = r"(?:\w[\w.-]{0,94})?\w"
SOURCE: Final = re.compile(rf"hf://({NAME}/{NAME})(?:@(\w[\w.-]*))?((?:/[^/\s\\]+)*)/?", re.ASCII)


@dataclass(frozen=True)
class HubFolder:
    """A run folder in the hub's cache, and where it is from: repository, folder in it, hash of the commit."""

    path: Path
    repository: str
    subfolder: str
    revision: str


def is_hub(source: str) -> bool:
    """Whether a source is on the hub."""
    return source.startswith("hf://")


def download(source: str, checkpoint: str | None = None) -> HubFolder:
    """Download a run folder into the hub's cache, or find it there if the hub cannot be reached.

    Parameters
    ----------
    source
        ``hf://OWNER/NAME[@REVISION][/SUBFOLDER...]``; the revision is a branch, a tag or a commit.
    checkpoint
        Name of the file in ``ckpts``, with or without ``.pth``; None: best_model.pth, or the only one.

    Raises
    ------
    InputError
        If the source is malformed, is not there or may not be read, or cannot be downloaded.
    """
    match = SOURCE.fullmatch(source)
    if match is None or ".." in source or "--" in match[1] or match[1].endswith(".git"):
        raise InputError(f"{source!r} is no folder on the hub; give it as hf://OWNER/NAME/FOLDER, or …/NAME@REVISION/…")
    repository, revision, subfolder = match[1], match[2], match[3].removeprefix("/")
    options = f" --revision {revision}" if revision else ""
    options += f" --include {shlex.quote(f'{subfolder}/*')}" if subfolder else ""
    try:
        from huggingface_hub import HfApi, constants, errors, snapshot_download
    except ImportError:
        raise InputError(f"{source} needs a package that is not installed: pip install huggingface_hub") from None
    # Its errors, its HTTP client's (another one in each version) and its Rust part's share no base but Exception.
    try:
        info = HfApi().model_info(repository, revision=revision, timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT)
    except Exception as error:
        explained = explain(error, repository, options, started=False)
        if isinstance(error, errors.HfHubHTTPError) and error.response.status_code < 500:
            raise explained from None  # the hub was reached, and said no
        try:  # without patterns the library has nothing to miss: what has to be there is for _choose to say
            folder = Path(snapshot_download(repository, revision=revision, local_files_only=True, allow_patterns=[]))
            there = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
            _choose(there, source, subfolder, checkpoint)
        except (OSError, ValueError):
            raise explained from None
        logging.getLogger("mdet_openmm").warning(f"no answer from the hub; its cache has {source} of {folder.name}")
    else:
        wanted = _choose([file.rfilename for file in info.siblings or []], source, subfolder, checkpoint)
        patterns = [glob.escape(name) for name in wanted]
        try:
            folder = Path(snapshot_download(repository, revision=revision, allow_patterns=patterns))
        except Exception as error:
            raise explain(error, repository, options, started=True) from None
    return HubFolder(folder / subfolder, repository, subfolder, folder.name)


def _choose(names: list[str], source: str, subfolder: str, checkpoint: str | None) -> list[str]:
    """Of the files of a repository, those that an import reads."""
    run = re.escape(f"{subfolder}/" if subfolder else "")
    configs = [name for name in names if re.fullmatch(rf"{run}\.hydra/[^/]+\.yaml", name)]
    there = {name.rpartition("/")[2]: name for name in names if re.fullmatch(rf"{run}ckpts/[^/]+\.pth", name)}
    if not (configs and there):
        others = ", ".join(sorted({name.partition("/ckpts/")[0] for name in names if "/ckpts/" in name})) or "none"
        raise InputError(f"{source} is no run folder, with .hydra/*.yaml and ckpts/*.pth; folders with ckpts: {others}")
    wanted = (DEFAULT_CHECKPOINT,) if checkpoint is None else (checkpoint, f"{checkpoint}.pth")
    chosen = next((there[name] for name in wanted if name in there), None)
    if chosen is None and (len(there) > 1 or checkpoint is not None):
        raise InputError(f"choose one of the checkpoints of {source} with --checkpoint: {', '.join(sorted(there))}")
    return [*configs, chosen or next(iter(there.values()))]


def explain(error: Exception, repository: str, options: str, started: bool, upload: bool = False) -> InputError:
    """One line on why the hub did not do what was asked of it, and what to do."""
    from huggingface_hub import constants, errors

    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # that nothing is cached says less than why the cache was needed
    page, cache = f"{constants.ENDPOINT}/{repository}", constants.HF_HUB_CACHE
    login = "log in with `hf auth login` or set HF_TOKEN"
    detail = " ".join(f"{type(error).__name__}: {error}".split())[:220]
    if isinstance(error, errors.GatedRepoError):
        text = f"{repository} is gated: ask for access on {page} while logged in there, then {login}"
    elif isinstance(error, errors.RevisionNotFoundError):
        text = f"{repository} has no such revision; name a branch, tag or commit that is on {page}"
    elif isinstance(error, errors.HfHubHTTPError) and error.response.status_code in (401, 403, 404):
        text = f"no access to {page}: it is not there or private, or the token is invalid; check the name, then {login}"
    elif upload:
        text = f"{page} was not written; run the same command again ({detail})"
    elif isinstance(error, OSError) and error.errno and not isinstance(error, ConnectionError):
        text = f"cannot write to {cache} ({error.strerror}); make room there, or set HF_HOME to a folder elsewhere"
    elif started:
        text = f"the download broke off; run the same command again, complete files are kept ({detail})"
    else:
        local = f"run `hf download {repository}{options} --local-dir FOLDER` elsewhere and import from FOLDER"
        text = f"{page} cannot be reached and is not in {cache}; try again later, or {local} ({detail})"
    return InputError(text)
