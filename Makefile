# make run    the simulated bioaerosol sampler, with everything it needs
# make test   everything that needs no hardware
# README.md lists the rest.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCKS := requirements

.PHONY: run test check quick lint firmware test-faults test-training bench bench-real bench-physics bench-calibration bench-sampler bench-hidef bench-transfer bench-exports lock clean

run: $(VENV)/.box
	$(BIN)/holonode run

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Holonode needs Python 3.11 or newer: make PYTHON=python3.11 run")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.box: $(VENV)/bin/python pyproject.toml $(LOCKS)/box.lock
	$(BIN)/python -m pip install --quiet --require-hashes -r $(LOCKS)/box.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.dev: $(VENV)/.box $(LOCKS)/dev.lock
	$(BIN)/python -m pip install --quiet --require-hashes -r $(LOCKS)/dev.lock
	touch $@

$(VENV)/.train: $(VENV)/.dev $(LOCKS)/train.lock
	$(BIN)/python -m pip install --quiet --require-hashes -r $(LOCKS)/train.lock
	touch $@

# The tests talk to a real broker.
.PHONY: mosquitto
mosquitto:
	@command -v openssl >/dev/null && { command -v mosquitto >/dev/null || test -x /usr/sbin/mosquitto; } || sh deploy/install-mosquitto.sh

# The dashboard's tests look at it in a real browser.
.PHONY: chromium
chromium:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || sh deploy/install-chromium.sh

# The fleet's tests talk to a real PostgreSQL.
.PHONY: postgresql
postgresql:
	@ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || sh deploy/install-postgresql.sh

# The controller's firmware, and its microcontroller simulated for the tests.
firmware:
	@command -v avr-gcc >/dev/null && test -e /usr/include/simavr/sim_avr.h && test -e /usr/include/libelf.h || sh deploy/install-avr.sh
	$(MAKE) --no-print-directory -C deploy/firmware all simulator

# A wall clock that the tests can set.
.PHONY: faketime
faketime:
	@ls /usr/lib/*/faketime/libfaketimeMT.so.1 >/dev/null 2>&1 || sh deploy/install-faketime.sh

# A release in one archive: wheels by their hashes, units, installer. ARCHES, PYTHONS: which ones
.PHONY: bundle
ARCHES ?= $(shell uname -m)
PYTHONS ?= $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])')
bundle: $(VENV)/bin/python
	$(BIN)/python -m deploy.bundle --arch $(ARCHES) --python $(PYTHONS)

# The same release as a Debian package
.PHONY: deb
deb: bundle
	$(BIN)/python -m deploy.deb $(foreach arch,$(ARCHES),$(foreach python,$(PYTHONS),build/bundles/holonode-*-$(arch)-cp$(subst .,,$(python)).tar))

# Debian 13 for 64-bit ARM with the release on it; as root. deploy/image/README.md
.PHONY: image image-tools test-boot test-power
IMAGE = build/image/holonode-debian13-arm64.img
image-tools:
	@for tool in mmdebstrap sfdisk mkfs.vfat mcopy depmod systemd-nspawn qemu-system-aarch64; do \
	  PATH="$$PATH:/usr/sbin:/sbin" command -v $$tool >/dev/null || { sh deploy/install-image-tools.sh; break; }; done
image: image-tools $(VENV)/bin/python
	$(MAKE) --no-print-directory bundle ARCHES=aarch64 PYTHONS=3.13
	$(BIN)/python -m deploy.image build/bundles/holonode-*-aarch64-cp313.tar --out $(IMAGE)

# That image held against its bill of materials, and booted in an emulated machine: ready, publishing, three supply cuts
test-boot: $(VENV)/.dev mosquitto image
	$(BIN)/python -m tests.boot.materials $(IMAGE)
	$(BIN)/python -m tests.boot.boots $(IMAGE)

# The same where root's rights, the tools and Debian's archive are to be had; elsewhere one line says what isn't
.PHONY: test-boot-where-possible
test-boot-where-possible: $(VENV)/.dev
	$(BIN)/python -m tests.boot.where_possible

# Many cuts, into PostgreSQL; hours, in sittings that add up: build/power.jsonl
test-power: $(VENV)/.dev mosquitto postgresql image
	$(BIN)/python -m tests.boot.power $(IMAGE)

# Releases updated, refused and rolled back under a real systemd in a container, cut off in between; as root, a quarter of an hour
.PHONY: test-updates
test-updates: $(VENV)/.dev image-tools
	$(BIN)/python -m tests.boot.updates

# The installer on clean Debian 12 and 13, without a network, as root: install, run, update, refuse, uninstall; ten minutes.
# With --online from a checkout, with one
.PHONY: test-install
test-install: $(VENV)/.dev
	$(BIN)/python -m tests.install

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

# Tests at a time
PROCESSES ?= 2

# Without servers, simulated boxes and what computes for long (tests/physics)
quick: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile tests/unit tests/property tests/architecture

# Both side by side
check:
	$(MAKE) --no-print-directory -j 2 lint quick

test: lint mosquitto postgresql firmware faketime
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile -m "not campaign and not training and not browser"

# kill -9 at random moments, and what else breaks in the field; the controller's whole campaign: --cycles 10000, ten minutes.
# Of the store's and the delivery's campaigns a short part; test-store and test-delivery run the whole ones
test-faults: $(VENV)/.dev mosquitto postgresql firmware faketime
	$(BIN)/python -m tests.faults.kill_service --kills 50
	$(BIN)/python -m tests.faults.stop_anytime --stops 30
	$(BIN)/python -m tests.faults.heartbeat
	$(BIN)/python -m tests.faults.camera_faults --each 200
	$(BIN)/python -m tests.faults.controller_faults --cycles 1000
	$(BIN)/python -m tests.faults.lying_broker
	$(BIN)/python -m tests.faults.tls_matrix
	$(BIN)/python -m tests.faults.recording_fuzz --files 1000
	$(BIN)/python -m tests.faults.power_cuts --steps 100
	$(BIN)/python -m tests.faults.failing_syncs --trials 300
	$(BIN)/python -m tests.faults.disk_full --points 10
	$(BIN)/python -m tests.faults.clock_jumps --jumps 10
	$(BIN)/python -m tests.faults.store_rot --stores 55
	$(BIN)/python -m tests.faults.store_copies --copies 10
	$(BIN)/python -m tests.faults.bent_records --records 20000 --broker 300
	$(BIN)/python -m tests.faults.outage --waiting 20000 --history-per-s 2000
	$(BIN)/python -m tests.faults.command_fuzz --offline 50000 --broker 1000
	$(BIN)/python -m tests.faults.kill_delivery --service-kills 30 --producer-kills 10 --broker-kills 5 --collector-kills 5
	$(BIN)/python -m tests.faults.web_load --seconds 10 --rounds 1
	$(BIN)/python -m tests.faults.history_kills --kills 50 --commits 20 --full 5
	$(BIN)/python -m tests.faults.update_matrix --every 12
	$(BIN)/python -m tests.faults.identity_matrix

# Each stage hung, the service killed, crashed, stopped; a machine ten times slower; the unit's sandbox; as root, five minutes
.PHONY: test-supervision
test-supervision: $(VENV)/.dev mosquitto
	$(BIN)/python -m tests.faults.stages
	$(BIN)/python -m tests.faults.slow_machine
	$(BIN)/python -m tests.faults.sandboxed

# The store: power cut at every write, syncs that fail, a full disk (as root), a clock that jumps; half an hour on two cores
.PHONY: test-store
test-store: $(VENV)/.dev mosquitto faketime
	$(BIN)/python -m tests.faults.power_cuts
	$(BIN)/python -m tests.faults.failing_syncs
	$(BIN)/python -m tests.faults.disk_full
	$(BIN)/python -m tests.faults.clock_jumps
	$(BIN)/python -m tests.faults.store_rot
	$(BIN)/python -m tests.faults.history_kills
	$(BIN)/python -m tests.benchmarks.flash_writes

# Boxes, broker and collectors killed 1,400 times, three days without a broker, a million requests; two hours on two cores
.PHONY: test-delivery
test-delivery: $(VENV)/.dev mosquitto postgresql
	$(BIN)/python -m tests.faults.outage --history-per-s 2000
	$(BIN)/python -m tests.faults.command_fuzz --offline 1000000 --broker 10000
	$(BIN)/python -m tests.faults.kill_delivery --service-kills 1000 --producer-kills 200 --broker-kills 100 --collector-kills 100
	$(BIN)/python -m tests.faults.store_copies
	$(BIN)/python -m tests.faults.bent_records --records 1000000 --broker 5000
	$(BIN)/python -m tests.faults.broker_limits

# Clustered brokers, their nodes killed; a quarter of an hour
.PHONY: test-cluster cluster-brokers
cluster-brokers:
	@command -v nats-server >/dev/null && test -x /usr/lib/rabbitmq/bin/rabbitmq-server || sh deploy/install-cluster-brokers.sh

test-cluster: $(VENV)/.dev postgresql cluster-brokers
	$(BIN)/python -m tests.faults.broker_cluster nats
	$(BIN)/python -m tests.faults.broker_cluster rabbitmq

# Small wrongs in what figures rest on, one at a time: each must be noticed by the tests beside it; some minutes on two cores
.PHONY: test-mutants
test-mutants: $(VENV)/.dev
	$(BIN)/python -m tests.mutants --jobs 2

# Home Assistant's own schemas on the announcement, in an environment of its own. HOME_ASSISTANT_PYTHON: 3.11 gives 2024.3, whose
# schemas are those of entities; 3.13 gives 2025.4, which knows device discovery.
.PHONY: test-homeassistant
HOME_ASSISTANT_PYTHON ?= $(PYTHON)
HOME_ASSISTANT := build/homeassistant
test-homeassistant: $(VENV)/.dev mosquitto
	test -x $(HOME_ASSISTANT)/bin/python || $(HOME_ASSISTANT_PYTHON) -m venv $(HOME_ASSISTANT)
	$(HOME_ASSISTANT)/bin/python -m pip install --quiet "homeassistant>=2024.3,<2025.5" "paho-mqtt<3"
	HOLONODE_HOME_ASSISTANT_PYTHON=$(HOME_ASSISTANT)/bin/python $(BIN)/python -m pytest tests/integration/test_homeassistant.py

# The MQTT contract by AsyncAPI's own parser, the example flow by Node-RED; both live in a folder of their own. Two minutes
.PHONY: test-javascript
JAVASCRIPT := build/javascript
test-javascript: $(VENV)/.dev mosquitto
	test -d $(JAVASCRIPT)/node_modules/node-red || npm install --prefix $(JAVASCRIPT) --no-audit --no-fund --ignore-scripts \
		@asyncapi/parser@3.6.3 node-red@4.1.15 @flowfuse/node-red-dashboard@1.31.0
	HOLONODE_NODE_MODULES=$(JAVASCRIPT)/node_modules $(BIN)/python -m pytest tests/integration/test_contract.py \
		tests/integration/test_node_red.py

# The dashboard's pages in Chromium on a simulated box, and axe-core on each; nothing is skipped. Some minutes
.PHONY: test-web bench-page screenshots vendor
test-web: $(VENV)/.dev mosquitto postgresql chromium
	test -d $(JAVASCRIPT)/node_modules/axe-core || npm install --prefix $(JAVASCRIPT) --no-audit --no-fund --ignore-scripts axe-core@4.14.1
	CI=true HOLONODE_NODE_MODULES=$(JAVASCRIPT)/node_modules $(BIN)/python -m pytest tests/browser tests/unit/test_page_texts.py

# The first page: bytes, and when it can be used on a slow machine
# What pages ask of ten million particles while the box commits; builds 342 MiB once
.PHONY: bench-web
bench-web: $(VENV)/.dev
	$(BIN)/python -m tests.benchmarks.web_history --work runs/web_history

bench-page: $(VENV)/.dev mosquitto chromium
	$(BIN)/python -m tests.browser.first_page

# docs/dashboard*.png
screenshots: $(VENV)/.dev mosquitto chromium
	$(BIN)/python -m tests.browser.screenshots

# The pages' libraries, as npm gives them: device/web/pages/vendor
vendor: $(VENV)/.box
	$(BIN)/python -m deploy.vendor

# A thousand boxes into one collector and into four; ten minutes
.PHONY: bench-fleet
bench-fleet: $(VENV)/.dev mosquitto postgresql
	$(BIN)/python -m tests.benchmarks.fleet_load
	$(BIN)/python -m tests.benchmarks.fleet_history

# What the sampler takes of the memory, with and without the twin
.PHONY: bench-memory
bench-memory: $(VENV)/.dev mosquitto
	$(BIN)/python -m tests.benchmarks.memory

bench-exports: $(VENV)/.dev
	$(BIN)/python -m tests.benchmarks.exports

# The cameras' contract on real ones; skips, with the reason, what isn't there. CAMERA_PYTHON: one that can import picamera2.
# HOLONODE_TEST_INSTRUMENT names the instrument file that fits the camera, HOLONODE_TEST_DEVICE the V4L2 device.
.PHONY: test-camera
CAMERA_PYTHON ?= $(BIN)/python
test-camera: $(VENV)/.dev
	HOLONODE_TEST_CAMERA=picamera2 $(CAMERA_PYTHON) -m pytest -W ignore -rs tests/contract -k "(picamera2 and real) or (itself and real)"
	HOLONODE_TEST_CAMERA=v4l2 $(CAMERA_PYTHON) -m pytest -W ignore -rs tests/contract/test_camera_contract.py -k "v4l2 and real"

# simulate -> train -> int8 -> bundle, on a toy budget
test-training: $(VENV)/.train
	$(BIN)/python -m pytest -m training

# drifts of the optics: how soon they are found, how often one is cried that isn't there; three minutes
.PHONY: bench-trend
bench-trend: $(VENV)/.dev
	$(BIN)/python -m tests.benchmarks.optical_trend --boxes 200

bench: bench-real bench-physics bench-calibration bench-sampler bench-hidef

bench-real: $(VENV)/.dev
	$(BIN)/python -m tests.benchmarks.real_beads
	$(BIN)/python -m tests.benchmarks.real_focus
	$(BIN)/python -m tests.benchmarks.real_field
	$(BIN)/python -m tests.benchmarks.empty_frames
	$(BIN)/python -m tests.benchmarks.real_multi_height
	$(BIN)/python -m tests.benchmarks.real_offaxis
	$(BIN)/python -m tests.benchmarks.focus_recordings
	$(BIN)/python -m tests.benchmarks.scenes
	$(BIN)/python -m tests.benchmarks.geometries
	$(BIN)/python -m tests.benchmarks.foreign_crops --every 12

# one core: ratios are per core. PyHoloscope for optics_speed: pip install PyHoloscope
bench-physics: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.propagation_domain
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.sphere_grid
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.multi_height_speed
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.super_resolution
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.twin_speed
	-OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.optics_speed

# about an hour
bench-calibration: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.calibration_twin --trials 500
	OMP_NUM_THREADS=1 $(BIN)/holonode-calibrate rehearse

bench-sampler: $(VENV)/.dev
	$(BIN)/python -m tests.benchmarks.sampler_truth
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.counting_twin --out runs/counting

# an hour and a half; chambers that runs/assay holds are not simulated again
.PHONY: bench-assay
bench-assay: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.assay_twin --out runs/assay

bench-hidef: $(VENV)/.dev
	$(BIN)/python -m tests.benchmarks.hidef_quality
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.reconstruction
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.hidef_speed
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.robustness
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.guard

# a new instrument, eight frames; about an hour, needs the training extra
bench-transfer: $(VENV)/.train
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.transfer --work runs/transfer

# Known weaknesses of every locked package, or 'not checked'; pip-audit in an environment of its own
.PHONY: advisories
AUDIT := build/audit
advisories: $(VENV)/.box
	test -x $(AUDIT)/bin/pip-audit || { $(PYTHON) -m venv $(AUDIT) && $(AUDIT)/bin/python -m pip install --quiet pip-audit; }
	PIP_AUDIT=$(AUDIT)/bin/pip-audit $(BIN)/python -m deploy.advisories

# Hashes of every file of every package; no host names.
lock: $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet pip-tools
	for part in box dev train broker export fleet formats phase; do \
	  $(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header --no-annotate \
	    --no-emit-index-url --no-emit-trusted-host --no-emit-find-links \
	    --output-file $(LOCKS)/$$part.lock $(LOCKS)/$$part.in || exit 1; \
	done

clean:
	rm -rf $(VENV) build *.egg-info deploy/firmware/build
