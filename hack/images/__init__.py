"""The two container images, built from Debian packages and wheels without a container engine or a registry."""
