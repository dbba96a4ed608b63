"""How often a workspace's sshd is looked at while people sign in, whatever the backend."""

import pytest

from mlhub.backends.ssh import SshEntry
from mlhub.errors import BackendError


class Entry(SshEntry):
    """The SSH side of a spawner whose sshd a test runs, replaces and breaks."""

    run, looks, is_broken = "container-1", 0, False

    def find_sshd_run(self):
        return self.run

    async def reach_sshd(self):
        self.looks += 1
        if self.is_broken:
            raise BackendError("the SSH server does not answer")


async def test_an_sshd_that_has_just_answered_is_not_looked_at_again():
    entry = Entry()
    for _ in range(3):
        await entry.ensure_ssh()
    assert entry.looks == 1


async def test_the_sshd_of_another_container_is_looked_at():
    entry = Entry()
    await entry.ensure_ssh()
    entry.run = "container-2"
    await entry.ensure_ssh()
    assert entry.looks == 2


async def test_one_that_does_not_answer_is_a_sentence_each_time_until_it_does():
    entry = Entry()
    entry.is_broken = True
    for looks in (1, 2):
        with pytest.raises(BackendError, match="does not answer"):
            await entry.ensure_ssh()
        assert entry.looks == looks
    entry.is_broken = False
    await entry.ensure_ssh()
    assert entry.looks == 3


async def test_where_the_hub_answers_for_no_sshd_none_is_looked_at():
    entry = Entry()
    entry.run = None
    await entry.ensure_ssh()
    assert entry.looks == 0
