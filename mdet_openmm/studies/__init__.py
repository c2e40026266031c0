"""Many runs, one table (`mdet_openmm.analysis.study` is about one run)."""
