"""The networks, in pure PyTorch, and their weights."""
