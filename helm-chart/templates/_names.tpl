{{- define "operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end }}

{{/* The name of every object: that of the release, which holds the name of the chart or gets it added. */}}
{{- define "operator.fullname" -}}
{{- $name := include "operator.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "operator.labels" -}}
{{ include "operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "operator.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "operator.fullname" .) "default" .Values.serviceAccount.create) -}}
{{- end }}

{{- define "operator.image" -}}
{{- $repository := required "image.repository is required: build the image from the Dockerfile, push it to a registry that your cluster reaches, and name it here" .Values.image.repository }}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" $repository .Values.image.digest }}
{{- else -}}
{{- printf "%s:%s" $repository (.Values.image.tag | default .Chart.AppVersion) }}
{{- end }}
{{- end }}

{{/* What the operator may do, as controller-gen made it of the markers in operator/internal/controller/setup.go. */}}
{{- define "operator.rules" -}}
{{- (.Files.Get "files/role.yaml" | fromYaml).rules | toYaml }}
{{- end }}

{{/* The configuration file of the operator: the values, and what follows from the release itself. */}}
{{- define "operator.config" -}}
{{- $config := deepCopy .Values.config }}
{{- if not $config.access.authorizationImage }}
{{- $_ := set $config.access "authorizationImage" (include "operator.image" .) }}
{{- end }}
{{- if not $config.networkPolicy.operatorFrom }}
{{- $peer := dict "namespaceSelector" (dict "matchLabels" (dict "kubernetes.io/metadata.name" .Release.Namespace)) "podSelector" (dict "matchLabels" (include "operator.selectorLabels" . | fromYaml)) }}
{{- $_ := set $config.networkPolicy "operatorFrom" (list $peer) }}
{{- end }}
{{- toYaml $config }}
{{- end }}

{{/* The webhook's Service and ValidatingWebhookConfiguration, and the Secret with its certificate. */}}
{{- define "operator.webhook" -}}
{{- printf "%s-webhook" (include "operator.fullname" . | trunc 55 | trimSuffix "-") }}
{{- end }}

{{/* cert-manager keeps a Secret of another type, which cannot be changed, so it gets another name. */}}
{{- define "operator.webhookSecret" -}}
{{- include "operator.webhook" . }}{{ if eq .Values.webhook.certificates.mode "cert-manager" }}-certificate{{ end }}
{{- end }}

{{/* The selector of the shard as --shard-selector takes it: that is how k8s.io/apimachinery/pkg/labels writes it. */}}
{{- define "operator.shardSelector" -}}
{{- $terms := list }}
{{- range $key, $value := .Values.shardSelector.matchLabels }}
{{- $terms = append $terms (printf "%s=%s" $key $value) }}
{{- end }}
{{- $forms := dict "In" "%s in (%s)" "NotIn" "%s notin (%s)" "Exists" "%s%s" "DoesNotExist" "!%s%s" }}
{{- range .Values.shardSelector.matchExpressions }}
{{- $terms = append $terms (printf (get $forms .operator) .key (join "," .values)) }}
{{- end }}
{{- join "," $terms }}
{{- end }}

{{/* The namespaces in which the webhook is asked. */}}
{{- define "operator.webhookNamespaces" -}}
{{- $selector := deepCopy .Values.webhook.namespaceSelector }}
{{- with .Values.watchNamespaces }}
{{- $watched := dict "key" "kubernetes.io/metadata.name" "operator" "In" "values" . }}
{{- $_ := set $selector "matchExpressions" (append ($selector.matchExpressions | default list) $watched) }}
{{- end }}
{{- toYaml $selector }}
{{- end }}
