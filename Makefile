# Everything runs in .venv, which these targets create; no activated environment is needed.
#   make run     the whole course in quick mode, into build/course/
#   make test    lint, tests, and every notebook executed and held to its stored outputs
#   make test-all   make test, then hundreds of kills, thousands of damaged files and nine other seeds (half an hour more)
#   make lab     JupyterLab in notebooks/
#   make site    the notebooks as static HTML, in build/site/
#   make slides  notebooks 00 to 09 as slides for a lecturer, in build/slides/
#   make report  the replication report as HTML and PDF, in build/report/
#   make app     the tuning lab alone, as a page without code
#   make gif     the README's moving picture and notebook 00's, and the count over ten seeds that the README quotes
#   make bench   measurements (nothing is asserted)
#   make gpu     on a machine with a CUDA device: the tests that need one, then make bench
#   make format  format modules and notebooks
#   make clean   remove build/ and caches;  make distclean  also removes .venv
# Another Python than python3:  make run PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
COURSE := build/course/.done
NBVAL := build/.nbval-done
STUDENT := build/.student-done

NOTEBOOKS := $(wildcard notebooks/*.ipynb)
SOURCES := $(NOTEBOOKS) $(shell find data_scripts geomreg_mini experiments notebooks results -type f \
	\( -name '*.py' -o -name '*.json' -o -name '*.csv' \) -not -path '*/.*' 2>/dev/null)

# One thread a process: two notebooks run side by side, and results do not depend on the number of cores.
export OMP_NUM_THREADS := 1
# Without bytecode beside the libraries, every kernel and every process of a test compiles them again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: run test test-all lint unit notebooks lab app site slides report gif bench gpu format clean distclean

run: $(COURSE)
	@echo "The course is in build/course/: open its .html files, or read summary.md."

test: lint unit notebooks

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Without that option files with few tests come last, and one of two tests takes a minute at the end.
unit: $(INSTALLED)
	$(BIN)/python -m pytest tests -n 2 --dist loadfile --no-loadscope-reorder

# Papermill proves that every notebook runs, with its solutions and without; nbval that its marked outputs are
# still what is stored.
notebooks: $(COURSE) $(NBVAL) $(STUDENT)

test-all: test
	$(BIN)/python -m pytest tests -m exhaustive -n 2 --dist loadfile --junitxml build/exhaustive.xml

# Jupyter refuses to serve as root, as in a container, unless told to.
lab: $(INSTALLED)
	$(BIN)/python -m jupyterlab --notebook-dir=notebooks $(if $(filter 0,$(shell id -u)),--allow-root)

site: $(INSTALLED)
	$(BIN)/python -m geomreg_course site --out build/site

slides: $(INSTALLED)
	$(BIN)/python -m geomreg_course slides --out build/slides

report: $(INSTALLED)
	$(BIN)/python -m geomreg_course report --out build/report

app: $(INSTALLED)
	PYTHONPATH=notebooks $(BIN)/python -m lab build/app/tuning_lab.ipynb
	cd build/app && $(CURDIR)/$(BIN)/python -m voila tuning_lab.ipynb

gif: $(INSTALLED)
	PYTHONPATH=notebooks $(BIN)/python -m lab.film build/states
	$(BIN)/python -m geomreg_course picture build/states/collapse.json notebooks/figures/collapse.gif
	$(BIN)/python -m geomreg_course picture --width 760 build/states/forces.json notebooks/figures/forces.png

# Into build/bench/: speed.json and speed.png. Peers are compared where they are installed:
#   .venv/bin/pip install lightly pytorch-metric-learning
bench: $(INSTALLED)
	$(BIN)/python -m pytest tests/benchmarks --bench-out build/bench \
		--benchmark-disable-gc --benchmark-columns=median,iqr,rounds

gpu: $(INSTALLED)
	$(BIN)/python -m pytest tests -m gpu -rs
	$(MAKE) bench

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf build .pytest_cache .ruff_cache .hypothesis .benchmarks
	find . -name .venv -prune -o \( -name __pycache__ -o -name .ipynb_checkpoints \) -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV) *.egg-info

# An environment knows the folder that it was made in: if the checkout was moved, its commands are gone.
ifneq ($(shell cat $(INSTALLED) 2>/dev/null),$(CURDIR))
.PHONY: $(INSTALLED)
endif

$(INSTALLED): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null || { \
		echo "geomreg-mini needs Python 3.10 or newer, and '$(PYTHON)' is not: name one, for example" \
			"make run PYTHON=python3.12" >&2; exit 1; }
	@echo "Setting up $(VENV), which takes a few minutes the first time ..."
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"  # the first with --group
	$(BIN)/python -m pip install --quiet --no-compile -e ".[course,benchmarks,emoji,scale]" --group dev
	@echo '$(CURDIR)' > $@

$(COURSE): $(INSTALLED) $(SOURCES)
	$(BIN)/python -m geomreg_course run --mode quick --out build/course --jobs 2
	@touch $@

$(STUDENT): $(INSTALLED) $(SOURCES)
	$(BIN)/python -m geomreg_course student --out build/student
	$(BIN)/python -m geomreg_course run --notebooks build/student/notebooks --out build/student-course --jobs 2
	@touch $@

$(NBVAL): $(INSTALLED) $(SOURCES)
	@mkdir -p build
	$(BIN)/python -m pytest $(NOTEBOOKS) -n 2 --dist loadfile -p no:cacheprovider \
		--nbval-lax --nbval-current-env --nbval-cell-timeout=600
	@touch $@
