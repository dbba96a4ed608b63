{{- /*
  What workspaces may reach: the internet or not, and which of a site's own rules lead back into what is private.
*/ -}}

{{- /* The words and ranges of mlhub.workspaceEgress, as YAML {words: [list]}; unset, the internet, unless the site gives rules of its own, even an empty list. */ -}}
{{- define "mlhub.egressWords" -}}
{{- $words := list -}}
{{- range splitList "," .Values.mlhub.workspaceEgress }}{{ with trim . | lower }}{{ $words = append $words . }}{{ end }}{{ end -}}
{{- if and (not .Values.mlhub.workspaceEgress) (kindIs "invalid" .Values.singleuser.networkPolicy.egress) }}{{ $words = list "internet" }}{{ end -}}
{{- dict "words" ($words | uniq) | toYaml -}}
{{- end -}}

{{- /* These three are what mlhub/egress.py of the hub says of IPv4. First: where sites, nodes and pods are. */ -}}
{{- define "mlhub.privateRanges" -}}
10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 100.64.0.0/10 169.254.0.0/16
{{- end -}}

{{- /* What else is not the internet: this machine, protocols, benchmarks, multicast, reserved. */ -}}
{{- define "mlhub.specialRanges" -}}
0.0.0.0/8 127.0.0.0/8 192.0.0.0/24 198.18.0.0/15 224.0.0.0/4 240.0.0.0/4
{{- end -}}

{{- /* Where clouds hand out a machine's credentials: most of them, Azure, Alibaba, Oracle. */ -}}
{{- define "mlhub.metadataRanges" -}}
169.254.0.0/16 168.63.129.16/32 100.100.100.200/32 192.0.0.192/32
{{- end -}}

{{- /* The same by IPv6: link-local, Amazon, Google. */ -}}
{{- define "mlhub.metadataRanges6" -}}
fe80::/10 fd00:ec2::254/128 fd20:ce::254/128
{{- end -}}

{{- /* The metadata addresses within a range, as YAML {except: [list]}: {{ include "mlhub.metadataWithin" (list . $cidr) }} */ -}}
{{- define "mlhub.metadataWithin" -}}
{{- $root := index . 0 -}}
{{- $cidr := index . 1 -}}
{{- $except := list -}}
{{- if contains ":" $cidr -}}
{{- /* Ranges of IPv6 are not calculated with here: these are the ones that hold them, and have a name. */ -}}
{{- if eq $cidr "::/0" }}{{ $except = include "mlhub.metadataRanges6" $root | splitList " " }}{{ end -}}
{{- if has $cidr (list "fc00::/7" "fd00::/8") }}{{ $except = include "mlhub.metadataRanges6" $root | splitList " " | rest }}{{ end -}}
{{- else -}}
{{- range append (include "mlhub.metadataRanges" $root | splitList " ") (printf "%s/32" $root.Values.singleuser.cloudMetadata.ip) -}}
{{- if hasPrefix (include "mlhub.bits" $cidr) (include "mlhub.bits" .) }}{{ $except = append $except . }}{{ end -}}
{{- end -}}
{{- end -}}
{{- dict "except" ($except | uniq) | toYaml -}}
{{- end -}}

{{- /* One range that is open, without the metadata addresses in it, as an entry of a rule's `to`. */ -}}
{{- define "mlhub.openRange" -}}
{{- $cidr := index . 1 -}}
{{- if not (contains "/" $cidr) }}{{ $cidr = printf "%s/%s" $cidr (ternary "128" "32" (contains ":" $cidr)) }}{{ end -}}
- ipBlock:
    cidr: {{ $cidr | quote }}
    {{- with (include "mlhub.metadataWithin" (list (index . 0) $cidr) | fromYaml).except }}
    except:
      {{- toYaml . | nindent 6 }}
    {{- end }}
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
