"""The host guard on a real engine, beside what test_egress.py shows of its rules."""

from mlhub.backends.docker import guard
from tests.support.engine import LABEL


async def test_the_hubs_container_stops_forwarding(engine, image, client):
    hub_like = client.containers.run(image, detach=True, labels=LABEL)

    def forwards():
        return hub_like.exec_run(["cat", "/proc/sys/net/ipv4/ip_forward"]).output.decode().strip()

    assert forwards() == "1"
    assert (
        hub_like.exec_run(
            ["sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward"], user="0"
        ).exit_code
        != 0
    )
    await guard.stop_forwarding(engine, "tst", image, hub_like.id, LABEL)
    assert forwards() == "0"


async def test_a_guard_that_can_not_be_installed_is_one_warning_and_no_crash(
    engine, image, client, caplog
):
    assert not await guard.ensure_guard(
        engine, "tst", "mlhub-test-no-such-image:1", extra_labels=LABEL
    )
    assert len(caplog.records) == 1
    assert "MLHUB_HOST_GUARD=false" in caplog.text
    assert not client.containers.list(
        all=True, filters={"label": ["mlhub.helper", f"mlhub.test={LABEL['mlhub.test']}"]}
    )
