{{- /*
  Values that contradict each other: each sentence says what, and the cure. What a single value may be is in values.schema.json.
*/ -}}

{{- define "mlhub.checks" -}}
{{- include "mlhub.checkForeignKeys" . -}}
{{- include "mlhub.checkEnvironment" . -}}
{{- include "mlhub.checkAllowList" . -}}
{{- include "mlhub.checkDatabase" . -}}
{{- include "mlhub.checkHttps" . -}}
{{- include "mlhub.checkDoors" . -}}
{{- include "mlhub.checkNetworks" . -}}
{{- include "mlhub.checkTexts" . -}}
{{- if or (eq (int64 .Values.hub.uid) 0) (eq (int64 .Values.hub.fsGid) 0) -}}
{{- fail "hub.uid and hub.fsGid were 0, root, in the original. Nothing of this chart runs as root. Remove them: both are 61000." -}}
{{- end -}}
{{- if ne .Values.hub.deploymentStrategy.type "Recreate" -}}
{{- fail (printf "hub.deploymentStrategy.type=%s would run two hubs on one database for a while, which JupyterHub cannot do. Remove the value: it is Recreate." .Values.hub.deploymentStrategy.type) -}}
{{- end -}}
{{- if and .Values.proxy.chp.extraArgs (not (include "mlhub.runsChp" .)) -}}
{{- fail "proxy.chp.extraArgs are for configurable-http-proxy, which proxy.chp.enabled=false leaves out. Remove one of the two." -}}
{{- end -}}
{{- include "mlhub.checkSecrets" . -}}
{{- end -}}

{{- /* Values of Zero to JupyterHub's chart, which whoever comes from there has, all at once. */ -}}
{{- define "mlhub.checkForeignKeys" -}}
{{- $found := list -}}
{{- range $path, $place := .Files.Get "files/z2jh.yaml" | fromYaml -}}
{{- $value := $.Values -}}
{{- range splitList "." $path }}{{ $value = (kindIs "map" $value) | ternary (get (ternary $value dict (kindIs "map" $value)) .) "" }}{{ end -}}
{{- if not (has (toJson $value) (list "null" "\"\"" "{}" "[]")) }}{{ $found = append $found (printf "  %s: %s" $path $place) }}{{ end -}}
{{- end -}}
{{- range $path, $image := dict "hub.image.name" .Values.hub.image.name "proxy.chp.image.name" .Values.proxy.chp.image.name -}}
{{- if regexMatch "(^|/)(k8s-hub|configurable-http-proxy)$" $image }}{{ $found = append $found (printf "  %s=%s: nothing, hub and proxy are one image here" $path $image) }}{{ end -}}
{{- end -}}
{{- if $found -}}
{{- fail (printf "these values are those of the chart of Zero to JupyterHub. Remove them; where what each says goes here:\n%s" (join "\n" $found)) -}}
{{- end -}}
{{- end -}}

{{- /* A value that is the content of a file, where the file's name was given: --set in place of --set-file. */ -}}
{{- define "mlhub.checkTexts" -}}
{{- $policy := .Values.policy -}}
{{- if and $policy (kindIs "string" $policy) (hasKey (fromYaml $policy) "Error") -}}
{{- fail (printf "policy is a text that holds no rules: %q. It has to be the content of a policy file, %s" ($policy | trim | trunc 60) (include "mlhub.fileSentence" "policy=./policy.yaml")) -}}
{{- end -}}
{{- if regexMatch "^[^\\s=(]*[./\\\\][^\\s=(]*$" (.Values.userConfig | trim) -}}
{{- fail (printf "userConfig=%s is the name of a file. It has to be the file's content, %s" (trim .Values.userConfig) (include "mlhub.fileSentence" "userConfig=./jupyterhub_user_config.py")) -}}
{{- end -}}
{{- $names := .Values.mlhub.allowList.names -}}
{{- if and (kindIs "string" $names) (regexMatch "^([.]{0,2}/\\S*|\\S*[.](txt|csv|list))$" (trim $names)) -}}
{{- fail (printf "mlhub.allowList.names=%s is the name of a file. It has to be the file's content, %s" (trim $names) (include "mlhub.fileSentence" "mlhub.allowList.names=./people.txt")) -}}
{{- end -}}
{{- range $key, $text := pick .Values.proxy.https.manual "key" "cert" -}}
{{- if and $text (not (contains "-----BEGIN " $text)) -}}
{{- fail (printf "proxy.https.manual.%s holds no PEM block. It has to be the content of the file, %s" $key (include "mlhub.fileSentence" (printf "proxy.https.manual.%s=./cert.%s" $key (ternary "key" "crt" (eq $key "key"))))) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "mlhub.fileSentence" -}}
which --set-file reads: --set-file {{ . }}
{{- end -}}

{{- define "mlhub.checkAllowList" -}}
{{- $list := .Values.mlhub.allowList -}}
{{- if and $list.names $list.existingConfigMap -}}
{{- fail (printf "mlhub.allowList.names and mlhub.allowList.existingConfigMap=%s are both set. Keep one." $list.existingConfigMap) -}}
{{- end -}}
{{- $variable := include "mlhub.envValue" (list . "DYNAMIC_WHITELIST_ENABLED") | lower -}}
{{- if and (include "mlhub.allowList" .) (has $variable (list "false" "off" "no" "0" "f" "n")) -}}
{{- fail (printf "mlhub.allowList names who may sign in, and mlhub.env.DYNAMIC_WHITELIST_ENABLED=%s says that nobody asks. Keep one of them." $variable) -}}
{{- end -}}
{{- end -}}

{{- /* Variables that the chart decides itself, and the value that is meant. */ -}}
{{- define "mlhub.ownVariables" -}}
HUB_NAME: fullnameOverride
EXECUTION_MODE: nothing, it is k8s
START_JHUB: nothing
START_CHP: proxy.chp.enabled
MLHUB_ROUTER: proxy.chp.enabled
START_NGINX: nothing
START_SSH: ssh.enabled
SSHD_TARGET: nothing
SSHD_TARGET_PROXY_PROTOCOL: nothing
ADDITIONAL_ARGS: proxy.chp.extraArgs
CONFIGPROXY_AUTH_TOKEN: mlhub.secretToken
JPY_COOKIE_SECRET: mlhub.existingSecret
DATA_VOLUME_CONTAINER: nothing, it is /data
POLICY_FILE: policy
POD_NAMESPACE: nothing
HELM_RELEASE_NAME: nothing
MLHUB_WORKSPACE_EGRESS: mlhub.workspaceEgress
MLHUB_CULL_ENABLED: cull.enabled
MLHUB_CULL_TIMEOUT: cull.timeout
MLHUB_CULL_EVERY: cull.every
MLHUB_CULL_MAX_AGE: cull.maxAge
MLHUB_CULL_WARNING: cull.warning
MLHUB_BASE_URL: mlhub.baseUrl
MLHUB_DEBUG: mlhub.debug
MLHUB_TIMEZONE: mlhub.timezone
MLHUB_BASTION_TOKEN: mlhub.existingSecret
MLHUB_RUN_DIR: nothing
MLHUB_SSH_KEYS_DIR: mlhub.existingSecret
MLHUB_PROXY_API_URL: nothing
MLHUB_CHART_VALUES: nothing
MLHUB_PUBLIC_SERVICE: nothing
{{- end -}}

{{- define "mlhub.checkEnvironment" -}}
{{- $own := include "mlhub.ownVariables" . | fromYaml -}}
{{- range $place, $env := dict "mlhub.env" .Values.mlhub.env "hub.extraEnv" .Values.hub.extraEnv "proxy.extraEnv" .Values.proxy.extraEnv -}}
{{- range (include "mlhub.envList" $env | fromYaml).env -}}
{{- if not .name -}}
{{- fail (printf "%s has an entry without a name: %s. Write a map NAME: value, or a list of {name: NAME, value: …}." $place (toJson .)) -}}
{{- end -}}
{{- if hasKey $own .name -}}
{{- fail (printf "%s.%s is decided by the chart. Remove it; the value for it is: %s." $place .name (get $own .name)) -}}
{{- end -}}
{{- if and (eq .name "SSL_ENABLED") (or .valueFrom (ne $place "mlhub.env")) -}}
{{- fail (printf "%s.SSL_ENABLED decides what is deployed, so its value must stand in mlhub.env itself, or in proxy.https.enabled." $place) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "mlhub.checkSecrets" -}}
{{- $token := .Values.mlhub.secretToken -}}
{{- if and $token .Values.mlhub.existingSecret -}}
{{- fail "mlhub.secretToken and mlhub.existingSecret are both set. Keep one: the token is the key proxy.token of the Secret." -}}
{{- end -}}
{{- if and $token (lt (len $token) 16) -}}
{{- fail (printf "mlhub.secretToken has %d characters, which can be guessed. Set the output of: openssl rand -hex 32" (len $token)) -}}
{{- end -}}
{{- if .Values.mlhub.existingSecret -}}
{{- include "mlhub.checkExistingSecret" . -}}
{{- else -}}
{{- $data := include "mlhub.secretData" . | fromYaml -}}
{{- if not (hasKey $data "hub.cookieSecret") -}}
{{- if not (include "mlhub.keepsData" .) -}}
{{- fail (printf "`helm template` and `--dry-run=client` cannot keep generated secrets, and with hub.db.type=%s the hub cannot either: everybody would be signed out, and SSH clients would meet other keys, with each start of its pod. Set mlhub.existingSecret; docs/howto/kubernetes.md tells what goes into it." .Values.hub.db.type) -}}
{{- end -}}
{{- if include "mlhub.metrics" . -}}
{{- fail "metrics.enabled needs a token that `helm template` and `--dry-run=client` cannot keep. Set mlhub.existingSecret, with the key metrics.token among the others." -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Where the cluster can be read, before the hub's pod is replaced by one that could not start. */ -}}
{{- define "mlhub.checkExistingSecret" -}}
{{- $name := .Values.mlhub.existingSecret -}}
{{- $needed := list "proxy.token" "hub.cookieSecret" -}}
{{- if .Values.ssh.enabled }}{{ $needed = concat $needed (list "ssh.ca" "ssh.hostKey" "ssh.token") }}{{ end -}}
{{- if include "mlhub.metrics" . }}{{ $needed = append $needed "metrics.token" }}{{ end -}}
{{- with lookup "v1" "Secret" .Release.Namespace $name -}}
{{- $data := .data | default dict -}}
{{- range $key := $needed -}}
{{- if not (hasKey $data $key) -}}
{{- fail (printf "mlhub.existingSecret=%s has no key %s. Add it; docs/howto/kubernetes.md tells under GitOps how each is made." $name $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "mlhub.checkDatabase" -}}
{{- $db := .Values.hub.db -}}
{{- $isServer := has $db.type (list "postgres" "mysql") -}}
{{- if and $isServer (not (or $db.url $db.existingSecret)) -}}
{{- fail (printf "hub.db.type=%s needs an address. Set hub.db.url (%s://user@host/database), or hub.db.existingSecret." $db.type (ternary "postgresql" "mysql" (eq $db.type "postgres"))) -}}
{{- end -}}
{{- if and (not $isServer) (or $db.url $db.password $db.existingSecret) -}}
{{- fail (printf "hub.db.url, password and existingSecret are for a database server, but hub.db.type=%s is a file of the hub's. Set hub.db.type to postgres or mysql." $db.type) -}}
{{- end -}}
{{- if and $db.existingSecret (or $db.url $db.password) -}}
{{- fail "hub.db.existingSecret and hub.db.url or password are both set. Keep one: the Secret has the whole URL, and the password unless it is in the URL." -}}
{{- end -}}
{{- if and $db.pvc.existingClaim (not (include "mlhub.keepsData" .)) -}}
{{- fail (printf "hub.db.pvc.existingClaim=%s is for a file of the hub's, but with hub.db.type=%s there is none. Remove it, or set hub.db.type=sqlite-pvc." $db.pvc.existingClaim $db.type) -}}
{{- end -}}
{{- if and $db.url (not (regexMatch (ternary "^postgres(ql)?([+]\\w+)?://" "^mysql([+]\\w+)?://" (eq $db.type "postgres")) $db.url)) -}}
{{- fail (printf "hub.db.url is no address of hub.db.type=%s: it begins with %q. Write %s://user@host/database." $db.type (regexFind "^[a-z+0-9]*" $db.url) (ternary "postgresql" "mysql" (eq $db.type "postgres"))) -}}
{{- end -}}
{{- end -}}

{{- define "mlhub.checkHttps" -}}
{{- $https := .Values.proxy.https -}}
{{- $isOn := include "mlhub.https" . -}}
{{- $variable := include "mlhub.envValue" (list . "SSL_ENABLED") | lower -}}
{{- if and $variable (not (has $variable (list "true" "on" "yes" "1" "t" "y" "false" "off" "no" "0" "f" "n"))) -}}
{{- fail (printf "mlhub.env.SSL_ENABLED=%s is neither true nor false." $variable) -}}
{{- end -}}
{{- if and $variable (kindIs "bool" $https.enabled) (ne $https.enabled (has $variable (list "true" "on" "yes" "1" "t" "y"))) -}}
{{- fail (printf "proxy.https.enabled=%t and mlhub.env.SSL_ENABLED=%s contradict each other. Keep one of them." $https.enabled $variable) -}}
{{- end -}}
{{- if ne (empty $https.manual.key) (empty $https.manual.cert) -}}
{{- fail "proxy.https.manual needs both key and cert. Set both, or neither to have nginx make a certificate for a trial." -}}
{{- end -}}
{{- if and $https.manual.cert (not $isOn) -}}
{{- fail "proxy.https.manual has a certificate, but HTTPS is off. Set mlhub.env.SSL_ENABLED=true, or remove the certificate." -}}
{{- end -}}
{{- if and $https.manual.cert (ne $https.type "manual") -}}
{{- fail (printf "proxy.https.manual has a certificate, but proxy.https.type=%s does not use it. Set proxy.https.type=manual, or remove the certificate." $https.type) -}}
{{- end -}}
{{- if and $https.secret.name (ne $https.type "secret") -}}
{{- fail (printf "proxy.https.secret.name=%s has a certificate, but proxy.https.type=%s does not use it. Set proxy.https.type=secret, or remove the name." $https.secret.name $https.type) -}}
{{- end -}}
{{- if and $https.secret.name (not $isOn) -}}
{{- fail (printf "proxy.https.secret.name=%s has a certificate, but HTTPS is off. Set mlhub.env.SSL_ENABLED=true, or remove the name." $https.secret.name) -}}
{{- end -}}
{{- if and $https.secret.passphrase (not $https.secret.name) -}}
{{- fail (printf "proxy.https.secret.passphrase=%s is a key of the Secret that has the certificate, and proxy.https.secret.name names none. Set both and proxy.https.type=secret, or remove it." $https.secret.passphrase) -}}
{{- end -}}
{{- if and $isOn (eq $https.type "secret") (not $https.secret.name) -}}
{{- fail "proxy.https.type=secret needs proxy.https.secret.name, the name of a Secret with a certificate. For one of type kubernetes.io/tls set also secret.crt=tls.crt and secret.key=tls.key." -}}
{{- end -}}
{{- if and $isOn (eq $https.type "letsencrypt") -}}
{{- if not $https.letsencrypt.issuerRef.name -}}
{{- fail "proxy.https.type=letsencrypt leaves the certificate to cert-manager. Set proxy.https.letsencrypt.issuerRef.name to an issuer that exists in the cluster (and kind: Issuer or ClusterIssuer)." -}}
{{- end -}}
{{- if not (or $https.hosts (and .Values.ingress.enabled .Values.ingress.hosts)) -}}
{{- fail "proxy.https.type=letsencrypt needs a name to ask a certificate for. Set proxy.https.hosts." -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "mlhub.checkNetworks" -}}
{{- $words := (include "mlhub.egressWords" . | fromYaml).words -}}
{{- if and .Values.singleuser.networkPolicy.internetExcept (not (has "internet" $words)) -}}
{{- fail "singleuser.networkPolicy.internetExcept takes ranges out of the internet, but that is shut: mlhub.workspaceEgress has no word internet, or singleuser.networkPolicy.egress is given. Add internet to mlhub.workspaceEgress, or remove internetExcept." -}}
{{- end -}}
{{- if and .Values.mlhub.workspaceEgress (not $words) -}}
{{- fail (printf "mlhub.workspaceEgress=%q names nothing. %s" .Values.mlhub.workspaceEgress (include "mlhub.egressExample" .)) -}}
{{- end -}}
{{- range list "all" "none" -}}
{{- if and (has . $words) (gt (len $words) 1) -}}
{{- fail (printf "mlhub.workspaceEgress has %q beside %s, but %q stands alone. %s" . (without $words . | join ", ") . (include "mlhub.egressExample" $)) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.mlhub.workspaceEgress (not (has "all" $words)) (not .Values.singleuser.networkPolicy.enabled) -}}
{{- fail (printf "mlhub.workspaceEgress=%q cannot hold with singleuser.networkPolicy.enabled=false. Set enabled=true, or mlhub.workspaceEgress=all." .Values.mlhub.workspaceEgress) -}}
{{- end -}}
{{- range without $words "internet" "all" "none" }}{{ include "mlhub.checkRange" (list $ .) }}{{ end -}}
{{- end -}}

{{- define "mlhub.egressExample" -}}
Write e.g. internet, or internet,10.20.0.0/16 to add a network of the site's, or all, or none.
{{- end -}}

{{- /* One range of mlhub.workspaceEgress: {{ include "mlhub.checkRange" (list . "10.20.0.0/16") }} */ -}}
{{- define "mlhub.checkRange" -}}
{{- $word := index . 1 -}}
{{- $isFour := regexMatch "^((25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])([.]|/|$)){4}([0-9]|[12][0-9]|3[0-2])?$" $word -}}
{{- if not (or (and $isFour (regexMatch "^[0-9]+([.][0-9]+){3}(/[0-9]+)?$" $word)) (regexMatch "^[0-9a-f]*:[0-9a-f]*:[0-9a-f:]*(/([0-9]|[1-9][0-9]|1[01][0-9]|12[0-8]))?$" $word)) -}}
{{- fail (printf "mlhub.workspaceEgress has the entry %q, which is neither a word that is known nor an address or range. %s" $word (include "mlhub.egressExample" .)) -}}
{{- end -}}
{{- if has $word (list "0.0.0.0/0" "::/0") -}}
{{- fail (printf "mlhub.workspaceEgress has the entry %q, which is every address. Write all." $word) -}}
{{- end -}}
{{- $isMetadata := regexMatch "^(fe[89ab]|fd00:ec2:|fd20:ce:)" $word -}}
{{- if $isFour -}}
{{- $address := splitList "/" $word | first -}}
{{- $cidr := ternary $word (printf "%s/32" $word) (contains "/" $word) -}}
{{- if not (regexMatch "^0*$" (include "mlhub.bits" (printf "%s/32" $address) | trimPrefix (include "mlhub.bits" $cidr))) -}}
{{- fail (printf "mlhub.workspaceEgress has the entry %q, which is neither a range (its address goes on behind /%s) nor an address. Write the range's first address, or the one address without a slash." $word (splitList "/" $cidr | last)) -}}
{{- end -}}
{{- range include "mlhub.metadataRanges" . | splitList " " }}{{ if hasPrefix (include "mlhub.bits" .) (include "mlhub.bits" $cidr) }}{{ $isMetadata = true }}{{ end }}{{ end -}}
{{- end -}}
{{- if $isMetadata -}}
{{- fail (printf "mlhub.workspaceEgress has the entry %q, by which clouds hand out a machine's credentials. Remove it; the value that opens such an address is singleuser.cloudMetadata.enabled." $word) -}}
{{- end -}}
{{- end -}}

{{- /* Ways in: Services, Ingress, Gateway. */ -}}
{{- define "mlhub.checkDoors" -}}
{{- $endsInPod := eq (include "mlhub.tlsEnds" .) "pod" -}}
{{- if and .Values.ssh.service.enabled (not .Values.ssh.enabled) -}}
{{- fail "ssh.service.enabled=true asks for a Service of the SSH bastion, but ssh.enabled=false. Remove one of them." -}}
{{- end -}}
{{- if and .Values.ingress.tls (not .Values.ingress.enabled) -}}
{{- fail "ingress.tls is set, but ingress.enabled=false. Set ingress.enabled=true, or remove ingress.tls; without an ingress proxy.https is for certificates." -}}
{{- end -}}
{{- if and .Values.ingress.enabled $endsInPod (not (regexMatch "backend-protocol|ssl-passthrough|serversscheme" (.Values.ingress.annotations | default dict | keys | join " "))) -}}
{{- fail "ingress.enabled=true, but HTTPS is on and ends in the proxy's pod, so the ingress would be redirected for ever. Let TLS end at the ingress (remove mlhub.env.SSL_ENABLED and set ingress.tls, or proxy.https.type=offload), or tell the ingress to speak HTTPS to the pod by its annotation (…/backend-protocol: HTTPS)." -}}
{{- end -}}
{{- $gateway := .Values.gateway -}}
{{- if $gateway.enabled -}}
{{- if not $gateway.parentRefs -}}
{{- fail "gateway.enabled=true needs gateway.parentRefs, the Gateway that the routes belong to: [{name: my-gateway, namespace: gateways}]." -}}
{{- end -}}
{{- if and $gateway.httpRoute.enabled $endsInPod -}}
{{- fail "gateway.httpRoute leads to plain HTTP, but HTTPS is on and ends in the proxy's pod. Let TLS end at the Gateway (proxy.https.type=offload), or set gateway.httpRoute.enabled=false and one of tlsRoute and tcpRoute." -}}
{{- end -}}
{{- if and $gateway.tlsRoute.enabled (not $endsInPod) -}}
{{- fail "gateway.tlsRoute hands TLS through to the proxy's pod, where HTTPS is off. Set mlhub.env.SSL_ENABLED=true, or use gateway.httpRoute." -}}
{{- end -}}
{{- if and $gateway.tlsRoute.enabled (not $gateway.hostnames) -}}
{{- fail "gateway.tlsRoute.enabled=true needs gateway.hostnames: TLS is told apart by the name that the client asks for." -}}
{{- end -}}
{{- if not (or $gateway.httpRoute.enabled $gateway.tlsRoute.enabled $gateway.tcpRoute.enabled) -}}
{{- fail "gateway.enabled=true, but httpRoute, tlsRoute and tcpRoute are all off. Enable one, or set gateway.enabled=false." -}}
{{- end -}}
{{- end -}}
{{- end -}}
