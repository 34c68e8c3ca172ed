{{/* A table of settings as TOML. JSON's scalars and lists are TOML too: (dict "path" "" "table" dict). */}}
{{- define "rapport.toml" -}}
{{- $path := .path -}}
{{- range $key, $value := .table }}
{{- if not (kindIs "map" $value) }}
{{ include "rapport.toml.key" $key }} = {{ toJson $value }}
{{- end }}
{{- end }}
{{- range $key, $value := .table }}
{{- if kindIs "map" $value }}
{{- $inner := printf "%s.%s" $path (include "rapport.toml.key" $key) | trimPrefix "." }}

[{{ $inner }}]
{{- include "rapport.toml" (dict "path" $inner "table" $value) }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "rapport.toml.key" -}}
{{- ternary . (toJson .) (regexMatch "^[A-Za-z0-9_-]+$" .) -}}
{{- end -}}

{{/* What every process of this release is told. */}}
{{- define "rapport.config.common" -}}
tenants: {{ toJson .Values.tenants }}
auth:
  mode: oidc
  issuer: {{ quote .Values.auth.issuer }}
  audience: {{ quote .Values.auth.audience }}
  jwks_url: {{ quote .Values.auth.jwksUrl }}
  service_key_file: /run/secrets/rapport/service-key/key
  {{- with .Values.auth.roles }}
  roles: {{ toJson . }}
  {{- end }}
keys:
  kek_file: /run/secrets/rapport/kek/key
  {{- with .Values.keys.others }}
  other_kek_files:
    {{- range $index, $key := . }}
    - /run/secrets/rapport/kek/other-{{ $index }}
    {{- end }}
  {{- end }}
database:
  migrate: false
  max_connections: {{ .Values.database.maxConnections }}
telemetry:
  otlp_endpoint: {{ quote .Values.otel.endpoint }}
  sample_ratio: {{ .Values.otel.sampleRatio }}
  log_format: {{ .Values.log.format }}
  log_level: {{ quote .Values.log.level }}
{{- end -}}

{{/* What one component is told beside that. */}}
{{- define "rapport.config.own" -}}
targets: [{{ .name }}]
grpc:
  address: 0.0.0.0:8080
  shutdown_delay_ms: 0
  shutdown_drain_ms: {{ mul .component.drainSeconds 1000 }}
admin:
  address: 0.0.0.0:9090
log:
  {{- if not .root.Values.nats.urlKey }}
  url: {{ quote .root.Values.nats.url }}
  {{- end }}
  {{- if .root.Values.nats.accounts.enabled }}
  accounts: true
  {{- end }}
  prefix: {{ quote .root.Values.nats.prefix }}
  replicas: {{ .root.Values.nats.replicas }}
  {{- if .root.Values.nats.credentialsKey }}
  credentials_file: /run/secrets/rapport/nats/credentials
  {{- end }}
  {{- if .root.Values.nats.caSecret }}
  ca_file: /run/secrets/rapport/nats-ca/ca.crt
  {{- end }}
{{- if .root.Values.tls.enabled }}
tls:
  cert_file: /run/secrets/rapport/tls/tls.crt
  key_file: /run/secrets/rapport/tls/tls.key
  ca_file: /run/secrets/rapport/tls/ca.crt
  {{- if include "rapport.mutual" . }}
  client_ca_file: /run/secrets/rapport/tls/ca.crt
  {{- end }}
{{- end }}
delivery:
  survey_url: {{ quote .root.Values.delivery.surveyUrl }}
  {{- if has .name (list "delivery" "all") }}
  outbox: /var/lib/rapport/outbox
  email: {{ ternary "smtp" "file" (ne .root.Values.delivery.smtp.existingSecret "") }}
  webhook: {{ ternary "http" "file" .root.Values.delivery.webhooks }}
  {{- end }}
{{- if include "rapport.providers" . }}
gateway:
  provider_secret_files:
    {{- range .root.Values.providers.names }}
    {{ . }}: /run/secrets/rapport/providers/{{ . }}
    {{- end }}
{{- end }}
{{- with include "rapport.peers" . | fromYaml }}
peers:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "rapport.providers" -}}
{{- if and .root.Values.providers.existingSecret (has .name (list "gateway" "all")) -}}yes{{- end -}}
{{- end -}}

{{/* Where the targets are that a component calls, forwards to, or reads from. */}}
{{- define "rapport.peers" -}}
{{- $links := index (include "rapport.graph" .root | fromYaml) .name | default dict -}}
{{- $there := include "rapport.components" .root | fromYaml -}}
{{- range concat (default list $links.calls) (default list $links.forwards) (default list $links.reads) | uniq | sortAlpha }}
{{- if and (ne . $.name) (hasKey $there .) }}
{{ . }}: {{ include "rapport.scheme" $.root }}://{{ include "rapport.name" (dict "root" $.root "name" .) }}:8080
{{- end }}
{{- end }}
{{- end -}}

{{/* rapport.toml of a component. */}}
{{- define "rapport.config" -}}
{{- $common := include "rapport.config.common" .root | fromYaml -}}
{{- $own := include "rapport.config.own" . | fromYaml -}}
{{- $table := mergeOverwrite $common $own (deepCopy .root.Values.config) (deepCopy .component.config) -}}
{{- include "rapport.toml" (dict "path" "" "table" $table) | trim }}
{{- end -}}

{{/* rapport.toml of the migration: every store, and nothing listens; the log is compared when a target starts. */}}
{{- define "rapport.config.migrate" -}}
{{- $common := include "rapport.config.common" . | fromYaml -}}
{{- $names := include "rapport.components" . | fromYaml | keys | sortAlpha -}}
{{- $own := dict "targets" $names "database" (dict "migrate" true "runtime_role" .Values.database.runtimeRole) -}}
{{- include "rapport.toml" (dict "path" "" "table" (mergeOverwrite $common $own)) | trim }}
{{- end -}}
