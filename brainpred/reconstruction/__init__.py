"""From decoded features back to pictures."""
