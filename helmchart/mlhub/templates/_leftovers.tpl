{{- /*
  After an upgrade that failed, Helm compares the next one with the last that did not: what the failed one added to a list
  or a map of a Deployment, and neither of the two names, would stay without a word. So that is refused, with the cure.
*/ -}}

{{- /* The revision that is deployed, where a later one has failed; else nothing. */ -}}
{{- define "mlhub.beforeFailure" -}}
{{- $last := 0 -}}
{{- $status := "" -}}
{{- $deployed := "" -}}
{{- range (lookup "v1" "Secret" .Release.Namespace "").items -}}
{{- $labels := .metadata.labels | default dict -}}
{{- if and (eq .type "helm.sh/release.v1") (eq (get $labels "name") $.Release.Name) -}}
{{- $version := int (get $labels "version") -}}
{{- if gt $version $last }}{{ $last = $version }}{{ $status = get $labels "status" }}{{ end -}}
{{- if eq (get $labels "status") "deployed" }}{{ $deployed = $version }}{{ end -}}
{{- end -}}
{{- end -}}
{{- if eq $status "failed" }}{{ $deployed }}{{ end -}}
{{- end -}}

{{- /* What a Deployment's pods have of the kinds that Helm merges by name, as YAML {parts: [list]}. */ -}}
{{- define "mlhub.mergedParts" -}}
{{- $parts := list -}}
{{- $pod := .spec.template.spec -}}
{{- range $pod.volumes }}{{ $parts = append $parts (printf "the volume %s" .name) }}{{ end -}}
{{- range $key, $_ := $pod.nodeSelector }}{{ $parts = append $parts (printf "the node selector %s" $key) }}{{ end -}}
{{- range concat ($pod.initContainers | default list) $pod.containers -}}
{{- $name := .name -}}
{{- $parts = append $parts (printf "the container %s" $name) -}}
{{- range .env }}{{ $parts = append $parts (printf "the variable %s" .name) }}{{ end -}}
{{- range .volumeMounts }}{{ $parts = append $parts (printf "the mount %s" .mountPath) }}{{ end -}}
{{- range $kind, $amounts := pick (.resources | default dict) "limits" "requests" -}}
{{- range $key, $_ := $amounts }}{{ $parts = append $parts (printf "%s.%s of the container %s" $kind $key $name) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- dict "parts" ($parts | uniq) | toYaml -}}
{{- end -}}

{{- define "mlhub.checkLeftovers" -}}
{{- with include "mlhub.beforeFailure" . -}}
{{- $revision := . -}}
{{- with $ -}}
{{- $names := include "mlhub.names" . | fromYaml -}}
{{- range $name, $file := dict $names.hubPod "hub/deployment.yaml" $names.proxy "proxy/deployment.yaml" $names.bastion "hub/bastion-deployment.yaml" -}}
{{- $live := lookup "apps/v1" "Deployment" $.Release.Namespace $name -}}
{{- $wanted := include (printf "%s/%s" $.Template.BasePath $file) $ | fromYaml -}}
{{- if and $live $wanted -}}
{{- $left := list -}}
{{- $parts := (include "mlhub.mergedParts" $wanted | fromYaml).parts -}}
{{- range (include "mlhub.mergedParts" $live | fromYaml).parts }}{{ if not (has . $parts) }}{{ $left = append $left . }}{{ end }}{{ end -}}
{{- if $left -}}
{{- fail (printf "the last upgrade failed, and Helm would leave of it in deployment/%s: %s. Undo it first, then run this again: helm rollback %s %s --namespace %s" $name (join ", " $left) $.Release.Name $revision $.Release.Namespace) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
