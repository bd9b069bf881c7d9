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
# Helm takes a cluster that it does not see for one of this version, and itself for this; without the first it would say 1.20 and refuse the chart.
HELM_VERSION := $(shell sed -n 's,^[[:space:]]*helm.sh/helm/v3 \(v[0-9.]*\).*,\1,p' test/tools/helm/go.mod)
HELM_KUBE_MINOR := $(shell sed -n 's,^[[:space:]]*k8s.io/client-go v0\.\([0-9]*\)\..*,\1,p' test/tools/helm/go.mod)
HELM_LDFLAGS := -X helm.sh/helm/v3/internal/version.version=$(HELM_VERSION) \
	$(foreach p,chartutil lint/rules,-X helm.sh/helm/v3/pkg/$(p).k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/$(p).k8sVersionMinor=$(HELM_KUBE_MINOR))
BUILD_TOOLS := $(addprefix $(TOOLS)/,controller-gen golangci-lint helm kustomize mkimage promql)

##@ Main

.PHONY: help
help: ## list the targets
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} /^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: lab-ready ## a real cluster in network namespaces, Fairlead in it, and the walkthrough: a Service reached from the LAN
	hack/demo.sh

.PHONY: test
test: setup lab-check lint tools lab-ready ## lint, unit tests, tests against a real API server, end-to-end tests in the lab
	hack/test.sh

.PHONY: build
build: $(PROGRAMS) $(LAB) ## the programs, into bin/

.PHONY: image
image: dist/fairlead.tar ## the container image as an OCI archive, dist/fairlead.tar, and its bill of materials; no Docker needed

.PHONY: release
release: dist/fairlead-release.tar chart ## what a release is made of: the image for amd64 and arm64, its bill of materials (CycloneDX), the chart, the plugin in bin/ARCH

.PHONY: generate
generate: $(TOOLS)/controller-gen $(TOOLS)/kustomize ## deepcopy functions and CRDs from the API types, manifests of the Ansible role and the chart, docs/reference
	$(TOOLS)/controller-gen object paths=./api/...
	$(TOOLS)/controller-gen crd paths=./api/... output:crd:dir=config/crd/bases
	hack/role-manifests.sh >config/kubespray/roles/fairlead/files/fairlead.yaml
	hack/chart-files.sh charts/fairlead/files
	$(GO) run ./hack/reference docs/reference

.PHONY: accept-crds
accept-crds: ## at a release: take the CRDs as what later ones may only add to
	$(GO) test -count=1 ./test/crds -accept

.PHONY: lint
lint: $(TOOLS)/golangci-lint $(TOOLS)/controller-gen $(TOOLS)/helm $(TOOLS)/kustomize ## golangci-lint, generated files fresh, manifests and chart render
	@echo "lint: golangci-lint"
	$(TOOLS)/golangci-lint run ./...
	@echo "lint: generated files are fresh"
	hack/check-generated.sh
	@echo "lint: programs build for other architectures"
	for arch in $(ARCHES); do GOARCH=$$arch CGO_ENABLED=0 $(GO) build ./cmd/...; done
	@echo "lint: manifests render"
	for k in config/default config/held config/prometheus config/samples; do $(TOOLS)/kustomize build $$k >/dev/null; done
	$(TOOLS)/helm lint --strict --quiet charts/fairlead

##@ Lab

.PHONY: lab-up
lab-up: lab-ready tools ## bring the lab up with Fairlead installed
	$(LAB) up

.PHONY: lab-down
lab-down: $(LAB) ## take the lab down; nothing of it stays
	$(LAB) down

.PHONY: lab-check
lab-check: setup $(LAB)
	$(LAB) check

.PHONY: lab-ready
lab-ready: setup lab-check build $(KUBE_TOOLS) image lab-images ## build all that the lab needs; the linter and other tools it does not

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

# The chart's version is the program's without the v; it names the image's tag, which is that of IMAGE.
.PHONY: chart
chart: $(TOOLS)/helm ## the Helm chart as an archive, dist/fairlead-VERSION.tgz
	$(TOOLS)/helm package charts/fairlead --destination dist --version $(VERSION:v%=%) --app-version $(lastword $(subst :, ,$(IMAGE)))

MKIMAGE := $(TOOLS)/mkimage --reference $(IMAGE) --user 65532:65532 --entrypoint /fairlead-controller \
	--label org.opencontainers.image.version=$(VERSION) --label org.opencontainers.image.revision=$(COMMIT) --version $(VERSION)

dist/fairlead.tar: $(TOOLS)/mkimage $(BIN)/fairlead-controller $(BIN)/fairlead-speaker
	$(MKIMAGE) --output $@ --sbom dist/fairlead.cdx.json --file $(BIN)/fairlead-controller:/fairlead-controller --file $(BIN)/fairlead-speaker:/fairlead-speaker

# What a release is made of, for each architecture; bin/ARCH holds the programs.
ARCHES := amd64 arm64
RELEASED := fairlead-controller fairlead-speaker kubectl-fairlead

$(foreach arch,$(ARCHES),$(addprefix $(BIN)/$(arch)/,$(RELEASED))): FORCE
	CGO_ENABLED=0 GOOS=linux GOARCH=$(notdir $(@D)) $(GO) build -ldflags '$(LDFLAGS)' -o $@ ./cmd/$(@F)

dist/fairlead-release.tar: $(TOOLS)/mkimage $(foreach arch,$(ARCHES),$(addprefix $(BIN)/$(arch)/,$(RELEASED)))
	$(MKIMAGE) --output $@ --sbom dist/fairlead-release.cdx.json $(addprefix --platform linux/,$(ARCHES)) \
		--file $(BIN)/{arch}/fairlead-controller:/fairlead-controller --file $(BIN)/{arch}/fairlead-speaker:/fairlead-speaker

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
$(TOOLS)/helm: PACKAGE = helm.sh/helm/v3/cmd/helm
$(TOOLS)/helm: TOOL_LDFLAGS = $(HELM_LDFLAGS)
$(addprefix $(TOOLS)/,controller-gen golangci-lint helm kustomize): $(TOOLS)/%: test/tools/%/go.mod test/tools/%/go.sum
	@echo "tools: building $*"
	cd test/tools/$* && CGO_ENABLED=0 $(GO) build -ldflags '-s -w $(TOOL_LDFLAGS)' -o $(CURDIR)/$@ $(PACKAGE)

# What the rules and the dashboard of config/prometheus are checked with; seconds, because of Prometheus there is the parser alone.
$(TOOLS)/promql: FORCE
	cd test/tools/promql && CGO_ENABLED=0 $(GO) build -ldflags '-s -w' -o $(CURDIR)/$@ .

$(TOOLS)/mkimage: FORCE
	cd hack/image && CGO_ENABLED=0 $(GO) build -ldflags '-s -w' -o $(CURDIR)/$@ .
