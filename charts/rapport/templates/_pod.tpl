{{/* Pods of every kind share the next four: (dict "root" $ "name" "profiles" "component" dict). */}}
{{- define "rapport.pod.common" -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- toYaml .component.podSecurityContext | nindent 2 }}
{{- with concat .root.Values.global.imagePullSecrets .root.Values.image.pullSecrets | uniq }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .component.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .component.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .component.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "rapport.container.common" -}}
name: rapport
image: {{ include "rapport.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
securityContext:
  {{- toYaml .component.securityContext | nindent 2 }}
{{- end -}}

{{/* Secrets as files, each at /run/secrets/rapport/<its name here>; env names the setting whose value a file holds. */}}
{{- define "rapport.secrets" -}}
{{- $values := .root.Values }}
database:
  secret: {{ .database }}
  items: {url: {{ $values.database.key }}}
  env: {RAPPORT_DATABASE_URL_FILE: url}
kek:
  secret: {{ $values.keys.existingSecret }}
  items:
    key: {{ $values.keys.key }}
    {{- range $index, $key := $values.keys.others }}
    other-{{ $index }}: {{ $key }}
    {{- end }}
service-key:
  secret: {{ $values.auth.serviceKey.existingSecret }}
  items: {key: {{ $values.auth.serviceKey.key }}}
{{- end -}}

{{- define "rapport.secrets.serve" -}}
{{- $values := .root.Values }}
{{- include "rapport.secrets" (dict "root" .root "database" (default $values.database.existingSecret .component.databaseSecret)) }}
{{- $nats := default $values.nats.existingSecret .component.natsSecret }}
{{- if or $values.nats.urlKey $values.nats.credentialsKey }}
nats:
  secret: {{ $nats }}
  items:
    {{- with $values.nats.urlKey }}
    url: {{ . }}
    {{- end }}
    {{- with $values.nats.credentialsKey }}
    credentials: {{ . }}
    {{- end }}
  {{- if $values.nats.urlKey }}
  env: {RAPPORT_LOG_URL_FILE: url}
  {{- end }}
{{- end }}
{{- with $values.nats.caSecret }}
nats-ca:
  secret: {{ . }}
  items: {ca.crt: {{ $values.nats.caKey }}}
{{- end }}
{{- if $values.tls.enabled }}
tls:
  secret: {{ include "rapport.tlsSecret" . }}
  items: {tls.crt: tls.crt, tls.key: tls.key, ca.crt: ca.crt}
{{- end }}
{{- if and $values.delivery.smtp.existingSecret (has .name (list "delivery" "all")) }}
smtp:
  secret: {{ $values.delivery.smtp.existingSecret }}
  items: {url: {{ $values.delivery.smtp.key }}}
  env: {RAPPORT_DELIVERY_SMTP_URL_FILE: url}
{{- end }}
{{- if include "rapport.providers" . }}
providers:
  secret: {{ $values.providers.existingSecret }}
  items:
    {{- range $values.providers.names }}
    {{ . }}: {{ . }}
    {{- end }}
{{- end }}
{{- end -}}

{{- define "rapport.secrets.env" -}}
{{- range $name, $it := . }}
{{- range $variable, $file := $it.env }}
- name: {{ $variable }}
  value: /run/secrets/rapport/{{ $name }}/{{ $file }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "rapport.secrets.mounts" -}}
{{- range $name, $it := . }}
- name: secret-{{ $name }}
  mountPath: /run/secrets/rapport/{{ $name }}
  readOnly: true
{{- end }}
{{- end -}}

{{- define "rapport.secrets.volumes" -}}
{{- range $name, $it := . }}
- name: secret-{{ $name }}
  secret:
    secretName: {{ $it.secret }}
    defaultMode: 0440
    items:
      {{- range $path, $key := $it.items }}
      - key: {{ $key }}
        path: {{ $path }}
      {{- end }}
{{- end }}
{{- end -}}

{{/* What a pod tells of itself in traces and metrics. */}}
{{- define "rapport.resource" -}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_UID
  valueFrom: {fieldRef: {fieldPath: metadata.uid}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: NODE_NAME
  valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
- name: OTEL_RESOURCE_ATTRIBUTES
  value: {{ printf "service.instance.id=$(POD_UID),k8s.pod.uid=$(POD_UID),k8s.pod.name=$(POD_NAME),k8s.namespace.name=$(POD_NAMESPACE),k8s.node.name=$(NODE_NAME)%s" (include "rapport.resource.more" .) | quote }}
{{- end -}}

{{- define "rapport.resource.more" -}}
{{- range $name, $value := .Values.otel.resourceAttributes }},{{ $name }}={{ $value }}{{ end -}}
{{- end -}}

{{- define "rapport.probe" -}}
grpc:
  port: 9090
  service: {{ .service }}
{{ toYaml .probe }}
{{- end -}}

{{/* The pod that serves. */}}
{{- define "rapport.pod" -}}
{{- $component := .component -}}
{{- $secrets := include "rapport.secrets.serve" . | fromYaml -}}
{{- $volumes := list -}}
{{- range $component.extraVolumes -}}{{- $volumes = append $volumes .name -}}{{- end -}}
serviceAccountName: {{ include "rapport.serviceAccountName" . }}
{{ include "rapport.pod.common" . }}
terminationGracePeriodSeconds: {{ $component.terminationGracePeriodSeconds }}
affinity:
  {{- if $component.affinity }}
  {{- toYaml $component.affinity | nindent 2 }}
  {{- else }}
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 50
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels:
              {{- include "rapport.selector" . | nindent 14 }}
  {{- end }}
{{- with $component.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- range . }}
  - {{ toYaml (merge (deepCopy .) (dict "labelSelector" (dict "matchLabels" (include "rapport.selector" $ | fromYaml)))) | nindent 4 | trim }}
  {{- end }}
{{- end }}
{{- with $component.initContainers }}
initContainers:
  {{- toYaml . | nindent 2 }}
{{- end }}
containers:
  - {{ include "rapport.container.common" . | nindent 4 | trim }}
    args:
      - serve
      - --config=/etc/rapport/rapport.toml
      {{- with $component.extraArgs }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    env:
      {{- include "rapport.secrets.env" $secrets | trim | nindent 6 }}
      {{- include "rapport.resource" .root | nindent 6 }}
      {{- with $component.env }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    {{- with $component.envFrom }}
    envFrom:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    ports:
      - {name: grpc, containerPort: 8080, protocol: TCP}
      - {name: admin, containerPort: 9090, protocol: TCP}
    startupProbe:
      {{- include "rapport.probe" (dict "service" "readiness" "probe" $component.probes.startup) | nindent 6 }}
    readinessProbe:
      {{- include "rapport.probe" (dict "service" "readiness" "probe" $component.probes.readiness) | nindent 6 }}
    livenessProbe:
      {{- include "rapport.probe" (dict "service" "liveness" "probe" $component.probes.liveness) | nindent 6 }}
    lifecycle:
      preStop:
        sleep:
          seconds: {{ $component.preStopSeconds }}
    resources:
      {{- toYaml $component.resources | nindent 6 }}
    volumeMounts:
      - {name: config, mountPath: /etc/rapport, readOnly: true}
      - {name: tmp, mountPath: /tmp}
      - {name: data, mountPath: /var/lib/rapport}
      {{- include "rapport.secrets.mounts" $secrets | trim | nindent 6 }}
      {{- with $component.extraVolumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
  {{- with $component.sidecars }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
volumes:
  - name: config
    configMap:
      name: {{ include "rapport.name" . }}
  - name: tmp
    emptyDir: {}
  {{- if not (has "data" $volumes) }}
  - name: data
    emptyDir: {}
  {{- end }}
  {{- include "rapport.secrets.volumes" $secrets | trim | nindent 2 }}
  {{- with $component.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
