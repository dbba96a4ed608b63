"""What is removed, when, and how it comes back."""
