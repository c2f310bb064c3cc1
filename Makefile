# Each target does all the set-up it needs: a virtual environment in .venv, from requirements.lock.
#   make figures   the default study, from the model to paper_figures/
#   make benchmarks  other implementations, compilers, batch sizes, lengths
#   make paper     what it needs of both, and the paper: paper_figures/paper.pdf
#   make test      every check that CI runs
# PYTHON=/path/to/python3.12 chooses another Python (3.11 or newer).

SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
CODE := src tests benchmarks
RULES := Snakefile workflow
# A line a job and the time that is left (src/snakemake_logger_plugin_selfdraft); all else is in .snakemake/log.
RUN := $(BIN)/snakemake --logger selfdraft --cores all

.PHONY: figures benchmarks paper results assets test lint types unit report lock clean-capture clean-results clean

figures: .venv/complete
	$(RUN) all_figures

# Batch sizes, lengths, other implementations, compilers, identity: results/{batch,lengths,peers,compile,identity}.csv.
benchmarks: .venv/complete
	$(RUN) all_benchmarks

# The paper: paper_figures/paper.pdf, from the tables and figures of both (docs/paper.md).
paper: .venv/complete
	$(RUN) paper

results: .venv/complete
	$(RUN) all_results

# The default model and all its text, from the package index; the tests that need them are skipped without.
assets: .venv/complete
	$(RUN) target all_data

report: .venv/complete
	$(BIN)/snakemake --report report.zip all_figures

test: lint types unit

lint: .venv/complete
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/ruff check $(CODE)
	$(BIN)/snakefmt --check $(RULES)
	$(BIN)/snakemake --lint

types: .venv/complete
	$(BIN)/mypy

# One process more than cores: the tests on SLURM mostly wait.
unit: .venv/complete
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses $$(($$(nproc) + 1)) --dist loadfile --no-loadscope-reorder --durations=25

.venv/complete: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "selfdraft needs Python 3.11 or newer; $(PYTHON) is not. Try: make PYTHON=python3.12" >&2; exit 1; }
	@$(BIN)/python -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# After a change of the dependencies in pyproject.toml: install, then write down what was installed.
lock:
	@$(BIN)/python -m pip --version > /dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --upgrade setuptools --editable '.[workflow,slurm,peers,dev]'
	@echo '# Exact versions of everything that `make` installs (see Makefile, target lock).' > requirements.lock
	@$(BIN)/python -m pip freeze --all --exclude pip --exclude-editable \
	  | sed -e 's/+cpu//' >> requirements.lock

clean-capture:
	rm -rf results/capture

# All but the downloads in results/cache.
clean-results:
	rm -rf report.zip .snakemake
	find results paper_figures -mindepth 1 -maxdepth 1 ! -name cache ! -name README.md -exec rm -rf {} +

clean: clean-results
	rm -rf results/cache .venv .mypy_cache .ruff_cache .pytest_cache
