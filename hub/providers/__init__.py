"""Provider catalogue and adapters. An adapter is one file here; a provider that differs only in facts is a row of the catalogue."""
