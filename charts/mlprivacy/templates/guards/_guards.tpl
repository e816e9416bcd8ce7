{{/* What the guard policies share. Each policy is one invariant in one file; these helpers hold no invariant. */}}

{{/* A Helm list of strings as a CEL list. The schema admits no quote in the strings. */}}
{{- define "mlprivacy.cel.list" -}}
[{{ range $i, $item := . }}{{ if $i }}, {{ end }}'{{ $item }}'{{ end }}]
{{- end }}

{{- define "mlprivacy.guard.labels" -}}
{{ include "mlprivacy.componentLabels" (dict "root" . "component" "guards") }}
{{- end }}

{{/* Who passes guarded labels on: the operator and the built-in controllers that make or tidy what it rendered. */}}
{{- define "mlprivacy.guard.chain" -}}
{{- $trusted := .Values.guards.trusted -}}
{{ include "mlprivacy.cel.list" (concat (list (include "mlprivacy.controllerUser" .)) $trusted.workloadControllers $trusted.garbageCollectors) }}
{{- end }}

{{/* Agents of a node: the kubelets, and what plays one. */}}
{{- define "mlprivacy.guard.isNode" -}}
('system:nodes' in request.userInfo.?groups.orValue([]) || request.userInfo.username in {{ include "mlprivacy.cel.list" .Values.guards.trusted.nodeAgents }})
{{- end }}

{{/* The verb that is the privacy-officer role. */}}
{{- define "mlprivacy.guard.mayWeaken" -}}
authorizer.group('mlprivacy.dev').resource('governednamespaces').check('weaken').allowed()
{{- end }}

{{/* One binding for each ceiling; takes (dict "root" $ "name" "mlprivacy-label-chain"). */}}
{{- define "mlprivacy.guard.bindings" -}}
{{- $root := .root -}}{{- $name := .name -}}
{{- range $ceiling, $actions := dict "enforce" "[Deny]" "warn" "[Warn, Audit]" "audit" "[Audit]" }}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ $name }}-{{ $ceiling }}
  labels: {{- include "mlprivacy.guard.labels" $root | nindent 4 }}
spec:
  policyName: {{ $name }}
  validationActions: {{ $actions }}
  matchResources:
    matchPolicy: Equivalent
    namespaceSelector:
      matchLabels: {mlprivacy.dev/enforce: {{ $ceiling }}}
    objectSelector: {}
{{- end }}
{{- end }}

{{/* The one binding of an invariant that holds in the whole cluster. */}}
{{- define "mlprivacy.guard.bindingEverywhere" -}}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata:
  name: {{ .name }}
  labels: {{- include "mlprivacy.guard.labels" .root | nindent 4 }}
spec:
  policyName: {{ .name }}
  validationActions: [Deny]
  matchResources:
    matchPolicy: Equivalent
    namespaceSelector: {}
    objectSelector: {}
{{- end }}

{{/* Opening of a policy up to its rules; takes (dict "root" $ "name" …). */}}
{{- define "mlprivacy.guard.head" -}}
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata:
  name: {{ .name }}
  labels: {{- include "mlprivacy.guard.labels" .root | nindent 4 }}
{{- end }}

{{/* The label maps of an object and of every pod template in it, whatever its kind; takes "object" or "oldObject". */}}
{{- define "mlprivacy.cel.labelMaps" -}}
[
  dyn({{ . }}).metadata.?labels.orValue({}),
  dyn({{ . }}).?spec.?template.?metadata.?labels.orValue({}),
  dyn({{ . }}).?template.?metadata.?labels.orValue({}),
  dyn({{ . }}).?spec.?jobTemplate.?metadata.?labels.orValue({}),
  dyn({{ . }}).?spec.?jobTemplate.?spec.?template.?metadata.?labels.orValue({})
]
{{- end }}

{{/* The pod specs in an object, whatever its kind. A workload's own spec is among them and has no field of a pod's. */}}
{{- define "mlprivacy.cel.podSpecs" -}}
[
  dyn(object).?spec.orValue({}),
  dyn(object).?spec.?template.?spec.orValue({}),
  dyn(object).?template.?spec.orValue({}),
  dyn(object).?spec.?jobTemplate.?spec.?template.?spec.orValue({})
]
{{- end }}

{{/* Rules for everything that is a pod or holds a template of one. */}}
{{- define "mlprivacy.guard.podMakers" -}}
- apiGroups: [""]
  apiVersions: [v1]
  operations: [CREATE, UPDATE]
  resources: [pods, podtemplates, replicationcontrollers]
  scope: Namespaced
- apiGroups: [apps]
  apiVersions: ["*"]
  operations: [CREATE, UPDATE]
  resources: [daemonsets, deployments, replicasets, statefulsets]
  scope: Namespaced
- apiGroups: [batch]
  apiVersions: ["*"]
  operations: [CREATE, UPDATE]
  resources: [cronjobs, jobs]
  scope: Namespaced
{{- end }}

{{/* Match of the policies on the shape of a governed pod, which is fixed at its CREATE. */}}
{{- define "mlprivacy.guard.governedPodCreate" -}}
failurePolicy: Fail
matchConstraints:
  matchPolicy: Equivalent
  namespaceSelector: {}
  objectSelector: {}
  resourceRules:
    - apiGroups: [""]
      apiVersions: [v1]
      operations: [CREATE]
      resources: [pods]
      scope: Namespaced
matchConditions:
  - name: governed-pod
    expression: "'mlprivacy.dev/rendered' in object.metadata.?labels.orValue({})"
{{- end }}

{{- define "mlprivacy.guard.allContainers" -}}
- name: containers
  expression: object.spec.?initContainers.orValue([]) + object.spec.containers
{{- end }}
