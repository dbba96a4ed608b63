{{- /* The environment of the bastion, as YAML {env: [list]}: nothing of mlhub.env, and no secret but its own token. */ -}}
{{- define "mlhub.bastionEnv" -}}
{{- $names := include "mlhub.names" . | fromYaml -}}
env:
  - {name: EXECUTION_MODE, value: k8s}
  - {name: HUB_NAME, value: {{ $names.hub | quote }}}
  - {name: START_NGINX, value: "false"}
  - {name: START_JHUB, value: "false"}
  - {name: START_CHP, value: "false"}
  - {name: START_SSH, value: "true"}
  - {name: MLHUB_RUN_DIR, value: /run/mlhub}
  - {name: MLHUB_DRAIN_SECONDS, value: {{ .Values.proxy.drainSeconds | toString | quote }}}
  - {name: MLHUB_DEBUG, value: {{ .Values.mlhub.debug | toString | quote }}}
  {{- if include "mlhub.hasSecret" (list . "ssh.hostKey") }}
  - {name: MLHUB_SSH_KEYS_DIR, value: /etc/mlhub/ssh}
  {{- end }}
  {{- include "mlhub.bastionToken" . | nindent 2 }}
{{- end -}}

{{- /* By which hub and bastion know each other. */ -}}
{{- define "mlhub.bastionToken" -}}
- name: MLHUB_BASTION_TOKEN
  valueFrom:
    secretKeyRef: {name: {{ (include "mlhub.names" . | fromYaml).secret }}, key: ssh.token}
{{- end -}}
