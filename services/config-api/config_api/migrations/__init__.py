"""The way from one release's tables to the next; run at start, under a lock."""
