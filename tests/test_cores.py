"""What OMP_NUM_THREADS says."""

import pytest

from mdet_openmm.cores import available_cores, threads_asked_for


@pytest.mark.parametrize(
    ("text", "threads"),
    [(None, None), ("", None), ("0", None), ("-2", None), ("abc", None), ("3", 3), (" 2 ", 2), ("4,2", 4), ("²", None)],
)
def test_threads_asked_for(monkeypatch: pytest.MonkeyPatch, text: str | None, threads: int | None) -> None:
    if text is None:
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    else:
        monkeypatch.setenv("OMP_NUM_THREADS", text)
    assert threads_asked_for() == threads
    assert available_cores() >= 1
