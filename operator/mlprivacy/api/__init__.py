"""The API group mlprivacy.dev/v1alpha1: one pydantic module per kind."""
