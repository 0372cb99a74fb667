"""The pages of the dashboard: each file has ``PAGES``, and each page a template of its name."""
