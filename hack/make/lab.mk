# bin/lab, and the images that every lab has. The Makefile includes this file.
# The phony prerequisite makes go itself decide what is stale; it answers in a second.

LAB_GO ?= CGO_ENABLED=0 GOFLAGS="-trimpath -buildvcs=false" go
LAB_MKIMAGE := bin/tools/mkimage

.PHONY: bin/lab $(LAB_MKIMAGE) lab-images lab-packages-missing

bin/lab:
	$(LAB_GO) build -o $@ ./test/lab/cmd/lab

$(LAB_MKIMAGE):
	$(LAB_GO) -C hack/image build -o $(abspath $@) .

lab-images: dist/pause.tar dist/web.tar ## Build the lab's own images: pause and web

.PHONY: dist/pause.tar dist/web.tar
dist/pause.tar: $(LAB_MKIMAGE)
	$(LAB_GO) build -ldflags="-s -w" -o bin/pause ./test/lab/pause
	$(LAB_MKIMAGE) --output $@ --reference fairlead-lab/pause:dev --user 65532 --entrypoint /pause --file bin/pause:/pause

dist/web.tar: $(LAB_MKIMAGE)
	$(LAB_GO) build -ldflags="-s -w" -o bin/web ./test/lab/web
	$(LAB_MKIMAGE) --output $@ --reference fairlead-lab/web:dev --user 65532 --entrypoint /web --file bin/web:/web

# The Debian packages that bin/lab needs and that are not installed, on one line.
lab-packages-missing:
	@awk '!/^#/ && NF {print $$1}' test/lab/internal/preflight/debian-packages.txt | \
		while read -r p; do dpkg-query --show --showformat='$${Status}' "$$p" 2>/dev/null | grep -q 'ok installed' || printf '%s ' "$$p"; done; echo
