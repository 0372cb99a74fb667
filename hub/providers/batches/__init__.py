"""Vendors' own batch services, one file each. Found by folder; rows name theirs (``vendor_batch``)."""
