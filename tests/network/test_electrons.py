"""The electron table is the published one."""

import hashlib

from mdet_openmm.network.electrons import electron_counts, electron_features


def test_published_hash() -> None:
    table = electron_counts()
    assert table.sum() == 11251
    digest = hashlib.sha256(table.astype("<i8").tobytes()).hexdigest()
    assert digest == "05887aab8a9231b28b1e4b33f09c0a8733bcbc714e333283666a5f610b6eb524"


def test_features_reach_one() -> None:
    assert (electron_features().max(axis=0) == 1).all()
