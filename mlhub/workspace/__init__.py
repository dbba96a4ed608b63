"""What a workspace is, whatever place it runs in. Pure, but for the spawner mixin."""
