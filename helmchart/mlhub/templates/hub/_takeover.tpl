{{- /*
  Opens what the hub wrote when it was user 1000 to the group of its volume. Where a volume takes no group from the cluster
  (hostPath, NFS), nobody but its owner can do that, and no pod of this chart is root: so it runs as that user.
  What cannot be opened, the hub tells when it starts.
*/ -}}
{{- define "mlhub.takeOver" -}}
- name: take-over
  {{- include "mlhub.image" (list . .Values.hub.image) | nindent 2 }}
  securityContext:
    {{- include "mlhub.containerSecurity" 1000 | nindent 4 }}
  command: [sh, -c]
  args:
    - >-
      find /data -user 1000 '(' -type f -o -type d ')'
      -exec chgrp {{ int64 .Values.hub.fsGid }} {} + -exec chmod g=u {} + -type d -exec chmod g+s {} + || true
  {{- with .Values.hub.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  volumeMounts:
    - {name: data, mountPath: /data{{ with .Values.hub.db.pvc.subPath }}, subPath: {{ . | quote }}{{ end }}}
    {{- range .Values.hub.extraVolumeMounts }}
    {{- if hasPrefix "/data/" .mountPath }}
    - {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- end }}
{{- end -}}
