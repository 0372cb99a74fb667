"""Routing strategies, one file each: ``order`` puts candidates in the order they are tried. Found by folder."""
