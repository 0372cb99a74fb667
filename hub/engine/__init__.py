"""The chat engine: requests in, targets tried in order, answers whole or streamed, and the record of it all."""
