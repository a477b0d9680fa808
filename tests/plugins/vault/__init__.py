"""A protocol that somebody else brings: nothing but secrets, of which the right ones open it."""

PASSWORD = "open sesame"
