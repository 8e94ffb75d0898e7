#!/usr/bin/env bash
# Stops what test/run.sh started: the local cluster, or with CLUSTER=current the example and the operator. In that cluster the CRD
# is kept, and with it every other JupyterServer.
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
    echo "error: CLUSTER=$CLUSTER is invalid: use local or current" >&2
    exit 1
    ;;
esac
