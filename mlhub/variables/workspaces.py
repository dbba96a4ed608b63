"""What workspaces are started from, how long they stay, and what they may reach."""

from __future__ import annotations

from pydantic import BaseModel, Field

from mlhub import egress, formats


class Workspaces(BaseModel):
    """What workspaces are started from, how long they stay, and what they may reach."""

    mlhub_workspace_image: str = Field(
        "mltooling/mlhub-workspace:latest",
        description="Image of workspaces when nobody chooses another.",
    )
    default_workspace_port: int = Field(
        8080,
        ge=1,
        le=65535,
        description=(
            "Port on which workspaces listen when neither the image catalogue nor the user config "
            "says otherwise."
        ),
    )
    mlhub_image_pull_interval_seconds: int = Field(
        0,
        ge=0,
        description=(
            "Seconds between two pulls of all images that the site offers, beginning when the hub "
            "starts; `0` switches that off. Workspaces keep the image they have until their owner "
            "updates them. Docker only."
        ),
    )
    mlhub_timezone: formats.Zone = Field(
        "UTC",
        description=(
            "Time zone of schedules that name none, such as `Europe/Berlin`. See"
            " [schedules](../howto/schedules.md). The chart's `mlhub.timezone`."
        ),
    )
    mlhub_schedule_grace: int = Field(
        900,
        ge=0,
        le=86_400,
        description=(
            "Seconds for which a scheduled start or stop is made up for that was missed because the"
            " hub did not run; later it is left out."
        ),
    )
    mlhub_stop_seconds: int = Field(
        10,
        ge=1,
        le=600,
        description="Seconds a workspace gets to end by itself when it is stopped.",
    )
    cleanup_interval_seconds: int = Field(
        3600,
        ge=-1,
        description=(
            "Seconds between two passes of [the cleanup service](../howto/cleanup.md); `-1` and "
            "`0` switch the timer off, and administrators still start passes by hand."
        ),
    )
    is_cleanup_service_enabled: bool = Field(
        True, description="Run the cleanup service: its timer, its endpoints and its page."
    )
    cleanup_most_percent: int = Field(
        20,
        ge=0,
        le=100,
        description=(
            "Percent of the objects of one kind that one pass of the cleanup service may remove; "
            "where more would go, nothing goes before an administrator confirms."
        ),
    )
    trash_retention_days: float = Field(
        14,
        ge=0,
        le=36500,
        allow_inf_nan=False,
        description=(
            "Days for which the data of deleted workspaces stays in the trash, from where it can "
            "be brought back; `0` removes it for good at once."
        ),
    )
    mlhub_workspace_egress: formats.Egress = Field(
        egress.DEFAULT,
        description=(
            "What workspaces may reach beside the hub, DNS and their owner's other workspaces, "
            "comma separated: `internet` (public addresses), address ranges of the site's "
            "(`internet,10.20.0.0/16`, or ranges alone), `all` (but other people's workspaces, the "
            "Docker host itself and cloud metadata addresses), or `none`. See [what a workspace "
            "can reach](../howto/networks.md). Docker only; the chart's `mlhub.workspaceEgress`."
        ),
    )
    mlhub_host_guard: bool = Field(
        True,
        description=(
            "Hold workspaces to `MLHUB_WORKSPACE_EGRESS`, and keep them away from the Docker "
            "host's own ports and from cloud metadata addresses, with a small nftables table of "
            "our own on the host."
        ),
    )
    mlhub_network_pool: formats.PrivateNetwork = Field(
        "10.64.0.0/12",
        description="Private address range from which each user's network takes a subnet.",
    )
    mlhub_network_prefix: int = Field(
        27, ge=16, le=29, description="Size of each user's subnet, as a prefix length."
    )
    docker_host: formats.EngineAddress = Field(
        "", description="Address of the container engine; `unix:///var/run/docker.sock` when unset."
    )
    docker_tls_verify: str = Field("", description="As for the docker command.")
    docker_cert_path: str = Field("", description="As for the docker command.")
