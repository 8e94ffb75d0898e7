# syntax=docker/dockerfile:1

FROM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=0.1.0-dev
ARG TARGETOS
ARG TARGETARCH
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$VERSION" -o /jupyter-server-operator ./operator

FROM scratch
ARG VERSION=0.1.0-dev
LABEL org.opencontainers.image.title="jupyter-server-operator" \
      org.opencontainers.image.description="Runs Jupyter servers on Kubernetes" \
      org.opencontainers.image.source="https://github.com/jupyterserver/jupyter-server-operator" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION"
# No certificates of the world: the operator talks to the API server alone, whose certificate comes with the pod.
COPY --from=build /jupyter-server-operator /jupyter-server-operator
USER 65532:65532
ENTRYPOINT ["/jupyter-server-operator"]
