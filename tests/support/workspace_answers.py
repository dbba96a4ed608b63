"""What workspaces answer that is not theirs to say, and what becomes of it."""

from __future__ import annotations

ORIGIN_WIDE = {
    "Service-Worker-Allowed": "/",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Clear-Site-Data": '"cookies"',
    "Strict-Transport-Security": "max-age=99999999; includeSubDomains",
    "Origin-Agent-Cluster": "?1",
    "X-Accel-Redirect": "/hub/login",
    "X-Accel-Buffering": "yes",
    "X-Accel-Anything": "1",
    "NEL": '{"report_to": "x", "max_age": 9999}',
    "Report-To": (
        '{"group": "x", "max_age": 9999, "endpoints": [{"url": "https://mallory.example"}]}'
    ),
    "Alt-Svc": 'h3=":1"',
    "Secure-Session-Registration": '(ES256);path="register";challenge="x"',
    "Sec-Session-Registration": '(ES256);path="register";challenge="x"',
    "Set-Login": "logged-out",
}
# What is a program's own business.
OWN = {
    "Content-Security-Policy": "sandbox",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "X-Frame-Options": "DENY",
    "Link": "<x>; rel=y",
}
# What mallory's workspace sets, and what a browser is told.
COOKIES = [
    # JupyterHub's single-user server: its session, what it remembers while somebody signs in, and
    # Jupyter's token against forgery.
    (
        "jupyterhub-user-mallory=x; HttpOnly; Path=/user/mallory/",
        "jupyterhub-user-mallory=x; HttpOnly; Path=/user/mallory/",
    ),
    (
        "jupyterhub-user-mallory-oauth-state-A=x; Path=/user/mallory/lab/",
        "jupyterhub-user-mallory-oauth-state-A=x; Path=/user/mallory/lab/",
    ),
    (
        "_xsrf=x; expires=Thu, 01 Jan 2099 00:00:00 GMT; Path=/user/mallory/",
        "_xsrf=x; expires=Thu, 01 Jan 2099 00:00:00 GMT; Path=/user/mallory/",
    ),
    ("a=b; Path=/user/mallory", "a=b; Path=/user/mallory"),
    # A program that takes the whole host name for its own works on, with its own paths.
    ("a=b; Path=/; SameSite=Lax", "a=b; SameSite=Lax; Path=/user/mallory/"),
    ("a=b", "a=b; Path=/user/mallory/"),
    ("a=b; Path=", "a=b; Path=/user/mallory/"),
    ("_xsrf=x; Path=/hub/", "_xsrf=x; Path=/user/mallory/"),
    ("a=b; Path=/user/mallory2/", "a=b; Path=/user/mallory/"),
    ("a=b; Path=/user/mallory/;path=/", "a=b; Path=/user/mallory/"),
    ("a=b;\tPATH\t=\t/hub/", "a=b; Path=/user/mallory/"),
    ('a=b; Path="/user/mallory/"', "a=b; Path=/user/mallory/"),
    ("a=b; Path=/user/%zz", "a=b; Path=/user/mallory/"),
    ("a=b; Domain=example.com; Path=/user/mallory/; Secure", "a=b; Secure; Path=/user/mallory/"),
    ("jupyterhub-session-id=x; Path=/user/mallory/", None),
    ("jupyterhub-hub-login =x; Path=/user/mallory/", None),
    ("jupyterhub-services=x", None),
]
