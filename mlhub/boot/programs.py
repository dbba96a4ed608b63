"""What runs in this container, chosen by the settings: command, account, environment, sockets,
probe.
"""

from __future__ import annotations

import shlex
import signal
import sys
from pathlib import Path

from mlhub.backends.registry import find_kind
from mlhub.boot.accounts import Account, find_account
from mlhub.boot.render import Addresses
from mlhub.boot.supervisor import Program
from mlhub.settings import HUB_PORT, HUB_PROXY_PORT, Settings, read_environment
from mlhub.ssh.hub_link import make_socket_path

# What configurable-http-proxy has no option for (docker/proxy). Its headers are as large as nginx
# lets them be.
PROXY_MODULES = ("backlog.cjs", "requests.cjs", "answers.cjs")
PROXY_HEADER_BYTES = 128 * 1024
# What boot alone needs to know, or hands over in another way.
NOT_FOR_THE_HUB = (
    "MLHUB_ADMIN_PASSWORD",
    "MLHUB_ADMIN_PASSWORD_FILE",
    "JPY_COOKIE_SECRET",
    "MLHUB_BASTION_TOKEN",
    "MLHUB_BASTION_TOKEN_FILE",
    "SSL_KEY_PASSPHRASE",
    "SSL_KEY_PASSPHRASE_FILE",
)
# For programs that need nothing of the container's environment.
PLAIN_ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
}


def make_programs(settings: Settings, addresses: Addresses, token: str) -> list[Program]:
    """Return the programs in the order in which they are started."""
    programs = []
    if settings.runs_chp:
        programs.append(make_chp(settings, addresses, token))
    if settings.start_jhub:
        programs.append(make_hub(settings, token))
    if settings.is_bastion_alone:
        programs.append(make_line(settings))
    if settings.start_ssh:
        programs.append(make_sshd(settings, addresses))
    if settings.runs_nginx:
        programs.append(make_nginx(settings, addresses))
    return programs


def make_hub(settings: Settings, token: str) -> Program:
    """Return the hub; it inherits the environment, because user configs read it."""
    environment = read_environment()
    for secret in NOT_FOR_THE_HUB:
        environment.pop(secret, None)
    if settings.jpy_cookie_secret:
        environment["JPY_COOKIE_SECRET"] = settings.jpy_cookie_secret.get_secret_value()
    environment |= {
        "CONFIGPROXY_AUTH_TOKEN": token,
        "MLHUB_RUN_DIR": str(settings.mlhub_run_dir),
        "HOME": str(settings.data_volume_container),
    }
    command = [
        "python",
        "-m",
        "mlhub.hub",
        "--config",
        str(settings.mlhub_resources_dir / "jupyterhub_config.py"),
    ]
    probe = {
        "name": "hub",
        "address": f"127.0.0.1:{HUB_PORT}",
        "path": f"{settings.mlhub_base_url}hub/health",
        "expect": " 200 ",
    }
    # It may have a large database to upgrade before it answers.
    return Program(
        "hub",
        find_account("hub").wrap(command, _hub_groups(settings)),
        environment,
        probe,
        answer_seconds=None,
    )


def make_chp(settings: Settings, addresses: Addresses, token: str) -> Program:
    """Return the proxy: on sockets beside hub and nginx, else on TCP as ADDITIONAL_ARGS says."""
    account = find_account("chp")
    site_words = shlex.split(settings.additional_args)
    public, api = addresses.chp_public_socket, addresses.chp_api_socket
    command = ["configurable-http-proxy", "--error-path", f"{settings.mlhub_run_dir}/errors"]
    command += ["--no-x-forward", "--log-level", "debug" if settings.mlhub_debug else "warn"]
    if public and api:
        sockets = [public, api]
        command += ["--socket", str(public), "--api-socket", str(api)]
    else:
        sockets = []
        command += _list_chp_addresses(settings, site_words)
    if settings.start_jhub:
        # Until the hub has pushed its routes, "not there yet" is the truth, and "not found" is not.
        command += ["--default-target", f"http://127.0.0.1:{HUB_PROXY_PORT}"]
    if settings.mlhub_subdomain_host:
        command.append("--host-routing")
    # Later options win, so the site's own have the last word.
    command += site_words
    path = "/_chp_healthz"
    probe = {"name": "chp", "address": addresses.chp_public, "path": path, "expect": " 200 "}
    modules = [f"--require /opt/chp/{module}" for module in PROXY_MODULES]
    modules += ["--import /opt/chp/sockets.mjs"]
    environment = {
        **PLAIN_ENVIRONMENT,
        "NODE_ENV": "production",
        "NODE_OPTIONS": " ".join([*modules, f"--max-http-header-size={PROXY_HEADER_BYTES}"]),
        "MLHUB_BASE_URL": settings.mlhub_base_url,
        "CONFIGPROXY_AUTH_TOKEN": token,
    }
    # The sockets are for their directory's group: nginx for the public one, the hub for the other.
    return Program("chp", account.wrap(command), environment, probe, sockets, umask=0o007)


def _list_chp_addresses(settings: Settings, site_words: list[str]) -> list[str]:
    """List the options of TCP addresses that the site's own words do not name.

    Given twice, a port becomes no number at all: CHP hands the first to parseInt as its radix.
    """
    named = {word.partition("=")[0] for word in site_words}
    # Documented: 8000 on all addresses.
    public_ip = "127.0.0.1" if settings.start_nginx else "0.0.0.0"  # noqa: S104
    own = {"--ip": public_ip, "--port": "8000", "--api-ip": "127.0.0.1", "--api-port": "8001"}
    return [
        word for option, value in own.items() if option not in named for word in (option, value)
    ]


def make_nginx(settings: Settings, addresses: Addresses) -> Program:
    """Return nginx, the one public port of all, or that of a bastion of its own."""
    config = settings.mlhub_run_dir / "nginx.conf"
    command = find_account("edge").wrap(["nginx", "-e", "stderr", "-c", str(config)])
    sockets = [
        settings.mlhub_run_dir / "nginx" / f"{name}.sock" for name in ("http", "https", "ssh")
    ]
    clients = make_clients_path(settings)
    sockets += [clients, settings.mlhub_run_dir / "front" / "numbers.sock"]
    if settings.runs_router and addresses.chp_api_socket:
        sockets.append(addresses.chp_api_socket)
    probe = {
        "name": "nginx",
        "address": "127.0.0.1:8080",
        "path": "/.mlhub/health",
        "expect": " 204 ",
    }
    if not settings.start_nginx:
        # Nobody's address: a connection to the port itself would be one to sshd, without a login.
        probe = {
            "name": "nginx",
            "address": f"unix:{clients}",
            "ask": "127.0.0.1\n",
            "expect": "unknown",
        }
    drain = settings.mlhub_drain_seconds
    stop_signal = signal.SIGQUIT if drain else signal.SIGTERM
    return Program(
        "nginx",
        command,
        PLAIN_ENVIRONMENT,
        probe,
        sockets,
        stop_signal=stop_signal,
        drain_seconds=drain,
    )


def make_sshd(settings: Settings, addresses: Addresses) -> Program:
    """Return sshd, which runs as the one account that it lets in, under the watch that keeps its
    sessions accountable.
    """
    account = find_account("limited-user")
    sshd = ["/usr/sbin/sshd", "-D", "-e", "-f", str(settings.mlhub_run_dir / "ssh" / "sshd_config")]
    sockets = [str(make_socket_path(settings.mlhub_run_dir)), str(make_clients_path(settings))]
    command = account.wrap([sys.executable, "-I", "-m", "mlhub.ssh.monitor", *sockets, *sshd])
    # A connection without a login would be logged, and counted against its source, every few
    # seconds.
    probe = {"name": "sshd", "listens": addresses.sshd_port}
    return Program("sshd", command, PLAIN_ENVIRONMENT, probe)


def make_line(settings: Settings) -> Program:
    """Return what stands for the hub's socket in a container that the hub is not in."""
    path = make_socket_path(settings.mlhub_run_dir)
    words = [str(path), settings.hub_name, str(settings.mlhub_run_dir / "bastion" / "greeting")]
    command = find_account("limited-user").wrap(
        [sys.executable, "-I", "-m", "mlhub.ssh.hub_link", *words]
    )
    return Program(
        "line", command, PLAIN_ENVIRONMENT, {"name": "line", "address": f"unix:{path}"}, [path]
    )


def make_clients_path(settings: Settings) -> Path:
    """Return where nginx tells whose connection it gave which address."""
    return settings.mlhub_run_dir / "clients" / "real.sock"


def make_directories(settings: Settings) -> None:
    """Make the directories of sockets and rendered files, each open to just those who need it."""
    run = settings.mlhub_run_dir
    hub, chp, edge, bastion = (
        find_account(name) for name in ("hub", "chp", "edge", "limited-user")
    )
    # Setgid: a socket made in it belongs to the group of those who may connect.
    folders = [
        (run / "hub", hub, hub, 0o700),
        (run / "chp", chp, edge, 0o2750),
        (run / "chp-api", edge if settings.runs_router else chp, hub, 0o2750),
        (run / "nginx", edge, edge, 0o700),
        (run / "front", edge, hub, 0o2750),
        (run / "errors", edge, edge, 0o755),
        (run / "ssh", bastion, bastion, 0o700),
        (run / "clients", edge, bastion, 0o2750),
        (run / "bastion", bastion if settings.is_bastion_alone else hub, bastion, 0o2750),
    ]
    for folder, owner, group, mode in folders:
        folder.mkdir()
        Account(owner.name, owner.uid, group.gid).own(folder, mode)


def engine_socket(settings: Settings) -> Path | None:
    """Return the socket file through which the hub reaches the place where workspaces run, or None
    where there is none.
    """
    return find_kind(settings.execution_mode).find_socket(settings)


def _hub_groups(settings: Settings) -> tuple[int, ...]:
    socket = engine_socket(settings)
    return _group_of(socket) if socket else ()


def _group_of(path: Path) -> tuple[int, ...]:
    try:
        return (path.stat().st_gid,)
    except OSError:
        return ()
