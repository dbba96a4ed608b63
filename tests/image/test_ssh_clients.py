"""Clients other than OpenSSH, set up with the very text that the page hands out."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.hub_container import RUN, Hub, docker
from tests.support.ssh_client import OWN, Person

pytestmark = pytest.mark.full
# Debian's own Python and Ruby have these libraries.
PYTHON, RUBY = ("/usr/bin/python3", "-c"), ("/usr/bin/ruby", "-e")
PARAMIKO = """
import sys, paramiko
config, alias, key, folder = sys.argv[1:]
found = paramiko.SSHConfig.from_path(config).lookup(alias)
client = paramiko.SSHClient()
client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
client.connect(
    found["hostname"], username=found["user"], key_filename=key, look_for_keys=False,
    allow_agent=False, sock=paramiko.ProxyCommand(found["proxycommand"]), timeout=60,
)
print(client.exec_command("echo in")[1].read().decode().strip())
files = client.open_sftp()
with files.open("by-paramiko", "w") as file:
    file.write("kept")
files.get("by-paramiko", folder + "/got")
print(open(folder + "/got").read())
client.close()
"""
ASYNCSSH = """
import asyncio, sys, asyncssh
config, alias, key, folder = sys.argv[1:]
async def main():
    # Whose host it is is told by the hub's authority, as the file says.
    async with asyncssh.connect(
        alias, config=[config], client_keys=[key], known_hosts=folder + "/known_hosts"
    ) as connection:
        print((await connection.run("echo in", check=True)).stdout.strip())
        async with connection.start_sftp_client() as files:
            async with files.open("by-asyncssh", "w") as file:
                await file.write("kept")
            print(await (await files.open("by-asyncssh")).read())
        listener = await connection.forward_local_port("", 0, "127.0.0.1", 8080)
        print("forwards" if listener.get_port() else "")
asyncio.run(main())
"""
NET_SSH = """
require "net/ssh"
config, host, key, folder = ARGV
Net::SSH.start(
  host, nil, config: [config], keys: [key], keys_only: true, use_agent: false,
  non_interactive: true, timeout: 60
) do |session|
  puts session.exec!("echo in")
  puts "forwards" if session.forward.local(0, "127.0.0.1", 8080) > 0
end
"""
LIBRARIES = {
    "paramiko": (PYTHON, PARAMIKO, ["in", "kept"]),
    "asyncssh": (PYTHON, ASYNCSSH, ["in", "kept", "forwards"]),
    "net-ssh": (RUBY, NET_SSH, ["in", "forwards"]),
}


@pytest.fixture(scope="module")
def person(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Person:
    person = Person(hub, "clients", tmp_path_factory.mktemp("clients") / "ssh").join()
    hub.start_workspace("clients")
    assert person.ask("echo in").strip() == "in"
    return person


def come_in(name: str, person: Person, alias: str = "") -> subprocess.CompletedProcess[str]:
    """Let a library come in; return what it said."""
    language, program, _ = LIBRARIES[name]
    words = [str(person.config), alias or person.alias, str(person.key), str(person.folder)]
    environment = {**os.environ, "SSH_AUTH_SOCK": "", "HOME": str(person.folder)}
    return subprocess.run(
        [*language, program, *words],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
    )


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_library_comes_in_and_copies_files_or_forwards_ports(person, name):
    result = come_in(name, person)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == LIBRARIES[name][-1]


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_library_that_names_no_workspace_is_refused_and_does_not_wait_for_ever(person, name):
    result = come_in(name, person, f"nobody.{person.hub.name}")
    assert result.returncode != 0
    assert "in" not in result.stdout.split()


@pytest.fixture
def old_config(person, tmp_path) -> Path:
    """Return the person's file as it is where nothing but an OpenSSH of before 8.1 is installed."""
    file = tmp_path / "config"
    file.write_text(
        person.config.read_text().replace(
            f"ProxyCommand ssh -F {person.config} ", f"ProxyCommand ssh1 -F {file} "
        )
    )
    return file


def run_old(program: str, config: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a program of OpenSSH 7.5, as Debian keeps it for hosts of those days."""
    return subprocess.run(
        [program, "-F", str(config), *words],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        env={**os.environ, "SSH_AUTH_SOCK": ""},
    )


def test_an_openssh_of_before_8_1_comes_in_and_copies_files(person, old_config, tmp_path):
    version = run_old("ssh1", old_config, "-V").stderr
    assert version.startswith("OpenSSH_7.5"), version
    result = run_old("ssh1", old_config, person.alias, "echo in")
    assert (result.returncode, result.stdout) == (0, "in\n"), result.stderr
    (tmp_path / "sent").write_text("kept")
    for source, target in (
        (str(tmp_path / "sent"), f"{person.alias}:by-an-old-scp"),
        (f"{person.alias}:by-an-old-scp", str(tmp_path / "got")),
    ):
        copied = run_old("scp1", old_config, "-S", "/usr/bin/ssh1", source, target)
        assert copied.returncode == 0, copied.stderr
    assert (tmp_path / "got").read_text() == "kept"


def test_an_old_openssh_that_names_no_workspace_is_told_so(person, old_config):
    result = run_old("ssh1", old_config, f"nobody.{person.hub.name}", "echo in")
    assert result.returncode == 255
    assert "nobody" in result.stderr, result.stderr


def test_an_openssh_of_10_comes_in(person):
    """That of the default workspace image, which is newer than this machine's."""
    folder = f"{person.folder}:{person.folder}"
    words = ["--rm", "--label", f"mlhub.test={RUN}", "--network", "host", "--user", "root"]
    command = f"ssh -V 2>&1; exec ssh -F {person.config} {person.alias} 'echo in'"
    said = docker("run", *words, "--volume", folder, "--entrypoint", "sh", OWN, "-c", command)
    version, word = said.splitlines()
    assert version.startswith("OpenSSH_10."), version
    assert word == "in"


def test_putty_comes_in(person, tmp_path):
    key = tmp_path / "key.ppk"
    subprocess.run(["puttygen", str(person.key), "-o", str(key)], check=True, capture_output=True)
    hop = f"ssh -F {person.config} {person.bastion} connect {person.alias} {person.hub.name}"
    command = ["plink", "-ssh", "-batch", "-i", str(key), "-proxycmd", hop]
    environment = {**os.environ, "HOME": str(tmp_path)}

    def run(*more: str) -> subprocess.CompletedProcess[str]:
        words = [*command, *more, f"workspace@{person.alias}", "echo in"]
        return subprocess.run(
            words,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=60,
            env=environment,
        )

    # Without a word on whose key it is, it does not go on; with the one that it saw it does.
    refused = run()
    assert refused.returncode != 0
    shown = next(word for word in refused.stderr.split() if word.startswith("SHA256:"))
    result = run("-hostkey", shown)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "in"


@pytest.fixture
def agent(tmp_path: Path):
    """Return the socket of an agent with twelve keys, of which the person's is the last."""
    socket = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(socket)], stdout=subprocess.DEVNULL)
    environment = {**os.environ, "SSH_AUTH_SOCK": str(socket)}
    while not socket.exists():
        assert process.poll() is None
    yield environment
    process.terminate()
    process.wait()


def test_an_agent_with_many_keys_comes_in_by_the_identity_that_the_page_names(
    person, agent, tmp_path
):
    for number in range(12):
        file = tmp_path / f"other{number}"
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(file)]
        subprocess.run(words, check=True)
        subprocess.run(["ssh-add", "-q", str(file)], check=True, env=agent)
    subprocess.run(["ssh-add", "-q", str(person.key)], check=True, env=agent)
    # Only the public half lies in a file: the agent signs.
    public = tmp_path / "mine.pub"
    shutil.copy(person.key.with_suffix(".pub"), public)
    config = tmp_path / "config"
    config.write_text(person.config.read_text().replace(str(person.key), str(public)).replace(
        f"-F {person.config}", f"-F {config}"))  # fmt: skip
    command = ["ssh", "-F", str(config), person.alias, "echo in"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, env=agent)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "in"
