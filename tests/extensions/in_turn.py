"""A schedule with an option of its own: every so many evaluations the phase changes."""

from rggan.pruning import Schedule


class InTurn(Schedule):
    def __init__(self, *pruners, fade=0, evaluations: int = 1):
        super().__init__(*pruners, fade=fade)
        self.evaluations, self.seen = evaluations, 0

    def wants_to_prune(self, score):
        self.seen += 1
        return self.seen // self.evaluations % 2 == 0

    def told(self):
        return {"seen": self.seen}

    def state_dict(self):
        return {**super().state_dict(), "seen": self.seen}

    def load_state_dict(self, state):
        self.seen = state["seen"]
        super().load_state_dict(state)
