"""The core of the suite with the lowest and with the newest versions of the dependencies that pyproject.toml allows.

    python tests/versions.py [lowest] [newest]

Each in an environment of its own under .versions/, made by uv (``--resolution lowest-direct`` takes the lowest version
of each package that pyproject.toml names). Some GB each, for torch.
"""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = ".[train,label,dask,dev]"
CORE = ("molecules", "data", "network", "export", "measure", "training", "system")
RESOLUTIONS = {"lowest": "lowest-direct", "newest": "highest"}


def main(names: list[str]) -> int:
    """Make the environments, run the tests in them, and say how each went."""
    failed = []
    for name in names or list(RESOLUTIONS):
        python = ROOT / ".versions" / name / "bin" / "python"
        uv = [sys.executable, "-m", "uv"]
        subprocess.run([*uv, "venv", "--allow-existing", "--python", sys.executable, python.parents[1]], check=True)
        install = [*uv, "pip", "install", "--python", str(python), "--upgrade", "--resolution", RESOLUTIONS[name]]
        subprocess.run([*install, "--editable", EXTRAS], cwd=ROOT, check=True)
        tests = [f"tests/{folder}" for folder in CORE]
        if subprocess.run([python, "-m", "pytest", "-q", *tests], cwd=ROOT).returncode:
            failed.append(name)
        print(f"{name}: {'failed' if name in failed else 'passed'}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    unknown = set(sys.argv[1:]) - set(RESOLUTIONS)
    if unknown:
        sys.exit(f"error: {', '.join(sorted(unknown))}: choose from {', '.join(RESOLUTIONS)}")
    if find_spec("uv") is None:
        sys.exit("error: uv makes the environments; install it with: pip install 'mdet-openmm[dev]'")
    sys.exit(main(sys.argv[1:]))
