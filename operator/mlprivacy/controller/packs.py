"""Tells of packs of users that can not be used: an Event on the ConfigMap. Nothing is ever written on it."""

from __future__ import annotations

import logging

from mlprivacy.controller.announce import Announcer
from mlprivacy.kube.facts import PACKS, FactStore

logger = logging.getLogger(__name__)
REASON = "InvalidPack"


class Packs:
    """Looks at one pack at a time, by the name that policies use."""

    def __init__(self, facts: FactStore, announcer: Announcer) -> None:
        self._facts = facts
        self._announcer = announcer

    def look(self, name: str) -> None:
        """Say why the pack can not be used, if so. The same words again are no second Event."""
        why = self._facts.packs().bad.get(name)
        informer = self._facts.informers.get(PACKS)
        if why is None or informer is None:
            return
        for namespace, one in informer.keys(None):
            raw = informer.get(namespace, one) if one == name else None
            if raw is not None:
                logger.warning("the pack in the ConfigMap %s/%s can not be used: %s", namespace, name, why)
                note = f"The pack can not be used, so jobs under policies that name it hold: {why}"
                self._announcer.say(raw, "Warning", REASON, note)
