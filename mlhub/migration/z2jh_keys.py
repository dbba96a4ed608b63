"""Where each value of Zero to JupyterHub's chart goes, where that takes no more than a name. Pure:
tables alone.
"""

from __future__ import annotations

from collections.abc import Mapping


def _list(words: str) -> tuple[str, ...]:
    return tuple(words.split())


# Values that this chart has at the same place, with the same meaning.
SAME = _list("""
custom nameOverride fullnameOverride
hub.service.type hub.service.annotations hub.service.ports hub.service.loadBalancerIP
hub.initContainers hub.nodeSelector hub.labels hub.annotations hub.extraEnv
hub.extraContainers hub.extraVolumes hub.extraVolumeMounts hub.resources
hub.serviceAccount.name hub.serviceAccount.annotations
hub.pdb hub.networkPolicy.enabled hub.networkPolicy.ingress hub.networkPolicy.egress
hub.imagePullSecret hub.db.upgrade hub.db.password hub.db.url hub.db.pvc hub.deploymentStrategy.type
rbac.enabled
proxy.service.type proxy.service.labels proxy.service.annotations proxy.service.nodePorts
proxy.service.loadBalancerIP proxy.service.loadBalancerSourceRanges
proxy.service.externalTrafficPolicy proxy.chp.resources proxy.labels proxy.annotations
proxy.nodeSelector proxy.pdb proxy.networkPolicy.enabled proxy.networkPolicy.ingress
proxy.networkPolicy.egress proxy.https.enabled proxy.https.hosts proxy.https.manual
singleuser.image.name singleuser.image.tag singleuser.image.pullPolicy
singleuser.image.pullSecrets singleuser.cpu singleuser.memory singleuser.storage.capacity
singleuser.startTimeout singleuser.extraLabels singleuser.extraAnnotations
singleuser.nodeSelector singleuser.extraTolerations singleuser.networkPolicy.enabled
singleuser.networkPolicy.ingress singleuser.networkPolicy.egress singleuser.cloudMetadata.ip
cull.enabled cull.timeout cull.every cull.maxAge
scheduling.podPriority.enabled scheduling.podPriority.globalDefault
scheduling.podPriority.defaultPriority scheduling.podPriority.userPlaceholderPriority
scheduling.corePods scheduling.userPods
ingress.enabled ingress.ingressClassName ingress.annotations ingress.hosts ingress.pathSuffix
ingress.pathType ingress.tls
""")

# Values that have another name here.
RENAMED: Mapping[str, str] = {
    "debug.enabled": "mlhub.debug",
    "hub.baseUrl": "mlhub.baseUrl",
    "hub.tolerations": "scheduling.corePods.tolerations",
    "proxy.chp.extraCommandLineFlags": "proxy.chp.extraArgs",
    "proxy.chp.extraEnv": "proxy.extraEnv",
    "proxy.chp.networkPolicy": "proxy.networkPolicy",
    "proxy.chp.nodeSelector": "proxy.nodeSelector",
    "proxy.chp.pdb": "proxy.pdb",
    "proxy.chp.tolerations": "scheduling.corePods.tolerations",
    "proxy.secretToken": "mlhub.secretToken",
    "rbac.create": "rbac.enabled",
    "singleuser.serviceAccountName": "singleuser.serviceAccount",
    "singleuser.storage.dynamic.storageAccessModes": "singleuser.storage.accessModes",
    "singleuser.storage.dynamic.storageClass": "singleuser.storage.storageClass",
}

# Values that are traits here.
TRAITS: Mapping[str, str] = {
    "hub.activeServerLimit": "JupyterHub.active_server_limit",
    "hub.allowNamedServers": "JupyterHub.allow_named_servers",
    "hub.concurrentSpawnLimit": "JupyterHub.concurrent_spawn_limit",
    "hub.consecutiveFailureLimit": "Spawner.consecutive_failure_limit",
    "hub.namedServerLimitPerUser": "JupyterHub.named_server_limit_per_user",
    "hub.publicURL": "JupyterHub.public_url",
    "hub.redirectToServer": "JupyterHub.redirect_to_server",
    "hub.shutdownOnLogout": "JupyterHub.shutdown_on_logout",
    "hub.templatePaths": "JupyterHub.template_paths",
    "hub.templateVars": "JupyterHub.template_vars",
    "singleuser.allowPrivilegeEscalation": "KubeSpawner.allow_privilege_escalation",
    "singleuser.cmd": "Spawner.cmd",
    "singleuser.defaultUrl": "Spawner.default_url",
    "singleuser.extraContainers": "KubeSpawner.extra_containers",
    "singleuser.extraEnv": "KubeSpawner.environment",
    "singleuser.extraNodeAffinity.preferred": "KubeSpawner.node_affinity_preferred",
    "singleuser.extraNodeAffinity.required": "KubeSpawner.node_affinity_required",
    "singleuser.extraPodAffinity.preferred": "KubeSpawner.pod_affinity_preferred",
    "singleuser.extraPodAffinity.required": "KubeSpawner.pod_affinity_required",
    "singleuser.extraPodAntiAffinity.preferred": "KubeSpawner.pod_anti_affinity_preferred",
    "singleuser.extraPodAntiAffinity.required": "KubeSpawner.pod_anti_affinity_required",
    "singleuser.extraPodConfig": "KubeSpawner.extra_pod_config",
    "singleuser.extraResource.guarantees": "KubeSpawner.extra_resource_guarantees",
    "singleuser.extraResource.limits": "KubeSpawner.extra_resource_limits",
    "singleuser.fsGid": "KubeSpawner.fs_gid",
    "singleuser.initContainers": "KubeSpawner.init_containers",
    "singleuser.lifecycleHooks": "KubeSpawner.lifecycle_hooks",
    "singleuser.podNameTemplate": "KubeSpawner.pod_name_template",
    "singleuser.podSecurityContext": "KubeSpawner.pod_security_context",
    "singleuser.storage.extraLabels": "KubeSpawner.storage_extra_labels",
}

_PROBES = "the chart's own probes look after its pods. Remove it."
_NO_PODS = "what the chart's pods are made of is its own. Remove it."
_KEPT = "put it into a Secret of yours under the key {0}, and name that as mlhub.existingSecret."
_RULES = "write rules of NetworkPolicies as {0}."
_TRAEFIK = "the proxy's own nginx serves HTTPS, and no other program does. Remove it."
_ACME = (
    "certificates come from cert-manager: make an issuer with it, and name that as"
    " proxy.https.letsencrypt.issuerRef.name."
)
_IMAGE = (
    "hub and proxy are one image here. What yours adds is an image of your own made from"
    " mltooling/ml-hub (mlhub-pip, docs/howto/packages.md), named as hub.image."
)
_FILES = "put the files into a ConfigMap or Secret of yours, and mount that by {0}."

# Values that have no counterpart, with the cure.
DROPPED: Mapping[str, str] = {
    "cull.adminUsers": (
        "the policy's idle rules say who is stopped: admins: {idle: {timeout: unlimited}}."
    ),
    "cull.concurrency": "the hub stops idle workspaces by itself, one after the other. Remove it.",
    "cull.removeNamedServers": (
        "the data of a workspace stays until its owner removes it; days_to_live in the policy"
        " ends workspaces."
    ),
    "cull.users": "people stay until an administrator removes them.",
    "enabled": "a release is there or not. Remove it.",
    "httpRoute": "write gateway.enabled, gateway.parentRefs and gateway.hostnames.",
    "hub.args": _NO_PODS,
    "hub.authenticatePrometheus": (
        "metrics.enabled: true makes a token that reads the metrics and nothing else."
    ),
    "hub.command": _NO_PODS,
    "hub.containerSecurityContext": (
        "the hub is user 61000 with no capability and a read-only root; hub.uid says another"
        " number."
    ),
    "hub.cookieSecret": _KEPT.format("hub.cookieSecret"),
    "hub.existingSecret": (
        "its keys have other names here: proxy.token, hub.cookieSecret, ssh.ca, ssh.hostKey,"
        " ssh.token. Name one with these as mlhub.existingSecret."
    ),
    "hub.extraConfigMap": (
        "write it under custom; user configs find that in /etc/jupyterhub/config/values.yaml."
    ),
    "hub.extraFiles": _FILES.format("hub.extraVolumes and hub.extraVolumeMounts"),
    "hub.extraPodSpec": _NO_PODS,
    "hub.image": _IMAGE,
    "hub.lifecycle": _NO_PODS,
    "hub.livenessProbe": _PROBES,
    "hub.networkPolicy.allowedIngressPorts": _RULES.format("hub.networkPolicy.ingress"),
    "hub.networkPolicy.egressAllowRules": _RULES.format("hub.networkPolicy.egress"),
    "hub.networkPolicy.interNamespaceAccessLabels": _RULES.format("hub.networkPolicy.ingress"),
    "hub.podSecurityContext": "hub.fsGid is the group of the hub's volumes.",
    "hub.readinessProbe": _PROBES,
    "hub.revisionHistoryLimit": _NO_PODS,
    "hub.fsGid": (
        "the hub's own group is 61000, so that no workspace shares limits with it. Set"
        " hub.fsGid again only where its volume needs that."
    ),
    "hub.service.extraPorts": "write a further Service as an entry of extraObjects.",
    "hub.serviceAccount.create": "the chart makes one unless hub.serviceAccount.name names one.",
    "hub.uid": (
        "the hub's own user is 61000, which no workspace is. Set hub.uid again only where its"
        " volume needs that."
    ),
    "ingress.extraPaths": "write a further Ingress as an entry of extraObjects.",
    "prePuller": "nodes pull an image when a workspace first needs it. Remove it.",
    "proxy.chp.containerSecurityContext": _NO_PODS,
    "proxy.chp.defaultTarget": _NO_PODS,
    "proxy.chp.errorTarget": _NO_PODS,
    "proxy.chp.extraPodSpec": _NO_PODS,
    "proxy.chp.image": _IMAGE,
    "proxy.chp.livenessProbe": _PROBES,
    "proxy.chp.readinessProbe": _PROBES,
    "proxy.chp.revisionHistoryLimit": _NO_PODS,
    "proxy.containerSecurityContext": _NO_PODS,
    "proxy.deploymentStrategy": _NO_PODS,
    "proxy.https.letsencrypt": _ACME,
    "proxy.networkPolicy.allowedIngressPorts": _RULES.format("proxy.networkPolicy.ingress"),
    "proxy.networkPolicy.egressAllowRules": _RULES.format("proxy.networkPolicy.egress"),
    "proxy.networkPolicy.interNamespaceAccessLabels": _RULES.format("proxy.networkPolicy.ingress"),
    "proxy.secretSync": _TRAEFIK,
    "proxy.service.disableHttpPort": "plain HTTP is redirected where HTTPS is on. Remove it.",
    "proxy.service.extraPorts": "write a further Service as an entry of extraObjects.",
    "proxy.traefik": _TRAEFIK,
    "scheduling.podPriority.imagePullerPriority": "there are no pods that pull images. Remove it.",
    "scheduling.userPlaceholder": (
        "there are no placeholders: let the cluster's autoscaler keep room by its own means."
        " Remove it."
    ),
    "scheduling.userScheduler": (
        "the cluster's own scheduler places workspaces; c.KubeSpawner.scheduler_name names another."
    ),
    "singleuser.cloudMetadata.blockWithIptables": (
        "singleuser.networkPolicy shuts the metadata address by itself. Remove it."
    ),
    "singleuser.events": "the progress page always shows them. Remove it.",
    "singleuser.extraFiles": _FILES.format("c.KubeSpawner.volumes and c.KubeSpawner.volume_mounts"),
    "singleuser.networkPolicy.allowedIngressPorts": _RULES.format(
        "singleuser.networkPolicy.ingress"
    ),
    "singleuser.networkPolicy.egressAllowRules": (
        "mlhub.workspaceEgress says what workspaces reach: internet, ranges, all or none."
    ),
    "singleuser.networkPolicy.interNamespaceAccessLabels": _RULES.format(
        "singleuser.networkPolicy.ingress"
    ),
    "singleuser.networkTools": "no container blocks anything: NetworkPolicies do. Remove it.",
    "singleuser.privileged": (
        "it would give workspaces the whole node. Remove it; capabilities and devices are"
        " c.KubeSpawner.extra_container_config."
    ),
    "singleuser.storage.dynamic.pvcNameTemplate": (
        "the hub names claims itself. To go on with those that are there, mount them by"
        " c.KubeSpawner.volumes (claimName: claim-{username})."
    ),
    "singleuser.storage.dynamic.subPath": (
        "each workspace has a claim of its own. To mount a folder of another one:"
        " c.KubeSpawner.volumes and volume_mounts."
    ),
    "singleuser.storage.dynamic.volumeNameTemplate": "the hub names volumes itself. Remove it.",
}
