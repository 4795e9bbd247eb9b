{{- define "pghad.name" -}}
{{- default .Release.Name .Values.name -}}
{{- end }}

{{- define "pghad.selector" -}}
app.kubernetes.io/name: pghad
app.kubernetes.io/instance: {{ include "pghad.name" . }}
{{- end }}

{{- define "pghad.labels" -}}
{{ include "pghad.selector" . }}
{{- with .Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "pghad.secret" -}}
{{- default (printf "%s-secrets" (include "pghad.name" .)) .Values.secret.name -}}
{{- end }}

{{- /* What follows from other values, below what the user sets himself. */ -}}
{{- define "pghad.settings" -}}
{{- $cluster := dict "members" (int .Values.replicas) -}}
{{- with .Values.role -}}
{{- if ne .label "role" }}{{ $_ := set $cluster "role_label" .label }}{{ end -}}
{{- if ne .primary "primary" }}{{ $_ := set $cluster "role_primary" .primary }}{{ end -}}
{{- if ne .replica "replica" }}{{ $_ := set $cluster "role_replica" .replica }}{{ end -}}
{{- end -}}
{{- toYaml (mustMergeOverwrite (dict "cluster" $cluster) (deepCopy .Values.settings)) -}}
{{- end }}

{{- /* Services that the primary leads: names for the Role. */ -}}
{{- define "pghad.writers" -}}
{{- $usual := list (printf "%s-rw" (include "pghad.name" .)) -}}
{{- toJson (dig "cluster" "services" $usual .Values.settings) -}}
{{- end }}
