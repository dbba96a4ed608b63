"""Start the container: ``python -m mlhub.boot [--check | --reload-certificate CERTIFICATE KEY]``.

Reads as the list of its steps at the bottom; the last one is to become the supervisor. ``--check`` renders, lets nginx and sshd
check their files, and ends. ``--reload-certificate`` is what the supervisor runs when the site's own pair has changed.
"""

from __future__ import annotations

import datetime
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

from mlhub import __version__
from mlhub.auth.rules import explain_password
from mlhub.boot import certificates
from mlhub.boot.accounts import find_account
from mlhub.boot.data import ensure_secret, prepare_data_dir, prepare_run_dir, write_private
from mlhub.boot.log import say
from mlhub.boot.preflight import check_user_config, explain_missing_engine, names_other_proxy
from mlhub.boot.programs import PLAIN_ENVIRONMENT, engine_socket, make_directories, make_programs
from mlhub.boot.render import Renderer, make_addresses
from mlhub.boot.resolver import read_resolver
from mlhub.boot.spelling import list_misspelt_variables
from mlhub.boot.ssh import prepare_bastion
from mlhub.boot.supervisor import Program
from mlhub.boot.watch import Watch
from mlhub.errors import ConfigurationError, MLHubError, SettingsError
from mlhub.settings import Settings, read_environment


def prepare(settings: Settings) -> tuple[list[Program], certificates.Pair | None]:
    """Make directories, secrets, certificates and files; return what is to run and the own certificate to watch."""
    tree = check_user_config(settings.mlhub_resources_dir / "jupyterhub_user_config.py")
    other_proxy = names_other_proxy(tree)
    hub, edge = find_account("hub"), find_account("edge")
    if settings.has_data:
        prepare_data_dir(settings, hub)
    run = prepare_run_dir(settings)
    make_directories(settings)
    own_pair = prepare_certificate(settings) if settings.start_nginx and settings.ssl_enabled else None
    addresses = make_addresses(settings, other_proxy=other_proxy)
    renderer = Renderer(settings, addresses, own_certificate=own_pair is not None, resolver=read_resolver())
    programs = make_programs(settings, addresses, prepare_token(settings), runs_chp=settings.runs_chp and not other_proxy)
    if settings.runs_nginx:
        template = "nginx.conf.j2" if settings.start_nginx else "nginx-ssh.conf.j2"
        write_private(run / "nginx.conf", renderer.render(template), edge)
    if settings.has_bastion:
        prepare_bastion(settings, renderer)
    render_error_pages(settings, renderer)
    copy_user_config(settings)
    write_private(run / "settings.json", settings.model_dump_json(), hub)
    (run / "health.json").write_text(json.dumps([program.probe for program in programs]))
    return programs, own_pair


def prepare_token(settings: Settings) -> str:
    """Return the token between hub and proxy: the given one, else one that is made once and kept; none where neither runs."""
    if settings.configproxy_auth_token:
        return settings.configproxy_auth_token.get_secret_value()
    return ensure_secret(settings.data_volume_container / "proxy_auth_token", find_account("hub")) if settings.has_data else ""


def prepare_certificate(settings: Settings) -> certificates.Pair | None:
    """Install the pair that nginx serves; return the site's own one, which is then watched."""
    now = datetime.datetime.now(datetime.UTC)
    edge = find_account("edge")
    own = certificates.find_own_pair(settings)
    if own:
        certificates.load_pair(own, now)
    pair = own or certificates.ensure_generated_pair(settings, find_account("hub"), now)
    certificates.install_pair(pair, settings.mlhub_run_dir / "nginx" / "tls", edge)
    return own


def render_error_pages(settings: Settings, renderer: Renderer) -> None:
    """Write the pages that proxy and nginx show while the hub or a workspace does not answer."""
    folder = settings.mlhub_run_dir / "errors"
    waiting = {"title": "One moment", "retries": True}
    pages = {
        "502.html": {**waiting, "sentence": "MLHub is starting."},
        "503.html": {**waiting, "sentence": "This workspace or the hub does not answer yet."},
        "404.html": {"title": "Not found", "retries": False, "sentence": "There is nothing at this address."},
        "error.html": {**waiting, "sentence": "Something between you and the workspace did not answer."},
    }
    for name, values in pages.items():
        (folder / name).write_text(renderer.render("proxy-error.html", **values))
        (folder / name).chmod(0o644)


def copy_user_config(settings: Settings) -> None:
    """Give the hub a readable copy of a user config that only root may read."""
    source = settings.mlhub_resources_dir / "jupyterhub_user_config.py"
    if source.exists():
        write_private(settings.mlhub_run_dir / source.name, source.read_bytes(), find_account("hub"))


def check_rendered(settings: Settings) -> None:
    """Let nginx and sshd check their own files.

    Raises ``ConfigurationError`` with what the program said.
    """
    run = settings.mlhub_run_dir
    checks = []
    if settings.runs_nginx:
        checks.append(("nginx", find_account("edge"), ["nginx", "-t", "-q", "-e", "stderr", "-c", str(run / "nginx.conf")]))
    if settings.start_ssh:
        checks.append(("sshd", find_account("limited-user"), ["/usr/sbin/sshd", "-t", "-f", str(run / "ssh" / "sshd_config")]))
    for name, account, command in checks:
        result = subprocess.run(account.wrap(command), capture_output=True, text=True)
        if result.returncode:
            raise ConfigurationError(f"{name} refuses its rendered configuration:\n{result.stderr.strip()}")


def reload_certificate(settings: Settings, pair: certificates.Pair) -> None:
    """Put a changed pair where nginx reads it: pair checked → installed → nginx -t. A bad one changes nothing.

    Raises ``ConfigurationError`` with what is wrong.
    """
    edge, tls = find_account("edge"), settings.mlhub_run_dir / "nginx" / "tls"
    previous = certificates.Pair(tls.with_name("tls-previous") / "cert.crt", tls.with_name("tls-previous") / "cert.key")
    certificates.load_pair(pair, datetime.datetime.now(datetime.UTC))
    shutil.copytree(tls, previous.key.parent, dirs_exist_ok=True)
    try:
        certificates.install_pair(pair, tls, edge)
        check_rendered(settings)
    except (MLHubError, OSError):
        certificates.install_pair(previous, tls, edge)
        raise
    finally:
        shutil.rmtree(previous.key.parent, ignore_errors=True)


def run_reload(arguments: list[str]) -> int:
    """Return 0 when the changed pair is to be served, else say in one line why the former stays."""
    pair = certificates.Pair(*map(Path, arguments))
    try:
        reload_certificate(Settings.from_environment(), pair)
    except (MLHubError, OSError) as error:
        say(f"The changed certificate is not used, the former one stays in force: {error}")
        return 1
    say(f"The changed certificate {pair.certificate} is in use now.")
    return 0


def hand_over(settings: Settings, programs: list[Program], own_pair: certificates.Pair | None) -> NoReturn:
    """Become the supervisor, which needs a tenth of the libraries; secrets go there in memory, not in arguments or files."""
    watch = None
    if own_pair:
        files = [str(own_pair.certificate), str(own_pair.key)]
        watch = Watch(files, [sys.executable, "-I", "-m", "mlhub.boot", "--reload-certificate", *files], read_environment())._asdict()
    ready = f"Ready at {settings.public_address}" if settings.start_jhub else "Ready"
    plan = {"programs": [program._asdict() for program in programs], "ready": ready, "watch": watch}
    descriptor = os.memfd_create("plan", 0)
    os.write(descriptor, json.dumps(plan, default=str).encode())
    os.lseek(descriptor, 0, os.SEEK_SET)
    command = [sys.executable, "-I", "-m", "mlhub.boot.supervisor", str(descriptor)]
    os.execve(command[0], command, PLAIN_ENVIRONMENT)  # noqa: S606 - no shell is wanted


def main(arguments: list[str]) -> int:
    """Return the container's exit code, where it does not become the supervisor."""
    if arguments[:1] == ["--reload-certificate"]:
        return run_reload(arguments[1:])
    # As the first process of a container it would not be ended by a signal that nobody handles; a bastion may wait here.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        settings = Settings.from_environment()
        say(f"MLHub {__version__} as {settings.hub_name}, execution mode {settings.execution_mode}")
        for warning in list_misspelt_variables(read_environment()):
            say(f"Warning: {warning}")
        check_admin_password(settings)
        if settings.start_jhub and (sentence := explain_missing_engine(engine_socket(settings))):
            say(f"Warning: {sentence}")
        _raise_file_limit()
        programs, own_pair = prepare(settings)
        check_rendered(settings)
        if "--check" in arguments:
            say("The configuration is fine: " + ", ".join(program.name for program in programs))
            return 0
    except MLHubError as error:
        for line in str(error).splitlines():
            say(f"Error: {line}")
        return 1
    except subprocess.CalledProcessError as error:
        say(f"Error: {Path(error.cmd[0]).name} ended with code {error.returncode}; the lines above say why.")
        return 1
    hand_over(settings, programs, own_pair)


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
