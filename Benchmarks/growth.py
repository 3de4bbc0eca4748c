"""Draws what `benchmarks growth` printed: growth.py ROWS.tsv OUT.png"""

import csv
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

rows_file, picture = sys.argv[1:]
lines = {}
copies = []
with open(rows_file, newline="") as file:
    for name, size, seconds, copy in csv.reader(file, delimiter="\t"):
        lines.setdefault(name, []).append((int(size), float(seconds)))
        if name == "dump, runs":
            copies.append((int(size), float(copy)))

figure, (dumps, checks) = plt.subplots(1, 2, figsize=(11, 4.5), constrained_layout=True)
for name, points in lines.items():
    axes = dumps if name.startswith("dump") else checks
    axes.plot(*zip(*points), marker="o", label=name)
dumps.plot(*zip(*copies), marker=".", linestyle="--", color="grey", label="memcpy of the tables")
for axes, what in ((dumps, "leaves in the tables"), (checks, "recorded calls, each verified")):
    axes.set(xscale="log", yscale="log", xlabel=what, ylabel="processor time in s")
    axes.grid(True, which="major", alpha=0.4)
    first = min(line.get_xdata()[0] for line in axes.lines)
    last = max(line.get_xdata()[-1] for line in axes.lines)
    top = min(line.get_ydata()[-1] for line in axes.lines) / 2
    axes.plot([first, last], [top * first / last, top], color="black", linewidth=0.8, label="linear")
    axes.legend()
dumps.set_title("dump of Sv39 tables")
checks.set_title("check of everything recorded")
figure.savefig(picture, dpi=110)
