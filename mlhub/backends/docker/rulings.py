"""What becomes of DockerSpawner's traits. Imports no client of an engine."""

from __future__ import annotations

import inspect
from typing import Any

from mlhub.backends.docker.hardening import check_create_arguments, check_host_config
from mlhub.backends.docker.names import check_prefix, check_template
from mlhub.errors import ConfigurationError
from mlhub.traits import REFUSAL_TEST, Rulings, honored, refused, without_effect
from mlhub.workspaces.rulings import INTERNAL, SPAWNER

_UNIT = "tests/unit/test_spawner_rulings.py::"
CONTAINER = f"{_UNIT}test_what_a_site_writes_is_part_of_the_container"
ENGINE = f"{_UNIT}test_the_engine_is_spoken_to_as_the_site_says"
IMAGE = f"{_UNIT}test_what_a_site_writes_of_images_holds"
NAME = f"{_UNIT}test_what_a_site_writes_of_names_is_part_of_the_container"
TLS = "DockerSpawner ignores it. Remove the line, and write c.DockerSpawner.tls_config, a dict."
API_VERSION = "1.44"  # of an engine that knows all that the client does
CHECKED = "A value that would take the isolation of people away is refused."


def check_site_host(value: Any) -> None:
    """Check a host config; a function of the site's own says it for each person."""
    if not isinstance(value, dict):
        return
    check_host_config(value)
    from docker.errors import DockerException
    from docker.types import HostConfig

    try:
        HostConfig(version=API_VERSION, **value)
    except (DockerException, TypeError, ValueError, AttributeError) as error:
        raise ConfigurationError(
            f"extra_host_config is not understood by the Docker client: {error}. Correct it."
        ) from None


def check_site_create(value: Any) -> None:
    """Check further arguments of ``create_container``."""
    if not isinstance(value, dict):
        return
    check_create_arguments(value)
    from docker.api.container import ContainerApiMixin

    known = inspect.signature(ContainerApiMixin.create_container).parameters
    if unknown := sorted(set(value) - set(known)):
        raise ConfigurationError(
            f"extra_create_kwargs has {', '.join(map(repr, unknown))}, which the Docker client does"
            " not understand. Correct it; what belongs to the host config is extra_host_config."
        )


def check_name_template(value: Any) -> None:
    """Check a template of names, where there is one."""
    if value:
        check_template(value)


DOCKERSPAWNER: Rulings = {
    **SPAWNER,
    **honored(
        CONTAINER,
        "args cmd cpu_limit debug default_url disable_user_config env_keep environment"
        " escape format_volume_name hub_connect_url image ip links mem_limit"
        " mounts network_name notebook_dir port read_only_volumes remove volumes",
    ),
    **honored(CONTAINER, "extra_create_kwargs", "Unknown names are refused.", check_site_create),
    **honored(CONTAINER, "extra_host_config", CHECKED, check_site_host),
    **honored(
        CONTAINER, "mem_guarantee", "Memory that the kernel takes away last (a reservation)."
    ),
    **honored(
        CONTAINER,
        "container_image container_port container_prefix container_name_template remove_containers",
        "An old name, as DockerSpawner has it.",
    ),
    **honored(ENGINE, "client_kwargs tls_config"),
    **honored(IMAGE, "allowed_images image_whitelist pull_policy"),
    **honored(
        NAME, "name_template", "One that two people could share is refused.", check_name_template
    ),
    **honored(NAME, "prefix", "At most 16 characters of a DNS label.", check_prefix),
    **honored(
        "tests/docker/test_lifecycle.py::test_the_site_s_command_runs_after_each_start_of_the_container",
        "post_start_cmd",
        "Its output is not read; an exit code other than 0 is a warning in the log.",
    ),
    **refused(
        REFUSAL_TEST,
        "use_internal_ip",
        "the hub reaches workspaces inside their own networks, never by a port of the host. Remove"
        " the line.",
        [True],
    ),
    **refused(
        REFUSAL_TEST,
        "use_internal_hostname",
        "the hub reaches workspaces by their addresses, which the engine tells. Remove the line.",
        [False],
    ),
    **refused(
        REFUSAL_TEST,
        "cpu_guarantee",
        "Docker guarantees nobody a processor. Remove the line; cpu_limit, the policy's totals and"
        " extra_host_config's cpu_shares divide them.",
        [None, 0, 0.0],
    ),
    **refused(
        REFUSAL_TEST,
        "tls tls_assert_hostname tls_ca tls_cert tls_key tls_verify",
        TLS,
        [None, False, ""],
    ),
    **without_effect("certs_volume_name move_certs_image", INTERNAL),
    **without_effect("container_ip host_ip", "no port of a workspace is published on the host."),
    **without_effect(
        "hub_ip_connect", "DockerSpawner itself ignores it; c.Spawner.hub_connect_url is heeded."
    ),
    **without_effect(
        "use_docker_client_env", "DockerSpawner always reads DOCKER_HOST and its like."
    ),
}
