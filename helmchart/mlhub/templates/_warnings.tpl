{{- /* What is allowed and yet worth a word in the notes, as YAML {warnings: [list]}. */ -}}
{{- define "mlhub.warnings" -}}
{{- $warnings := list -}}
{{- $ends := include "mlhub.tlsEnds" . -}}
{{- if not $ends -}}
{{- if not (or .Values.ingress.enabled .Values.gateway.enabled) -}}
{{- $warnings = append $warnings "Passwords travel in the clear: HTTPS is off. Set mlhub.env.SSL_ENABLED=true and proxy.https, or let TLS end in front of the Service." -}}
{{- end -}}
{{- else if and (eq $ends "pod") (not (include "mlhub.certificate" .)) -}}
{{- $warnings = append $warnings "The certificate is made by the proxy's pod, anew with each of its starts; browsers warn of it. Set proxy.https.manual, or type secret or letsencrypt." -}}
{{- end -}}
{{- if and (or .Values.ingress.enabled (and .Values.gateway.enabled .Values.gateway.httpRoute.enabled) (eq $ends "outside")) (not .Values.proxy.trustedProxies) (not (include "mlhub.envValue" (list . "MLHUB_TRUSTED_PROXIES"))) -}}
{{- $warnings = append $warnings "Something stands in front of the proxy, but its X-Forwarded-* headers are not believed: the hub sees its address in place of people's, and http in place of https. Set proxy.trustedProxies to the addresses from which it connects." -}}
{{- end -}}
{{- if and .Values.ssh.enabled (or .Values.ingress.enabled .Values.gateway.enabled) (not .Values.gateway.tcpRoute.enabled) (not .Values.ssh.service.enabled) (eq .Values.proxy.service.type "ClusterIP") -}}
{{- $warnings = append $warnings "An Ingress leads no SSH. Set ssh.service.enabled=true, gateway.tcpRoute.enabled=true, or ssh.enabled=false." -}}
{{- end -}}
{{- if not .Values.singleuser.networkPolicy.enabled -}}
{{- $warnings = append $warnings "singleuser.networkPolicy.enabled=false: workspaces reach each other, the cluster and the cloud's metadata address." -}}
{{- else -}}
{{- if has "all" (include "mlhub.egressWords" . | fromYaml).words -}}
{{- $warnings = append $warnings "mlhub.workspaceEgress=all: workspaces reach private networks, where nodes, the API server and other pods are. Unless that is meant, name the ranges that they need: internet,10.20.0.0/16." -}}
{{- end -}}
{{- $reopened := include "mlhub.reopened" . | fromYaml -}}
{{- with $reopened.private -}}
{{- $warnings = append $warnings (printf "singleuser.networkPolicy.egress lets workspaces into private networks (%s), where nodes, the API server and other pods are. Unless that is meant, narrow the rule, or name in its `except`: %s." (uniq . | join ", ") (include "mlhub.privateRanges" $ | replace " " ", ")) -}}
{{- end -}}
{{- if and $reopened.metadata (not .Values.singleuser.cloudMetadata.enabled) -}}
{{- $warnings = append $warnings (printf "singleuser.networkPolicy.egress lets workspaces reach the cloud's metadata address (%s): everybody with a workspace can take the cloud credentials of its node. Name %s/32 in the rule's `except`." (uniq $reopened.metadata | join ", ") .Values.singleuser.cloudMetadata.ip) -}}
{{- end -}}
{{- end -}}
{{- if .Values.singleuser.cloudMetadata.enabled -}}
{{- $warnings = append $warnings (printf "singleuser.cloudMetadata.enabled=true: everybody with a workspace can take the cloud credentials of its node at %s." .Values.singleuser.cloudMetadata.ip) -}}
{{- end -}}
{{- if and .Values.ssh.enabled (not .Values.ssh.networkPolicy.enabled) -}}
{{- $warnings = append $warnings "ssh.networkPolicy.enabled=false: every pod of the cluster can claim any client address to the SSH bastion." -}}
{{- end -}}
{{- range $name := list "hub" "proxy" -}}
{{- $component := get $.Values $name -}}
{{- if not $component.networkPolicy.enabled -}}
{{- $warnings = append $warnings (printf "%s.networkPolicy.enabled=false: every pod of the cluster reaches the %s%s." $name $name (ternary "" ", its API too" (eq $name "hub"))) -}}
{{- end -}}
{{- if and $component.pdb.enabled (has (toString $component.pdb.minAvailable) (list "1" "100%")) -}}
{{- $warnings = append $warnings (printf "%s.pdb.minAvailable=%v: the node of its only pod cannot be drained." $name $component.pdb.minAvailable) -}}
{{- end -}}
{{- end -}}
{{- if not (or .Values.rbac.enabled .Values.hub.serviceAccount.name) -}}
{{- $warnings = append $warnings "rbac.enabled=false: the hub can start no workspace unless the namespace's default ServiceAccount may. Set hub.serviceAccount.name to one that may." -}}
{{- end -}}
{{- $asksForList := has (include "mlhub.envValue" (list . "DYNAMIC_WHITELIST_ENABLED") | lower) (list "true" "on" "yes" "1" "t" "y") -}}
{{- $isMounted := false -}}
{{- range .Values.hub.extraVolumeMounts }}{{ if hasPrefix "/resources/users" .mountPath }}{{ $isMounted = true }}{{ end }}{{ end -}}
{{- if and $asksForList (not (include "mlhub.allowList" .)) (not $isMounted) -}}
{{- $warnings = append $warnings "mlhub.env.DYNAMIC_WHITELIST_ENABLED asks for a list of names, and there is none: the authenticator's own rules decide who gets in. Set mlhub.allowList.names." -}}
{{- end -}}
{{- if eq .Values.hub.db.type "sqlite-memory" -}}
{{- $warnings = append $warnings "hub.db.type=sqlite-memory: users, keys and tokens are gone with the hub's pod." -}}
{{- end -}}
{{- dict "warnings" $warnings | toYaml -}}
{{- end -}}
