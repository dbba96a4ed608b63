"""The variables of the environment, by topic: what each means, its type and default."""
