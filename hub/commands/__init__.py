"""The commands of ``hubroute``, one family a file. They translate words into skill calls and answers into text (D8)."""
