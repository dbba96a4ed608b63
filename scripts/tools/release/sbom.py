"""The list of what an image is made of, in the words of CycloneDX 1.6."""

from __future__ import annotations

import uuid
from typing import Any

from tools.release.contents import Contents


def make_sbom(image: str, version: str, moment: str, contents: Contents) -> dict[str, Any]:
    """Make the document; the same image has the same one, its number as well."""
    whole = f"{image}@{version}"
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, whole + contents.digest)}",
        "version": 1,
        "metadata": {
            "timestamp": moment,
            "component": {
                "type": "container",
                "bom-ref": whole,
                "name": image,
                "version": version,
                "properties": [{"name": "mlhub:content", "value": contents.digest}],
            },
        },
        "components": [
            {
                "type": "library",
                "bom-ref": package.url,
                "name": package.name,
                "version": package.version,
                "purl": package.url,
                **({"licenses": [{"expression": package.license}]} if package.license else {}),
            }
            for package in sorted(contents.packages)
        ],
    }
