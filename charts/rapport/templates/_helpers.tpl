{{- define "rapport.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Who calls whom and who reads whom, by target. */}}
{{- define "rapport.graph" -}}
{{- .Files.Get "files/graph.yaml" -}}
{{- end -}}

{{/* What is deployed, by name: the values of each, those of defaults below its own. */}}
{{- define "rapport.components" -}}
{{- $own := .Values.services -}}
{{- if eq .Values.mode "single" -}}{{- $own = dict "all" .Values.single -}}{{- end -}}
{{- $all := dict -}}
{{- range $name, $values := $own -}}
{{- $merged := mergeOverwrite (deepCopy $.Values.defaults) (deepCopy (default dict $values)) -}}
{{- if $merged.enabled -}}{{- $_ := set $all $name $merged -}}{{- end -}}
{{- end -}}
{{- toYaml $all -}}
{{- end -}}

{{/* Name of the objects of a component: (dict "root" $ "name" "profiles"). */}}
{{- define "rapport.name" -}}
{{- printf "%s-%s" (include "rapport.fullname" .root) .name -}}
{{- end -}}

{{/* The component that people and browsers reach. */}}
{{- define "rapport.entry" -}}
{{- ternary "all" "gateway" (eq .Values.mode "single") -}}
{{- end -}}

{{- define "rapport.selector" -}}
app.kubernetes.io/name: {{ default .root.Chart.Name .root.Values.nameOverride }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .name }}
{{- end -}}

{{- define "rapport.labels" -}}
{{- $own := include "rapport.selector" . | fromYaml -}}
{{- $_ := set $own "app.kubernetes.io/version" (.root.Chart.AppVersion | trunc 63) -}}
{{- $_ := set $own "app.kubernetes.io/part-of" "rapport" -}}
{{- $_ := set $own "app.kubernetes.io/managed-by" .root.Release.Service -}}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63) -}}
{{- toYaml (mergeOverwrite (deepCopy .root.Values.commonLabels) (default dict .labels) $own) -}}
{{- end -}}

{{/* Name, labels and annotations: (dict "root" $ "name" "profiles" "as" "a-name" "annotations" dict "labels" dict). */}}
{{- define "rapport.metadata" -}}
name: {{ default (include "rapport.name" .) .as }}
namespace: {{ default .root.Release.Namespace .namespace }}
labels:
  {{- include "rapport.labels" . | nindent 2 }}
{{- with mergeOverwrite (deepCopy .root.Values.commonAnnotations) (default dict .annotations) }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "rapport.image" -}}
{{- $image := .Values.image -}}
{{- $registry := default $image.registry .Values.global.imageRegistry -}}
{{- $at := printf ":%s" (default .Chart.AppVersion $image.tag) -}}
{{- if $image.digest -}}{{- $at = printf "@%s" $image.digest -}}{{- end -}}
{{- if $registry -}}{{- $registry }}/{{ end -}}{{- $image.repository -}}{{- $at -}}
{{- end -}}

{{- define "rapport.serviceAccountName" -}}
{{- $account := .component.serviceAccount -}}
{{- default (ternary (include "rapport.name" .) "default" $account.create) $account.name -}}
{{- end -}}

{{/* Secret with the certificate of a component. */}}
{{- define "rapport.tlsSecret" -}}
{{- default (printf "%s-tls" (include "rapport.name" .)) .root.Values.tls.existingSecret -}}
{{- end -}}

{{- define "rapport.scheme" -}}
{{- ternary "https" "http" .Values.tls.enabled -}}
{{- end -}}

{{/* Ask callers of this component for a certificate? People and browsers have none. */}}
{{- define "rapport.mutual" -}}
{{- if and .root.Values.tls.enabled .root.Values.tls.mutual (ne .name (include "rapport.entry" .root)) -}}yes{{- end -}}
{{- end -}}
