{{- /*
  Values that contradict each other: each sentence says what, and the cure. What a single value may be is in values.schema.json.
*/ -}}

{{- define "mlhub.checks" -}}
{{- include "mlhub.checkEnvironment" . -}}
{{- include "mlhub.checkDatabase" . -}}
{{- include "mlhub.checkHttps" . -}}
{{- include "mlhub.checkDoors" . -}}
{{- include "mlhub.checkNetworks" . -}}
{{- if or (eq (int64 .Values.hub.uid) 0) (eq (int64 .Values.hub.fsGid) 0) -}}
{{- fail "hub.uid and hub.fsGid were 0, root, in the original. Nothing of this chart runs as root. Remove them: both are 1000." -}}
{{- end -}}
{{- if ne .Values.hub.deploymentStrategy.type "Recreate" -}}
{{- fail (printf "hub.deploymentStrategy.type=%s would run two hubs on one database for a while, which JupyterHub can not do. Remove the value: it is Recreate." .Values.hub.deploymentStrategy.type) -}}
{{- end -}}
{{- include "mlhub.checkSecrets" . -}}
{{- end -}}

{{- /* Variables that the chart decides itself, and the value that is meant. */ -}}
{{- define "mlhub.ownVariables" -}}
HUB_NAME: fullnameOverride
EXECUTION_MODE: nothing, it is k8s
START_JHUB: nothing
START_CHP: nothing
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
MLHUB_BASE_URL: mlhub.baseUrl
MLHUB_DEBUG: mlhub.debug
MLHUB_BASTION_TOKEN: mlhub.existingSecret
MLHUB_RUN_DIR: nothing
MLHUB_SSH_KEYS_DIR: mlhub.existingSecret
MLHUB_PROXY_API_URL: nothing
MLHUB_CHART_VALUES: nothing
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
{{- fail (printf "`helm template` and `--dry-run=client` can not keep generated secrets, and with hub.db.type=%s the hub can not either: everybody would be signed out, and SSH clients would meet other keys, with each start of its pod. Set mlhub.existingSecret; docs/howto/kubernetes.md tells what goes into it." .Values.hub.db.type) -}}
{{- end -}}
{{- if include "mlhub.metrics" . -}}
{{- fail "metrics.enabled needs a token that `helm template` and `--dry-run=client` can not keep. Set mlhub.existingSecret, with the key metrics.token among the others." -}}
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
{{- if and .Values.singleuser.networkPolicy.internetExcept (not (include "mlhub.internet" .)) -}}
{{- fail "singleuser.networkPolicy.internetExcept takes ranges out of the internet, but that is shut: internet=false, or egress is given. Set singleuser.networkPolicy.internet=true, or remove internetExcept." -}}
{{- end -}}
{{- end -}}

{{- /* Ways in: Services, Ingress, Gateway. */ -}}
{{- define "mlhub.checkDoors" -}}
{{- $endsInPod := eq (include "mlhub.tlsEnds" .) "pod" -}}
{{- if and .Values.ssh.service.enabled (not .Values.ssh.enabled) -}}
{{- fail "ssh.service.enabled=true asks for a Service of the SSH door, but ssh.enabled=false. Remove one of them." -}}
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
