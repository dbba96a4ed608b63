{{- /*
  What workspaces may reach: the internet or not, and which of a site's own rules lead back into what is private.
*/ -}}

{{- /* "true" where the internet is open: as internet says; unset, unless the site gives rules of its own, even an empty list. */ -}}
{{- define "mlhub.internet" -}}
{{- $policy := .Values.singleuser.networkPolicy -}}
{{- if kindIs "invalid" $policy.internet -}}
{{- if kindIs "invalid" $policy.egress }}true{{ end -}}
{{- else if $policy.internet }}true{{ end -}}
{{- end -}}

{{- define "mlhub.privateRanges" -}}
10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10 169.254.0.0/16
{{- end -}}

{{- /* The bits that a range of IPv4 addresses has in common: 10.0.0.0/8 is 00001010. One range is in another whose bits begin its own. */ -}}
{{- define "mlhub.bits" -}}
{{- $bits := "" -}}
{{- range (splitList "/" . | first | splitList ".") }}{{ $bits = printf "%s%08b" $bits (atoi .) }}{{ end -}}
{{- $bits | trunc (splitList "/" . | last | atoi) -}}
{{- end -}}

{{- /* "true" where an ipBlock of IPv4 lets into one of these ranges, its exceptions seen one by one: {{ include "mlhub.opens" (list $block $ranges) }} */ -}}
{{- define "mlhub.opens" -}}
{{- $block := index . 0 -}}
{{- $bits := include "mlhub.bits" $block.cidr -}}
{{- range index . 1 -}}
{{- $range := include "mlhub.bits" . -}}
{{- if or (hasPrefix $bits $range) (hasPrefix $range $bits) -}}
{{- $common := ternary $bits $range (gt (len $bits) (len $range)) -}}
{{- $isShut := false -}}
{{- range $block.except }}{{ if hasPrefix (include "mlhub.bits" .) $common }}{{ $isShut = true }}{{ end }}{{ end -}}
{{- if not $isShut }}true{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The ranges of singleuser.networkPolicy.egress that let into what is private, and to the metadata address, as YAML {private: [list], metadata: [list]}. */ -}}
{{- define "mlhub.reopened" -}}
{{- $ranges := include "mlhub.privateRanges" . | splitList " " -}}
{{- $metadata := list (printf "%s/32" .Values.singleuser.cloudMetadata.ip) -}}
{{- $found := dict "private" list "metadata" list -}}
{{- range .Values.singleuser.networkPolicy.egress -}}
{{- /* A rule that names nobody is for everybody. */ -}}
{{- range .to | default (list (dict "ipBlock" (dict "cidr" "0.0.0.0/0"))) -}}
{{- with .ipBlock -}}
{{- if and (regexMatch "^(::/0|[fF][cCdDeE].*:.*)$" (toString .cidr)) (not .except) -}}
{{- /* IPv6 without exceptions: all of it, or what is of a site (fc00::/7) or a link (fe80::/10). */ -}}
{{- $_ := set $found "private" (append $found.private .cidr) -}}
{{- else if regexMatch "^[0-9.]+/[0-9]+$" (toString .cidr) -}}
{{- if include "mlhub.opens" (list . $ranges) }}{{ $_ := set $found "private" (append $found.private .cidr) }}{{ end -}}
{{- if include "mlhub.opens" (list . $metadata) }}{{ $_ := set $found "metadata" (append $found.metadata .cidr) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $found | toYaml -}}
{{- end -}}
