"""Several things timed side by side: every round runs each of them once."""

import time
from collections.abc import Callable, Mapping
from statistics import median

Action = Callable[[], float]
"""Does some work and gives its amount, for example rows."""


class Rates:
    """Amounts per second, by name, one per round."""

    def __init__(self, rounds: list[dict[str, float]]) -> None:
        self.rounds = rounds

    def median(self, name: str) -> float:
        """Of all rounds."""
        return median(rates[name] for rates in self.rounds)

    def ratio(self, name: str, limit: str) -> float:
        """Taken within each round, where both met the same machine, then the median."""
        return median(rates[name] / rates[limit] for rates in self.rounds)

    def spread(self, name: str) -> tuple[float, float]:
        """The slowest and the fastest round."""
        rates = [rates[name] for rates in self.rounds]
        return min(rates), max(rates)


def interleave(rounds: int, actions: Mapping[str, Action]) -> Rates:
    """Time every action once a round, after a first round that does not count."""
    timed = []
    for _ in range(rounds + 1):
        rates = {}
        for name, action in actions.items():
            start = time.perf_counter()
            amount = action()
            rates[name] = amount / (time.perf_counter() - start)
        timed.append(rates)
    return Rates(timed[1:])
