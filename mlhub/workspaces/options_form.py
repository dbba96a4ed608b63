"""The form of a spawner: rendered for whoever looks at it, and read back as a REST call would send
it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jupyterhub.utils import maybe_future
from traitlets import default

from mlhub.options.model import FieldsError, WorkspaceOptions
from mlhub.policy.decide import decide
from mlhub.quantities import is_blank
from mlhub.workspaces.form import IMAGE_FIELDS, make_form
from mlhub.workspaces.form_input import read_fields, read_typed
from mlhub.workspaces.sealing import SECRETS, is_sealed
from mlhub.workspaces.start import PolicyEnforcement

FORM_TEMPLATE = "options_form.html"


class OptionsForm(PolicyEnforcement):
    """Show what a person may choose, and read what they chose."""

    async def render_options_form(self) -> str:
        """Render what the person may choose; nothing where there is no choice, so that the start
        needs no click.
        """
        if self.handler is None:
            return ""  # SpawnFormHandler asks again, with itself as the handler
        with self.friendly_errors():
            probe = await self.make_probe()
            available = probe.find_available_options(counts_grant=True)
        if not available.has_choice:
            return ""
        sent, refused = getattr(self.handler, "sent_fields", None), self.refused
        options = refused.options if refused else None
        is_refused = self.handler.request.method == "POST" or (sent is None and options is not None)
        # What the next start without options would take: a PATCH of the REST API changes the
        # database alone.
        stored = (
            self.orm_spawner.user_options if self.orm_spawner is not None else self.user_options
        )
        typed = read_typed(sent, options or stored or self.grant.options)
        errors = dict(refused.fields) if refused and is_refused else {}
        if errors and sent:
            errors |= self._find_more(probe, sent, errors)
        form = make_form(available, typed, errors, kept=tuple(self._list_kept_secrets()))
        template = self.handler.settings["jinja2_env"].get_template(FORM_TEMPLATE)
        return str(await template.render_async(form=form, server_name=self.name))

    def _find_more(
        self, probe: Any, sent: Mapping[str, list[str]], errors: Mapping[str, str]
    ) -> dict[str, str]:
        """Say what else is wrong with what was sent: what cannot be read is found before what is
        too much.
        """
        known = {
            name: texts
            for name, texts in sent.items()
            if name not in errors and name not in self.extra_options
        }
        if any(name in errors for name in IMAGE_FIELDS):
            known = {name: texts for name, texts in known.items() if name not in IMAGE_FIELDS}
        try:
            decide(probe.make_circumstances(), WorkspaceOptions.from_form(read_fields(known)))
        except FieldsError as error:
            return {name: text for name, text in error.fields.items() if name not in errors}
        return {}

    def read_options_form(self, formdata: dict[str, list[Any]]) -> dict[str, Any]:
        """Turn the fields of the form into options, as a REST call would send them."""
        known = {name: texts for name, texts in formdata.items() if name not in self.extra_options}
        extra = {name: texts[-1] for name, texts in formdata.items() if name not in known and texts}
        with self.friendly_errors():
            asked = WorkspaceOptions.from_form(read_fields(known))
        # The form never shows a secret: one that is left empty stays as it was.
        kept = {
            name: value
            for name, value in self._list_kept_secrets().items()
            if name in known and all(is_blank(text) for text in known[name])
        }
        return {**extra, **kept, **asked.to_user_options()}

    async def run_options_from_form(self, form_data: dict[str, list[Any]]) -> dict[str, Any]:
        """Read the form, be it the site's own, into options as they are kept."""
        return self.seal_options(await maybe_future(super().run_options_from_form(form_data)))

    def _list_kept_secrets(self) -> dict[str, Any]:
        """Return the secrets that the next start would take, sealed as they are."""
        stored = self.orm_spawner.user_options if self.orm_spawner is not None else None
        given = stored or self.grant.options
        return {name: given[name] for name in SECRETS if is_sealed(given.get(name))}

    @default("options_form")
    def _default_options_form(self) -> Any:
        return lambda spawner: spawner.render_options_form()

    @default("options_from_form")
    def _default_options_from_form(self) -> Any:
        return self.read_options_form
