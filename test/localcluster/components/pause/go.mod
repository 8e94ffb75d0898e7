module github.com/jupyterserver/jupyter-server-operator/test/localcluster/components/pause

go 1.26.0
