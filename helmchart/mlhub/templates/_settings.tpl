{{- /*
  What follows from several values at once: the environment, who ends TLS, the secrets.
*/ -}}

{{- /* mlhub.env, hub.extraEnv and proxy.extraEnv may be a map or a list; as YAML {env: [list]}. */ -}}
{{- define "mlhub.envList" -}}
{{- $list := list -}}
{{- if kindIs "map" . -}}
{{- range $name, $value := . -}}
{{- if kindIs "map" $value -}}
{{- $list = append $list (merge (dict "name" $name) $value) -}}
{{- else if not (kindIs "invalid" $value) -}}
{{- /* A number comes as a floating one: 1000000 must not become 1e+06. */ -}}
{{- if and (kindIs "float64" $value) (eq (floor $value) $value) }}{{ $value = int64 $value }}{{ end -}}
{{- $list = append $list (dict "name" $name "value" (toString $value)) -}}
{{- end -}}
{{- end -}}
{{- else if kindIs "slice" . -}}
{{- $list = . -}}
{{- end -}}
{{- dict "env" $list | toYaml -}}
{{- end -}}

{{- /* Several lists of variables, one after the other; of those with the same name the last one holds. As YAML {env: [list]}. */ -}}
{{- define "mlhub.mergeEnv" -}}
{{- $merged := list -}}
{{- $seen := dict -}}
{{- range (. | reverse) -}}
{{- range (. | reverse) -}}
{{- if not (hasKey $seen .name) -}}
{{- $_ := set $seen .name true -}}
{{- $merged = prepend $merged . -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- dict "env" $merged | toYaml -}}
{{- end -}}

{{- /* The text of one variable of mlhub.env, or nothing: {{ include "mlhub.envValue" (list . "SSL_ENABLED") }} */ -}}
{{- define "mlhub.envValue" -}}
{{- $name := index . 1 -}}
{{- range (include "mlhub.envList" (index . 0).Values.mlhub.env | fromYaml).env -}}
{{- if eq .name $name }}{{ .value }}{{ end -}}
{{- end -}}
{{- end -}}

{{- /* "true" where people open an https address: proxy.https.enabled, else the documented mlhub.env.SSL_ENABLED. */ -}}
{{- define "mlhub.https" -}}
{{- if kindIs "bool" .Values.proxy.https.enabled -}}
{{- if .Values.proxy.https.enabled }}true{{ end -}}
{{- else if has (include "mlhub.envValue" (list . "SSL_ENABLED") | lower) (list "true" "on" "yes" "1" "t" "y") -}}
true
{{- end -}}
{{- end -}}

{{- /* Where TLS ends: "pod" (our nginx), "outside" (a load balancer, the ingress), or "" for plain HTTP. */ -}}
{{- define "mlhub.tlsEnds" -}}
{{- if include "mlhub.https" . -}}
{{- $type := .Values.proxy.https.type -}}
{{- if or (eq $type "offload") (and (eq $type "letsencrypt") .Values.ingress.enabled) }}outside{{ else }}pod{{ end -}}
{{- else if and .Values.ingress.enabled .Values.ingress.tls -}}
outside
{{- end -}}
{{- end -}}

{{- /* The Secret with nginx's certificate as YAML {name, crt, key, passphrase}; nothing where nginx makes one of its own. */ -}}
{{- define "mlhub.certificate" -}}
{{- if eq (include "mlhub.tlsEnds" .) "pod" -}}
{{- $https := .Values.proxy.https -}}
{{- $ours := (include "mlhub.names" . | fromYaml).certificate -}}
{{- if eq $https.type "secret" -}}
{{- dict "name" $https.secret.name "crt" $https.secret.crt "key" $https.secret.key "passphrase" $https.secret.passphrase | toYaml -}}
{{- else if or (eq $https.type "letsencrypt") $https.manual.cert -}}
{{- dict "name" $ours "crt" "tls.crt" "key" "tls.key" | toYaml -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* What the ingress says of TLS, as YAML {tls: [list]}: the site's word, or the certificate that cert-manager is asked for. */ -}}
{{- define "mlhub.ingressTls" -}}
{{- $tls := .Values.ingress.tls -}}
{{- if and (eq (include "mlhub.tlsEnds" .) "outside") (eq .Values.proxy.https.type "letsencrypt") (not $tls) -}}
{{- $hosts := .Values.ingress.hosts | default .Values.proxy.https.hosts -}}
{{- $tls = list (dict "hosts" $hosts "secretName" (include "mlhub.names" . | fromYaml).certificate) -}}
{{- end -}}
{{- dict "tls" $tls | toYaml -}}
{{- end -}}

{{- /* The names of the Secrets that outlive the release, as YAML {secrets: [list]}: our own, and what cert-manager keeps certificates in. */ -}}
{{- define "mlhub.lastingSecrets" -}}
{{- $names := include "mlhub.names" . | fromYaml -}}
{{- $secrets := ternary (list $names.hubPod) list (not (empty (include "mlhub.secretData" . | fromYaml))) -}}
{{- if eq .Values.proxy.https.type "letsencrypt" -}}
{{- if eq (include "mlhub.tlsEnds" .) "pod" -}}
{{- $secrets = append $secrets $names.certificate -}}
{{- else if eq (include "mlhub.tlsEnds" .) "outside" -}}
{{- range (include "mlhub.ingressTls" . | fromYaml).tls }}{{ with .secretName }}{{ $secrets = append $secrets . }}{{ end }}{{ end -}}
{{- end -}}
{{- end -}}
{{- dict "secrets" ($secrets | uniq) | toYaml -}}
{{- end -}}

{{- /* The names under which people reach this hub, comma separated. */ -}}
{{- define "mlhub.hostnames" -}}
{{- $gateway := ternary .Values.gateway.hostnames list .Values.gateway.enabled -}}
{{- $ingress := ternary .Values.ingress.hosts list .Values.ingress.enabled -}}
{{- include "mlhub.envValue" (list . "MLHUB_HOSTNAMES") | default (concat .Values.proxy.https.hosts $ingress $gateway | uniq | join ",") -}}
{{- end -}}

{{- /*
  "true" where only the cluster knows the address that people open. With a Service of type ClusterIP alone it is that of
  `kubectl port-forward`, as the notes say.
*/ -}}
{{- define "mlhub.unknownAddress" -}}
{{- $isForwarded := and (eq .Values.proxy.service.type "ClusterIP") (not .Values.ingress.enabled) (not .Values.gateway.enabled) -}}
{{- if not (or $isForwarded (include "mlhub.hostnames" .) (include "mlhub.envValue" (list . "MLHUB_SUBDOMAIN_HOST"))) }}true{{ end -}}
{{- end -}}

{{- /* The path under which the hub is served, with a slash at both ends. */ -}}
{{- define "mlhub.basePath" -}}
{{- $path := .Values.mlhub.baseUrl | trimAll "/" -}}
{{ if $path }}/{{ $path }}/{{ else }}/{{ end }}
{{- end -}}

{{- /* The name of the ConfigMap with the names of those who may sign in; nothing where there is no list. */ -}}
{{- define "mlhub.allowList" -}}
{{- if .Values.mlhub.allowList.names -}}
{{- (include "mlhub.names" . | fromYaml).allowList -}}
{{- else -}}
{{- .Values.mlhub.allowList.existingConfigMap -}}
{{- end -}}
{{- end -}}

{{- /* "true" where the database, and whatever else is under /data, outlives the hub's pod. */ -}}
{{- define "mlhub.keepsData" -}}
{{- if has .Values.hub.db.type (list "" "sqlite-pvc") }}true{{ end -}}
{{- end -}}

{{- /* "true" where the cluster can be read: `helm template` and `--dry-run=client` see nothing, a list of a cluster has a kind. */ -}}
{{- define "mlhub.seesCluster" -}}
{{- if lookup "v1" "Secret" .Release.Namespace "" }}true{{ end -}}
{{- end -}}

{{- /*
  The content of our own Secret as YAML {key: base64}. What was there is kept, key by key; what is missing is generated,
  once in a rendering, since it is asked for in several places. With a Secret of the site's, only the database's remain.
*/ -}}
{{- define "mlhub.secretData" -}}
{{- if not (hasKey .Values "_secretData") -}}
{{- $data := dict -}}
{{- if not .Values.mlhub.existingSecret -}}
{{- $kept := (lookup "v1" "Secret" .Release.Namespace (include "mlhub.names" . | fromYaml).secret).data | default dict -}}
{{- $made := dict -}}
{{- if or $kept (include "mlhub.seesCluster" .) -}}
{{- $made = dict
    "proxy.token" (randAlphaNum 64)
    "hub.cookieSecret" (randAlphaNum 64 | sha256sum)
    "ssh.ca" (genPrivateKey "ed25519")
    "ssh.hostKey" (genPrivateKey "ed25519")
    "ssh.token" (randAlphaNum 64)
    "metrics.token" (randAlphaNum 64) -}}
{{- else if .Values.mlhub.secretToken -}}
{{- $made = dict "ssh.token" (printf "ssh.token %s" .Values.mlhub.secretToken | sha256sum) -}}
{{- else -}}
{{- fail (include "mlhub.blindSentence" .) -}}
{{- end -}}
{{- range $key, $value := $made }}{{ $_ := set $data $key (get $kept $key | default ($value | b64enc)) }}{{ end -}}
{{- end -}}
{{- range $key, $value := dict "proxy.token" .Values.mlhub.secretToken "hub.db.url" .Values.hub.db.url "hub.db.password" .Values.hub.db.password -}}
{{- if $value }}{{ $_ := set $data $key ($value | b64enc) }}{{ end -}}
{{- end -}}
{{- $_ := set .Values "_secretData" $data -}}
{{- end -}}
{{- .Values._secretData | toYaml -}}
{{- end -}}

{{- define "mlhub.blindSentence" -}}
`helm template` and `--dry-run=client` do not see the cluster, so they cannot keep generated secrets: each rendering would make others. Set mlhub.secretToken (openssl rand -hex 32), or mlhub.existingSecret; docs/howto/kubernetes.md tells what goes into it.
{{- end -}}

{{- /* "true" where the Secret holds this key: {{ include "mlhub.hasSecret" (list . "ssh.ca") }} */ -}}
{{- define "mlhub.hasSecret" -}}
{{- $root := index . 0 -}}
{{- if $root.Values.mlhub.existingSecret }}true
{{- else if hasKey (include "mlhub.secretData" $root | fromYaml) (index . 1) }}true{{ end -}}
{{- end -}}

{{- /* What the bastion's pod reads of the Secret when it starts, as text. */ -}}
{{- define "mlhub.bastionSecrets" -}}
{{- pick (include "mlhub.secretData" . | fromYaml) "ssh.token" "ssh.hostKey" | toJson }} {{ (include "mlhub.names" . | fromYaml).secret -}}
{{- end -}}

{{- /* The names of the Secrets by which images are pulled, as YAML {secrets: [list]}; more of them as the second argument. */ -}}
{{- define "mlhub.pullSecrets" -}}
{{- $root := index . 0 -}}
{{- $secrets := concat $root.Values.imagePullSecrets (index . 1) -}}
{{- if $root.Values.hub.imagePullSecret.enabled -}}
{{- $secrets = append $secrets (include "mlhub.names" $root | fromYaml).imageCredentials -}}
{{- end -}}
{{- dict "secrets" ($secrets | uniq) | toYaml -}}
{{- end -}}

{{- define "mlhub.metrics" -}}
{{- if or .Values.metrics.enabled .Values.metrics.serviceMonitor.enabled }}true{{ end -}}
{{- end -}}
