"""A policy file is read whole or refused with file, line and reason; the command line tells the
same.
"""

from __future__ import annotations

import json
import logging
import os

import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlhub.cli.__main__ import main
from mlhub.errors import ConfigurationError
from mlhub.policy.file import PolicyFile, load_policy, read_policy
from mlhub.policy.model import SitePolicy
from mlhub.workspaces.cli import make_policy_schema

GOOD = "everyone:\n  cpu_limit: {default: 1, max: 2}\n"


@pytest.mark.parametrize(
    ("text", "place", "part"),
    [
        ("everyone:\n  cpu_limt: {max: 1}", 2, "Did you mean cpu_limit?"),
        (
            "everyone:\n  cpu_limit:\n    default: 1\n    maximum: 2",
            4,
            "'maximum' is not known here. Did you mean max?",
        ),
        (
            "everyone:\n  cpu_limit:\n    max: much",
            3,
            "everyone.cpu_limit.max='much' is not a number",
        ),
        ("everyone:\n  mem_limit:\n    max: -1", 3, "everyone.mem_limit.max='-1'"),
        ("everyone:\n  mem_limit: {max: .nan}", 2, "everyone.mem_limit.max='.nan'"),
        ("everyone:\n  total:\n    servers: 1.5", 3, "whole number"),
        ("everyone:\n  ssh: maybe", 2, "neither true nor false"),
        ("everyone:\n  cpu_limit: {default: 3, max: 2}", 2, "a default above its own max"),
        ("everyone:\n  days_to_live: {default: 0, max: 2}", 2, "for ever, and a max"),
        ("everyone:\n  env:\n    deny: [no]", 3, "Put it in quotes"),
        ("everyone:\n  options: [image, cpus]", 2, "'cpus' is none of 'image', 'cpu_limit'"),
        ("everyone: 3", 1, "not a mapping"),
        ("- everyone", 1, "not a mapping"),
        ("users:\n  alice:\n    group_total: {servers: 1}", 3, "'group_total' is not known here"),
        ("images:\n  - name: A B\n    image: a", 2, "is not a name for an image"),
        ("images:\n  - name: a", 2, "images.0.image is missing"),
        ("images:\n  - name: a\n    image: a b", 3, "is not the name of an image"),
        ("images:\n  - name: a\n    image: a\n    port: 70000", 4, "not a port"),
        ("images:\n  - name: a\n    image: a\n    mount_point: home", 4, "not an absolute path"),
        ("images:\n  - {name: a, image: a}\n  - {name: a, image: b}", 3, "the name 'a' is taken"),
        (
            (
                "images:\n  - {name: python, image: a}\ngroups:\n  x:\n    images:\n      -"
                " python\n      - pyton"
            ),
            7,
            "Did you mean python?",
        ),
        (
            "images:\n  - {name: python, image: a}\neveryone:\n  default_image: r",
            4,
            "'r' is no name of the catalogue. There are: python.",
        ),
        ("everyone: {}\ngroups: {}\neveryone: {}", 3, "everyone stands here a second time"),
        ("? [a, b]\n: c", 1, "a key is not text"),
        ("everyone:\n  cpu_limit: [", 2, "this is not YAML"),
        ("everyone:\n\tcpu_limit: 1", 2, "this is not YAML"),
        ("a: 1\n---\nb: 2", 2, "this is not YAML"),
        ("everyone: {}\n\0", 2, "this is not YAML"),
        ("everyone: &a\n  total: *a", 1, "larger or nested deeper"),
    ],
)
def test_a_mistake_is_told_with_file_line_and_reason(text, place, part):
    with pytest.raises(ConfigurationError) as caught:
        read_policy(text, "policy.yaml")
    assert str(caught.value).startswith(f"policy.yaml:{place}: ")
    assert part in str(caught.value)


def test_all_mistakes_of_a_file_are_told_at_once():
    with pytest.raises(ConfigurationError) as caught:
        read_policy("everyone:\n  ssh: maybe\n  cpu_limit: {max: x}\ngroups:\n  a: 3")
    assert [line.split(":")[1] for line in str(caught.value).splitlines()] == ["3", "2", "5"]


def test_aliases_can_not_blow_a_small_file_up():
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"] + [
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)
    ]
    with pytest.raises(ConfigurationError, match="larger or nested deeper"):
        read_policy("\n".join(lines))
    with pytest.raises(ConfigurationError, match="deeper"):
        read_policy("[" * 5000 + "]" * 5000)


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "everyone:\n", "everyone:\n  cpu_limit:\n", "---\n"]
)
def test_what_says_nothing_is_the_default_policy(text):
    assert read_policy(text).model_dump() == SitePolicy().model_dump()


def test_an_anchor_may_be_used_twice_and_numbers_are_what_they_look_like():
    policy = read_policy(
        "groups:\n  a: &same\n    cpu_limit: {max: 010}\n  b: *same\nusers:\n  0123: {ssh: no}"
    )
    assert policy.groups["a"].cpu_limit.max == policy.groups["b"].cpu_limit.max == 10
    assert policy.users["0123"].ssh is False


# following the file


def write(path, text):
    """Replace the file as editors do: a new file in its place."""
    temporary = path.with_suffix(".new")
    temporary.write_text(text)
    temporary.replace(path)


def test_a_missing_file_means_the_defaults_until_there_is_one(tmp_path):
    follower = PolicyFile(tmp_path / "policy.yaml")
    assert follower.current() == SitePolicy()
    write(follower.path, GOOD)
    assert follower.current().everyone.cpu_limit.max == 2


def test_a_changed_file_is_read_again_and_an_unchanged_one_is_not(tmp_path):
    path = tmp_path / "policy.yaml"
    write(path, GOOD)
    follower = PolicyFile(path)
    first = follower.current()
    assert follower.current() is first
    write(path, GOOD.replace("max: 2", "max: 3"))
    assert follower.current().everyone.cpu_limit.max == 3


def test_a_change_of_the_same_length_within_the_same_tick_of_the_clock_is_seen(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(GOOD)
    follower = PolicyFile(path)
    follower.current()
    status = path.stat()
    path.write_text(GOOD.replace("max: 2", "max: 3"))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert follower.current().everyone.cpu_limit.max == 3


@pytest.mark.parametrize(
    "broken",
    ["everyone: [", "everyone: {cpu_limit: {max: x}}", "\0", ""],
    ids=["yaml", "value", "nul", "gone"],
)
def test_a_broken_or_vanished_file_leaves_the_old_policy_in_force_and_says_so_once(
    tmp_path, caplog, broken
):
    path = tmp_path / "policy.yaml"
    write(path, GOOD)
    follower = PolicyFile(path, logging.getLogger("test"))
    good = follower.current()
    if broken:
        write(path, broken)
    else:
        path.unlink()
    with caplog.at_level(logging.INFO):
        assert [follower.current() for _ in range(3)] == [good] * 3
    assert len(caplog.records) == 1
    assert str(path) in caplog.text
    assert "stays as it was" in caplog.text
    assert follower.problem
    write(path, GOOD.replace("max: 2", "max: 3"))
    assert follower.current().everyone.cpu_limit.max == 3
    assert not follower.problem


def test_a_file_that_is_broken_from_the_start_stops_the_hub(tmp_path):
    write(tmp_path / "policy.yaml", "everyone: [")
    follower = PolicyFile(tmp_path / "policy.yaml")
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"policy\.yaml:1: this is not YAML"):
            follower.current()


def test_what_is_no_text_file_is_told(tmp_path):
    with pytest.raises(ConfigurationError, match="is a directory; Docker makes one"):
        load_policy(tmp_path)
    with pytest.raises(ConfigurationError, match="does not exist"):
        load_policy(tmp_path / "none")
    path = tmp_path / "policy.yaml"
    path.write_bytes(b"everyone:\n  \xff")
    with pytest.raises(ConfigurationError, match=r"policy\.yaml:2: this is not UTF-8"):
        load_policy(path)
    path.write_bytes(b"#" * 2**21)
    with pytest.raises(ConfigurationError, match="larger than 1024 KiB"):
        load_policy(path)


# the command line


def test_the_check_command_ends_with_1_and_file_and_line_where_the_file_is_wrong(tmp_path, capsys):
    path = tmp_path / "policy.yaml"
    path.write_text(GOOD)
    assert main(["policy", "check", str(path)]) == 0
    assert "is fine" in capsys.readouterr().out
    path.write_text("everyone:\n  cpu: 1")
    assert main(["policy", "check", str(path)]) == 1
    assert f"{path}:2: " in capsys.readouterr().err


def test_the_explain_command_prints_each_value_with_the_line_of_its_rule(tmp_path, capsys):
    path = tmp_path / "policy.yaml"
    path.write_text(GOOD + "groups:\n  gpu:\n    gpus: {max: 1}\n")
    host = [
        "--file",
        str(path),
        "--cpus",
        "8",
        "--memory",
        "16G",
        "--gpus",
        "2",
        "--image",
        "python",
    ]
    assert (
        main(
            [
                "policy",
                "explain",
                "alice",
                "--group",
                "gpu",
                *host,
                "cpu_limit=2",
                "gpus=1",
                "env=A=1",
                "env=B=2",
            ]
        )
        == 0
    )
    out = capsys.readouterr().out
    assert f"everyone.cpu_limit.max, {path}:2" in out
    assert f"groups.gpu.gpus.max, {path}:5" in out
    assert "A, B" in out
    assert "Person: alice, taken for no administrator; groups: gpu\n" in out
    assert "what runs is not known here" in out
    assert main(["policy", "explain", "alice", "--admin", *host]) == 0
    assert (
        "Person: alice, administrator; groups: not known here, name them with --group\n"
        in capsys.readouterr().out
    )
    assert main(["policy", "explain", "alice", *host, "cpu_limit=3", "gpus=7"]) == 1
    out = capsys.readouterr().out
    assert "Ask for at most 2." in out
    assert "There are 2, from 0 to 1." in out
    assert main(["policy", "explain", "alice", *host, "cpu"]) == 1
    assert "not key=value" in capsys.readouterr().err


def test_the_explain_command_never_prints_a_secret(tmp_path, capsys):
    path = tmp_path / "policy.yaml"
    path.write_text("groups: {lab: {license: {variable: LICENSE_KEY}}}")
    asked = ["policy", "explain", "lea", "--file", str(path), "license=AAAA-BBBB"]
    assert main([*asked, "--group", "lab"]) == 0
    assert main(asked) == 1
    assert main([*asked, "license=AAAA-CCCC"]) == 1
    printed = "".join(capsys.readouterr())
    assert "AAAA" not in printed
    assert f"groups.lab.license.variable, {path}:1" in printed
    assert "license is not asked for here" in printed


def test_the_schema_command_prints_a_valid_json_schema(capsys):
    assert main(["policy", "schema"]) == 0
    jsonschema.Draft202012Validator.check_schema(json.loads(capsys.readouterr().out))


# properties

KEYS = st.sampled_from(
    [
        "images",
        "everyone",
        "groups",
        "users",
        "cpu_limit",
        "max",
        "default",
        "env",
        "allow",
        "total",
        "options",
        "name",
        "a",
    ]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["2G", "unlimited", "python", "all"])
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
# Drawing costs more than checking: each draw is put together to ten files.
TEN_OF_EACH = settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
PARTS = st.lists(st.tuples(KEYS, TREES), min_size=4, max_size=4)


def check_any_text(text):
    """Whatever a file holds: a policy that fits the published schema, or a sentence with the file's
    name.
    """
    try:
        policy = read_policy(text, "policy.yaml")
    except ConfigurationError as error:
        return all(line.startswith("policy.yaml") for line in str(error).split("\n"))
    return isinstance(policy, SitePolicy)


@TEN_OF_EACH
@given(PARTS, st.text(max_size=60))
def test_any_texts_are_policies_or_sentences(parts, text):
    trees = [dict(parts), *({key: tree} for key, tree in parts), *(tree for _, tree in parts)]
    for each in [text, *map(yaml.safe_dump, trees)]:
        assert check_any_text(each)


def test_the_published_schema_accepts_what_the_reader_accepts():
    text = (
        GOOD
        + "  total: {servers: 2, gpus: unlimited, mem_limit: 8G}\n  custom_images: [a/*]\n  gpus:"
        " {default: none, devices: [0, GPU-aaaa]}\n"
    )
    read_policy(text)
    jsonschema.validate(yaml.safe_load(text), make_policy_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"everyone": {"cpu": 1}}, make_policy_schema())
