"""Start the container: ``python -m mlhub.boot [--check]``.

Reads as the list of its steps at the bottom. ``--check`` renders, lets nginx and sshd check their files, and ends.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from mlhub import __version__
from mlhub.auth.rules import explain_password
from mlhub.boot import certificates
from mlhub.boot.accounts import find_account
from mlhub.boot.data import ensure_secret, prepare_data_dir, prepare_run_dir, write_private
from mlhub.boot.preflight import check_user_config, explain_missing_engine, names_other_proxy
from mlhub.boot.programs import engine_socket, make_directories, make_programs
from mlhub.boot.render import Renderer, make_addresses
from mlhub.boot.supervisor import Program, Supervisor
from mlhub.errors import ConfigurationError, MLHubError, SettingsError
from mlhub.settings import Settings, list_misspelt_variables

CERTIFICATE_CHECK_SECONDS = 2.0


def say(line: str) -> None:
    """Write one line to the container's log."""
    print(f"[MLHub {time.strftime('%H:%M:%S')}] {line}", flush=True)


def prepare(settings: Settings) -> tuple[list[Program], certificates.Pair | None]:
    """Make directories, secrets, certificates and files; return what is to run and the own certificate to watch."""
    tree = check_user_config(settings.mlhub_resources_dir / "jupyterhub_user_config.py")
    other_proxy = names_other_proxy(tree)
    hub, edge = find_account("hub"), find_account("edge")
    data = prepare_data_dir(settings, hub)
    run = prepare_run_dir(settings)
    make_directories(settings)
    own_pair = prepare_certificate(settings) if settings.start_nginx and settings.ssl_enabled else None
    addresses = make_addresses(settings, other_proxy=other_proxy)
    renderer = Renderer(settings, addresses, own_certificate=own_pair is not None)
    token = (
        settings.configproxy_auth_token.get_secret_value()
        if settings.configproxy_auth_token
        else ensure_secret(data / "proxy_auth_token", hub)
    )
    programs = make_programs(settings, addresses, token, runs_chp=settings.runs_chp and not other_proxy)
    if settings.start_nginx:
        write_private(run / "nginx.conf", renderer.render("nginx.conf.j2"), edge)
    if settings.start_ssh:
        prepare_sshd(settings, renderer)
    render_error_pages(settings, renderer)
    copy_user_config(settings)
    write_private(run / "settings.json", settings.model_dump_json(), hub)
    (run / "health.json").write_text(json.dumps([program.probe for program in programs]))
    return programs, own_pair


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


def prepare_sshd(settings: Settings, renderer: Renderer) -> None:
    """Make the host key once, kept under the data directory, and write sshd's file."""
    bastion, hub = find_account("limited-user"), find_account("hub")
    kept = settings.data_volume_container / "ssh"
    kept.mkdir(mode=0o700, exist_ok=True)
    hub.own(kept, 0o700)
    key = kept / "ssh_host_ed25519_key"
    if not key.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", settings.hub_name, "-f", str(key)], check=True)
        for file in (key, key.with_suffix(".pub")):
            hub.own(file, 0o600)
    folder = settings.mlhub_run_dir / "ssh"
    write_private(folder / key.name, key.read_bytes(), bastion)
    write_private(folder / "sshd_config", renderer.render("sshd_config.j2"), bastion)


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
    if settings.start_nginx:
        checks.append(("nginx", find_account("edge"), ["nginx", "-t", "-q", "-e", "stderr", "-c", str(run / "nginx.conf")]))
    if settings.start_ssh:
        checks.append(("sshd", find_account("limited-user"), ["/usr/sbin/sshd", "-t", "-f", str(run / "ssh" / "sshd_config")]))
    for name, account, command in checks:
        result = subprocess.run(account.wrap(command), capture_output=True, text=True)
        if result.returncode:
            raise ConfigurationError(f"{name} refuses its rendered configuration:\n{result.stderr.strip()}")


async def watch_certificate(settings: Settings, pair: certificates.Pair, supervisor: Supervisor) -> None:
    """Serve a changed certificate without a restart: pair checked → nginx -t → HUP. A bad one changes nothing."""
    seen = pair.fingerprint()
    tls = settings.mlhub_run_dir / "nginx" / "tls"
    while True:
        await asyncio.sleep(CERTIFICATE_CHECK_SECONDS)
        current = pair.fingerprint()
        if current == seen or current == (0,):
            continue
        seen = current
        previous = tls.with_name("tls-previous")
        try:
            certificates.load_pair(pair, datetime.datetime.now(datetime.UTC))
            shutil.copytree(tls, previous, dirs_exist_ok=True)
            certificates.install_pair(pair, tls, find_account("edge"))
            await asyncio.to_thread(check_rendered, settings)
        except MLHubError as error:
            if previous.exists():
                certificates.install_pair(certificates.Pair(previous / "cert.crt", previous / "cert.key"), tls, find_account("edge"))
            say(f"The changed certificate is not used, the former one stays in force: {error}")
            continue
        finally:
            shutil.rmtree(previous, ignore_errors=True)
        supervisor.signal("nginx", signal.SIGHUP)
        say(f"The changed certificate {pair.certificate} is in use now.")


async def supervise(settings: Settings, programs: list[Program], own_pair: certificates.Pair | None) -> int:
    """Run everything; return the container's exit code."""
    supervisor = Supervisor(programs, say, on_ready=lambda: say_welcome(settings))
    watcher = asyncio.create_task(watch_certificate(settings, own_pair, supervisor)) if own_pair else None
    try:
        return await supervisor.run()
    finally:
        if watcher:
            watcher.cancel()


def say_welcome(settings: Settings) -> None:
    """Print that everything answers, and where."""
    say(f"Ready at {settings.public_address}" if settings.start_jhub else "Ready")


def main(arguments: list[str]) -> int:
    """Return the container's exit code."""
    try:
        settings = Settings.from_environment()
        say(f"MLHub {__version__} as {settings.hub_name}, execution mode {settings.execution_mode}")
        for warning in list_misspelt_variables():
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
    return asyncio.run(supervise(settings, programs, own_pair))


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
