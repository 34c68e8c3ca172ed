{{/* Rule for what goes out: (dict "at" (dict "to" list "port" 5432)). */}}
{{- define "rapport.egress" -}}
- ports:
    - {port: {{ .port }}, protocol: TCP}
  {{- with .to }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- define "rapport.egress.dns" -}}
- ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
  {{- with .Values.networkPolicy.dns }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{/* Pods of components, as peers of a rule: (dict "root" $ "names" list). */}}
{{- define "rapport.pods" -}}
{{- range .names }}
- podSelector:
    matchLabels:
      {{- include "rapport.selector" (dict "root" $.root "name" .) | nindent 6 }}
{{- end }}
{{- end -}}

{{/* Components that a component reaches: those in its peers. */}}
{{- define "rapport.reached" -}}
{{- include "rapport.peers" . | fromYaml | keys | sortAlpha | toJson -}}
{{- end -}}

{{/* Components that reach a component. */}}
{{- define "rapport.callers" -}}
{{- $names := list -}}
{{- range $other, $_ := include "rapport.components" .root | fromYaml -}}
{{- if has $.name (include "rapport.reached" (dict "root" $.root "name" $other) | fromJsonArray) -}}
{{- $names = append $names $other -}}
{{- end -}}
{{- end -}}
{{- $names | toJson -}}
{{- end -}}
