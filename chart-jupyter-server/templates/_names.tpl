{{/* Labels that pick the server's pod. They can never change: a StatefulSet's selector is immutable. */}}
{{- define "jupyter-server.selectorLabels" -}}
app.kubernetes.io/name: jupyter-server
jupyterserver.dev/name: {{ .Release.Name | quote }}
{{- end }}

{{/* Labels of every object. No chart version here: it would change every object with every new chart. */}}
{{- define "jupyter-server.labels" -}}
{{ include "jupyter-server.selectorLabels" . }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* The path of the URL with a slash at its end, as Jupyter's base_url wants it. */}}
{{- define "jupyter-server.basePath" -}}
{{- printf "%s/" (trimSuffix "/" .Values.routing.path) -}}
{{- end }}

{{/* The folder that the volume is mounted at. */}}
{{- define "jupyter-server.mountPath" -}}
{{- .Values.storage.mountPath | default .Values.jupyterServer.rootDir -}}
{{- end }}

{{/* The server's URL, with a slash at its end. */}}
{{- define "jupyter-server.url" -}}
{{- $tls := default false (.Values.routing.tls | default dict).enabled }}
{{- $port := int (ternary .Values.operator.httpsPort .Values.operator.httpPort $tls) }}
{{- ternary "https" "http" $tls }}://{{ .Values.routing.host }}
{{- if ne $port (ternary 443 80 $tls) }}:{{ $port }}{{ end }}
{{- include "jupyter-server.basePath" . }}
{{- end }}

{{/* A container of the pod without an empty section resources, which Go's types write and people do not. */}}
{{- define "jupyter-server.container" -}}
{{- toYaml (empty .resources | ternary (omit . "resources") .) }}
{{- end }}
