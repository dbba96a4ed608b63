{{- /* What the hub reads of the values when it starts, mlhub/hub/layers/chart.py. Never a secret: those are in Secrets. */ -}}
{{- define "mlhub.hubValues" -}}
{{- $names := include "mlhub.names" . | fromYaml -}}
{{- $values := .Values -}}
{{- $commonLabels := include "mlhub.podLabels" (list . "singleuser-server") | fromYaml -}}
{{- $image := merge (dict "pullPolicy" ($values.singleuser.image.pullPolicy | default $values.image.pullPolicy)) $values.singleuser.image -}}
{{- $singleuser := merge (dict "image" $image) (omit $values.singleuser "networkPolicy" "networkTools") -}}
{{- $hub := dict "db" (pick $values.hub.db "type" "upgrade") -}}
{{- dict
    "Release" (pick .Release "Name" "Namespace" "Service")
    "custom" $values.custom
    "hub" $hub
    "mlhub" (pick $values.mlhub "baseUrl" "debug")
    "scheduling" $values.scheduling
    "singleuser" $singleuser
    "chart" (dict
      "commonLabels" (merge (dict "app.kubernetes.io/managed-by" "mlhub") (omit $commonLabels "component" "app.kubernetes.io/component"))
      "imagePullSecrets" (include "mlhub.pullSecrets" (list . $values.singleuser.image.pullSecrets) | fromYaml).secrets
      "priorityClassName" (ternary $names.defaultPriority "" $values.scheduling.podPriority.enabled)
    ) | toYaml -}}
{{- end -}}
