# Each target sets up what it needs in .venv and skips what is already there.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install -q -c constraints.txt

.PHONY: demo lab test bench gallery clean

demo: .venv/lab.done        ## data, masks, training, evaluation, notebooks: minutes on a laptop
	$(BIN)/digit demo

lab: .venv/lab.done         ## JupyterLab on the notebooks
	$(BIN)/jupyter lab notebooks

test: .venv/test.done       ## the tests; browser tests need Chromium and skip without it
	$(BIN)/python -m pytest tests

bench: .venv/test.done      ## the data path beside its alternatives, into figures/; ARGS=--full: the whole index
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/data_path.py $(ARGS)

gallery: .venv/test.done    ## the README's pictures, of data/demo and the latest run; widgets need Chromium
	$(BIN)/python figures/make_gallery.py $(ARGS)

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv .venv

.venv/lab.done: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) -e .
	@touch $@

.venv/test.done: .venv/lab.done
	$(INSTALL) -e '.[test,dev,export]'
	@touch $@

clean:                      ## remove the environment; data and runs stay
	rm -rf .venv
