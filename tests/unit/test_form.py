"""The form shows what may be chosen and nothing else, keeps what was typed, and means the same as
the REST API.
"""

from __future__ import annotations

from pathlib import Path

import jinja2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlhub.options.model import OPTION_NAMES, FieldsError, WorkspaceOptions
from mlhub.options.option import Host
from mlhub.policy.available import find_available_options
from mlhub.policy.circumstances import Circumstances
from mlhub.policy.model import Person, SitePolicy
from mlhub.texts import PageTexts
from mlhub.workspaces.form import make_form
from mlhub.workspaces.form_input import OTHER_IMAGE, read_fields, read_typed

FOLDER = Path(__file__).parents[2] / "resources" / "html"
TEMPLATE = jinja2.Environment(
    loader=jinja2.FileSystemLoader(FOLDER), autoescape=True, extensions=[PageTexts]
).get_template("options_form.html")
HOST = Host(
    cpus=4, memory_bytes=int(15.63 * 2**30), gpus=("GPU-aaaa1111", "GPU-bbbb2222", "GPU-cccc3333")
)
POLICY = {
    "images": [
        {
            "name": "small",
            "image": "lab/small:1",
            "description": "One core is enough",
            "options": ["image", "cpu_limit", "env"],
        },
        {"name": "large", "image": "lab/large:1"},
    ],
    "everyone": {
        "cpu_limit": {"default": 1, "max": 2},
        "mem_limit": {"default": "1536M"},
        "gpus": {"max": 1, "devices": [0, 2]},
        "days_to_live": {"default": 7, "max": 30},
    },
    "admins": {"custom_images": True},
}


def offer_to(person=None, policy=POLICY, host=HOST):
    anna = Person("anna")
    return find_available_options(
        Circumstances(SitePolicy.model_validate(policy), person or anna, host)
    )


def form_of(typed=None, errors=None, **offered):
    return make_form(offer_to(**offered), typed or {}, errors or {})


def field(form, name):
    return next(each for each in (*form.basic, *form.more) if each.name == name)


def chosen(form, name):
    return [choice.value for choice in field(form, name).choices if choice.is_chosen]


def render(form):
    return TEMPLATE.render(form=form)


def test_the_basic_choices_come_first_and_only_what_may_be_chosen_is_shown():
    form = form_of()
    assert [each.name for each in form.basic] == ["image", "cpu_limit", "mem_limit", "gpus"]
    assert [each.name for each in form.more] == [
        "shm_size",
        "env",
        "days_to_live",
        "schedule",
        "is_mount_volume",
    ]
    assert not form.is_more_open
    strict = {**POLICY, "everyone": {"options": ["cpu_limit"]}}
    assert [each.name for each in form_of(policy=strict).basic] == ["cpu_limit"]
    assert form_of(policy=strict).more == ()


def test_one_image_is_no_choice():
    one = {"images": POLICY["images"][:1]}
    assert "image" not in [each.name for each in form_of(policy=one).basic]
    # …but the right to use any other is.
    names = [each.name for each in form_of(policy=one, person=Person("boss", is_admin=True)).basic]
    assert names[:2] == ["image", "custom_image"]


def test_defaults_maxima_and_the_host_are_told_in_words():
    form = form_of()
    assert (
        field(form, "cpu_limit").help == "Such as 1 or 0.5. Default: 1. At most 2; the host has 4."
    )
    assert field(form, "cpu_limit").placeholder == "1"
    # Rounded down: what is shown as the most may be typed.
    assert field(form, "mem_limit").help.endswith(
        "Default: 1.5 GB. At most 14.6 GB; the host has 15.6 GB."
    )
    assert field(form, "days_to_live").help.endswith("Default: 7. At most 30.")
    assert field(form, "shm_size").help.endswith("Default: 256 MB. At most 1.5 GB.")
    unknown = form_of(policy={}, host=Host())
    assert field(unknown, "cpu_limit").help.endswith("Default: no limit.")
    assert field(unknown, "days_to_live").help.endswith("Default: for ever. 0 is for ever.")


@pytest.mark.parametrize("name", ["cpu_limit", "mem_limit", "shm_size", "days_to_live"])
def test_a_maximum_can_be_typed_as_it_is_shown(name):
    words = field(form_of(), name).help.split("At most ")[1].split(";")[0].rstrip(".")
    offered = offer_to().fields[name]
    asked = getattr(WorkspaceOptions.from_form({name: [words]}), name)
    assert asked <= getattr(WorkspaceOptions.from_rest({name: offered.maximum}), name)


def test_gpus_are_boxes_where_they_are_known_and_few_enough():
    form = form_of()
    assert [choice.value for choice in field(form, "gpus").choices] == ["0", "2"]
    assert chosen(form_of({"gpus": "2"}), "gpus") == ["2"]
    assert chosen(form_of({"gpus": "GPU-cccc3333"}), "gpus") == ["2"]
    assert chosen(form_of({"gpus": "all"}), "gpus") == ["0", "2"]
    # What was refused can be seen, and unticked.
    assert chosen(form_of({"gpus": "1,2"}), "gpus") == ["2", "1"]
    free = {"everyone": {}}
    assert field(form_of(policy=free, host=Host()), "gpus").kind == "text"
    many = Host(gpus=tuple(f"GPU-{number:08d}" for number in range(17)))
    assert field(form_of(policy=free, host=many), "gpus").kind == "text"
    none = [each.name for each in form_of(policy=free, host=Host(gpus=())).basic]
    assert "gpus" not in none


def test_a_default_gpu_can_be_given_up():
    policy = {"everyone": {"gpus": {"default": [0]}}}
    form = form_of(policy=policy)
    assert chosen(form, "gpus") == ["0"]
    assert field(form, "gpus").sends_none
    sent = {"gpus": ["none"]}
    assert WorkspaceOptions.from_form(read_fields(sent)).gpus == ()
    assert WorkspaceOptions.from_form(read_fields({"gpus": ["none", "0", "2"]})).gpus == ("0", "2")
    assert chosen(make_form(offer_to(policy=policy), read_typed(sent, {}), {}), "gpus") == []


def test_another_image_is_a_choice_of_whoever_may():
    assert OTHER_IMAGE not in [choice.value for choice in field(form_of(), "image").choices]
    form = form_of(person=Person("boss", is_admin=True))
    assert chosen(form, "image") == ["small"]
    sent = {"image": [OTHER_IMAGE], "custom_image": ["quay.io/a/b:1"]}
    options = WorkspaceOptions.from_form(read_fields(sent))
    assert (options.image, options.is_custom_image) == ("quay.io/a/b:1", True)
    back = form_of(read_typed(sent, {}), person=Person("boss", is_admin=True))
    assert chosen(back, "image") == [OTHER_IMAGE]
    assert field(back, "custom_image").value == "quay.io/a/b:1"
    # The text beside a chosen entry of the list counts for nothing, but is kept.
    both = {"image": ["large"], "custom_image": ["quay.io/a/b:1"]}
    assert WorkspaceOptions.from_form(read_fields(both)).image == "large"
    assert chosen(form_of(read_typed(both, {}), person=Person("boss", is_admin=True)), "image") == [
        "large"
    ]


@pytest.mark.parametrize(
    "stored",
    [
        {"image": "quay.io/a/b:1"},
        {"image": "quay.io/a/b:1", "is_custom_image": True},
        {"is_custom_image": "on", "custom_image": "quay.io/a/b:1"},
    ],
)
def test_a_stored_image_outside_the_catalogue_is_shown_as_another(stored):
    form = form_of(read_typed(None, stored), person=Person("boss", is_admin=True))
    assert chosen(form, "image") == [OTHER_IMAGE]
    assert field(form, "custom_image").value == "quay.io/a/b:1"


@pytest.mark.parametrize(
    "stored", [{"image": "large"}, {"image": "lab/large:1"}, {"defined_image": "large"}]
)
def test_a_stored_image_of_the_catalogue_is_chosen_by_name_or_reference(stored):
    assert chosen(form_of(read_typed(None, stored)), "image") == ["large"]


def test_a_long_catalogue_is_a_list_to_open():
    images = [{"name": f"image-{number}", "image": f"lab/{number}"} for number in range(7)]
    assert field(form_of(policy={"images": images}), "image").kind == "select"
    assert field(form_of(policy={"images": images[:6]}), "image").kind == "cards"


def test_stored_options_come_back_as_they_would_be_typed():
    options = {
        "cpu_limit": 2,
        "mem_limit": "3G",
        "gpus": "0,2",
        "env": {"B": "x=y", "A": "1"},
        "days_to_live": 0.5,
        "is_mount_volume": False,
    }
    stored = WorkspaceOptions.from_rest(options).to_user_options()
    form = form_of(read_typed(None, stored))
    shown = {
        name: field(form, name).value
        for name in ("cpu_limit", "mem_limit", "env", "days_to_live", "is_mount_volume")
    }
    assert shown == {
        "cpu_limit": "2",
        "mem_limit": "3G",
        "env": "A=1\nB=x=y",
        "days_to_live": "0.5",
        "is_mount_volume": "",
    }
    assert form.is_more_open


def test_a_variable_of_several_lines_is_not_torn_apart():
    assert read_typed(None, {"env": {"CERT": "a\nb", "A": "1"}}) == {"env": "A=1"}


def test_an_error_stands_at_its_field_and_leads_there():
    typed = {"mem_limit": "64G", "env": "PATH=x"}
    with pytest.raises(FieldsError) as caught:
        WorkspaceOptions.from_form(
            {"mem_limit": ["lots"], "env": ["PATH=x"], "image": ["Not An Image"]}
        )
    form = form_of(typed, caught.value.fields)
    assert field(form, "mem_limit").error.startswith("'lots' is not a size.")
    assert field(form, "mem_limit").value == "64G"
    assert field(form, "env").error.startswith("May not set PATH")
    assert form.is_more_open
    assert ("option-mem_limit", "Memory: " + field(form, "mem_limit").error) in form.errors
    assert "option-image-0" in dict(form.errors)


def test_what_is_wrong_beside_the_fields_is_told_as_well():
    form = form_of(
        {},
        {
            "servers": "You would have 4 workspaces.",
            "privileged": "The option 'privileged' is not known here.",
        },
    )
    assert form.errors == (
        ("", "You would have 4 workspaces."),
        ("", "The option 'privileged' is not known here."),
    )


def test_an_error_of_another_image_stands_at_its_text():
    boss = Person("boss", is_admin=True)
    sent = {"image": [OTHER_IMAGE], "custom_image": [""]}
    with pytest.raises(FieldsError) as caught:
        WorkspaceOptions.from_form(read_fields(sent))
    form = form_of(read_typed(sent, {}), caught.value.fields, person=boss)
    assert field(form, "custom_image").error == "Name an image, or choose one of the list."
    assert chosen(form, "image") == [OTHER_IMAGE]


def test_the_template_binds_labels_help_and_errors_to_their_inputs():
    page = render(
        form_of(
            {"mem_limit": "lots"},
            {"mem_limit": "mem_limit='lots' is not a size."},
            person=Person("boss", is_admin=True),
        )
    )
    assert '<label for="option-cpu_limit" class="form-label">CPU cores</label>' in page
    assert (
        'aria-invalid="true" aria-describedby="option-mem_limit-error option-mem_limit-help"'
        in page
    )
    assert '<a href="#option-mem_limit"' in page
    assert 'data-offers="image cpu_limit env"' in page
    assert page.index('name="is_mount_volume" value="false"') < page.index(
        'name="is_mount_volume" value="true"'
    )
    for forbidden in ("<script", "style=", " onclick", "javascript:"):
        assert forbidden not in page


@given(
    st.dictionaries(
        st.sampled_from([*OPTION_NAMES, "is_custom_image", "custom_image", "defined_image", "odd"]),
        st.lists(
            st.text(max_size=20)
            | st.sampled_from(["", "<b>", '"', "0,1", "all", "true", OTHER_IMAGE, "large"]),
            max_size=3,
        ),
        max_size=8,
    ),
    st.booleans(),
)
def test_whatever_is_sent_can_be_shown_again(sent, is_admin):
    try:
        WorkspaceOptions.from_form(read_fields(sent))
        errors = {}
    except FieldsError as error:
        errors = error.fields
    form = make_form(offer_to(Person("anna", is_admin=is_admin)), read_typed(sent, {}), errors)
    assert bool(form.errors) == bool(errors)
    page = render(form)
    assert "<b>" not in page
    for name in ("cpu_limit", "mem_limit"):
        words = [text for text in sent.get(name, []) if text.strip(" \t\r\n")]
        assert field(form, name).value == (words[-1] if words else "")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda deep: st.lists(deep) | st.dictionaries(st.sampled_from(OPTION_NAMES), deep),
    )
)
def test_whatever_is_stored_can_be_shown(stored):
    render(make_form(offer_to(), read_typed(None, stored), {}))


def test_a_secret_is_asked_for_as_a_password_and_never_shown():
    policy = {**POLICY, "users": {"lea": {"license": {"variable": "LICENSE_KEY"}}}}
    available = offer_to(Person("lea"), policy)
    for sent, stored in (
        ({"license": ["AAAA"], "cpu_limit": ["1"]}, None),
        (None, {"license": "AAAA"}),
    ):
        form = make_form(available, read_typed(sent, stored), {"license": "license is too long."})
        (field,) = [field for field in form.more if field.name == "license"]
        assert (field.kind, field.value, field.error) == ("password", "", "Is too long.")
        assert "AAAA" not in repr(form)
    assert "One is kept" not in field.help
    kept = make_form(available, {}, {}, kept=("license",))
    assert "One is kept" in next(field.help for field in kept.more if field.name == "license")
    assert "license" not in {field.name for field in make_form(offer_to(), {}, {}).more}
