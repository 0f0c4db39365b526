"""A reporter that keeps what it is told."""

from contextlib import contextmanager


class Recorder:
    """Keep every line, and of every bar how long it is and how far it came, all bars of a name together.

    ``outermost`` names the bars that are in no other, in order.
    """

    def __init__(self):
        self.said, self.tasks, self.outermost, self._depth = [], {}, [], 0

    def say(self, message):
        self.said.append(message)

    @contextmanager
    def task(self, description, total):
        bar = self.tasks.setdefault(description, [0, 0])
        bar[0] += total

        def advance(steps):
            bar[1] += steps

        if not self._depth:
            self.outermost.append(description)
        self._depth += 1
        yield advance
        self._depth -= 1

    def stopped_short(self, may_end_early=("Band weights",)):
        """Name the bars that were not full at their end; a search may end before the evaluations that it may take."""
        return [name for name, (total, done) in self.tasks.items() if done != total
                and name not in may_end_early]  # fmt: skip
