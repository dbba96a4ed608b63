{{- /* The environment of the hub's pod, as YAML {env: [list]}; what stands in `last` nobody overrides. */ -}}

{{- define "mlhub.hubProbe" -}}
httpGet:
  path: {{ include "mlhub.basePath" . }}hub/health
  port: hub
{{- end -}}

{{- define "mlhub.hubEnv" -}}
{{- $names := include "mlhub.names" . | fromYaml -}}
env:
  - {name: EXECUTION_MODE, value: k8s}
  - {name: HUB_NAME, value: {{ $names.hub | quote }}}
  # For user configs that were written for the original.
  - {name: HELM_RELEASE_NAME, value: {{ .Release.Name | quote }}}
  - {name: START_NGINX, value: "false"}
  - {name: START_CHP, value: "false"}
  - {name: START_SSH, value: "false"}
  - {name: MLHUB_RUN_DIR, value: /run/mlhub}
  - {name: MLHUB_CHART_VALUES, value: /etc/jupyterhub/config/values.yaml}
  - {name: MLHUB_BASE_URL, value: {{ include "mlhub.basePath" . | quote }}}
  - {name: MLHUB_DEBUG, value: {{ .Values.mlhub.debug | toString | quote }}}
  - {name: MLHUB_PROXY_API_URL, value: "http://{{ $names.proxyApi }}:8001"}
  - {name: POLICY_FILE, value: /etc/mlhub/policy/policy.yaml}
  {{- if ne .Values.mlhub.timezone "UTC" }}
  - {name: MLHUB_TIMEZONE, value: {{ .Values.mlhub.timezone | quote }}}
  {{- end }}
  {{- if .Values.cull.enabled }}
  - {name: MLHUB_CULL_ENABLED, value: "true"}
  - {name: MLHUB_CULL_TIMEOUT, value: {{ int64 .Values.cull.timeout | toString | quote }}}
  - {name: MLHUB_CULL_MAX_AGE, value: {{ int64 .Values.cull.maxAge | toString | quote }}}
  {{- end }}
  {{- /* These two hold for the policy's own rules, too, which need no cull.enabled. */}}
  {{- if or .Values.cull.enabled (ne (int64 .Values.cull.every) 600) }}
  - {name: MLHUB_CULL_EVERY, value: {{ int64 .Values.cull.every | toString | quote }}}
  {{- end }}
  {{- if ne (int64 .Values.cull.warning) 900 }}
  - {name: MLHUB_CULL_WARNING, value: {{ int64 .Values.cull.warning | toString | quote }}}
  {{- end }}
  {{- with include "mlhub.hostnames" . }}
  - {name: MLHUB_HOSTNAMES, value: {{ . | quote }}}
  # The port of the address that is printed; without a name people come through `kubectl port-forward`, as the notes say.
  - {name: MLHUB_PORT, value: {{ ternary "443" "80" (ne (include "mlhub.tlsEnds" $) "") | quote }}}
  {{- end }}
  {{- if include "mlhub.unknownAddress" . }}
  - {name: MLHUB_PUBLIC_SERVICE, value: {{ $names.proxyPublic | quote }}}
  {{- end }}
  {{- with .Values.proxy.trustedProxies }}
  - {name: MLHUB_TRUSTED_PROXIES, value: {{ join "," . | quote }}}
  {{- end }}
  {{- if .Values.ssh.enabled }}
  {{- if include "mlhub.hasSecret" (list . "ssh.ca") }}
  - {name: MLHUB_SSH_KEYS_DIR, value: /etc/mlhub/ssh}
  {{- end }}
  {{- include "mlhub.bastionToken" . | nindent 2 }}
  {{- end }}
  - name: CONFIGPROXY_AUTH_TOKEN
    valueFrom:
      secretKeyRef: {name: {{ $names.secret }}, key: proxy.token}
  {{- if include "mlhub.hasSecret" (list . "hub.cookieSecret") }}
  - name: JPY_COOKIE_SECRET
    valueFrom:
      secretKeyRef: {name: {{ $names.secret }}, key: hub.cookieSecret}
  {{- end }}
  - name: POD_NAMESPACE
    valueFrom:
      fieldRef: {fieldPath: metadata.namespace}
# For the addresses that the hub prints; the site's own variable asked for HTTPS, this one says whether people see it.
last:
  {{- if include "mlhub.allowList" . }}
  - {name: DYNAMIC_WHITELIST_ENABLED, value: "true"}
  {{- end }}
  - {name: SSL_ENABLED, value: {{ ternary "true" "false" (ne (include "mlhub.tlsEnds" .) "") | quote }}}
{{- end -}}
