"""What all that goes over HTTP has in common, whatever is spoken in it."""
