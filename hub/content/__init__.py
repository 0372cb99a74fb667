"""What was said in requests, kept where the owner wants that: sealed, for a while, bounded, and gone at a word."""
