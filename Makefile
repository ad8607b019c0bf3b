# Each target sets up what it needs in .venv and skips what is already there.
PYTHON ?= python3
BIN := .venv/bin
INSTALL := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install -q -c constraints.txt

# What running a notebook changes beside its outputs; .gitattributes says whose.
STRIP := $(BIN)/python -m nbstripout --keep-id --extra-keys \
  "$(foreach key,codemirror_mode file_extension mimetype nbconvert_exporter pygments_lexer \
  version,metadata.language_info.$(key))"

.PHONY: demo lab filter test lint bench gallery chapters book clean

demo: .venv/lab.done        ## data, masks, training, evaluation, notebooks: minutes on a laptop
	$(BIN)/digit demo

lab: .venv/lab.done         ## JupyterLab on the project, the notebooks in notebooks/; ARGS=--allow-root as root
	@git rev-parse --git-dir >/dev/null 2>&1 && $(MAKE) -s filter || true
	$(BIN)/jupyter lab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks $(ARGS)

filter:                     ## outputs stay out of git's diffs and commits
	git config filter.nbstripout.clean '$(STRIP)'
	git config filter.nbstripout.smudge cat

test: .venv/test.done       ## the tests; browser tests need Chromium and skip without it
	$(BIN)/python -m pytest tests

lint: .venv/test.done       ## formatting, lint rules and the directions of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

bench: .venv/test.done      ## the data path beside its alternatives, into figures/; ARGS=--full: the whole index
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python benchmarks/data_path.py $(ARGS)

gallery: .venv/test.done    ## the pictures of README and docs, from data/demo and the latest run; widgets need Chromium
	$(BIN)/python figures/make_gallery.py $(ARGS)

# The demo is half as large as usual: move a data/demo of another size away before.
chapters: .venv/lab.done    ## the executed chapters in docs/notebooks, from the demo's data; 10: run digit ablation before
	$(BIN)/digit demo --frames 1500 --minutes 4
	$(BIN)/python docs/make_chapters.py

book: .venv/book.done       ## the documentation site, into docs/_build/html
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv .venv

.venv/lab.done: .venv/bin/python pyproject.toml constraints.txt
	$(INSTALL) -e '.[lab]'
	@touch $@

.venv/test.done: .venv/lab.done
	$(INSTALL) -e '.[lab,test,dev,export]'
	@touch $@

.venv/book.done: .venv/lab.done
	$(INSTALL) -e '.[lab,docs]'
	@touch $@

clean:                      ## remove the environment; data and runs stay
	rm -rf .venv
