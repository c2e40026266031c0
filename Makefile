# make run and make test set everything up on a fresh machine; both mend a broken .venv.
.PHONY: run test lint bench venv coverage versions
PY := .venv/bin/python
OUT := runs/ethanol-$(shell date +%Y%m%d-%H%M%S)

run: venv  ## simulate ethanol with the shipped model, analyse it, name the report
	@$(PY) simulations/run_nvt.py simulations/systems/ethanol.pdb --time 4 --equilibrate 0.5 --precision mixed --output $(OUT)
	@$(PY) simulations/analyze.py $(OUT)

test: venv  ## the test suite, in two processes of one thread each
	@$(PY) -m pytest -q -n 2 --dist loadscope --no-loadscope-reorder

coverage: venv  ## the test suite, with the lines that no test runs (htmlcov/index.html)
	@$(PY) -m pytest -q --cov=mdet_openmm --cov-report=term-missing:skip-covered --cov-report=html

versions: venv  ## the core of the suite with the lowest and the newest allowed versions of the dependencies
	@$(PY) tests/versions.py

bench: venv  ## speed of force calls and training beside the textbook network, in a quarter of an hour
	@$(PY) benchmarks/speed.py --output benchmarks/results/latest.json
	@$(PY) benchmarks/peers.py --threads $(shell nproc)
	@$(PY) benchmarks/training_speed.py

lint: venv  ## ruff and mypy
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy

venv:
	@.ci/venv
