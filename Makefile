# Two commands: `make book` and `make test`; both set up .venv first.
# `make faults`: kills at many moments and jobs of a real Slurm, half an hour.
PYTHON ?= $(shell command -v python3.11 || command -v python3.12 || command -v python3)
JOBS ?= -1
BIN := .venv/bin
# A stamp of what .venv was made from: contents, not dates, so that a fresh checkout beside it installs nothing again.
READY := .venv/ready-$(shell { $(PYTHON) -VV; cat requirements.lock pyproject.toml; } 2>&1 | cksum | cut -d ' ' -f 1)
WEIGHTS := scgpt_quick scbert_quick scbert_quick_no_gene2vec geneformer_quick scfoundation_quick cellplm_quick
EXPERIMENTS := data few_shot_pbmc few_shot_scgpt liver audit other_tools
EXPERIMENTS += scbert_annotation scbert_ablations masked_pretraining sensitivity
EXPERIMENTS += scgpt_no_pretraining scgpt_sensitivity new_donors baselines embeddings five_models
unexport PYTHONDONTWRITEBYTECODE # what pip has not compiled is compiled where it is first imported: once, not in every process

.PHONY: book test faults standin figure lock clean

book: $(READY)
	$(BIN)/bench weights $(WEIGHTS) # small networks: one core for each is less work than both cores for one
	$(BIN)/bench run $(EXPERIMENTS) -p tier quick --jobs $(JOBS) --records-only
	$(BIN)/jupyter-book build . -n -W --keep-going
	@test -s _build/html/index.html || { echo "The build left no _build/html/index.html; see its messages above."; exit 1; }
	@echo "Open file://$(CURDIR)/_build/html/index.html"

test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest

faults: $(READY)
	$(BIN)/python -m pytest -m campaign

$(READY):
	@$(PYTHON) -c 'import sys; v = sys.version_info; v[:2] in ((3, 11), (3, 12)) or sys.exit(f"Python 3.11 or 3.12 is needed, found {v.major}.{v.minor}; say which with: make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --no-compile --requirement requirements.lock # most of it is never imported
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	@rm -f .venv/ready-* && touch $@

standin: $(READY) # true architectures, in order of worth; ends after HOURS, if given, and goes on the next time
	$(BIN)/bench standin $(if $(HOURS),--hours $(HOURS))

figure: $(READY) # the README's figure, from the committed records
	$(BIN)/python -c 'from bench.report import figures; from bench.protocol import records; from bench.published import few_shot; \
	  runs = records.read("few_shot_pbmc", own=False); runs = runs[runs["tier"] == "standin"]; \
	  figures.few_shot(runs, {"Zheng68K": few_shot("zheng68k")}, ["accuracy"]).savefig("chapters/results/few_shot_pbmc.png", dpi=120)'

lock: # after a change of pyproject.toml, with the oldest Python 3.11 at hand; then change environment.yml to match
	$(PYTHON) -m venv .venv-lock
	.venv-lock/bin/python -m pip install --quiet ".[cluster,hub,test]"
	.venv-lock/bin/python -m pip freeze --exclude scfm-bench | sed -E 's/\+cpu//' > requirements.lock
	rm -rf .venv-lock

clean: # keeps results/, your own records and notebooks, and what earlier versions put into _build
	rm -rf _build/html _build/jupyter_execute _build/.doctrees .venv
