"""A callback that writes a line for each thing that happens."""

from rggan.training.callbacks import Callback


class Diary(Callback):
    def begin(self, run):
        self.path = run / "diary.txt"
        self.write("begin")

    def tick(self, row, snapshot):
        self.write(f"tick {row['tick']} {type(snapshot).__name__} {snapshot.training}")

    def end(self, rows):
        self.write(f"end {len(rows)}")

    def write(self, line):
        with self.path.open("a") as file:
            file.write(line + "\n")


class Broken(Callback):
    def tick(self, row, snapshot):
        raise KeyError("no such tracker")
