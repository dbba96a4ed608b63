"""The chart's files, and the values that the original had."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parents[2] / "helmchart" / "mlhub"


def without_foreign_keys(schema: Any) -> Any:
    """Take out the keys of Zero to JupyterHub, which the chart itself refuses."""
    if isinstance(schema, list):
        return [without_foreign_keys(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: without_foreign_keys(part)
        for key, part in schema.items()
        if not (isinstance(part, dict) and part.get("$comment") == "Of Zero to JupyterHub.")
    }


SCHEMA = without_foreign_keys(json.loads((CHART / "values.schema.json").read_text()))
FOREIGN_KEYS = yaml.safe_load((CHART / "files" / "z2jh.yaml").read_text())
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
# The values of ML Hub's own chart, 2021. Each keeps its place and meaning.
ORIGINAL = """
custom userConfig rbac.enabled
mlhub.baseUrl mlhub.secretToken mlhub.debug mlhub.env
hub.service.type hub.service.annotations hub.service.ports.nodePort hub.service.loadBalancerIP
hub.initContainers hub.uid hub.fsGid hub.nodeSelector hub.deploymentStrategy.type \
hub.deploymentStrategy.rollingUpdate
hub.db.type hub.db.upgrade hub.db.password hub.db.pvc.annotations hub.db.pvc.selector \
hub.db.pvc.accessModes hub.db.pvc.storage hub.db.pvc.subPath
hub.db.pvc.storageClassName hub.labels hub.annotations hub.extraEnv hub.extraContainers \
hub.extraVolumes hub.extraVolumeMounts
hub.image.name hub.image.tag hub.image.pullPolicy hub.resources hub.imagePullSecret.enabled \
hub.imagePullSecret.registry hub.imagePullSecret.username
hub.imagePullSecret.email hub.imagePullSecret.password hub.pdb.enabled hub.pdb.minAvailable \
hub.networkPolicy.enabled hub.networkPolicy.egress
proxy.service.type proxy.service.labels proxy.service.annotations proxy.service.nodePorts.http \
proxy.service.nodePorts.https proxy.service.loadBalancerIP
proxy.chp.image.name proxy.chp.image.tag proxy.chp.image.pullPolicy proxy.chp.resources \
proxy.labels proxy.annotations proxy.nodeSelector
proxy.pdb.enabled proxy.pdb.minAvailable proxy.https.type proxy.https.manual.key \
proxy.https.manual.cert proxy.https.secret.name proxy.https.secret.key
proxy.https.secret.crt proxy.https.hosts proxy.networkPolicy.enabled proxy.networkPolicy.egress \
proxy.extraEnv
singleuser.networkTools.image.name singleuser.networkTools.image.tag \
singleuser.cloudMetadata.enabled singleuser.cloudMetadata.ip
singleuser.networkPolicy.enabled singleuser.networkPolicy.egress
scheduling.podPriority.enabled scheduling.podPriority.globalDefault \
scheduling.podPriority.defaultPriority scheduling.podPriority.userPlaceholderPriority
scheduling.corePods.nodeAffinity.matchNodePurpose
ingress.enabled ingress.annotations ingress.hosts ingress.pathSuffix ingress.tls nameOverride
"""
