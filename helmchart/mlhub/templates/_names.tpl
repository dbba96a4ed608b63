{{- /*
  What everything is called. Each name stands here and nowhere else.
*/ -}}

{{- /*
  The release's name as a DNS label of at most 40 characters, a letter first: the hub's own name (HUB_NAME), the name of its
  Service, and the start of all others. A release name that has to be changed for that gets a hash, so that two stay two.
*/ -}}
{{- define "mlhub.fullname" -}}
{{- $release := .Release.Name -}}
{{- $name := $release | replace "." "-" -}}
{{- if regexMatch "^[0-9]" $name }}{{ $name = printf "hub-%s" $name }}{{ end -}}
{{- if or (ne $name $release) (gt (len $name) 40) -}}
{{- $name = printf "%s-%s" ($name | trunc 31 | trimSuffix "-") (sha256sum $release | trunc 8) -}}
{{- end -}}
{{- .Values.fullnameOverride | default $name -}}
{{- end -}}

{{- /*
  All names, as YAML: {{ $names := include "mlhub.names" . | fromYaml }}
  Those that begin with the namespace belong to objects of the whole cluster.
*/ -}}
{{- define "mlhub.names" -}}
{{- $full := include "mlhub.fullname" . -}}
hub: {{ $full }}
hubPod: {{ $full }}-hub
secret: {{ .Values.mlhub.existingSecret | default (printf "%s-hub" $full) }}
config: {{ $full }}-hub-config
userConfig: {{ $full }}-user-config
policy: {{ $full }}-policy
allowList: {{ $full }}-allow-list
data: {{ .Values.hub.db.pvc.existingClaim | default (printf "%s-hub-db-dir" $full) }}
imageCredentials: {{ $full }}-hub-image-credentials
proxy: {{ $full }}-proxy
proxyApi: {{ $full }}-proxy-api
proxyPublic: {{ $full }}-proxy-public
certificate: {{ $full }}-proxy-tls
bastion: {{ $full }}-bastion
ssh: {{ $full }}-ssh
singleuser: {{ $full }}-singleuser
test: {{ $full }}-test
nodes: {{ .Release.Namespace }}-{{ $full }}-nodes
defaultPriority: {{ .Release.Namespace }}-{{ $full }}-default-priority
placeholderPriority: {{ .Release.Namespace }}-{{ $full }}-user-placeholder-priority
{{- end -}}

{{- /* The labels by which pods of a component are selected: {{ include "mlhub.selector" (list . "hub") }} */ -}}
{{- define "mlhub.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ $root.Values.nameOverride | default "mlhub" }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- /* The labels of a pod. No version among them: a new chart alone, with the images of before, starts no pod anew. */ -}}
{{- define "mlhub.podLabels" -}}
{{- $root := index . 0 -}}
{{ include "mlhub.selector" . }}
app: {{ $root.Values.nameOverride | default "mlhub" }}
release: {{ $root.Release.Name }}
component: {{ index . 1 }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* The labels of an object. */ -}}
{{- define "mlhub.labels" -}}
{{- $root := index . 0 -}}
{{ include "mlhub.podLabels" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- /* The labels by which the pods of workspaces are selected: the spawner sets them, and nobody else can. */ -}}
{{- define "mlhub.workspaceSelector" -}}
mlhub.origin: {{ include "mlhub.fullname" . }}
component: singleuser-server
{{- end -}}

{{- /* The image of a container, and when it is pulled: {{ include "mlhub.image" (list . .Values.hub.image) }} */ -}}
{{- define "mlhub.image" -}}
{{- $root := index . 0 -}}
{{- $image := index . 1 -}}
image: {{ printf "%s:%s" $image.name ($image.tag | default $root.Values.image.tag | default $root.Chart.AppVersion) }}
imagePullPolicy: {{ $image.pullPolicy | default $root.Values.image.pullPolicy }}
{{- end -}}
