"""Generative probes: what small generative models show about attention, meaning and latent spaces."""
