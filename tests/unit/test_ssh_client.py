"""The text that sets up an OpenSSH client: read by the real ssh, run by real shells."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlhub.errors import MLHubError
from mlhub.ssh.client_setup import (
    SYSTEMS,
    UNIX,
    WINDOWS,
    Site,
    make_client_config,
    make_known_hosts,
    make_pasteable_config,
    make_removal_command,
    make_setup_command,
)
from mlhub.ssh.public_keys import parse_public_key

AUTHORITY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINuBZpU7imn2H+K/4GyUXA7iM8h+7R4daSe0Bb3nZ/pP"
SITE = Site("hub.example.org", 8080, "hub.example.org", AUTHORITY)
SITES = [
    SITE,
    Site("192.0.2.7", 443, "mlhub", AUTHORITY),
    Site("2001:db8::7", 8080, "mlhub", AUTHORITY),
]
SHELLS = ["dash", "bash"]


@pytest.fixture(scope="session")
def resources(root):
    return root / "resources"


@pytest.fixture
def ask_ssh(tmp_path):
    """Return a function that asks the real ssh what it does for a host under a configuration."""
    assert shutil.which("ssh"), "ssh is not installed (Debian: openssh-client)"

    def ask(config: str, host: str) -> dict[str, str]:
        file = tmp_path / "config"
        file.write_text(config)
        answer = subprocess.run(
            ["ssh", "-G", "-F", str(file), "--", host], capture_output=True, text=True, timeout=30
        )
        assert answer.returncode == 0, answer.stderr
        return dict(line.split(" ", 1) for line in answer.stdout.splitlines() if " " in line)

    return ask


@pytest.mark.parametrize("site", SITES, ids=lambda site: site.host)
def test_ssh_reads_one_block_that_serves_every_workspace(site, ask_ssh, resources):
    config = make_client_config(site, resources)
    for alias in (
        f"alice.{site.suffix}",
        f"lab.alice.{site.suffix}",
        f"not-made-yet.ann_40example_2eorg.{site.suffix}",
    ):
        options = ask_ssh(config, alias)
        assert options["proxycommand"] == f"ssh {site.suffix}-bastion connect %h {site.suffix}"
        assert options["user"] == "workspace"
        assert options["ciphers"].startswith("aes128-gcm")
        assert options["stricthostkeychecking"] in ("true", "yes")
        assert options["userknownhostsfile"].endswith(f"/.ssh/mlhub-{site.suffix}.known_hosts")
    bastion = ask_ssh(config, f"{site.suffix}-bastion")
    assert (bastion["hostname"], bastion["port"], bastion["user"]) == (
        site.host,
        str(site.port),
        "limited-user",
    )
    assert (bastion["hostkeyalias"], bastion["forwardagent"], bastion["clearallforwardings"]) == (
        "mlhub-bastion",
        "no",
        "yes",
    )
    assert "proxycommand" not in bastion
    assert bastion["ciphers"].startswith("aes128-gcm")


def test_the_configuration_touches_no_other_host(ask_ssh, resources):
    config = make_client_config(SITE, resources)
    for host in (
        "example.org",
        "hub.example.org",
        "other.example.org",
        "alice.hub.example.org.evil.net",
        "bastion",
    ):
        options = ask_ssh(config, host)
        assert "proxycommand" not in options
        assert options.get("hostkeyalias") is None
        assert options["user"] not in ("workspace", "limited-user")


@pytest.mark.parametrize("character", ";&|`$()<>")
def test_a_name_that_a_shell_would_act_on_never_reaches_one(character, tmp_path, resources):
    file = tmp_path / "config"
    file.write_text(make_client_config(SITE, resources))
    command = ["ssh", "-G", "-F", str(file), "--", f"x{character}touch.hub.example.org"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=30)
    # A newer ssh refuses the name itself; an older one must not find our ProxyCommand for it.
    assert "proxycommand" not in answer.stdout
    hosts = next(line for line in file.read_text().splitlines() if line.startswith("Host *."))
    assert f"!*{character}*" in hosts.split()


def test_what_is_pasted_by_hand_is_the_same_configuration(ask_ssh, resources):
    pasted = make_pasteable_config(SITE, resources)
    assert ask_ssh(pasted, "lab.alice.hub.example.org") == ask_ssh(
        make_client_config(SITE, resources), "lab.alice.hub.example.org"
    )
    assert f"# {make_known_hosts(SITE, resources).strip()}" in pasted.splitlines()


def find_authority(tmp_path, known_hosts, host):
    file = tmp_path / "known_hosts"
    file.write_text(known_hosts)
    found = subprocess.run(
        ["ssh-keygen", "-F", host, "-f", str(file)], capture_output=True, text=True
    )
    return AUTHORITY in found.stdout and "CA" in found.stdout


def test_the_authority_vouches_for_this_hubs_names_and_no_others(tmp_path, resources):
    known_hosts = make_known_hosts(SITE, resources)
    for host in (
        "mlhub-bastion",
        "alice.hub.example.org",
        "lab.alice.hub.example.org",
        "ws-mlhub--alice",
        "[ws-mlhub--alice]:2222",
    ):
        assert find_authority(tmp_path, known_hosts, host), host
    for host in (
        "hub.example.org",
        "example.org",
        "alice.hub.example.org.evil.net",
        "[alice.hub.example.org]:2222",
        "github.com",
    ):
        assert not find_authority(tmp_path, known_hosts, host), host


@pytest.fixture
def run(tmp_path):
    """Return a function that pastes a command into a shell whose home is a new folder."""
    home = tmp_path / "home"
    home.mkdir()

    def paste(shell: str, command: str) -> str:
        assert shutil.which(shell), f"{shell} is not installed"
        answer = subprocess.run(
            [shell],
            input=command + "\n",
            env={"HOME": str(home), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=30,
            cwd=tmp_path,
        )
        assert (answer.returncode, answer.stderr) == (0, "")
        return answer.stdout

    paste.home = home
    return paste


def read_files(home):
    """Return all that is under a home: file → (mode, content)."""
    return {
        str(file.relative_to(home)): (
            stat.S_IMODE(file.stat().st_mode),
            file.read_text() if file.is_file() else "",
        )
        for file in sorted(home.rglob("*"))
    }


@pytest.mark.parametrize("shell", SHELLS)
def test_the_command_writes_the_files_once_and_the_removal_takes_them_away(shell, run, resources):
    (run.home / ".ssh").mkdir(mode=0o755)
    mine = "Host work\n  User me\n# no line end at the last line\n"
    (run.home / ".ssh" / "config").write_text(mine)
    (run.home / ".ssh" / "config").chmod(0o600)
    setup = make_setup_command(SITE, resources, UNIX, "alice")
    assert "ssh alice.hub.example.org" in run(shell, setup)
    once = read_files(run.home)
    assert once == {
        ".ssh": (0o700, ""),
        ".ssh/config": (0o600, f"Include config.d/mlhub-hub.example.org\n{mine}"),
        ".ssh/config.d": (0o700, ""),
        ".ssh/config.d/mlhub-hub.example.org": (0o600, make_client_config(SITE, resources)),
        ".ssh/mlhub-hub.example.org.known_hosts": (0o600, make_known_hosts(SITE, resources)),
    }
    run(shell, setup)
    assert read_files(run.home) == once
    run(shell, make_removal_command(SITE, resources, UNIX))
    assert read_files(run.home) == {
        ".ssh": (0o700, ""),
        ".ssh/config": (0o600, mine),
        ".ssh/config.d": (0o700, ""),
    }
    run(shell, make_removal_command(SITE, resources, UNIX))


@pytest.mark.parametrize("shell", SHELLS)
def test_the_command_works_in_an_empty_home_and_beside_another_hub(shell, run, resources):
    other = Site("192.0.2.7", 9090, "other", AUTHORITY)
    run(shell, make_setup_command(SITE, resources, UNIX, "alice"))
    run(shell, make_setup_command(other, resources, UNIX, "alice"))
    config = run.home / ".ssh" / "config"
    assert sorted(config.read_text().splitlines()) == [
        "Include config.d/mlhub-hub.example.org",
        "Include config.d/mlhub-other",
    ]
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    run(shell, make_removal_command(other, resources, UNIX))
    assert config.read_text() == "Include config.d/mlhub-hub.example.org\n"
    assert (run.home / ".ssh/config.d/mlhub-hub.example.org").exists()


def test_a_configuration_that_is_a_link_stays_one(run, resources):
    (run.home / ".ssh").mkdir()
    (run.home / "dotfiles").write_text("Host work\n")
    (run.home / ".ssh" / "config").symlink_to(run.home / "dotfiles")
    run("dash", make_setup_command(SITE, resources, UNIX, "alice"))
    assert (run.home / ".ssh" / "config").is_symlink()
    assert (
        run.home / "dotfiles"
    ).read_text() == "Include config.d/mlhub-hub.example.org\nHost work\n"


@pytest.mark.parametrize("system", SYSTEMS)
@pytest.mark.parametrize("site", SITES, ids=lambda site: site.host)
def test_commands_fetch_nothing_and_hold_no_secret(system, site, resources):
    for command in (
        make_setup_command(site, resources, system, "Ann O'Hara; $(id)"),
        make_removal_command(site, resources, system),
    ):
        assert not re.search(
            r"curl|wget|http|Invoke-(Web|Expression)|\biex\b|PRIVATE|token", command, re.IGNORECASE
        )
        assert "$(" not in command
        assert "O'Hara" not in command
        if system == UNIX:
            assert "!" not in command  # an interactive shell may take it for its history
            assert command.count("'") == 2
            assert command.startswith("sh -c '")


def test_windows_names_the_program_with_its_extension(ask_ssh, resources):
    options = ask_ssh(make_client_config(SITE, resources, WINDOWS), "alice.hub.example.org")
    assert options["proxycommand"] == "ssh.exe hub.example.org-bastion connect %h hub.example.org"
    # Literal text: PowerShell expands nothing in a here-string in single quotes.
    command = make_setup_command(SITE, resources, WINDOWS, "alice")
    assert command.count("@'\n") == command.count("\n'@") == 2
    assert make_client_config(SITE, resources, WINDOWS).strip() in command


BAD = [
    "",
    "a b",
    "a;id",
    "$(id)",
    "`id`",
    "a'b",
    'a"b',
    "a\nb",
    "-oProxyCommand=id",
    "*",
    "a%h",
    "ä.example.org",
    "a\\b",
    "[::1]",
    "fe80::1%eth0",
    "x" * 254,
]


@pytest.mark.parametrize("bad", BAD)
def test_nothing_but_names_addresses_ports_and_keys_gets_into_the_text(bad):
    for host, suffix in ((bad, "mlhub"), ("hub.example.org", bad)):
        with pytest.raises(MLHubError):
            Site(host, 8080, suffix, AUTHORITY)
    with pytest.raises(MLHubError):
        Site("hub.example.org", 8080, "mlhub", f"{AUTHORITY}\n{bad}*")
    for port in (0, -1, 65536):
        with pytest.raises(MLHubError):
            Site("hub.example.org", port, "mlhub", AUTHORITY)


@given(host=st.text(max_size=30), suffix=st.text(max_size=30))
def test_whatever_is_accepted_is_of_harmless_characters(host, suffix):
    try:
        site = Site(host, 22, suffix, AUTHORITY)
    except MLHubError:
        return
    assert re.fullmatch(r"[A-Za-z0-9.:-]+", site.host)
    assert re.fullmatch(r"[a-z0-9.-]+", site.suffix)


def test_the_comment_of_the_authority_is_left_out():
    assert (
        Site("hub.example.org", 22, "mlhub", f"{AUTHORITY} '; id\n").authority
        == parse_public_key(AUTHORITY).line
    )


def test_a_key_that_the_bastion_lets_by_is_not_one_too_many_for_the_workspace(resources):
    def read(file):
        return int(re.search(r"^MaxAuthTries (\d+)$", file.read_text(), re.MULTILINE)[1])

    inner = read(resources.parent / "docker/ssh-bundle/sshd_config")
    assert inner >= read(resources / "templates/sshd_config.j2")
