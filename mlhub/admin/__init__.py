"""What administrators look at and look after."""
