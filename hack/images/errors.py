"""The one error of this package."""


class ImagesError(RuntimeError):
    """An image could not be built or found; the message says what, where, and what to do."""
