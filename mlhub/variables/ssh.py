"""The SSH bastion, and workspaces that bring keys of their own."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field

from mlhub import formats


class Ssh(BaseModel):
    """The SSH bastion, and workspaces that bring keys of their own."""

    sshd_target: formats.HostPort = Field(
        "",
        description=(
            "`host:port` of the sshd behind the public port; set by the chart, where sshd runs in "
            "a pod of its own. A name is looked up when somebody connects."
        ),
    )
    sshd_target_proxy_protocol: bool = Field(
        False,
        description=(
            "Tell `SSHD_TARGET` each client's own address by the PROXY protocol, which the bastion "
            "of the chart understands on port 2223."
        ),
    )
    mlhub_ssh_keys_dir: Path | None = Field(
        None,
        description=(
            "Directory with the files `ca` (the SSH certificate authority) and `host_key` (the "
            "bastion's), ed25519, as OpenSSH or PEM writes them. They take the place of those that "
            "are generated once and kept under the data directory. A bastion in a container of its "
            "own reads `host_key` alone, and without it makes itself a key at each start; the "
            "hub's authority signs it either way. Set by the chart."
        ),
    )
    manual_auth_file: str = Field(
        "false",
        description="`true`, or the path of a hand-kept key file, to let those keys in as well.",
    )
    ssh_permit_target_host: str = Field(
        "*", description="Extra filter on the workspace names that SSH may reach (a shell pattern)."
    )
    ssh_permit_target_port: str = Field(
        "*", description="Extra filter on the port that SSH may reach, or `*`."
    )
    ssh_target_labels: str = Field(
        "",
        description=(
            "Labels of the containers that bring their own keys, `name=value`, comma separated."
        ),
    )
    ssh_target_publickey_api_port: int = Field(
        8080,
        ge=1,
        le=65535,
        description="Port of the `/publickey` endpoint of workspaces that bring their own keys.",
    )
    ssh_target_key_path: str = Field(
        "~/.ssh/id_ed25519.pub",
        description="Public key file inside workspaces that bring their own keys.",
    )
