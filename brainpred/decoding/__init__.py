"""From the BOLD signal to features, with scores."""
