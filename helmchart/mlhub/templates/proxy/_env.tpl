{{- /*
  The environment of the proxy, as YAML {env: [list]}. Of mlhub.env it gets what it needs and no more: secrets of the hub
  have no business in the pod that faces the internet.
*/ -}}
{{- define "mlhub.proxyEnv" -}}
{{- $runsChp := ne (include "mlhub.runsChp" .) "" -}}
{{- $names := include "mlhub.names" . | fromYaml -}}
{{- $words := list "--ip=127.0.0.1" "--port=8000" "--api-ip=0.0.0.0" "--api-port=8001" (printf "--default-target=http://%s:8083" $names.hub) -}}
{{- $trusted := include "mlhub.envValue" (list . "MLHUB_TRUSTED_PROXIES") | default (join "," .Values.proxy.trustedProxies) -}}
env:
  - {name: EXECUTION_MODE, value: k8s}
  - {name: HUB_NAME, value: {{ $names.hub | quote }}}
  - {name: START_NGINX, value: "true"}
  - {name: {{ ternary "START_CHP" "MLHUB_ROUTER" $runsChp }}, value: "true"}
  - {name: START_JHUB, value: "false"}
  - {name: START_SSH, value: "false"}
  - {name: MLHUB_RUN_DIR, value: /run/mlhub}
  - {name: MLHUB_BASE_URL, value: {{ include "mlhub.basePath" . | quote }}}
  - {name: MLHUB_DRAIN_SECONDS, value: {{ .Values.proxy.drainSeconds | toString | quote }}}
  - {name: MLHUB_DEBUG, value: {{ .Values.mlhub.debug | toString | quote }}}
  {{- if $runsChp }}
  - {name: ADDITIONAL_ARGS, value: {{ concat $words .Values.proxy.chp.extraArgs | join " " | quote }}}
  {{- end }}
  - {name: SSL_ENABLED, value: {{ ternary "true" "false" (eq (include "mlhub.tlsEnds" .) "pod") | quote }}}
  {{- if (include "mlhub.certificate" . | fromYaml).passphrase }}
  # Beside the key: whoever replaces both replaces them at once.
  - {name: SSL_KEY_PASSPHRASE_FILE, value: /resources/ssl/passphrase}
  {{- end }}
  {{- if .Values.ssh.enabled }}
  - {name: SSHD_TARGET, value: "{{ $names.bastion }}:2223"}
  - {name: SSHD_TARGET_PROXY_PROTOCOL, value: "true"}
  {{- end }}
  {{- with include "mlhub.hostnames" . }}
  - {name: MLHUB_HOSTNAMES, value: {{ . | quote }}}
  {{- end }}
  {{- with include "mlhub.envValue" (list . "MLHUB_SUBDOMAIN_HOST") }}
  - {name: MLHUB_SUBDOMAIN_HOST, value: {{ . | quote }}}
  {{- end }}
  {{- with include "mlhub.envValue" (list . "MLHUB_SIGN_INS_PER_SECOND") }}
  - {name: MLHUB_SIGN_INS_PER_SECOND, value: {{ . | quote }}}
  {{- end }}
  {{- with $trusted }}
  - {name: MLHUB_TRUSTED_PROXIES, value: {{ . | quote }}}
  {{- end }}
  - name: CONFIGPROXY_AUTH_TOKEN
    valueFrom:
      secretKeyRef: {name: {{ $names.secret }}, key: proxy.token}
{{- end -}}

{{- /* Something where configurable-http-proxy looks up the routes, and not nginx. */ -}}
{{- define "mlhub.runsChp" -}}
{{- $chp := .Values.proxy.chp -}}
{{- if ternary $chp.extraArgs $chp.enabled (kindIs "invalid" $chp.enabled) }}true{{ end -}}
{{- end -}}
