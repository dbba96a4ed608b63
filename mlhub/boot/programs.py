"""What runs in this container, chosen by the settings: command, account, environment, sockets, probe."""

from __future__ import annotations

import shlex
import signal
import sys
from pathlib import Path

from mlhub.bastion.line import make_socket_path
from mlhub.boot.accounts import Account, find_account
from mlhub.boot.render import Addresses
from mlhub.boot.supervisor import Program
from mlhub.settings import Settings, read_environment

# For programs that need nothing of the container's environment.
PLAIN_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


def make_programs(settings: Settings, addresses: Addresses, token: str, *, runs_chp: bool) -> list[Program]:
    """Return the programs in the order in which they are started."""
    programs = []
    if runs_chp:
        programs.append(make_chp(settings, addresses, token))
    if settings.start_jhub:
        programs.append(make_hub(settings, token))
    if settings.is_bastion_alone:
        programs.append(make_line(settings))
    if settings.start_ssh:
        programs.append(make_sshd(settings, addresses))
    if settings.runs_nginx:
        programs.append(make_nginx(settings))
    return programs


def make_hub(settings: Settings, token: str) -> Program:
    """Return the hub; it inherits the environment, because user configs read it."""
    environment = read_environment()
    for secret in (
        "MLHUB_ADMIN_PASSWORD",
        "MLHUB_ADMIN_PASSWORD_FILE",
        "JPY_COOKIE_SECRET",
        "MLHUB_BASTION_TOKEN",
        "MLHUB_BASTION_TOKEN_FILE",
    ):
        environment.pop(secret, None)
    if settings.jpy_cookie_secret:
        environment["JPY_COOKIE_SECRET"] = settings.jpy_cookie_secret.get_secret_value()
    environment |= {
        "CONFIGPROXY_AUTH_TOKEN": token,
        "MLHUB_RUN_DIR": str(settings.mlhub_run_dir),
        "HOME": str(settings.data_volume_container),
    }
    command = ["python", "-m", "mlhub.hubconfig", "--config", str(settings.mlhub_resources_dir / "jupyterhub_config.py")]
    probe = {"name": "hub", "address": "127.0.0.1:8081", "path": f"{settings.mlhub_base_url}hub/health", "expect": " 200 "}
    # It may have a large database to upgrade before it answers.
    return Program("hub", find_account("hub").wrap(command, _hub_groups(settings)), environment, probe, answer_seconds=None)


def make_chp(settings: Settings, addresses: Addresses, token: str) -> Program:
    """Return the proxy: on sockets beside hub and nginx, else on TCP as ADDITIONAL_ARGS says."""
    account = find_account("chp")
    site_words = shlex.split(settings.additional_args)
    named = {word.partition("=")[0] for word in site_words}
    command = ["configurable-http-proxy", "--error-path", str(settings.mlhub_run_dir / "errors"), "--no-x-forward"]
    command += ["--log-level", "debug" if settings.mlhub_debug else "warn"]
    public, api = addresses.chp_public_socket, addresses.chp_api_socket
    if public and api:
        command += ["--socket", str(public), "--api-socket", str(api)]
        sockets = [public, api]
    else:
        public_ip = "127.0.0.1" if settings.start_nginx else "0.0.0.0"  # noqa: S104 - documented: 8000 on all addresses
        own = {"--ip": public_ip, "--port": "8000", "--api-ip": "127.0.0.1", "--api-port": "8001"}
        # Given twice, a port becomes no number at all (CHP hands the first to parseInt as its radix).
        command += [word for option, value in own.items() if option not in named for word in (option, value)]
        sockets = []
    if settings.start_jhub:
        # Until the hub has pushed its routes, "not there yet" is the truth, and "not found" is not.
        command += ["--default-target", "http://127.0.0.1:8081"]
    # Later options win, so the site's own have the last word.
    command += site_words
    probe = {"name": "chp", "address": addresses.chp_public, "path": "/_chp_healthz", "expect": " 200 "}
    environment = {
        **PLAIN_ENVIRONMENT,
        "NODE_ENV": "production",
        "NODE_OPTIONS": "--require /opt/chp/backlog.cjs",
        "CONFIGPROXY_AUTH_TOKEN": token,
    }
    # The sockets are for their directory's group: nginx for the public one, the hub for the other.
    return Program("chp", account.wrap(command), environment, probe, sockets, umask=0o007)


def make_nginx(settings: Settings) -> Program:
    """Return nginx, the one public port of all, or that of a bastion of its own."""
    config = settings.mlhub_run_dir / "nginx.conf"
    command = find_account("edge").wrap(["nginx", "-e", "stderr", "-c", str(config)])
    sockets = [settings.mlhub_run_dir / "nginx" / f"{name}.sock" for name in ("http", "https", "ssh")]
    clients = make_clients_path(settings)
    sockets.append(clients)
    probe = {"name": "nginx", "address": "127.0.0.1:8080", "path": "/.mlhub/health", "expect": " 204 "}
    if not settings.start_nginx:
        # Nobody's address: a connection to the port itself would be one to sshd, without a login.
        probe = {"name": "nginx", "address": f"unix:{clients}", "ask": "127.0.0.1\n", "expect": "unknown"}
    drain = settings.mlhub_drain_seconds
    stop_signal = signal.SIGQUIT if drain else signal.SIGTERM
    return Program("nginx", command, PLAIN_ENVIRONMENT, probe, sockets, stop_signal=stop_signal, drain_seconds=drain)


def make_sshd(settings: Settings, addresses: Addresses) -> Program:
    """Return sshd, which runs as the one account that it lets in, under the watch that keeps its sessions accountable."""
    account = find_account("limited-user")
    sshd = ["/usr/sbin/sshd", "-D", "-e", "-f", str(settings.mlhub_run_dir / "ssh" / "sshd_config")]
    sockets = [str(make_socket_path(settings.mlhub_run_dir)), str(make_clients_path(settings))]
    command = account.wrap([sys.executable, "-I", "-m", "mlhub.bastion.sessions", *sockets, *sshd])
    # A connection without a login would be logged, and counted against its source, every few seconds.
    probe = {"name": "sshd", "listens": addresses.sshd_port}
    return Program("sshd", command, PLAIN_ENVIRONMENT, probe)


def make_line(settings: Settings) -> Program:
    """Return what stands for the hub's socket in a container that the hub is not in."""
    path = make_socket_path(settings.mlhub_run_dir)
    words = [str(path), settings.hub_name, str(settings.mlhub_run_dir / "bastion" / "greeting")]
    command = find_account("limited-user").wrap([sys.executable, "-I", "-m", "mlhub.bastion.line", *words])
    return Program("line", command, PLAIN_ENVIRONMENT, {"name": "line", "address": f"unix:{path}"}, [path])


def make_clients_path(settings: Settings) -> Path:
    """Return where nginx tells whose connection it gave which address."""
    return settings.mlhub_run_dir / "clients" / "real.sock"


def make_directories(settings: Settings) -> None:
    """Make the directories of sockets and rendered files, each open to just those who need it."""
    run = settings.mlhub_run_dir
    hub, chp, edge, bastion = (find_account(name) for name in ("hub", "chp", "edge", "limited-user"))
    # Setgid: a socket made in it belongs to the group of those who may connect.
    folders = [
        (run / "chp", chp, edge, 0o2750),
        (run / "chp-api", chp, hub, 0o2750),
        (run / "nginx", edge, edge, 0o700),
        (run / "errors", edge, edge, 0o755),
        (run / "ssh", bastion, bastion, 0o700),
        (run / "clients", edge, bastion, 0o2750),
        (run / "bastion", bastion if settings.is_bastion_alone else hub, bastion, 0o2750),
    ]
    for folder, owner, group, mode in folders:
        folder.mkdir()
        Account(owner.name, owner.uid, group.gid).own(folder, mode)


def engine_socket(settings: Settings) -> Path | None:
    """Return the container engine's socket file, or None where the engine is reached otherwise."""
    if settings.execution_mode != "local" or (settings.docker_host and not settings.docker_host.startswith("unix://")):
        return None
    return Path(settings.docker_host.removeprefix("unix://") or "/var/run/docker.sock")


def _hub_groups(settings: Settings) -> tuple[int, ...]:
    socket = engine_socket(settings)
    return _group_of(socket) if socket else ()


def _group_of(path: Path) -> tuple[int, ...]:
    try:
        return (path.stat().st_gid,)
    except OSError:
        return ()
