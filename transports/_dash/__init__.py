"""The dashboard: server-rendered pages over the registry. One file in ``pages/`` a page, and its template."""
