"""The training loop and the services that a method calls."""
