"""The plugins of this process: found, checked, looked up and told apart by what they compute with."""
