"""The two ways a command ends early, and the exit status of each."""

import sys
from collections.abc import Callable


class InputError(ValueError):
    """What the user gave cannot be used; one line that says what is wrong and what to do. Exit status 2."""


class RunStopped(RuntimeError):
    """A run was stopped because its physics went wrong (NaN, a broken bond, a runaway). Exit status 3."""


def exit_status(command: Callable[[], None]) -> int:
    """Run a command and turn its outcome into an exit status, the same for every door of the package.

    Parameters
    ----------
    command
        What to run.

    Returns
    -------
    int
        0 done, 2 bad input, 3 a run that was stopped for its physics, 130 interrupted with Ctrl-C. Errors print
        one line on stderr; any other exception is a defect of ours and keeps its traceback.
    """
    try:
        command()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except RunStopped as error:
        print(f"stopped: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print("interrupted; a command that has --restart goes on with it", file=sys.stderr)
        return 130
    return 0
