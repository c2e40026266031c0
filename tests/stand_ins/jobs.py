"""Jobs that worker processes can import."""

import os
from pathlib import Path


def square_and_pid(task: int) -> tuple[int, int]:
    return task * task, os.getpid()


def fail_at_three(task: int) -> int:
    from mdet_openmm.errors import InputError

    if task == 3:
        raise InputError("three is not possible")
    return task


def die(task: int) -> int:
    os._exit(9)


def wait_for_the_end(folder: str) -> None:
    """As a run does it: a signal asks for an end, which comes after a checkpoint."""
    import time

    from mdet_openmm.interrupt import Interrupt

    with Interrupt() as interrupt:
        (Path(folder) / f"started-{os.getpid()}").touch()
        while not interrupt.asked:
            time.sleep(0.01)
        (Path(folder) / f"checkpoint-{os.getpid()}").touch()
        raise KeyboardInterrupt
