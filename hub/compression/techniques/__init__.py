"""The techniques of compression, one file each, found by folder. Pure: text and turns in, shorter ones out."""
