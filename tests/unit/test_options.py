"""What a person asks for becomes typed options, or a sentence for each field; the form and the REST
API agree.
"""

from __future__ import annotations

import json
import math

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlhub import quantities as values
from mlhub.errors import OptionsError
from mlhub.options.environment import ALWAYS_REFUSED, explain_refusal
from mlhub.options.model import OPTION_NAMES, FieldsError, WorkspaceOptions

from_rest, from_form = WorkspaceOptions.from_rest, WorkspaceOptions.from_form
GIB, MIB = 2**30, 2**20

# Drawing costs far more than checking: each draw is put together to ten inputs.
TEN_OF_EACH = settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
DRAWN = 6
SCHEMA = jsonschema.Draft202012Validator(WorkspaceOptions.model_json_schema())

NAMES = st.sampled_from(
    [*OPTION_NAMES, "is_custom_image", "custom_image", "defined_image", "cpu", "__class__"]
)
USUAL = [
    "",
    " ",
    "2",
    "0.5",
    "500m",
    "4",
    "4G",
    "512Mi",
    "256m",
    "all",
    "none",
    "0,1",
    "GPU-1b2c3d4e",
    "on",
    "false",
    "python:3.12",
]
HOSTILE = [
    "-1",
    "nan",
    "inf",
    "1e400",
    "9" * 400,
    "0x10",
    "1_000",
    "\0",
    "2\0",
    "LD_PRELOAD=x",
    "a b",
    "x" * 5000,
    "../x",
    "\u0663",
    "2,5",
]
TEXTS = st.text(max_size=30) | st.sampled_from(USUAL) | st.sampled_from(["A=1\nB=2", *HOSTILE])
NUMBERS = st.integers() | st.floats() | st.sampled_from([10**400, -(10**400), 1e308, 5e-324, -0.0])
JUNK = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS | st.binary(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)
REQUESTS = st.lists(st.tuples(NAMES | st.text(max_size=10), JUNK), min_size=DRAWN, max_size=DRAWN)
# JupyterHub's own field is the one that a form has and a REST call has not.
FORMS = st.lists(
    st.tuples(
        NAMES | st.text(max_size=10).filter(lambda name: name != "_xsrf"),
        st.lists(TEXTS, max_size=3),
    ),
    min_size=DRAWN,
    max_size=DRAWN,
)

HOSTILE_NUMBERS = [
    -1,
    "-1",
    "nan",
    float("nan"),
    "inf",
    math.inf,
    1e400,
    "1e400",
    "9" * 400,
    10**400,
    10**5000,
    True,
    False,
    [[1]],
    [2],
]
HOSTILE_NUMBERS += [
    {"a": 1},
    "\0",
    "2\0",
    "\uff12",
    "\u0663",
    "0x10",
    "1_000",
    "1e3",
    "2,5",
    "x" * 100_000,
    "\ud800",
    b"2",
    "--1",
    "+2",
]


def refuse(given_options):
    """Return the sentences of options that are refused."""
    with pytest.raises(FieldsError) as caught:
        from_rest(given_options)
    return caught.value.fields


def test_no_options_ask_for_nothing():
    for nothing in ({}, None, "", {"cpu_limit": "", "env": {}, "image": None, "gpus": "  "}):
        assert from_rest(nothing) == WorkspaceOptions()
    assert WorkspaceOptions().to_user_options() == {}
    assert (
        from_form({})
        == from_form({"cpu_limit": [""], "mem_limit": [" "], "env": [""], "gpus": []})
        == WorkspaceOptions()
    )


def test_the_form_of_the_original_and_the_same_as_rest_give_the_same_options():
    rest = {
        "defined_image": "python:3.12",
        "cpu_limit": 2,
        "mem_limit": 4,
        "env": {"A": "1", "B": "x=y"},
        "days_to_live": 7,
    }
    rest |= {"shm_size": "256m", "gpus": [0, 1], "is_mount_volume": True}
    form = {
        "defined_image": ["python:3.12"],
        "custom_image": [""],
        "cpu_limit": ["2"],
        "mem_limit": ["4"],
        "env": ["A=1\r\nB=x=y\r\n"],
    }
    form |= {
        "days_to_live": ["7"],
        "shm_size": ["256m"],
        "gpus": ["0", "1"],
        "is_mount_volume": ["false", "on"],
        "_xsrf": ["2|token"],
    }
    assert from_rest(rest) == from_form(form)
    assert from_rest(rest).to_user_options() == {
        "image": "python:3.12",
        "cpu_limit": 2,
        "mem_limit": "4G",
        "shm_size": "256M",
        "gpus": "0,1",
        "env": {"A": "1", "B": "x=y"},
        "days_to_live": 7,
        "is_mount_volume": True,
    }


def test_a_custom_image_counts_only_where_its_box_is_ticked():
    ticked = from_form(
        {"is_custom_image": ["on"], "custom_image": ["me/mine:1"], "defined_image": ["python:3"]}
    )
    assert (ticked.image, ticked.is_custom_image) == ("me/mine:1", True)
    not_ticked = from_form({"custom_image": ["me/mine:1"], "defined_image": ["python:3"]})
    assert (not_ticked.image, not_ticked.is_custom_image) == ("python:3", False)
    assert "custom_image" in refuse({"is_custom_image": True})
    assert "contradict" in refuse({"image": "a", "defined_image": "b"})["image"]


def test_a_checkbox_with_a_hidden_false_before_it_tells_not_ticked_from_not_asked():
    assert from_form({"is_mount_volume": ["false"]}).is_mount_volume is False
    assert from_form({"is_mount_volume": ["false", "on"]}).is_mount_volume is True
    assert from_form({}).is_mount_volume is None


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("2", 2),
        (2, 2),
        (0.5, 0.5),
        ("500m", 0.5),
        ("1500m", 1.5),
        (" 3 ", 3),
        (".5", 0.5),
        ("1.23456", 1.234),
    ],
)
def test_cores_are_read_as_numbers_and_as_thousandths(text, cores):
    assert from_rest({"cpu_limit": text}).cpu_limit == cores


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4", 4 * GIB),
        (4, 4 * GIB),
        (0.5, GIB // 2),
        ("512Mi", 512 * MIB),
        ("512m", 512 * MIB),
        ("2G", 2 * GIB),
        ("2GB", 2 * GIB),
        ("2GiB", 2 * GIB),
        ("2 gi", 2 * GIB),
        ("1048576K", GIB),
        ("1T", 2**40),
        (2 * GIB, 2 * GIB),
        ("268435456", 256 * MIB),
        ("268435456B", 256 * MIB),
        ("100.5M", 100 * MIB),
    ],
)
def test_memory_is_read_in_gb_with_units_and_as_bytes(text, size):
    assert from_rest({"mem_limit": text}).mem_limit == size


@pytest.mark.parametrize(
    ("given_gpus", "gpus"),
    [
        ("all", ("all",)),
        ("ALL", ("all",)),
        ("none", ()),
        (0, ("0",)),
        ("0,1", ("0", "1")),
        ("0 1\n2", ("0", "1", "2")),
        ([0, "1", 0], ("0", "1")),
        (["GPU-1b2c3d4e-0000"], ("GPU-1b2c3d4e-0000",)),
        ("MIG-GPU-1b2c/1/0", ("MIG-GPU-1b2c/1/0",)),
    ],
)
def test_gpus_are_all_none_indices_or_uuids(given_gpus, gpus):
    assert from_rest({"gpus": given_gpus}).gpus == gpus


@pytest.mark.parametrize("name", ["cpu_limit", "mem_limit", "shm_size", "days_to_live"])
@pytest.mark.parametrize("value", HOSTILE_NUMBERS, ids=map(str, range(len(HOSTILE_NUMBERS))))
def test_a_hostile_number_is_a_sentence_that_names_field_value_and_cure(name, value):
    sentence = refuse({name: value})[name]
    assert sentence.startswith(f"{name}=")
    assert "Write " in sentence
    assert len(sentence) < 300
    assert sentence.isprintable()


@pytest.mark.parametrize("value", ["0", 0, "0.001", "0.009", 5e-324])
def test_no_cores_at_all_are_refused(value):
    assert "cpu_limit" in refuse({"cpu_limit": value})


def test_a_moment_to_live_does_not_become_eternity_by_rounding():
    assert from_rest({"days_to_live": 0}).days_to_live == 0
    assert "days_to_live" in refuse({"days_to_live": "0.0001"})


@pytest.mark.parametrize(
    "image",
    [
        "a b",
        "A",
        "-x",
        "image;rm -rf /",
        "$(id)",
        "../up",
        "/abs",
        "a:b:c",
        "a@sha256:12",
        "x" * 500,
        "\0",
        "http://a/b",
        "a\nb",
        5,
        True,
        ["a"],
    ],
)
def test_what_can_not_be_the_name_of_an_image_is_refused_before_anybody_looks_for_it(image):
    assert "is not the name of an image" in refuse({"image": image})["image"]
    assert (
        "is not the name of an image"
        in refuse({"is_custom_image": True, "custom_image": image})["custom_image"]
    )


@pytest.mark.parametrize(
    "image",
    [
        "python",
        "python:3.12",
        "quay.io/jupyter/scipy-notebook:2026-11-01",
        "localhost:5000/a/b__c@sha256:" + "a" * 64,
        "Reg.example.org/x",
    ],
)
def test_ordinary_references_are_names_of_images(image):
    assert from_rest({"image": image}).image == image


@pytest.mark.parametrize(
    ("env", "part"),
    [
        ("secret-token", "no '=' in line 1"),
        ("A=1\n\nsecret", "no '=' in line 3"),
        ("=secret", "a name in line 1"),
        ("9A=secret", "a name in line 1"),
        ("A B=secret", "a name in line 1"),
        ("A=1\nA=secret", "A twice"),
        ({"A": "secret\0"}, "control characters"),
        ({"A": "secret\ud800"}, "control characters"),
        ({"A": ["secret"]}, "no text"),
        ({"A": True}, "no text"),
        ({"A": float("nan")}, "out of range"),
        ({"A": 10**5000}, "out of range"),
        ({"A": "secret" * 10_000}, "8 KiB"),
        ("A=" + "secret" * 100_000, "32 KiB"),
        ({f"A{n}": "x" for n in range(101)}, "101 variables"),
        (["A=secret"], "neither lines nor a mapping"),
    ],
)
def test_a_wrong_environment_is_told_without_showing_any_value(env, part):
    sentence = refuse({"env": env})["env"]
    assert part in sentence
    assert "secret" not in sentence


@pytest.mark.parametrize(
    "name",
    [
        "JUPYTERHUB_API_TOKEN",
        "JPY_API_TOKEN",
        "LD_PRELOAD",
        "NVIDIA_VISIBLE_DEVICES",
        "PATH",
        "PYTHONPATH",
        "MEM_LIMIT",
        "Path",
        "jupyterhub_user",
    ],
)
def test_variables_of_the_hub_the_loader_and_the_gpus_are_nobodys_to_set(name):
    for env in (f"{name}=x", {name: "x"}):
        assert f"may not set {name}" in refuse({"env": env})["env"]
    assert from_rest({"env": {f"MY_{name}": "x"}}).env


def test_every_name_that_is_always_refused_has_a_reason():
    for pattern in ALWAYS_REFUSED:
        assert explain_refusal(pattern.replace("*", "X"))


def test_an_unknown_option_is_refused_with_the_nearest_known_name():
    assert "Did you mean mem_limit?" in refuse({"memlimit": 1})["memlimit"]
    assert "Known: image" in refuse({"privileged": True})["privileged"]
    with pytest.raises(OptionsError, match="not a mapping"):
        from_rest([1])


def test_very_many_keys_are_refused_at_once():
    for read in (from_rest, from_form):
        with pytest.raises(OptionsError, match="200000 options"):
            read({f"k{n}": ["1"] for n in range(200_000)})


def test_all_wrong_fields_are_told_at_once():
    assert set(refuse({"cpu_limit": "x", "mem_limit": True, "env": "y", "unknown": 1})) == {
        "cpu_limit",
        "mem_limit",
        "env",
        "unknown",
    }


def test_options_can_not_be_changed_afterwards():
    options = from_rest({"env": "A=1"})
    with pytest.raises(ValueError, match="frozen"):
        options.cpu_limit = 3
    with pytest.raises(TypeError):
        options.env["B"] = "2"


def attempt(read, data):
    """Return the options, or the one kind of error that may come."""
    try:
        return read(data)
    except OptionsError as error:
        return error


def check_any_request(request):
    """Take whatever comes in.

    Options that survive being stored, or a refusal with printable sentences.
    """
    options = attempt(from_rest, request)
    if isinstance(options, OptionsError):
        str(options).encode()
        assert all(
            sentence.isprintable()
            for sentence in [str(options), *getattr(options, "fields", {}).values()]
        )
        return
    stored = json.loads(json.dumps(options.to_user_options(), allow_nan=False))
    assert from_rest(stored) == options
    assert from_rest(stored).to_user_options() == stored
    assert not any(explain_refusal(name) for name in options.env)
    SCHEMA.validate(stored)


def check_any_form(form):
    """Whatever a form posts, the same texts by REST mean the same."""
    single = {name: texts[0] if texts else None for name, texts in form.items() if len(texts) <= 1}
    by_form, by_rest = (
        attempt(from_form, {name: form[name] for name in single}),
        attempt(from_rest, single),
    )
    assert by_form == by_rest or by_form.fields == by_rest.fields
    attempt(from_form, form)


def make_inputs(fields):
    """Make ten inputs of six fields: each alone, which no other can get refused, in pairs, and all
    together.
    """
    pairs = [dict(fields[index : index + 2]) for index in range(0, DRAWN, 2)]
    return [*({name: value} for name, value in fields), *pairs, dict(fields)]


@TEN_OF_EACH
@given(REQUESTS)
def test_any_requests_become_valid_options_or_sentences(fields):
    for request in make_inputs(fields):
        check_any_request(request)


@TEN_OF_EACH
@given(JUNK)
def test_what_is_no_mapping_at_all_is_a_sentence(request_):
    check_any_request(request_)


@TEN_OF_EACH
@given(FORMS)
def test_any_forms_mean_what_the_same_requests_mean(fields):
    for form in make_inputs(fields):
        check_any_form(form)


@TEN_OF_EACH
@given(st.lists(st.integers(1, 2**20 - 1), min_size=10, max_size=10))
def test_sizes_are_read_back_as_they_were_written(sizes):
    for mebibytes in sizes:
        assert values.parse_size(values.format_size(mebibytes * MIB)) == mebibytes * MIB


# secrets

LICENSE = "AAAA-BBBB-CCCC"


def test_a_license_key_is_one_line_of_text_and_none_takes_it_away():
    assert from_rest({"license": f" {LICENSE} "}).license == LICENSE
    assert from_rest({"license": LICENSE}).to_user_options() == {"license": LICENSE}
    assert from_rest({"license": "none"}).to_user_options() == {}
    assert LICENSE not in repr(from_rest({"license": LICENSE}))


@pytest.mark.parametrize(
    "value",
    [f"{LICENSE}\n{LICENSE}", f"{LICENSE}\x00", LICENSE * 1000, [LICENSE], {"key": LICENSE}, 1234],
)
def test_a_wrong_license_key_is_told_without_showing_it(value):
    sentence = refuse({"license": value})["license"]
    assert sentence.startswith("license ")
    assert "AAAA" not in sentence
    assert "1234" not in sentence
