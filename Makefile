# Each target makes its own virtual environment when there is none.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: reproduce test site serve lint slow trust pairs readme bench
.DEFAULT_GOAL := reproduce

$(READY): requirements.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.txt
	touch $@

reproduce: $(READY)  ## train every experiment at small scale, build the book from it, compare with the committed records
	$(BIN)/mixkd reproduce --profile digits

test: $(READY)       ## all tests that need neither a browser nor a GPU
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

site: $(READY)       ## the book from the committed records, without training
	$(BIN)/mixkd site --profile cifar10-jpeg

serve: $(READY)      ## the same, then serve it on this machine
	$(BIN)/mixkd site --profile cifar10-jpeg --serve

lint: $(READY)       ## style, types, the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

slow: $(READY)       ## the long tests: kill and resume at random moments, both ways to the same pages
	$(BIN)/python -m pytest -m slow

trust: $(READY)      ## ten minutes of faults at most: kills, failed file operations, changed bytes, hostile zips; prints tried and failed
	OMP_NUM_THREADS=1 $(BIN)/python tests/trust.py --minutes 10

bench: $(READY)      ## speed beside the peers; fills the tables of benchmarks/README.md
	$(BIN)/python -m pip install --quiet --editable ".[bench]"
	$(BIN)/mixkd bench

pairs: $(READY)      ## regenerate the notebooks beside the chapters
	$(BIN)/python -c "from mixkd import chapters as c, site; w = site.repository(); [print(c.pair(p, w and w[0])) for p in c.chapters()]"

readme: $(READY)     ## the sentences and the picture of the README, from the committed records
	$(BIN)/python -c "from mixkd import site; print(*site.readme(), sep='\n')"
