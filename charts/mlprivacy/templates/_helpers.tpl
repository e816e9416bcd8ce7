{{/* Helpers that more than one template uses. Names are fixed, so none is made from the release's name. */}}

{{- define "mlprivacy.labels" -}}
app.kubernetes.io/name: mlprivacy
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service | quote }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end }}

{{/* Labels of one component; takes (dict "root" $ "component" "admission"). */}}
{{- define "mlprivacy.componentLabels" -}}
{{ include "mlprivacy.labels" .root }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "mlprivacy.selector" -}}
app.kubernetes.io/name: mlprivacy
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "mlprivacy.image" -}}
{{ printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- end }}

{{/* The user names of our processes, as admission sees them. */}}
{{- define "mlprivacy.controllerUser" -}}
system:serviceaccount:{{ .Release.Namespace }}:mlprivacy-controller
{{- end }}

{{- define "mlprivacy.collectorURL" -}}
{{ .Values.collector.url | default (printf "https://mlprivacy-collector.%s.svc:8444" .Release.Namespace) }}
{{- end }}

{{- define "mlprivacy.inCluster.admission" -}}
{{- if not .Values.admission.url }}true{{ end -}}
{{- end }}
{{- define "mlprivacy.inCluster.controller" -}}
{{- if not .Values.controller.external }}true{{ end -}}
{{- end }}
{{- define "mlprivacy.inCluster.collector" -}}
{{- if not .Values.collector.external }}true{{ end -}}
{{- end }}
{{- define "mlprivacy.inCluster.any" -}}
{{- if or (include "mlprivacy.inCluster.admission" .) (include "mlprivacy.inCluster.controller" .) (include "mlprivacy.inCluster.collector" .) }}true{{ end -}}
{{- end }}

{{/* Plurals of our kinds that people write. */}}
{{- define "mlprivacy.kinds" -}}
[consentscopes, dataclasses, datasetgrants, datasets, inferencejobs, policyexceptions, privacybudgets, privacypolicies, trainingjobs]
{{- end }}

{{- /* Those and the entries of the ledger, which only the operator writes: no webhook judges them, a guard does. */ -}}
{{- define "mlprivacy.readKinds" -}}
[consentscopes, dataclasses, datasetgrants, datasets, inferencejobs, ledgerentries, policyexceptions, privacybudgets, privacypolicies, trainingjobs]
{{- end }}

{{- define "mlprivacy.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "mlprivacy.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* Metadata of a pod template; takes (dict "root" $ "component" "admission"). */}}
{{- define "mlprivacy.podMetadata" -}}
labels: {{- include "mlprivacy.componentLabels" . | nindent 2 }}
{{- with .root.Values.podAnnotations }}
annotations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* One container of ours up to its args; takes (dict "root" $ "name" "admission"). The name is the command as well. */}}
{{- define "mlprivacy.container" -}}
name: {{ .name }}
image: {{ include "mlprivacy.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
command: [mlprivacy]
securityContext: {{- include "mlprivacy.containerSecurityContext" . | nindent 2 }}
{{- end }}

{{/* Probes on a health port that is called health. */}}
{{- define "mlprivacy.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: health}
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /healthz, port: health}
  periodSeconds: 10
  timeoutSeconds: 5
readinessProbe:
  httpGet: {path: /readyz, port: health}
  periodSeconds: 5
  timeoutSeconds: 5
{{- end }}

{{/* What all our pods have; takes (dict "root" $ "values" .Values.admission "account" "mlprivacy-admission"). */}}
{{- define "mlprivacy.podCommon" -}}
serviceAccountName: {{ .account }}
automountServiceAccountToken: true
enableServiceLinks: false
securityContext:
  {{- include "mlprivacy.podSecurityContext" . | nindent 2 }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Seconds of controller.seal, controller.sidecars and controller.gracePeriodSeconds as JSON; what was set to null has
     the default. */}}
{{- define "mlprivacy.limits" -}}
{{- $seal := .Values.controller.seal | default dict -}}
{{- $sidecars := .Values.controller.sidecars | default dict -}}
{{- $stop := get $sidecars "stopAfterSeconds" -}}
{{- if not (hasKey $sidecars "stopAfterSeconds") -}}{{- $stop = 300 -}}{{- end -}}
{{- dict "sealDeadline" (int ($seal.deadlineSeconds | default 60)) "sealRetry" (int ($seal.retrySeconds | default 60)) "silentAfter" (int ($sidecars.silentAfterSeconds | default 60)) "stopAfter" (int $stop) "grace" (int (.Values.controller.gracePeriodSeconds | default 30)) | toJson -}}
{{- end }}

{{- /* What decides over RDMA devices and further networks; read only once a job asks for any (kube/fabric.py). A rule for
       a resource that the cluster does not have does nothing. */}}
{{- define "mlprivacy.fabricRules" -}}
- apiGroups: [k8s.cni.cncf.io]
  resources: [network-attachment-definitions, multi-networkpolicies]
  verbs: [get, list, watch]
- apiGroups: [sriovnetwork.openshift.io]
  resources: [sriovnetworks, sriovnetworkpoolconfigs, sriovnetworknodestates]
  verbs: [get, list, watch]
- apiGroups: [resource.k8s.io]
  resources: [resourceclaims, resourceclaimtemplates, deviceclasses]
  verbs: [get, list, watch]
- apiGroups: [""]
  resources: [nodes]
  verbs: [get, list, watch]
# The settings of the shared device plugin, and no other ConfigMap.
- apiGroups: [""]
  resources: [configmaps]
  resourceNames: [rdma-devices]
  verbs: [get, list, watch]
{{- end }}
