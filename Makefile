# Fairlead's build. `make help` lists the targets; `make demo` and `make test` are the two that newcomers need.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

GO ?= go
# One set of build flags everywhere (programs, tests, tools, images): another set would rebuild everything.
export GOFLAGS := -trimpath -buildvcs=false
export GOTOOLCHAIN := local

VERSION ?= v0.1.0-dev
COMMIT ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X fairlead.io/fairlead/internal/version.Version=$(VERSION) -X fairlead.io/fairlead/internal/version.Commit=$(COMMIT)
IMAGE ?= fairlead:dev

BIN := bin
TOOLS := $(BIN)/tools
PROGRAMS := $(BIN)/fairlead-controller $(BIN)/fairlead-speaker $(BIN)/kubectl-fairlead
LAB := $(BIN)/lab
LAB_IMAGES := dist/pause.tar dist/web.tar

# What the lab runs, in the versions that test/tools/kubernetes/go.mod pins.
KUBE_VERSION := $(shell sed -n 's,^[[:space:]]*k8s.io/kubernetes \(v[0-9.]*\).*,\1,p' test/tools/kubernetes/go.mod)
KUBE_MINOR := $(word 2,$(subst ., ,$(KUBE_VERSION)))
KUBE_LDFLAGS := -s -w \
	-X k8s.io/component-base/version.gitVersion=$(KUBE_VERSION) -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=$(KUBE_MINOR) \
	-X k8s.io/client-go/pkg/version.gitVersion=$(KUBE_VERSION)
KUBE_TOOLS := $(addprefix $(TOOLS)/,etcd kube-apiserver kube-controller-manager kube-scheduler kube-proxy kubelet kubectl)
BUILD_TOOLS := $(addprefix $(TOOLS)/,controller-gen golangci-lint kustomize mkimage)

##@ Main

.PHONY: help
help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: lab-ready ## a real cluster in network namespaces, Fairlead in it, and the walkthrough: a Service reached from the LAN
	hack/demo.sh

.PHONY: test
test: setup lab-check lint lab-ready ## lint, unit tests, tests against a real API server, end-to-end tests in the lab
	hack/test.sh

.PHONY: build
build: $(PROGRAMS) $(LAB) ## the programs, into bin/

.PHONY: image
image: dist/fairlead.tar ## the container image as an OCI archive, dist/fairlead.tar; no Docker needed

.PHONY: generate
generate: $(TOOLS)/controller-gen ## deepcopy functions and CRDs from the API types
	$(TOOLS)/controller-gen object paths=./api/...
	$(TOOLS)/controller-gen crd paths=./api/... output:crd:dir=config/crd/bases

.PHONY: lint
lint: $(TOOLS)/golangci-lint $(TOOLS)/controller-gen $(TOOLS)/kustomize ## golangci-lint, generated files fresh, manifests render
	@echo "lint: golangci-lint"
	$(TOOLS)/golangci-lint run ./...
	@echo "lint: generated files are fresh"
	hack/check-generated.sh
	@echo "lint: manifests render"
	for k in config/default config/samples; do $(TOOLS)/kustomize build $$k >/dev/null; done

##@ Lab

.PHONY: lab-up
lab-up: lab-ready ## bring the lab up with Fairlead installed
	$(LAB) up

.PHONY: lab-down
lab-down: $(LAB) ## take the lab down; nothing of it stays
	$(LAB) down

.PHONY: lab-check
lab-check: setup $(LAB)
	$(LAB) check

.PHONY: lab-ready
lab-ready: setup lab-check build tools image lab-images ## build all that the lab needs

.PHONY: lab-images
lab-images: $(LAB_IMAGES) ## the images of the lab itself: pause and the walkthrough's web server

##@ Parts

.PHONY: setup
setup: ## check the machine and install the Debian packages that are missing
	@hack/setup.sh

.PHONY: tools
tools: $(KUBE_TOOLS) $(BUILD_TOOLS) ## build the pinned tools into bin/tools: Kubernetes, etcd, generators, linter

.PHONY: clean
clean: ## remove bin/ and dist/
	rm -rf $(BIN) dist

# go itself knows what is stale, and answers in a second.
.PHONY: FORCE
FORCE:

$(PROGRAMS): $(BIN)/%: FORCE
	CGO_ENABLED=0 $(GO) build -ldflags '$(LDFLAGS)' -o $@ ./cmd/$*

$(LAB): FORCE
	CGO_ENABLED=0 $(GO) build -ldflags '$(LDFLAGS)' -o $@ ./test/lab/cmd/lab

dist/fairlead.tar: $(TOOLS)/mkimage $(BIN)/fairlead-controller $(BIN)/fairlead-speaker
	$(TOOLS)/mkimage --output $@ --reference $(IMAGE) --user 65532:65532 --entrypoint /fairlead-controller \
		--label org.opencontainers.image.version=$(VERSION) --label org.opencontainers.image.revision=$(COMMIT) \
		--file $(BIN)/fairlead-controller:/fairlead-controller --file $(BIN)/fairlead-speaker:/fairlead-speaker

$(LAB_IMAGES): dist/%.tar: $(TOOLS)/mkimage $(BIN)/lab-%
	$(TOOLS)/mkimage --output $@ --reference fairlead-lab/$*:dev --user 65532:65532 --entrypoint /$* --file $(BIN)/lab-$*:/$*

$(BIN)/lab-pause $(BIN)/lab-web: $(BIN)/lab-%: FORCE
	CGO_ENABLED=0 $(GO) build -ldflags '-s -w' -o $@ ./test/lab/$*

# The pinned tools: one rule for what comes out of the Kubernetes module, one for each of the others.
kube_package = $(if $(filter etcd,$(1)),go.etcd.io/etcd/server/v3,k8s.io/kubernetes/cmd/$(1))

$(KUBE_TOOLS): $(TOOLS)/%: test/tools/kubernetes/go.mod test/tools/kubernetes/go.sum
	@echo "tools: building $* for Kubernetes $(KUBE_VERSION) (all of them take about 8 minutes on 2 cores the first time)"
	cd test/tools/kubernetes && CGO_ENABLED=0 $(GO) build -ldflags '$(KUBE_LDFLAGS)' -o $(CURDIR)/$@ $(call kube_package,$*)

$(TOOLS)/controller-gen: PACKAGE = sigs.k8s.io/controller-tools/cmd/controller-gen
$(TOOLS)/golangci-lint: PACKAGE = github.com/golangci/golangci-lint/v2/cmd/golangci-lint
$(TOOLS)/kustomize: PACKAGE = sigs.k8s.io/kustomize/kustomize/v5
$(addprefix $(TOOLS)/,controller-gen golangci-lint kustomize): $(TOOLS)/%: test/tools/%/go.mod test/tools/%/go.sum
	@echo "tools: building $*"
	cd test/tools/$* && CGO_ENABLED=0 $(GO) build -ldflags '-s -w' -o $(CURDIR)/$@ $(PACKAGE)

$(TOOLS)/mkimage: FORCE
	cd hack/image && CGO_ENABLED=0 $(GO) build -ldflags '-s -w' -o $(CURDIR)/$@ .
