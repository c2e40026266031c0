"""Many runs, one table (`mdet_openmm.analysis.run_analysis` is about one run)."""
