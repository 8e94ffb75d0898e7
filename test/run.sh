#!/usr/bin/env bash
# Runs the project on a cluster: the operator and a first Jupyter server, which is verified.
#
#   test/run.sh            the operator and examples/token.yaml (make run)
#   test/run.sh oidc       the operator, an OpenID provider and examples/oidc.yaml (make run MODE=oidc)
#   test/run.sh operator   only the operator
#   test/run.sh e2e [...]  the operator and the end-to-end suite (make test-e2e); more arguments are passed to `go test`
#
# CLUSTER=local (the default) starts the cluster of test/localcluster and builds the operator from this checkout.
# CLUSTER=current uses the cluster of the current kubectl context and needs IMAGE, an operator image that it can pull.
# E2E_OAUTH2_PROXY is the path of an oauth2-proxy binary, which becomes the authentication plugin of the local cluster. The default is
# Apache with mod_auth_openidc, because no package registry has oauth2-proxy.
set -euo pipefail
cd "$(dirname "$0")/.."

CLUSTER=${CLUSTER:-local}
release=jupyter-server-operator
namespace=jupyter-server-operator
server=alice
example=examples/token.yaml
local_jupyter=localhost/jupyterlab:4.0 # present on the node of the local cluster

say() { printf '==> %s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
need() { command -v "$1" >/dev/null || die "$1 not found in PATH: $2"; }

localcluster() { go -C test/localcluster run . "$@"; }

start_local_cluster() {
    need go 'install Go, see go.mod for the version'
    localcluster up
    PATH="$(localcluster bin):$PATH"
    KUBECONFIG="$(localcluster kubeconfig)"
    export PATH KUBECONFIG
}

build() {
    CGO_ENABLED=0 go -C "$1" build -tags=fieldsv1string -trimpath -buildvcs=false -ldflags='-s -w' -o "$PWD/bin/$2" "$3"
}

build_local_image() {
    say 'building the operator'
    build . jupyter-server-operator ./operator
    build . authorization ./authorization
    IMAGE=localhost/jupyter-server-operator:dev-$(digest_of bin/jupyter-server-operator bin/authorization)
    load_image "$IMAGE" --file "$PWD/bin/jupyter-server-operator=/jupyter-server-operator" --file "$PWD/bin/authorization=/authorization" \
        --file /etc/ssl/certs/ca-certificates.crt=/etc/ssl/certs/ca-certificates.crt:0444 --entrypoint /jupyter-server-operator
}

digest_of() { cat "$@" | sha256sum | cut -c1-12; }

# load_image REF ARGUMENT... packs and loads an image, unless the node has one of that name. Tags contain a digest of the binaries, so
# that only a changed binary causes a rollout.
load_image() {
    local ref=$1 archive
    shift
    if kubectl get nodes -o jsonpath='{.items[*].status.images[*].names[*]}' | tr ' ' '\n' | grep -qxF "$ref"; then
        return
    fi
    say "packing $ref and loading it into the node"
    archive=$PWD/bin/$(basename "${ref%%:*}")-image.tar
    localcluster pack-image --ref "$ref" --output "$archive" --user 65532:65532 "$@"
    localcluster load-image "$archive"
}

# choose_plugin loads the authentication plugin of the local cluster and writes the values of helm-chart for it.
choose_plugin() {
    printf 'config:\n  access:\n    proxyImage: localhost/traefik:3.7.9\n' >bin/local-values.yaml
    if [ -n "${E2E_OAUTH2_PROXY:-}" ]; then
        say "the authentication plugin is oauth2-proxy, from $E2E_OAUTH2_PROXY"
        # The image name is that of the built-in profile.
        load_image "$(sed -n 's/^image: //p' postrender/profiles/oauth2-proxy.yaml)" \
            --file "$E2E_OAUTH2_PROXY=/bin/oauth2-proxy" --file /etc/ssl/certs/ca-certificates.crt=/etc/ssl/certs/ca-certificates.crt:0444 \
            --entrypoint /bin/oauth2-proxy
        return
    fi
    {
        printf '    profile: mod-auth-openidc\n    profiles:\n      -\n'
        sed 's/^/        /' examples/profiles/mod-auth-openidc.yaml
    } >>bin/local-values.yaml
}

# start_provider starts an OpenID provider with the users alice, bob and carol, whose passwords are their names.
start_provider() {
    local image
    say 'starting the OpenID provider'
    build test/e2e provider ./provider/serve
    image=localhost/openid-provider:dev-$(digest_of bin/provider)
    load_image "$image" --file "$PWD/bin/provider=/provider" --entrypoint /provider
    sed "s|OPENID_PROVIDER_IMAGE|$image|" test/e2e/provider/pod.yaml | kubectl apply -f - >/dev/null
    kubectl -n openid-provider rollout status deployment/provider --timeout=2m >/dev/null
}

# load_echo loads a replacement for Jupyter for tests that check the requests that reach it.
load_echo() {
    build test/e2e echo ./echo
    echo_image=localhost/echo:dev-$(digest_of bin/echo)
    load_image "$echo_image" --file "$PWD/bin/echo=/usr/bin/jupyter" --env PATH=/usr/bin
}

# install_browser installs the browser of the end-to-end suite.
install_browser() {
    command -v chromium >/dev/null && return
    say 'installing chromium'
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium fonts-dejavu-core >/dev/null
}

use_current_cluster() {
    need kubectl 'install it and configure a context for your cluster'
    need helm 'install Helm 3'
    [ -n "${IMAGE:-}" ] || die "IMAGE is not set. The cluster of the current context must be able to pull an operator image:
  docker build -t registry.example.org/you/jupyter-server-operator:dev . && docker push registry.example.org/you/jupyter-server-operator:dev
  make run CLUSTER=current IMAGE=registry.example.org/you/jupyter-server-operator:dev"
    say "using the cluster of the kubectl context $(kubectl config current-context)"
}

install_operator() {
    say "installing the operator with Helm in namespace $namespace"
    local values=()
    case ${IMAGE##*/} in # a registry host may have a port
    *@*) values+=(--set "image.repository=${IMAGE%@*}" --set "image.digest=${IMAGE##*@}") ;;
    *:*) values+=(--set "image.repository=${IMAGE%:*}" --set "image.tag=${IMAGE##*:}") ;;
    *) values+=(--set "image.repository=$IMAGE" --set image.tag=latest) ;;
    esac
    if [ "$CLUSTER" = local ]; then
        values+=(--set image.pullPolicy=IfNotPresent --set config.ingress.httpPort=8000 --set config.ingress.httpsPort=8443 --values bin/local-values.yaml)
    fi
    if ! helm upgrade --install "$release" ./helm-chart --namespace "$namespace" --create-namespace --wait --timeout 5m \
        "${values[@]}" >bin/helm.log 2>&1; then
        cat bin/helm.log >&2
        explain "kubectl -n $namespace get pods -o wide" "kubectl -n $namespace describe pods" \
            "kubectl -n $namespace logs deployment/$release --tail=20" "kubectl -n $namespace get events --sort-by=.lastTimestamp"
        die 'installing the operator failed'
    fi
}

# explain runs and prints commands for troubleshooting.
explain() {
    local command
    for command in "$@"; do
        printf '\n$ %s\n' "$command" >&2
        $command 2>&1 | tail -n 40 >&2 || true
    done
    echo >&2
}

run_server() {
    if [ "$CLUSTER" = local ]; then
        say "applying $example with the image on the node: $local_jupyter"
        sed "s|^\( *image:\).*|\1 $local_jupyter|" "$example" | kubectl apply -f -
    else
        say "applying $example"
        kubectl apply -f "$example"
    fi
    wait_for_server
}

wait_for_server() {
    say 'waiting until the server is ready'
    if ! kubectl wait --for=condition=Ready "jupyterserver/$server" --timeout=10m; then
        explain_server
        die "the server is not ready: $(kubectl get jupyterserver "$server" -o jsonpath='{.status.message}')"
    fi
}

run_oidc_server() {
    [ "$CLUSTER" = local ] || die 'MODE=oidc starts an OpenID provider, which only works in the local cluster: edit examples/oidc.yaml for your provider and apply it'
    start_provider
    kubectl create secret generic "$server-oidc" --from-literal=client-secret=local-cluster-only --dry-run=client -o yaml | kubectl apply -f - >/dev/null
    say "applying $example with the provider and the image of the local cluster"
    sed -e "s|^\( *image:\).*|\1 $local_jupyter|" -e 's|^\( *issuerUrl:\).*|\1 http://10.213.0.1:5556|' \
        -e 's|^\( *host:\).*|\1 jupyter.localhost|' -e '/^ *tls:/,/^ *enabled:/d' "$example" | kubectl apply -f -
    wait_for_server
}

explain_server() {
    explain "kubectl get jupyterserver $server -o wide" "kubectl describe jupyterserver $server" "kubectl describe pod $server-0" \
        "kubectl get events --sort-by=.lastTimestamp" "kubectl -n $namespace logs deployment/$release --tail=20"
}

verify_server() {
    local url token ways=()
    go -C test/e2e build -o "$PWD/bin/prove" ./prove
    url=$(kubectl get jupyterserver "$server" -o jsonpath='{.status.url}')
    token=$(kubectl get secret "$server-jupyter" -o jsonpath='{.data.token}' | base64 -d)
    ways=(-url "$url")
    if [ "$CLUSTER" != local ]; then
        forward
        ways+=(-or "http://127.0.0.1:$forwarded$(printf %s "$url" | sed 's|^[a-z]*://[^/]*||')")
    fi
    say 'verifying the server'
    if ! JUPYTER_TOKEN=$token bin/prove "${ways[@]}"; then
        explain_server
        die "the server is ready, but a kernel did not compute 6*7 at $url"
    fi
}

# forward forwards a local port to the server, in case its host name does not resolve here.
forward() {
    kubectl port-forward "service/$server" :80 >bin/port-forward.log 2>&1 &
    forwarder=$!
    trap 'kill "$forwarder" 2>/dev/null || true' EXIT
    forwarded=
    until [ -n "$forwarded" ]; do
        kill -0 "$forwarder" 2>/dev/null || die "kubectl port-forward exited: $(cat bin/port-forward.log)"
        sleep 0.2
        forwarded=$(sed -n 's/^Forwarding from 127\.0\.0\.1:\([0-9]*\) .*/\1/p' bin/port-forward.log)
    done
}

# verify_sign_in signs in like a browser and runs a computation.
verify_sign_in() {
    local url
    url=$(kubectl get jupyterserver "$server" -o jsonpath='{.status.url}')
    say 'verifying the server'
    for denied in "${url}api/status" "${url}api/kernels"; do
        [ "$(curl -s -o /dev/null -w '%{http_code}' --resolve 'jupyter.localhost:8000:127.0.0.1' "$denied")" = 401 ] ||
            die "$denied is accessible without signing in"
    done
    go -C test/e2e build -o "$PWD/bin/prove" ./prove
    if ! SIGN_IN_PASSWORD=alice bin/prove -url "$url" -user alice; then
        explain_server
        die "the server is ready, but signing in and computing 6*7 failed at $url"
    fi
}

print_oidc() {
    cat <<END

State:    $(kubectl get jupyterserver "$server" -o jsonpath='{.status.state}')
URL:      $(kubectl get jupyterserver "$server" -o jsonpath='{.status.url}')
Sign in:  as alice (password alice), who has access; as bob (password bob), who does not
END
    print_tools
}

print_server() {
    cat <<END

State:  $(kubectl get jupyterserver "$server" -o jsonpath='{.status.state}')
URL:    $(kubectl get jupyterserver "$server" -o jsonpath='{.status.url}')
Token:  kubectl get secret $server-jupyter -o jsonpath='{.data.token}' | base64 -d
END
    [ "$CLUSTER" != local ] || print_tools
}

print_tools() {
    cat <<END

kubectl and helm for this cluster:
  export KUBECONFIG=$KUBECONFIG
  export PATH=\$PATH:$(dirname "$(command -v kubectl)")
END
}

run_e2e() {
    if [ "$CLUSTER" = local ]; then
        export LOCALCLUSTER=$PWD/test/localcluster E2E_JUPYTER_IMAGE=$local_jupyter E2E_ECHO_IMAGE=$echo_image
        export E2E_ISSUER=http://10.213.0.1:5556 E2E_CLIENT_SECRET=local-cluster-only E2E_ARTIFACTS=$PWD/artifacts
    else
        export LOCALCLUSTER=none E2E_ISSUER=none KUBECONFIG=${KUBECONFIG:-$HOME/.kube/config}
    fi
    go -C test/e2e test -count=1 -timeout=30m -parallel=4 ./... "$@"
}

prepare() {
    mkdir -p bin
    case $CLUSTER in
    local)
        start_local_cluster
        build_local_image
        choose_plugin
        ;;
    current) use_current_cluster ;;
    *) die "CLUSTER=$CLUSTER is invalid: use local or current" ;;
    esac
    install_operator
}

case ${1:-server} in
server)
    prepare
    run_server
    verify_server
    print_server
    ;;
oidc)
    example=examples/oidc.yaml
    prepare
    run_oidc_server
    verify_sign_in
    print_oidc
    ;;
operator)
    prepare
    ;;
e2e)
    shift
    prepare >&2 # stdout is reserved for `go test`, which a program may parse
    if [ "$CLUSTER" = local ]; then
        {
            install_browser
            start_provider
            load_echo
        } >&2
    fi
    run_e2e "$@"
    ;;
*)
    die "unknown command $1: use server, oidc, operator or e2e"
    ;;
esac
