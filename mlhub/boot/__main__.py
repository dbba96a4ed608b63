"""Start the container: ``python -m mlhub.boot [--check | --take-certificates]``.

Reads as the list of its steps at the bottom; the last one is to become the supervisor. ``--check``
renders, lets nginx and sshd check their files, and ends. ``--take-certificates`` is what the
supervisor runs when the site's own pairs have changed.
"""

from __future__ import annotations

import datetime
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

from mlhub import __version__
from mlhub.backends.registry import read_settings
from mlhub.boot import certificates
from mlhub.boot.accounts import find_account
from mlhub.boot.data import ensure_secret, prepare_data_dir, prepare_run_dir, write_private
from mlhub.boot.error_pages import render_error_pages
from mlhub.boot.log import say
from mlhub.boot.preflight import check_user_config, explain_missing_engine, find_user_config
from mlhub.boot.programs import PLAIN_ENVIRONMENT, engine_socket, make_directories, make_programs
from mlhub.boot.render import Renderer, make_addresses
from mlhub.boot.resolver import read_resolver
from mlhub.boot.router import make_site
from mlhub.boot.spelling import list_misspelled_variables
from mlhub.boot.ssh import prepare_bastion
from mlhub.boot.supervisor import Program
from mlhub.boot.watch import Watch
from mlhub.errors import ConfigurationError, MLHubError, SettingsError
from mlhub.settings import Settings, read_environment
from mlhub.signin.native.rules import explain_password


def prepare(settings: Settings) -> tuple[list[Program], list[certificates.Pair]]:
    """Make directories, secrets, certificates and files; return what is to run and the own
    pairs to watch.
    """
    check_user_config(find_user_config(settings))
    hub, edge = find_account("hub"), find_account("edge")
    if settings.has_data:
        prepare_data_dir(settings, hub)
    run = prepare_run_dir(settings)
    make_directories(settings)
    own = prepare_certificates(settings) if settings.start_nginx and settings.ssl_enabled else []
    addresses = make_addresses(settings)
    resolver, token = read_resolver(), prepare_token(settings)
    renderer = Renderer(settings, addresses, own_certificate=bool(own), resolver=resolver)
    programs = make_programs(settings, addresses, token)
    if settings.runs_nginx:
        template = "nginx.conf.j2" if settings.start_nginx else "nginx-ssh.conf.j2"
        write_private(run / "nginx.conf", renderer.render(template), edge)
    if settings.runs_router:
        site = json.dumps(make_site(settings, token, resolver))
        write_private(run / "nginx" / "router.json", site, edge)
    if settings.has_bastion:
        prepare_bastion(settings, renderer)
    render_error_pages(settings, renderer)
    copy_user_config(settings)
    write_private(run / "settings.json", settings.model_dump_json(), hub)
    (run / "health.json").write_text(json.dumps([program.probe for program in programs]))
    return programs, own


def prepare_token(settings: Settings) -> str:
    """Return the token between hub and proxy: the given one, else one that is made once and kept;
    none where neither runs.
    """
    if settings.configproxy_auth_token:
        return settings.configproxy_auth_token.get_secret_value()
    return (
        ensure_secret(settings.data_volume_container / "proxy_auth_token", find_account("hub"))
        if settings.has_data
        else ""
    )


def prepare_certificates(settings: Settings) -> list[certificates.Pair]:
    """Install the pairs that nginx serves; return the site's own ones, which are then watched."""
    now = datetime.datetime.now(datetime.UTC)
    own = certificates.find_own_pairs(settings)
    pairs = own or [certificates.ensure_generated_pair(settings, find_account("hub"), now)]
    phrase = settings.ssl_key_passphrase.get_secret_value() if settings.ssl_key_passphrase else None
    loaded = [certificates.load_pair(pair, now, phrase if own else None) for pair in pairs]
    folder = settings.mlhub_run_dir / "nginx" / "tls"
    certificates.install_pairs(loaded, folder, find_account("edge"))
    return own


def copy_user_config(settings: Settings) -> None:
    """Give the hub a readable copy of a user config that only root may read."""
    source = find_user_config(settings)
    if source.exists():
        write_private(
            settings.mlhub_run_dir / source.name, source.read_bytes(), find_account("hub")
        )


def check_rendered(settings: Settings) -> None:
    """Let nginx and sshd check their own files.

    Raises ``ConfigurationError`` with what the program said.
    """
    run = settings.mlhub_run_dir
    checks = []
    if settings.runs_nginx:
        checks.append(
            (
                "nginx",
                find_account("edge"),
                ["nginx", "-t", "-q", "-e", "stderr", "-c", str(run / "nginx.conf")],
            )
        )
    if settings.start_ssh:
        checks.append(
            (
                "sshd",
                find_account("limited-user"),
                ["/usr/sbin/sshd", "-t", "-f", str(run / "ssh" / "sshd_config")],
            )
        )
    for name, account, command in checks:
        result = subprocess.run(account.wrap(command), capture_output=True, text=True)
        if result.returncode:
            raise ConfigurationError(
                f"{name} refuses its rendered configuration:\n{result.stderr.strip()}"
            )


def take_certificates() -> int:
    """Return 0 when the changed pairs are served, else say in one line why the former stay."""
    try:
        settings = read_settings()
        if not certificates.find_own_pairs(settings):
            raise ConfigurationError("no certificate of the site's own is mounted any more.")
        own = prepare_certificates(settings)
    except (MLHubError, OSError) as error:
        say(f"The changed certificate is not used, the former one stays in force: {error}")
        return 1
    names = ", ".join(str(pair.certificate) for pair in own)
    say(f"The changed certificate {names} is in use now.")
    return 0


def hand_over(
    settings: Settings, programs: list[Program], own: list[certificates.Pair]
) -> NoReturn:
    """Become the supervisor, which needs a tenth of the libraries; secrets go there in memory, not
    in arguments or files.
    """
    watch = None
    if own:
        command = [sys.executable, "-I", "-m", "mlhub.boot", "--take-certificates"]
        folder = str(own[0].certificate.parent)
        watch = Watch(folder, command, read_environment())._asdict()
    ready = f"Ready at {settings.public_address}" if settings.start_jhub else "Ready"
    if settings.mlhub_public_service:
        ready = f"Ready behind the Service {settings.mlhub_public_service}"
    plan = {"programs": [program._asdict() for program in programs], "ready": ready, "watch": watch}
    descriptor = os.memfd_create("plan", 0)
    os.write(descriptor, json.dumps(plan, default=str).encode())
    os.lseek(descriptor, 0, os.SEEK_SET)
    command = [sys.executable, "-I", "-m", "mlhub.boot.supervisor", str(descriptor)]
    os.execve(command[0], command, PLAIN_ENVIRONMENT)  # noqa: S606 - no shell is wanted


def main(arguments: list[str]) -> int:
    """Return the container's exit code, where it does not become the supervisor."""
    if "--take-certificates" in arguments:
        return take_certificates()
    # As the first process of a container it would not be ended by a signal that nobody handles; a
    # bastion may wait here.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        settings = read_settings()
        say(f"MLHub {__version__} as {settings.hub_name}, execution mode {settings.execution_mode}")
        for warning in list_misspelled_variables(read_environment()):
            say(f"Warning: {warning}")
        check_admin_password(settings)
        if settings.start_jhub and (sentence := explain_missing_engine(engine_socket(settings))):
            say(f"Warning: {sentence}")
        _raise_file_limit()
        programs, own = prepare(settings)
        check_rendered(settings)
        if "--check" in arguments:
            say("The configuration is fine: " + ", ".join(program.name for program in programs))
            return 0
    except MLHubError as error:
        for line in error.numbered.splitlines():
            say(f"Error: {line}")
        return 1
    except subprocess.CalledProcessError as error:
        say(
            f"Error: {Path(error.cmd[0]).name} ended with code {error.returncode}; the lines above"
            " say why."
        )
        return 1
    hand_over(settings, programs, own)


def check_admin_password(settings: Settings) -> None:
    """Refuse a weak MLHUB_ADMIN_PASSWORD before anything starts."""
    if settings.mlhub_admin_password:
        reason = explain_password(settings.mlhub_admin_password.get_secret_value(), "admin")
        if reason:
            raise SettingsError(f"MLHUB_ADMIN_PASSWORD is refused: {reason}")


def _raise_file_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
