# make        what there is to make
# make test   everything a change must pass; CI runs exactly this

SHELL       := bash
.SHELLFLAGS := -eu -o pipefail -c

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
TOOL     := go tool -modfile=tools/go.mod
FUZZTIME ?= 30s
PKG      ?= ./...

# The client for JavaScript, where PKG includes it.
JS := $(if $(filter ./... ./sdk/...,$(PKG)),scripts/js.sh,:)

# The dashboard, where PKG includes it.
PAGES := $(if $(filter ./... ./wsapi/...,$(PKG)),scripts/dashboard.sh,:)

# CI never takes a result from the test cache.
TESTFLAGS ?= $(if $(filter true,$(CI)),-count=1)

# Every target is phony: some share their name with a folder.
.PHONY: help run build test lint fmt bench soak fuzz postgres cover vuln clean cluster database docs dashboard test-dashboard pictures

help: ## list the targets (the default)
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: build ## build, then serve on 127.0.0.1:4973 with the data in ./data
	bin/gyre serve --data ./data

build: dashboard ## build bin/gyre, with the dashboard where there is Node
	go build -trimpath -ldflags "-X main.version=$(VERSION)" -o bin/gyre ./cmd/gyre

dashboard: ## build the pages of wsapi/dashboard
	scripts/dashboard.sh build

test: ## set up what tests need, lint, then test with the race detector and a time budget
	@mkdir -p build
	scripts/test-deps.sh > build/test.env
	@$(MAKE) --no-print-directory lint
	set -a; . build/test.env; set +a; go run ./internal/testbudget $$GYRE_TEST_RACE -timeout 20m $(TESTFLAGS) $(PKG); $(JS) test; $(PAGES) test

test-dashboard: ## test every page and action in a real browser, and leave pictures in build/screens (20 minutes)
	@mkdir -p build
	set -a; scripts/test-deps.sh > build/test.env; . build/test.env; set +a; scripts/dashboard.sh test-all

pictures: ## take the pictures of docs/dashboard anew, in a real browser
	@mkdir -p build
	set -a; scripts/test-deps.sh > build/test.env; . build/test.env; set +a; scripts/dashboard.sh pictures

lint: ## run the linters, and check formatting, imports, sizes, names and documents
	$(TOOL) golangci-lint run $(PKG)
	go test ./internal/architest
	$(JS) lint
	$(PAGES) lint

fmt: ## format the code
	$(TOOL) golangci-lint fmt
	$(JS) fmt
	$(PAGES) fmt

bench: ## measure, and write build/bench.json
	@mkdir -p build
	go run ./internal/bench -out build/bench.json

soak: ## crash, torture and soak tests at their full length (over an hour)
	GYRE_SOAK=1 go test -count=1 -timeout 80m -run 'Soak|Crash|Torture' $(PKG)

fuzz: ## fuzz every decoder, each for FUZZTIME (30s)
	scripts/fuzz.sh $(FUZZTIME) $(PKG)

postgres: ## test on each PostgreSQL from 12 to 18 (downloads 150 MB)
	scripts/postgres-versions.sh

cover: ## measure test coverage, and write build/cover.html
	@mkdir -p build
	go test -coverpkg=./... -coverprofile=build/cover.out $(PKG)
	@go tool cover -html=build/cover.out -o build/cover.html
	@go tool cover -func=build/cover.out | tail -n 1

vuln: ## look for known vulnerabilities in what gyre calls (needs the network)
	@$(TOOL) govulncheck $(if $(VULNDB),-db $(VULNDB)) $(PKG) || { status=$$?; test $$status -eq 3 || \
	  echo "make vuln: NOT CHECKED. The list of vulnerabilities comes from https://vuln.go.dev; where that cannot be reached, say make vuln VULNDB=file:///path/of/a/copy" >&2; exit $$status; }

clean: ## remove bin and build; ./data stays
	rm -rf bin build sdk/js/build sdk/js/dist wsapi/dashboard/dist/*

cluster: build build/localring ## run the three nodes of examples/cluster, over a PostgreSQL of their own
	@exec build/localring

database: build/localring ## run the PostgreSQL of make cluster alone
	@exec build/localring -database

.PHONY: build/localring
build/localring:
	@mkdir -p build
	go build -o build/localring ./internal/localring/run

# The name is taken: without these lines make would find the folder of that name up to
# date, and say that all is well.
docs:
	@echo "make $@: there is nothing to make yet" >&2; exit 1
