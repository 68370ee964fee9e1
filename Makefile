# Every target makes the virtual environment it needs; nothing but Python 3.11+, git and make has to be there.
PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python

.PHONY: demo test check docs bench clean

demo: $(VENV)/installed
	$(RUN) -m hkdsr.demo

# One process a core, each with one thread: small networks gain little from more.
test: export OMP_NUM_THREADS = 1
test: check
	$(RUN) -m pytest -n auto --dist worksteal --durations 20

check: $(VENV)/installed
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m pyright

# Strict: a link without a target, or a name that is not in the package, fails. Open site/index.html.
docs: $(VENV)/installed
	$(RUN) -m mkdocs build --strict

bench: $(VENV)/installed
	$(RUN) -m benchmarks

# torch and torchvision have to come from one index, so they are installed together with everything else.
$(VENV)/installed: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "hkdsr needs Python 3.11 or newer: make PYTHON=...")'
	test -x $(RUN) || $(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --upgrade pip
	$(RUN) -m pip install --quiet -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) runs/demo site
