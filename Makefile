# Everything starts from Python 3.11 or later and make: the environment is set up in .venv by the first target that needs it.
PYTHON ?= python3
BIN := .venv/bin
# Where the arena writes its results.
ARENA ?= benchmarks/results

# Bytecode is kept even where the surroundings say otherwise: the tests and the comparisons start hundreds of processes.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help demo quick standard comparison test coverage lint arena environment benchmark measured wheel clean

help:  ## Say what each target does.
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' Makefile | column -t -s '|'

demo: environment  ## Adapt a small model to handwritten digits with every method; writes inarch-demo/accuracy.png.
	$(BIN)/inarch demo

test: environment-dev  ## Run the tests.
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

coverage: environment-dev  ## Run the tests, the longest too, and say what they cover.
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal -m "thorough or not thorough" --cov --cov-report term

lint: environment-dev  ## Check style, types and import layers.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python .ci/links.py
	$(BIN)/mypy
	$(BIN)/lint-imports

quick: environment-bench  ## Compare eight methods on three small tasks; writes inarch-bench/reports/quick.
	$(BIN)/inarch bench run quick

standard: environment-bench  ## The same with more methods, tuned, at ten seeds; takes hours.
	$(BIN)/inarch bench run standard

comparison: environment-bench  ## Compare every method, tuned, on four tasks; writes benchmarks/results/all-methods; takes hours.
	$(BIN)/inarch bench run all-methods --output benchmarks/results/all-methods
	$(BIN)/inarch bench export benchmarks/results/all-methods/runs.parquet

arena: environment-dev  ## Adapt every architecture that transformers can build, by six methods; takes some minutes.
	$(BIN)/python -m inarch_benchmarks.arena --output $(ARENA)

benchmark: environment-dev  ## Compare with peft and bitsandbytes in one process; writes benchmarks/results/.
	$(BIN)/python -m inarch_benchmarks.overhead
	$(BIN)/python -m inarch_benchmarks.routing
	$(BIN)/python -m inarch_benchmarks.expert_lora
	$(BIN)/python -m inarch_benchmarks.quantised_training
	$(BIN)/python -m inarch_benchmarks.dequantise
	$(BIN)/python -m inarch_benchmarks.loading
	$(BIN)/python -m inarch_benchmarks.optimizer
	$(BIN)/python -m inarch_benchmarks.harness
	$(BIN)/python -m inarch_benchmarks.gpu.table

measured: environment-dev  ## Rewrite the figures of the README from benchmarks/results.
	$(BIN)/python -m inarch_benchmarks.measured

wheel: environment-dev  ## Build the package.
	$(BIN)/python -m build --no-isolation

environment:  ## Set up .venv with Inarch.
	@$(PYTHON) .ci/environment.py

.PHONY: environment-bench
environment-bench:
	@$(PYTHON) .ci/environment.py --extra bench

.PHONY: environment-dev
environment-dev:
	@$(PYTHON) .ci/environment.py --extra dev

clean:  ## Remove what the other targets made.
	rm -rf .venv .links build dist src/*.egg-info *.egg-info inarch-demo inarch-bench .coverage* .mypy_cache .ruff_cache .pytest_cache
