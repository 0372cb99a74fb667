"""The documentation's pages: what people wrote in ``docs/``, and the reference, which is made of the registry and the settings."""
