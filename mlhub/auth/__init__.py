"""Who may sign in: our NativeAuthenticator, and the allow-list that fits any authenticator."""
