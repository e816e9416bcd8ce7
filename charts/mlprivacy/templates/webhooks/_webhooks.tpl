{{/* The parts the webhooks share. Every field that the API server would default is written out, so that a GitOps tool
     sees no difference. caBundle is the one exception: the controller writes it, and Helm leaves alone what it never named. */}}

{{/* Takes (dict "root" $ "path" "/validate/kinds"). */}}
{{- define "mlprivacy.webhookClient" -}}
{{- if .root.Values.admission.url }}
url: {{ printf "%s%s" (trimSuffix "/" .root.Values.admission.url) .path | quote }}
{{- else }}
service:
  name: mlprivacy-admission
  namespace: {{ .root.Release.Namespace }}
  path: {{ .path }}
  port: 443
{{- end }}
{{- end }}

{{- define "mlprivacy.webhookCommon" -}}
admissionReviewVersions: [v1]
sideEffects: NoneOnDryRun
matchPolicy: Equivalent
timeoutSeconds: {{ .root.Values.webhooks.timeoutSeconds }}
{{- end }}

{{- define "mlprivacy.excludedNamespaces" -}}
- key: kubernetes.io/metadata.name
  operator: NotIn
  values: [kube-system, {{ .Release.Namespace }}]
{{- end }}

{{/* A write that changes neither spec nor labels nor annotations (a finalizer, an owner) has nothing to decide: deletion
     must not wait for a webhook that is away. */}}
{{- define "mlprivacy.kindsMatchConditions" -}}
- name: something-to-decide
  expression: >-
    request.operation == 'CREATE'
    || dyn(object).?spec != dyn(oldObject).?spec
    || object.metadata.?labels.orValue({}) != oldObject.metadata.?labels.orValue({})
    || object.metadata.?annotations.orValue({}) != oldObject.metadata.?annotations.orValue({})
{{- end }}

{{- define "mlprivacy.kindsRules" -}}
- apiGroups: [mlprivacy.dev]
  apiVersions: [v1alpha1]
  operations: [CREATE, UPDATE]
  resources: {{ include "mlprivacy.kinds" . }}
  scope: "*"
{{- end }}
