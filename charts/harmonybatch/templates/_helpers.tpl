{{/*
Names are fixed and do not contain the release's: one installation serves a cluster (the kinds and the platform are the cluster's), so a
second release fails at once on the names of the first, instead of planning against it.
*/}}

{{/* Labels that select the Pods of a component. Input: dict "context" $ "component" NAME. */}}
{{- define "harmonybatch.selector" -}}
app.kubernetes.io/name: harmonybatch
app.kubernetes.io/instance: {{ .context.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Labels of everything. Input as above. */}}
{{- define "harmonybatch.labels" -}}
{{ include "harmonybatch.selector" . }}
app.kubernetes.io/version: {{ .context.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .context.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .context.Chart.Name .context.Chart.Version }}
{{- end }}

{{- define "harmonybatch.image" -}}
{{- $repository := required "image.repository is empty: no registry publishes the image yet. Push the archive that `e2e image` writes to a registry that your nodes reach, and set image.repository to it, without tag" .Values.image.repository }}
{{- if .Values.image.digest }}
{{- printf "%s@%s" $repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" $repository (.Values.image.tag | default .Chart.AppVersion) }}
{{- end }}
{{- end }}

{{/* What both Pods have before their containers. Input: dict "context" $ "component" NAME "values" VALUES-OF-IT. */}}
{{- define "harmonybatch.pod" -}}
serviceAccountName: harmonybatch-{{ .component }}
# Variables for the Service harmonybatch-gateway would begin as our own settings do: HARMONYBATCH_.
enableServiceLinks: false
{{- with .context.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with .values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{/* What both containers have before their arguments. Input as for the Pod. */}}
{{- define "harmonybatch.container" -}}
name: {{ .component }}
image: {{ include "harmonybatch.image" .context }}
imagePullPolicy: {{ .context.Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
resources:
  {{- toYaml .values.resources | nindent 2 }}
env:
  - name: HARMONYBATCH_LOG
    value: {{ .values.logLevel }}
  - name: HARMONYBATCH_LOG_FORMAT
    value: {{ .context.Values.logFormat }}
{{- end }}

{{/* Labels and annotations of a Pod. Input as for the Pod. */}}
{{- define "harmonybatch.podMetadata" -}}
labels:
  {{- include "harmonybatch.labels" . | nindent 2 }}
  {{- with .values.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .values.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
