"""What holds for all tests."""

from hypothesis import settings


# How long an example takes says something of the machine, which may be busy, and not of the code.
settings.register_profile("crossdock", deadline=None)
settings.load_profile("crossdock")
