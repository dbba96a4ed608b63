"""What the list of accounts says of what was just done."""

from __future__ import annotations

from mlhub.signin.native.accounts import Accounts
from mlhub.texts import Text


def describe_done(accounts: Accounts, done: str, name: str) -> str:
    """Say what was done with an account; "" where that is not how things are."""
    account = accounts.find(name) if name else None
    is_in = account is not None and bool(account.is_authorized)
    is_gone = account is None and not accounts.is_hub_user(name)
    told = {
        "authorize": (is_in, Text("%(name)s may sign in now.", name=name)),
        "withdraw": (
            account is not None and not is_in,
            Text(
                "%(name)s may not sign in any more. What ran is stopped; all data is kept.",
                name=name,
            ),
        ),
        "discard": (account is None, Text("The sign-up of %(name)s is discarded.", name=name)),
        "delete": (is_gone, Text("%(name)s is deleted.", name=name)),
        "unlock": (account is not None, Text("%(name)s may try to sign in again now.", name=name)),
    }
    is_so, sentence = told.get(done, (False, ""))
    return sentence if name and is_so else ""
