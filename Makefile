# Everything that is done with this project. `make` prints what there is.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

VERSION ?= 0.1.0-dev
IMAGE ?= jupyter-server-operator:$(VERSION)
GIVEN_IMAGE := $(if $(filter file,$(origin IMAGE)),,$(IMAGE))

# Programs that are built from source once.
BIN := $(HOME)/.cache/jupyter-server-operator/bin
export PATH := $(BIN):$(PATH)

LOCALCLUSTER := go -C test/localcluster run .
# One step of a test run: its name, its output, its time.
STEP := test/tools/step
# Reads go test -json; fails when no test ran, and in CI when one was skipped.
GOTEST := go run ./test/tools/gotest
# Tests of what runs at the same time want the race detector, which needs a C compiler.
RACE ?= -race

# Finds the test files that need other programs: etcd and kube-apiserver, or Helm.
NEEDS_PROGRAMS := grep -rE --include='*_test.go' 'operator/apiservertest"|KUBEBUILDER_ASSETS'
# In these packages only a few tests do, which `make check` leaves out.
SOME_NEED_PROGRAMS := ./operator ./operator/internal/render
WITH_PROGRAMS := TestCheckAll|TestHelmTemplateGivesTheSameObjects

# For how long what the policies are given is made up.
FUZZTIME ?= 15s

# Go modules besides the root.
MODULES := test/localcluster test/e2e
TOOLS := test/tools/actionlint test/tools/controller-gen test/tools/golangci-lint test/tools/opa

.PHONY: help
help: ## Print this
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Use

.PHONY: run
run: ## Start a cluster, the operator and a Jupyter server in it (MODE=oidc: with sign-in; CLUSTER=current IMAGE=...: in the cluster of kubectl)
	@CLUSTER='$(CLUSTER)' IMAGE='$(GIVEN_IMAGE)' test/run.sh $(if $(filter-out token,$(MODE)),$(MODE),server)

.PHONY: stop
stop: ## Take down what `make run` started (CLUSTER=current: in the cluster of kubectl)
	@CLUSTER='$(CLUSTER)' test/stop.sh

##@ Build

# fieldsv1string has the operator hold equal sets of managed fields in memory once (k8s.io/apimachinery/pkg/apis/meta/v1, FieldsV1).
GO_BUILD := CGO_ENABLED=0 go build -tags fieldsv1string -trimpath -buildvcs=false -ldflags '-s -w -X main.version=$(VERSION)'

.PHONY: build
build: ## Build the operator, the authorization service and the post-renderer into bin/
	$(GO_BUILD) -o bin/jupyter-server-operator ./operator
	$(GO_BUILD) -o bin/authorization ./authorization
	$(GO_BUILD) -o postrender/bin/postrender ./postrender/cmd/postrender
	ln -sf ../postrender/bin/postrender bin/postrender

.PHONY: image
image: ## Build the image (IMAGE=registry/name:tag, CONTAINER_TOOL=docker or podman)
	$(or $(CONTAINER_TOOL),docker) build --build-arg VERSION=$(VERSION) -t $(IMAGE) .

CRD := jupyterserver.dev_jupyterservers.yaml
GENERATED := operator/api/schema/$(CRD) operator/api/v1alpha1/zz_generated.deepcopy.go helm-chart/files \
  chart-jupyter-server/values.schema.json policies/schema/input.json docs/reference.md docs/policies.md

.PHONY: generate
generate: $(BIN)/controller-gen ## Generate the CRD, deep copies, roles, the schemas of the chart's values and of the policies' input, docs/reference.md, the table in docs/policies.md
	controller-gen object:headerFile=hack/boilerplate.go.txt crd rbac:roleName=jupyter-server-operator paths=./operator/... \
	  output:crd:dir=operator/api/schema output:rbac:dir=helm-chart/files
	go run ./operator/api/schema/generate

.PHONY: verify-generated
verify-generated: ## Fail when generated files are not what `make generate` makes; changes nothing
	@test/tools/verify-generated $(GENERATED)

.PHONY: fmt
fmt: $(BIN)/golangci-lint $(BIN)/opa ## Format the Go and the Rego files
	golangci-lint fmt
	opa fmt --write policies

.PHONY: tidy
tidy: ## go mod tidy in all modules
	for module in . $(MODULES) $(TOOLS); do go -C $$module mod tidy; done

.PHONY: clean
clean: ## Remove what was built here (the programs in ~/.cache/jupyter-server-operator stay)
	rm -rf bin postrender/bin artifacts

##@ Test

.PHONY: check
check: ## Run before each commit: generated files, vet, linters, tests that need no cluster (three minutes)
	@$(STEP) 'generated files' $(MAKE) verify-generated
	@$(STEP) 'vet' $(MAKE) vet
	@$(STEP) 'linters' $(MAKE) lint
	@$(STEP) 'tests without a cluster' $(MAKE) test-quick

.PHONY: test
test: ## Everything: generated files, vet, linters, unit and API-level tests, charts, end-to-end tests
	@$(STEP) 'generated files' $(MAKE) verify-generated
	@$(STEP) 'vet' $(MAKE) vet
	@$(STEP) 'linters' $(MAKE) lint
	@$(STEP) 'charts' $(MAKE) test-charts
	@$(STEP) 'policies' $(MAKE) test-policies
	@$(STEP) 'unit and API-level tests' $(MAKE) test-unit
	@$(STEP) 'end-to-end tests' $(MAKE) test-e2e

.PHONY: vet
vet: ## go vet in all modules
	go vet ./...
	for module in $(MODULES); do go -C $$module vet ./...; done

.PHONY: lint
lint: $(BIN)/golangci-lint $(BIN)/actionlint ## golangci-lint in all modules, actionlint on the workflows
	actionlint -shellcheck= -pyflakes= .github/workflows/*.yaml
	golangci-lint run --config .golangci.yaml ./...
	for module in $(MODULES); do (cd $$module && golangci-lint run --config '$(CURDIR)/.golangci.yaml' ./...); done

# Without the race detector, which makes the rules ten times slower. test-unit and test-one have it.
.PHONY: test-quick
test-quick: ## Tests that need no cluster and no other program; results of unchanged packages come from Go's cache
	@{ go test -json $$(go list ./... | grep -vxFf <($(NEEDS_PROGRAMS) -l . | xargs dirname | sed "s|^\.|$$(go list -m)|")); \
	  go test -json -skip '^($(WITH_PROGRAMS))$$' $(SOME_NEED_PROGRAMS); \
	  go -C test/localcluster test -json ./...; } | $(GOTEST)

# -count=1, because Go's cache of test results does not know of the programs that the tests run.
.PHONY: test-unit
test-unit: ## Unit tests, and API-level tests against a real etcd and kube-apiserver
	@$(LOCALCLUSTER) build kubernetes helm
	@{ KUBEBUILDER_ASSETS="$$($(LOCALCLUSTER) bin)" go test -json -count=1 -timeout=25m $(RACE) ./...; \
	  go -C test/localcluster test -json -count=1 ./...; } | $(GOTEST)

.PHONY: test-one
test-one: ## The tests of one package (PKG=./operator/internal/rules), or some of them (RUN=TestStart); V=1 shows all output
	@[ -n '$(PKG)' ] || { echo 'usage: make test-one PKG=./FOLDER [RUN=PATTERN] [V=1]' >&2; exit 2; }
	@if $(NEEDS_PROGRAMS) -q '$(PKG:/...=)'; then \
	  $(LOCALCLUSTER) build kubernetes helm; \
	  KUBEBUILDER_ASSETS="$$($(LOCALCLUSTER) bin)"; export KUBEBUILDER_ASSETS; \
	fi; \
	go -C '$(PKG:/...=)' test -count=1 -timeout=25m $(RACE) $(if $(RUN),-run '$(value RUN)') $(if $(filter %/...,$(PKG)),./...,.) \
	  $(if $(V),-v,-json | $(GOTEST))

# The version of Kubernetes is what the charts are rendered for where no cluster says it.
.PHONY: test-charts
test-charts: build ## helm lint and helm template of both charts
	@$(LOCALCLUSTER) build helm
	helm lint --strict --kube-version 1.37.2 helm-chart
	helm lint --strict --kube-version 1.37.2 chart-jupyter-server --set routing.host=jupyter.example.org
	helm template jupyter-server-operator helm-chart --kube-version 1.37.2 --set image.repository=registry.example.org/operator > /dev/null
	helm template alice chart-jupyter-server --kube-version 1.37.2 --set routing.host=jupyter.example.org > /dev/null
	helm template alice chart-jupyter-server --kube-version 1.37.2 --set routing.host=jupyter.example.org --set auth.mode=oidc \
	  --set auth.oidc.issuerUrl=https://id.example.org --set auth.oidc.clientId=x --set auth.oidc.allow.anyAuthenticated=true \
	  --post-renderer bin/postrender > /dev/null
	@if helm template alice chart-jupyter-server --kube-version 1.37.2 --set routing.hosst=x > /dev/null 2>&1; then \
	  echo 'error: chart-jupyter-server takes a misspelt value' >&2; exit 1; fi

OPA_FLAGS := --schema policies/schema/input.json --ignore testdata,schema

.PHONY: test-policies
test-policies: $(BIN)/opa ## The rules in Rego with the stock opa: format, strict check against the schema of the input, tests with full coverage; fuzzing
	opa fmt --list --fail policies
	opa check --strict $(OPA_FLAGS) policies
	opa test $(OPA_FLAGS) --coverage --threshold 100 policies > /dev/null
	opa test $(OPA_FLAGS) policies
	go test ./policies -run '^$$' -fuzz FuzzEvaluate -fuzztime $(FUZZTIME)

.PHONY: test-e2e
test-e2e: ## End-to-end tests on a real node; a cluster that was not there before is taken down afterwards
	@if [ "$(CLUSTER)" = current ]; then $(MAKE) test-e2e-here; else test/tools/with-cluster $(MAKE) test-e2e-here; fi

.PHONY: test-oauth2-proxy
test-oauth2-proxy: ## The configurations of the goldens and the end-to-end tests with a real oauth2-proxy (E2E_OAUTH2_PROXY=its path)
	@[ -x '$(E2E_OAUTH2_PROXY)' ] || { echo 'error: E2E_OAUTH2_PROXY must be the path of oauth2-proxy' >&2; exit 1; }
	@E2E_OAUTH2_PROXY='$(E2E_OAUTH2_PROXY)' go test -json -tags oauth2proxy ./operator/internal/render -run OAuth2Proxy | $(GOTEST)
	@E2E_OAUTH2_PROXY='$(E2E_OAUTH2_PROXY)' $(MAKE) test-e2e

.PHONY: test-e2e-here
test-e2e-here:
	@CLUSTER='$(CLUSTER)' IMAGE='$(GIVEN_IMAGE)' test/run.sh e2e -json | $(GOTEST)

##@ Measure

# A run with other numbers of servers is no report: what comes of it goes to artifacts/.
BENCH_SERVERS ?= 1000,5000
BENCH_OUT := $(if $(filter file,$(origin BENCH_SERVERS)),docs,artifacts)

.PHONY: bench
bench: build ## The operator with 1,000 and 5,000 servers beside a plain client, and the Go benchmarks, into docs/performance.md (half an hour; BENCH_SERVERS=100 is short, into artifacts/)
	@$(LOCALCLUSTER) build kubernetes
	@mkdir -p $(BENCH_OUT)
	go build -o bin/bench ./test/bench
	@KUBEBUILDER_ASSETS="$$($(LOCALCLUSTER) bin)" bin/bench --servers $(BENCH_SERVERS) \
	  --json $(BENCH_OUT)/performance.json --markdown $(BENCH_OUT)/performance.md

##@ The local cluster

.PHONY: cluster-up
cluster-up: ## Start a one-node Kubernetes on this machine (Debian, root; else its control plane alone)
	@$(LOCALCLUSTER) up

.PHONY: cluster-down
cluster-down: ## Stop it, and leave nothing behind
	@$(LOCALCLUSTER) down

.PHONY: cluster-status
cluster-status: ## What runs of it
	@$(LOCALCLUSTER) status

# Tools, each in a Go module of its own.

$(BIN)/actionlint: test/tools/actionlint/go.mod
	@mkdir -p $(BIN)
	CGO_ENABLED=0 go -C test/tools/actionlint build -trimpath -ldflags '-s -w' -o $@ github.com/rhysd/actionlint/cmd/actionlint
	@touch $@

$(BIN)/controller-gen: test/tools/controller-gen/go.mod
	@mkdir -p $(BIN)
	go -C test/tools/controller-gen build -o $@ sigs.k8s.io/controller-tools/cmd/controller-gen
	@touch $@

$(BIN)/opa: test/tools/opa/go.mod
	@mkdir -p $(BIN)
	CGO_ENABLED=0 go -C test/tools/opa build -trimpath -ldflags '-s -w' -o $@ github.com/open-policy-agent/opa
	@touch $@

$(BIN)/golangci-lint: test/tools/golangci-lint/go.mod
	@mkdir -p $(BIN)
	go -C test/tools/golangci-lint build -trimpath -ldflags '-s -w' -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	@touch $@
