"""Skills that the owner installs beside the hub's own: instructions for models, and things that run (docs/skills.md)."""
