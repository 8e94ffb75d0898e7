{{/* Labels that select the server's pod. They must not change, because a StatefulSet's selector is immutable. */}}
{{- define "jupyter-server.selectorLabels" -}}
app.kubernetes.io/name: jupyter-server
jupyterserver.dev/name: {{ .Release.Name | quote }}
{{- end }}

{{/* Labels of all objects. They do not include the chart version, which would change all objects with every new chart. */}}
{{- define "jupyter-server.labels" -}}
{{ include "jupyter-server.selectorLabels" . }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{/* The path of the URL with a trailing slash, as Jupyter's base_url requires. */}}
{{- define "jupyter-server.basePath" -}}
{{- printf "%s/" (trimSuffix "/" .Values.routing.path) -}}
{{- end }}

{{/* The mount path of the volume. */}}
{{- define "jupyter-server.mountPath" -}}
{{- .Values.storage.mountPath | default .Values.jupyterServer.rootDir -}}
{{- end }}

{{/* The server's URL with a trailing slash. */}}
{{- define "jupyter-server.url" -}}
{{- $tls := default false (.Values.routing.tls | default dict).enabled }}
{{- $port := int (ternary .Values.operator.httpsPort .Values.operator.httpPort $tls) }}
{{- ternary "https" "http" $tls }}://{{ .Values.routing.host }}
{{- if ne $port (ternary 443 80 $tls) }}:{{ $port }}{{ end }}
{{- include "jupyter-server.basePath" . }}
{{- end }}

{{/* A container without an empty section resources, which Go's types encode. */}}
{{- define "jupyter-server.container" -}}
{{- toYaml (empty .resources | ternary (omit . "resources") .) }}
{{- end }}
