# For those who have Docker. `make image` builds the same image without it.
FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY api/ api/
COPY bfd/ bfd/
COPY bgp/ bgp/
COPY cmd/ cmd/
COPY controllers/ controllers/
COPY internal/ internal/
COPY ipam/ ipam/
COPY l2/ l2/
COPY speaker/ speaker/
ARG VERSION=v0.1.0-dev
ARG COMMIT=unknown
ENV CGO_ENABLED=0 GOFLAGS="-trimpath -buildvcs=false"
RUN for program in fairlead-controller fairlead-speaker; do \
      go build -o /out/$program -ldflags "-s -w -X fairlead.io/fairlead/internal/version.Version=$VERSION -X fairlead.io/fairlead/internal/version.Commit=$COMMIT" ./cmd/$program || exit 1; \
    done

FROM scratch
COPY --from=build /out/ /
USER 65532:65532
ENTRYPOINT ["/fairlead-controller"]
