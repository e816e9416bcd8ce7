"""The controller: kopf handlers around one reconcile per kind."""
