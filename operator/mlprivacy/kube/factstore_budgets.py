"""What the copies say of privacy budgets: which datasets the ledgers hold, and which datasets there are."""

from __future__ import annotations

from mlprivacy.api.base import Parsed
from mlprivacy.api.privacy_budget import PrivacyBudgetSpec
from mlprivacy.budget.ledger.admissible import Held, Holding, holding_of
from mlprivacy.budget.ledger.registrations import Book
from mlprivacy.kube.client import Object
from mlprivacy.policy.charge import Registered


class BudgetCopies:
    """Follows the entries of the ledgers, as `registrations.reduced` leaves them, and the Datasets."""

    def __init__(self) -> None:
        self._book = Book()
        self._holdings: dict[tuple[str, str], Holding] = {}
        self.registered: tuple[Registered, ...] = ()
        """By domain and identity; the same object until they change."""

    def entry(self, old: Object | None, new: Object | None) -> bool:
        """An entry of a ledger came, or was pruned; True when other datasets are registered than before."""
        if not self._book.take(old, new):
            return False
        self.registered = tuple(Registered(*one) for one in self._book.registrations)
        return True

    def dataset(self, old: Object | None, new: Object | None) -> None:
        """A Dataset came, changed or went."""
        obj = new or old
        if obj is None:
            return
        place = (obj["metadata"].get("namespace") or "", obj["metadata"]["name"])
        holding = None if new is None else holding_of(new)
        if holding is None:
            self._holdings.pop(place, None)
        else:
            self._holdings[place] = holding

    def held(self, budgets: tuple[Parsed[PrivacyBudgetSpec], ...]) -> Held:
        """All of it, beside the budgets."""
        return Held(budgets, self._book.registrations, self._holdings.values(), self._book.forms)
