#!/usr/bin/env bash
# Takes down what test/run.sh has started: the local cluster as a whole, or, with CLUSTER=current, the example and the
# operator. There the CRD stays, and with it every other JupyterServer of the cluster.
set -euo pipefail
cd "$(dirname "$0")/.."

case ${CLUSTER:-local} in
local)
    go -C test/localcluster run . down
    ;;
current)
    if kubectl get crd jupyterservers.jupyterserver.dev >/dev/null 2>&1; then
        kubectl delete -f examples/token.yaml --ignore-not-found --wait
    fi
    helm uninstall jupyter-server-operator --namespace jupyter-server-operator --ignore-not-found --wait
    ;;
*)
    echo "error: CLUSTER=$CLUSTER is neither local nor current" >&2
    exit 1
    ;;
esac
