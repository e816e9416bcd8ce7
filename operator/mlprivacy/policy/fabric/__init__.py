"""Devices and networks that pass by NetworkPolicy: what a template asks for, and what the cluster says of it. Pure."""
