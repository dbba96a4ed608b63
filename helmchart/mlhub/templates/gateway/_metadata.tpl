{{- define "mlhub.routeMetadata" -}}
labels:
  {{- include "mlhub.labels" (list . "proxy") | nindent 2 }}
  {{- with .Values.gateway.labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .Values.gateway.annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* The version of a kind of route that the cluster has: {{ include "mlhub.routeVersion" (list . "TCPRoute") }} */ -}}
{{- define "mlhub.routeVersion" -}}
{{- $kind := index . 1 -}}
{{- $group := "gateway.networking.k8s.io" -}}
{{- $found := ternary "v1" "v1alpha2" ((index . 0).Capabilities.APIVersions.Has (printf "%s/v1/%s" $group $kind)) -}}
{{- (get (index . 0).Values.gateway (printf "%sRoute" ($kind | trunc 3 | lower))).apiVersion | default (printf "%s/%s" $group $found) -}}
{{- end -}}
