"""What the hub can do: one skill, or one tight family of them, a file. Found by folder."""
