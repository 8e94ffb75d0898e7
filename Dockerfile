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
    go build -tags fieldsv1string -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$VERSION" -o /out/jupyter-server-operator ./operator && \
    CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -tags fieldsv1string -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$VERSION" -o /out/authorization ./authorization

FROM scratch
ARG VERSION=0.1.0-dev
LABEL org.opencontainers.image.title="jupyter-server-operator" \
      org.opencontainers.image.description="Runs Jupyter servers on Kubernetes" \
      org.opencontainers.image.source="https://github.com/jupyterserver/jupyter-server-operator" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION"
# For the authorization service, which connects to OpenID providers. The operator only connects to pods and to the API server, whose
# CA certificate is mounted into its pod.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/jupyter-server-operator /jupyter-server-operator
COPY --from=build /out/authorization /authorization
USER 65532:65532
ENTRYPOINT ["/jupyter-server-operator"]
