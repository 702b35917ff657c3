"""The plugins that ship with the harness, registered like anybody else's."""
