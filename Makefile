# `make test` is the test command; `make help` lists the rest.
PYTHON := $(CURDIR)/.venv/bin/python
GO     := go
export NEXTBATCH_PYTHON := $(PYTHON)
export NEXTBATCH_LIGHTLY := $(CURDIR)/.venv-lightly
export NEXTBATCH_LABELSTUDIO := $(CURDIR)/.venv-labelstudio
export NEXTBATCH_SERVERS := $(CURDIR)/.servers

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: ## the whole loop on real images, learning curve at the end
	$(GO) run ./cmd/worker demo

test: deps ## every test: Go, the real Python and npm clients, a minute of faults
	$(GO) vet -tags 'foreign failpoint' ./...
	$(GO) test -tags foreign -timeout 30m ./...
	$(GO) test -race -short -timeout 30m ./internal/...
	@if [ "$$($(GO) env GOHOSTARCH)" = arm64 ] || command -v $(QEMU) >/dev/null; then $(MAKE) test-arm64; \
		else echo "LEFT OUT: the arm64 tests. They need $(QEMU): apt-get install qemu-user-static"; fi

# Emulated, floating point takes some thirty times as long. What is left out there has
# more rows for the same engines, or is about memory, time, gains or the order of rows.
QEMU     := qemu-aarch64-static
EMULATED := -exec $(QEMU) -short -skip '^Test(SearchLarge|FairShareRadius|HerdingLoss|MemoryBytes|Cancel|More|Shuffled)$$'
test-arm64: ## scores and selections on arm64, bit for bit; on other machines emulated by qemu-aarch64-static
	CGO_ENABLED=0 GOARCH=arm64 $(GO) test $(if $(filter arm64,$(shell $(GO) env GOHOSTARCH)),,$(EMULATED)) -timeout 30m \
		./internal/bitmask ./internal/score ./internal/selection

chaos: ## the long form of the fault tests: CHAOS_MINUTES=30
	CHAOS_MINUTES=$${CHAOS_MINUTES:-30} $(GO) test -tags foreign -run 'TestChaos' -count=1 -v -timeout 4h ./cmd/worker/

fuzz: ## every fuzz target for FUZZTIME (1m) each
	@for pkg in $$($(GO) list ./...); do for f in $$($(GO) test -list '^Fuzz' $$pkg | grep ^Fuzz); do \
		$(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $${FUZZTIME:-1m} $$pkg || exit 1; done; done

fuzz-api: deps ## the Lightly API by its OpenAPI document, for FUZZ_SECONDS=600
	FUZZ_SECONDS=$${FUZZ_SECONDS:-600} $(GO) test -tags foreign -run TestOpenAPIFuzz -count=1 -v -timeout 4h ./internal/lightly/

bench: .venv-bench/ready ## against what a user would pick instead, side by side (long)
	$(GO) run ./bench

bench-quality: .venv-quality/ready build ## learning curves against scikit-activeml, writes docs/quality.md (hours; goes on where it stopped; QUALITY='--seeds 3' for fewer)
	.venv-quality/bin/python bench/quality/run.py --worker bin/worker $(QUALITY)
	.venv-quality/bin/python bench/quality/report.py

microbench: ## Go benchmarks of the packages
	$(GO) test -run '^$$' -bench . -benchmem ./internal/...

lint: ## vet and gofmt
	$(GO) vet -tags 'foreign failpoint' ./...
	@test -z "$$(gofmt -l .)" || { gofmt -l .; exit 1; }

build: ## bin/worker
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-s -w' -o bin/worker ./cmd/worker

deps: .venv/ready .venv-lightly/ready .venv-labelstudio/ready .servers/ready ## what the tests need beside Go

.venv/ready: requirements-test.txt clients/python/pyproject.toml
	python3 -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check -r requirements-test.txt
	.venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable clients/python
	touch $@

# Three releases of Lightly's package side by side, each to be put on PYTHONPATH.
CLIENTS := internal/lightly/testdata/python/requirements.txt
.venv-lightly/ready: $(CLIENTS)
	python3 -m venv .venv-lightly
	.venv-lightly/bin/pip install --quiet --disable-pip-version-check -r $(CLIENTS)
	for release in 1.1.5 1.1.23 1.2.37; do \
		.venv-lightly/bin/pip install --quiet --disable-pip-version-check --no-deps --upgrade \
			--target .venv-lightly/$$release lightly==$$release || exit 1; done
	touch $@

# Label Studio, a gigabyte of it. Its first start migrates a database for a
# minute: that is done here, and each test begins with a copy.
LABELSTUDIO := internal/labelstudio/testdata/requirements.txt
.venv-labelstudio/ready: $(LABELSTUDIO)
	python3 -m venv .venv-labelstudio
	.venv-labelstudio/bin/pip install --quiet --disable-pip-version-check -r $(LABELSTUDIO)
	rm -rf .venv-labelstudio/template
	LABEL_STUDIO_BASE_DATA_DIR=$(CURDIR)/.venv-labelstudio/template DJANGO_DB=sqlite LATEST_VERSION_CHECK=false \
		COLLECT_ANALYTICS=false SENTRY_DSN= FRONTEND_SENTRY_DSN= .venv-labelstudio/bin/label-studio version
	touch $@

# Servers that speak as S3, Google's and Azure's storage do. Not in go.mod: they
# need hundreds of modules.
.servers/ready: internal/cloud/cloudtest/install.sh
	sh internal/cloud/cloudtest/install.sh $(CURDIR)/.servers
	touch $@

.venv-bench/ready: bench/requirements.txt
	python3 -m venv .venv-bench
	.venv-bench/bin/pip install --quiet --disable-pip-version-check -r bench/requirements.txt
	touch $@

.venv-quality/ready: bench/quality/requirements.txt
	python3 -m venv .venv-quality
	.venv-quality/bin/pip install --quiet --disable-pip-version-check -r bench/quality/requirements.txt
	touch $@

.PHONY: help demo test test-arm64 chaos fuzz fuzz-api bench bench-quality microbench lint build deps
