"""A site's own prefix and name template: honored where injective, refused with a sentence
elsewhere.
"""

from types import SimpleNamespace

import pytest
from dockerspawner import DockerSpawner
from hypothesis import given
from hypothesis import strategies as st

from mlhub.backends.docker.names import check_template, render_name
from mlhub.errors import ConfigurationError
from mlhub.identity import Identity

GOOD = [
    "{prefix}-{username}--{servername}",
    "ws-{username}-mlhub{servername}",  # the original product's
    "ws-{username}-mlhub--{servername}",
    "jupyter-{safe_username}--{servername}",
]
BAD = [
    "{prefix}-{username}",
    "{prefix}-{username}-{servername}",
    "{prefix}-{username}{servername}",
    "{prefix}-{username}x{servername}",
    "{prefix}-{username}-2d{servername}",
    "{prefix}-{servername}--{username}",
    "{prefix}-{raw_username}--{servername}",
    "{prefix}-{username}--{servername}-{imagename}",
    "{prefix}-{username}--{username}--{servername}",
    "fixed",
]


def render(template, user, server, prefix="ws"):
    names = {
        name: DockerSpawner._escape(value)
        for name, value in {"username": user, "safe_username": user, "servername": server}.items()
    }
    return template.format(**names, prefix=prefix)


@pytest.mark.parametrize("template", GOOD)
def test_injective_templates_are_accepted(template):
    check_template(template)


@pytest.mark.parametrize("template", BAD)
def test_templates_that_can_collide_are_refused_with_a_cure(template):
    with pytest.raises(ConfigurationError, match=r"Write e\.g\."):
        check_template(template)


names = st.one_of(
    st.text(alphabet="ab-2d.m", min_size=1, max_size=8), st.from_regex(r"\A(a|-mlhub|--|b){1,4}\Z")
)


@pytest.mark.parametrize("template", GOOD)
@given(
    one=st.tuples(names, st.one_of(st.just(""), names)),
    other=st.tuples(names, st.one_of(st.just(""), names)),
)
def test_accepted_templates_never_give_two_workspaces_one_name(template, one, other):
    assert (render(template, *one) == render(template, *other)) == (one == other)


def test_the_prefix_alone_keeps_the_built_in_names():
    identity = Identity("mlhub", "alice")
    assert render_name(identity, "jupyter", "", str) == "jupyter-mlhub--alice"


@pytest.mark.parametrize("prefix", ["", "Ws", "a--b", "-a", "a-", "a b", "a" * 17])
def test_a_prefix_that_can_not_begin_a_dns_label_is_refused(prefix):
    with pytest.raises(ConfigurationError, match="prefix="):
        render_name(Identity("mlhub", "alice"), prefix, "", str)


def test_a_template_whose_result_is_too_long_is_refused():
    spawner = SimpleNamespace(render=lambda template: "ws-" + "a" * 80)
    with pytest.raises(ConfigurationError, match="at most 63"):
        render_name(Identity("mlhub", "a" * 80), "ws", GOOD[0], spawner.render)
