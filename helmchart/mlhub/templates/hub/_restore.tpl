{{- /*
  Waits, before the hub's first start, until `mlhub restore` has put a backup into its volume: whoever has it runs that in this
  container. The files come one after the other, the database last, so a moment is left after the first.
*/ -}}
{{- define "mlhub.restore" -}}
- name: restore
  {{- include "mlhub.image" (list . .Values.hub.image) | nindent 2 }}
  securityContext:
    {{- include "mlhub.containerSecurity" .Values.hub.uid | nindent 4 }}
  command: [sh, -c]
  args:
    - >-
      there() { [ -e /data/jupyterhub.sqlite ] || [ -e /data/audit ]; };
      there || { until there; do sleep 1; done; sleep 5; }
  env:
    {{- (include "mlhub.hubEnv" . | fromYaml).env | toYaml | nindent 4 }}
  {{- with .Values.hub.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  volumeMounts:
    - {name: data, mountPath: /data{{ with .Values.hub.db.pvc.subPath }}, subPath: {{ . | quote }}{{ end }}}
    - {name: run, mountPath: /run/mlhub}
    - {name: tmp, mountPath: /tmp}
    - {name: token, mountPath: /var/run/secrets/kubernetes.io/serviceaccount, readOnly: true}
{{- end -}}
