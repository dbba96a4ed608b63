{{- /*
  What the pods have in common. Pod Security "restricted" holds for each of them.
*/ -}}

{{- /* The security context of a container that runs as this user and group: {{ include "mlhub.containerSecurity" 61000 }} */ -}}
{{- define "mlhub.containerSecurity" -}}
runAsUser: {{ int64 . }}
runAsGroup: {{ int64 . }}
runAsNonRoot: true
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "mlhub.podSecurity" -}}
runAsNonRoot: true
fsGroup: {{ int64 . }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- /* Where the pods of hub, proxy and bastion go. */ -}}
{{- define "mlhub.scheduling" -}}
{{- $root := index . 0 -}}
{{- $core := $root.Values.scheduling.corePods -}}
{{- if $root.Values.scheduling.podPriority.enabled }}
priorityClassName: {{ (include "mlhub.names" $root | fromYaml).defaultPriority }}
{{- end }}
{{- with (index . 1) }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $core.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- $purpose := dict "matchExpressions" (list (dict "key" "hub.jupyter.org/node-purpose" "operator" "In" "values" (list "core"))) }}
{{- if eq $core.nodeAffinity.matchNodePurpose "require" }}
affinity:
  nodeAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      nodeSelectorTerms:
        - {{- toYaml $purpose | nindent 10 }}
{{- else if eq $core.nodeAffinity.matchNodePurpose "prefer" }}
affinity:
  nodeAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        preference:
          {{- toYaml $purpose | nindent 10 }}
{{- end }}
{{- end -}}

{{- /* imagePullSecrets of a pod. */ -}}
{{- define "mlhub.imagePullSecrets" -}}
{{- with (include "mlhub.pullSecrets" (list . list) | fromYaml).secrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{- /* The program that tells whether all programs of a container answer. */ -}}
{{- define "mlhub.healthCommand" -}}
exec:
  command: [python, -I, -m, mlhub.boot.health]
{{- end -}}

{{- /* Egress to DNS: the cluster's own pods, and port 53 of private addresses (the cluster's Service, a node's cache). */ -}}
{{- define "mlhub.dnsEgress" -}}
- to:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: kube-system
    {{- range list "10.0.0.0/8" "172.16.0.0/12" "192.168.0.0/16" "100.64.0.0/10" "169.254.20.10/32" }}
    - ipBlock:
        cidr: {{ . }}
    {{- end }}
  ports:
    - {port: 53, protocol: UDP}
    - {port: 53, protocol: TCP}
{{- end -}}

{{- /* minAvailable of the original where it is set, else maxUnavailable, which lets nodes be drained. */ -}}
{{- define "mlhub.disruptions" -}}
{{- if kindIs "invalid" .minAvailable }}
maxUnavailable: {{ .maxUnavailable }}
{{- else }}
minAvailable: {{ .minAvailable }}
{{- end }}
{{- end -}}

{{- /* What a Service takes from its values. */ -}}
{{- define "mlhub.serviceOptions" -}}
type: {{ .type }}
{{- with .loadBalancerIP }}
loadBalancerIP: {{ . }}
{{- end }}
{{- with .loadBalancerSourceRanges }}
loadBalancerSourceRanges:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .externalTrafficPolicy }}
externalTrafficPolicy: {{ . }}
{{- end }}
{{- end -}}
