#!/usr/bin/env bash
# Runs the project on a cluster: the operator, and a first Jupyter server that is shown to work.
#
#   test/run.sh            the operator and examples/token.yaml (make run)
#   test/run.sh operator   the operator alone
#   test/run.sh e2e [...]  the operator and the end-to-end suite (make test-e2e); more arguments go to `go test`
#
# CLUSTER=local (the default) starts the cluster of test/localcluster and builds the operator from this checkout.
# CLUSTER=current takes the cluster of the current kubectl context, and needs IMAGE, an operator image it can pull.
set -euo pipefail
cd "$(dirname "$0")/.."

CLUSTER=${CLUSTER:-local}
release=jupyter-server-operator
namespace=jupyter-server-operator
server=alice
example=examples/token.yaml
local_jupyter=localhost/jupyterlab:4.0 # is on the node of the local cluster

say() { printf '==> %s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
need() { command -v "$1" >/dev/null || die "$1 is not on the PATH: $2"; }

localcluster() { go -C test/localcluster run . "$@"; }

start_local_cluster() {
    need go 'install Go, see go.mod for the version'
    localcluster up
    PATH="$(localcluster bin):$PATH"
    KUBECONFIG="$(localcluster kubeconfig)"
    export PATH KUBECONFIG
}

# The tag holds a digest of the binary, so that a changed one rolls the Deployment and an unchanged one costs nothing.
build_local_image() {
    say 'building the operator'
    CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags='-s -w' -o bin/jupyter-server-operator ./operator
    local tag
    tag=dev-$(sha256sum bin/jupyter-server-operator | cut -c1-12)
    IMAGE=localhost/jupyter-server-operator:$tag
    if kubectl get nodes -o jsonpath='{.items[*].status.images[*].names[*]}' | tr ' ' '\n' | grep -qxF "$IMAGE"; then
        return
    fi
    say "packing $IMAGE and loading it into the node"
    localcluster pack-image --ref "$IMAGE" --output "$PWD/bin/operator-image.tar" \
        --file "$PWD/bin/jupyter-server-operator=/jupyter-server-operator" --entrypoint /jupyter-server-operator --user 65532:65532
    localcluster load-image "$PWD/bin/operator-image.tar"
}

use_current_cluster() {
    need kubectl 'install it, and point it at your cluster'
    need helm 'install Helm 3'
    [ -n "${IMAGE:-}" ] || die "IMAGE is not set. The cluster of the current context has to pull the operator from somewhere:
  docker build -t registry.example.org/you/jupyter-server-operator:dev . && docker push registry.example.org/you/jupyter-server-operator:dev
  make run CLUSTER=current IMAGE=registry.example.org/you/jupyter-server-operator:dev"
    say "using the cluster of the kubectl context $(kubectl config current-context)"
}

install_operator() {
    say "installing the operator with Helm into the namespace $namespace"
    local values=()
    case ${IMAGE##*/} in # a host may have a port
    *@*) values+=(--set "image.repository=${IMAGE%@*}" --set "image.digest=${IMAGE##*@}") ;;
    *:*) values+=(--set "image.repository=${IMAGE%:*}" --set "image.tag=${IMAGE##*:}") ;;
    *) values+=(--set "image.repository=$IMAGE" --set image.tag=latest) ;;
    esac
    if [ "$CLUSTER" = local ]; then
        values+=(--set image.pullPolicy=IfNotPresent --set config.ingress.httpPort=8000)
    fi
    if ! helm upgrade --install "$release" ./helm-chart --namespace "$namespace" --create-namespace --wait --timeout 5m \
        "${values[@]}" >bin/helm.log 2>&1; then
        cat bin/helm.log >&2
        explain "kubectl -n $namespace get pods -o wide" "kubectl -n $namespace describe pods" \
            "kubectl -n $namespace logs deployment/$release --tail=20" "kubectl -n $namespace get events --sort-by=.lastTimestamp"
        die 'the operator was not installed'
    fi
}

# explain runs commands that tell what went wrong, and shows them, so that they can be run again.
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
        say "applying $example, with the image that the node has: $local_jupyter"
        sed "s|^\( *image:\).*|\1 $local_jupyter|" "$example" | kubectl apply -f -
    else
        say "applying $example"
        kubectl apply -f "$example"
    fi
    say 'waiting until it is ready'
    if ! kubectl wait --for=condition=Ready "jupyterserver/$server" --timeout=10m; then
        explain_server
        die "the server is not ready: $(kubectl get jupyterserver "$server" -o jsonpath='{.status.message}')"
    fi
}

explain_server() {
    explain "kubectl get jupyterserver $server -o wide" "kubectl describe jupyterserver $server" "kubectl describe pod $server-0" \
        "kubectl get events --sort-by=.lastTimestamp" "kubectl -n $namespace logs deployment/$release --tail=20"
}

prove_server() {
    local url token ways=()
    go -C test/e2e build -o "$PWD/bin/prove" ./prove
    url=$(kubectl get jupyterserver "$server" -o jsonpath='{.status.url}')
    token=$(kubectl get secret "$server-jupyter" -o jsonpath='{.data.token}' | base64 -d)
    ways=(-url "$url")
    if [ "$CLUSTER" != local ]; then
        forward
        ways+=(-or "http://127.0.0.1:$forwarded$(printf %s "$url" | sed 's|^[a-z]*://[^/]*||')")
    fi
    say "proving that it works"
    if ! JUPYTER_TOKEN=$token bin/prove "${ways[@]}"; then
        explain_server
        die "the server is ready, but a kernel did not compute 6*7 at $url"
    fi
}

# forward opens a way to the server for the case that its host name leads nowhere from here.
forward() {
    kubectl port-forward "service/$server" :80 >bin/port-forward.log 2>&1 &
    forwarder=$!
    trap 'kill "$forwarder" 2>/dev/null || true' EXIT
    forwarded=
    until [ -n "$forwarded" ]; do
        kill -0 "$forwarder" 2>/dev/null || die "kubectl port-forward ended: $(cat bin/port-forward.log)"
        sleep 0.2
        forwarded=$(sed -n 's/^Forwarding from 127\.0\.0\.1:\([0-9]*\) .*/\1/p' bin/port-forward.log)
    done
}

tell() {
    local kubectl=kubectl
    [ "$CLUSTER" = local ] && kubectl="KUBECONFIG=$KUBECONFIG $(command -v kubectl)"
    cat <<END

State:  $(kubectl get jupyterserver "$server" -o jsonpath='{.status.state}')
URL:    $(kubectl get jupyterserver "$server" -o jsonpath='{.status.url}')
Token:  $kubectl get secret $server-jupyter -o jsonpath='{.data.token}' | base64 -d
END
}

run_e2e() {
    if [ "$CLUSTER" = local ]; then
        export LOCALCLUSTER=$PWD/test/localcluster E2E_JUPYTER_IMAGE=$local_jupyter
    else
        export LOCALCLUSTER=none KUBECONFIG=${KUBECONFIG:-$HOME/.kube/config}
    fi
    go -C test/e2e test -count=1 -timeout=30m -parallel=4 ./... "$@"
}

prepare() {
    mkdir -p bin
    case $CLUSTER in
    local)
        start_local_cluster
        build_local_image
        ;;
    current) use_current_cluster ;;
    *) die "CLUSTER=$CLUSTER is neither local nor current" ;;
    esac
    install_operator
}

case ${1:-server} in
server)
    prepare
    run_server
    prove_server
    tell
    ;;
operator)
    prepare
    ;;
e2e)
    shift
    prepare >&2 # stdout is that of `go test` alone, which a program may read
    run_e2e "$@"
    ;;
*)
    die "$1 is none of server, operator and e2e"
    ;;
esac
