"""What is stored of what was said in requests."""
