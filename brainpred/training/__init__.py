"""Training of the networks, with Lightning."""
