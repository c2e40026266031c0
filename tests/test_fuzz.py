"""Files with damaged bytes are refused in one line, or read as what they are."""

import pytest
from fuzz_files import fuzz


@pytest.mark.parametrize("case", ["dcd", "store", "packed", "yaml", "model", "collected"])
def test_damaged_files(case: str) -> None:
    """`python tests/fuzz/fuzz_files.py 600` does the same, and more kinds of files, for ten minutes each."""
    complaints, count = fuzz((case,), seed=1, tries=15)
    assert count == 15 and not complaints, "\n".join(complaints)
