"""Show what decoding found: figures, and one page that holds them all."""
