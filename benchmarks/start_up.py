"""How long a start takes: ``python benchmarks/start_up.py`` prints the CPU time of imports and of ``mdet --help``.

Each is a process of its own, the interpreter's start included, with a warm file cache; the least of a few counts.
"""

import argparse
import resource
import subprocess
import sys

COMMANDS = {
    "python, nothing": ["-c", "pass"],
    "import mdet_openmm": ["-c", "import mdet_openmm"],
    "mdet --help": ["-m", "mdet_openmm", "--help"],
}


def cpu_seconds(arguments: list[str]) -> float:
    """User and system time of one process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="CPU time of a start")
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    print("| command | ms of CPU time |\n| --- | --- |")
    for name, arguments in COMMANDS.items():
        print(f"| {name} | {1e3 * min(cpu_seconds(arguments) for _ in range(rounds + 1)):.0f} |")


if __name__ == "__main__":
    main()
