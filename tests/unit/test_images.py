"""What the hub knows about images: the site's own settings, and over them what the catalogue says."""

import pytest

from mlhub.workspace.catalogue import CatalogueImage, make_entry
from mlhub.workspace.images import find_image_settings, lay_over

CONFIGURED = {"example.org/*": {"needs_root": True, "port": 9000, "uid": 1001}}


@pytest.mark.parametrize("entry", [make_entry("example.org/a:1"), CatalogueImage(name="a", image="example.org/a:1"), None])
def test_what_an_entry_does_not_say_is_as_the_image_settings_have_it(entry):
    settings = lay_over(find_image_settings("example.org/a:1", CONFIGURED), entry)
    assert (settings.needs_root, settings.port, settings.uid) == (True, 9000, 1001)


def test_what_an_entry_says_covers_the_image_settings():
    entry = CatalogueImage(name="a", image="example.org/a:1", needs_root=False, port=8080, uid=1002)
    settings = lay_over(find_image_settings("example.org/a:1", CONFIGURED), entry)
    assert (settings.needs_root, settings.port, settings.uid) == (False, 8080, 1002)
    assert lay_over(find_image_settings("other/b:1", CONFIGURED), CatalogueImage(name="b", image="other/b:1", needs_root=True)).needs_root
    assert not lay_over(find_image_settings("other/b:1", CONFIGURED), make_entry("other/b:1")).needs_root
