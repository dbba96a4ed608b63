"""One workspace's life, wherever it runs."""
