{{/* Labels that Helm's users expect, beside those of the Kustomize base. */}}
{{- define "lethe.labels" -}}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "lethe.image" -}}
image: {{ printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) }}
{{- with .Values.image.pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
{{- end }}

{{/* What the pods of workers and setup have in common. */}}
{{- define "lethe.pod" -}}
serviceAccountName: lethe
automountServiceAccountToken: false
enableServiceLinks: false # no variables but those below
securityContext:
  runAsNonRoot: true
  {{- if not .Values.openshift }}
  runAsUser: 65532
  runAsGroup: 65532
  {{- end }}
  seccompProfile:
    type: RuntimeDefault
{{- with .Values.extraPodSpec }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "lethe.container" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{/* The two addresses of a Secret, and what else all pods have: list of the Secret's name and the root. */}}
{{- define "lethe.env" -}}
{{- $secret := index . 0 }}
{{- range list "DATABASE_URL" "NATS_URL" }}
- name: {{ . }}
  valueFrom:
    secretKeyRef:
      name: {{ $secret | quote }}
      key: {{ . }}
{{- end }}
{{- with (index . 1).Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Variables as text: list of the settings and the root. A number of a file is a float64, of which quote makes 1e+06. */}}
{{- define "lethe.settings" -}}
{{- range $name, $value := index . 0 }}
{{ $name }}: {{ if and (kindIs "float64" $value) (eq $value (floor $value)) }}{{ $value | int64 | quote }}{{ else }}{{ $value | quote }}{{ end }}
{{- end }}
{{- with (index . 1).Values.shard }}
LETHE_SHARD: {{ . | quote }}
{{- end }}
{{- with (index . 1).Values.subjectPrefix }}
LETHE_SUBJECT_PREFIX: {{ . | quote }}
{{- end }}
{{- end }}

{{- define "lethe.worker.settings" -}}
{{- include "lethe.settings" (list .Values.worker.settings .) }}
{{- if .Values.plan }}
LETHE_PLAN: /etc/lethe/plan.yaml
{{- end }}
{{- with .Values.tracing.endpoint }}
OTEL_EXPORTER_OTLP_ENDPOINT: {{ . | quote }}
{{- end }}
{{- end }}

{{- define "lethe.setup.settings" -}}
{{- include "lethe.settings" (list .Values.setup.settings .) }}
{{- end }}

{{/* The stream of commands, and the consumer: conversation.Names in Go. */}}
{{- define "lethe.stream" -}}
{{- if .Values.keda.stream }}{{ .Values.keda.stream }}
{{- else }}
{{- with .Values.subjectPrefix }}{{ . | upper | replace "." "_" | replace "-" "_" }}_{{ end }}CONVERSATION_COMMANDS
{{- with .Values.shard }}_{{ . | upper | replace "-" "_" }}{{ end }}
{{- end }}
{{- end }}

{{- define "lethe.consumer" -}}
{{- with .Values.subjectPrefix }}{{ . | replace "." "_" }}_{{ end }}deletion-worker
{{- end }}

{{- define "lethe.dns" -}}
{{- if .Values.network.dns }}
{{- toYaml .Values.network.dns }}
{{- else if .Values.openshift }}
to:
  - namespaceSelector:
      matchLabels:
        kubernetes.io/metadata.name: openshift-dns
    podSelector:
      matchLabels:
        dns.operator.openshift.io/daemonset-dns: default
ports: # the pods' ports, not the service's
  - {protocol: UDP, port: 5353}
  - {protocol: TCP, port: 5353}
{{- else }}
to:
  - namespaceSelector:
      matchLabels:
        kubernetes.io/metadata.name: kube-system
    podSelector:
      matchLabels:
        k8s-app: kube-dns
ports:
  - {protocol: UDP, port: 53}
  - {protocol: TCP, port: 53}
{{- end }}
{{- end }}
