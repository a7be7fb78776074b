"""What `make bench` measured, as a JSON file, a table and a figure.

python tests/benchmarks/bench_report.py results/bench/speed.json               # the table again
python tests/benchmarks/bench_report.py results/bench/speed.json speed.png     # and the figure
"""

from __future__ import annotations

import json
import os
import platform
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

SAME = ("processor", "cores", "torch", "gpu")  # what makes two runs comparable
GOAL = {
    "gram": 1.5,
    "share": 0.01,
    "megabytes": 1000.0,
    "balance": 1.5,
    "naive": 0.65,
    "processes": 1.2,
    "input": 10.0,
    "course": 12 * 60,
}


def machine() -> dict:
    """What decides the numbers: processor, cores, versions, and a GPU where there is one."""
    import torch

    processor = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), processor)
    found = {
        "processor": processor,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "load_average": round(os.getloadavg()[1], 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
    for name in ("lightly", "pytorch-metric-learning"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def write(measured: list[dict], skipped: list[dict], ran: set[str], folder) -> str:
    """Write ``speed.json`` and ``speed.png`` below ``folder``; returns what to print.

    Rows that are there already, of tests other than ``ran`` on the same machine, are kept.
    """
    path = Path(folder) / "speed.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    results = {"machine": machine(), "measured": measured, "skipped": skipped}
    if path.exists():
        earlier = json.loads(path.read_text())
        if all(earlier["machine"].get(k) == results["machine"][k] for k in SAME):
            for part in ("measured", "skipped"):
                results[part] = [row for row in earlier[part] if row["test"] not in ran] + results[part]
    path.write_text(json.dumps(results, indent=1) + "\n")
    figure(results).savefig(path.with_suffix(".png"), dpi=110)
    reasons = [f"not measured: {x['test']} ({x['reason']})" for x in results["skipped"]]
    return "\n".join([table(results), "", *reasons, f"written: {path} and {path.with_suffix('.png').name}"])


def find(results: dict, group: str, **wanted) -> list[dict]:
    rows = [row for row in results["measured"] if row["group"] == group]
    return [row for row in rows if all(row.get(k) == v for k, v in wanted.items())]


def table(results: dict) -> str:
    """Markdown: each goal, what was measured, and whether it is met."""
    lines = ["| what | goal | measured | met |", "|---|---|---|---|"]

    def add(what, goal, text, met):
        lines.append(f"| {what} | {goal} | {text} | {met} |")

    for device in ("cpu", "cuda"):
        where = {"device": device, "B": 1024, "D": 512}
        name = "GPU" if device == "cuda" else "CPU"
        for row in find(results, "gram", modalities=2, **where):
            add(
                f"regularizer / Gram product, forward and backward, B=1024, D=512, {name}",
                f"at most {GOAL['gram']}",
                f"{row['ratio']:.2f} [{row['ratio_low']:.2f}, {row['ratio_high']:.2f}]",
                _met(row["ratio"] <= GOAL["gram"]),
            )
        for group in ("balance", "naive", "processes"):
            for row in find(results, group, device=device):
                aim = group != "balance" or "embeddings" in row["what"]
                goal = GOAL[group] if aim and (group != "naive" or row["B"] == 64) else None
                add(
                    f"{row['what']} / {row['against']}, B={row['B']}, D={row['D']}, {name}",
                    f"at most {goal}" if goal else "-",
                    f"{row['ratio']:.2f} [{row['ratio_low']:.2f}, {row['ratio_high']:.2f}]",
                    _met(row["ratio"] <= goal) if goal else "-",
                )
        for row in find(results, "peers", **where):
            add(
                f"{row['what']} / regularizer, same terms, B=1024, D=512, {name}",
                "above 1",
                f"{row['ratio']:.2f} [{row['ratio_low']:.2f}, {row['ratio_high']:.2f}]",
                _met(row["ratio"] > 1),
            )
        for row in find(results, "share", device=device):
            step = row["against"].removesuffix(" without it")
            goal = f"at most {GOAL['share']:.0%}" if device == "cuda" and "crema_d" in step else "-"
            add(
                f"regularizer / {step}, batch {row['B']}, D={row['D']}, {name}",
                goal,
                f"{100 * row['ratio']:.2g} % of {_time(row['against_seconds'])}",
                _met(row["ratio"] <= GOAL["share"]) if goal != "-" else "-",
            )
        for row in find(results, "memory", device=device, B=32768):
            add(
                f"memory above the inputs, B=32,768, D=256, two modalities, chunk_size=1024, {name}",
                "under 1 GB" if device == "cpu" else "-",
                f"{row['megabytes']:.0f} MB, {row['seconds']:.0f} s",
                _met(row["megabytes"] < GOAL["megabytes"]) if device == "cpu" else "-",
            )
    for row in find(results, "input"):
        on = row["device"] if "prepared" in row["against"] else ""
        add(
            f"CREMA-D batch: {row['what']} / {row['against']}{on and f' on the {on}'}",
            f"at least {GOAL['input']:.0f}",
            f"{row['ratio']:.3g} [{row['ratio_low']:.3g}, {row['ratio_high']:.3g}]",
            _met(row["ratio"] >= GOAL["input"]),
        )
    for row in find(results, "reading"):
        rates = f"{row['samples_per_second']:.3g} and {row['against_samples_per_second']:.3g} samples/s"
        add(f"{row['what']} / {row['against']}, {row['device']}", "-", f"{row['ratio']:.2f}: {rates}", "-")
    for row in find(results, "diagnostics"):
        add(f"diagnostics / {row['against']}, {row['device']}", "-", f"{100 * row['ratio']:.2g} %", "-")
    for row in find(results, "course"):
        add(
            f"the course, quick mode, {row['notebooks']} notebooks, two cores",
            "at most 12 min",
            f"{row['seconds'] / 60:.1f} min",
            _met(row["seconds"] <= GOAL["course"]),
        )
    who = results["machine"]
    on = f"{who['processor']}, {who['cores']} cores, one thread; PyTorch {who['torch']}; GPU: {who['gpu']}"
    return "\n".join([*lines, "", f"Measured on: {on}. Load average: {who['load_average']}."])


def _met(yes: bool) -> str:
    return "yes" if yes else "no"


def _time(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def figure(results: dict):
    """By batch size: left, regularizer over Gram product; right, other libraries over the regularizer."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from geomreg_mini import plots

    plots.use_style()
    fig, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.9))
    device = "cuda" if find(results, "gram", device="cuda") else "cpu"
    rows = find(results, "gram", device=device, modalities=2)
    widths = sorted({row["D"] for row in rows})
    for width, style in zip(widths, plots.modality_style(map(str, widths)).values(), strict=True):
        points = sorted((row["B"], row["ratio"]) for row in rows if row["D"] == width)
        left.plot(*zip(*points, strict=True), label=f"D = {width}", **style)
    left.axhline(GOAL["gram"], color="black", linewidth=1)
    left.text(
        0.99, GOAL["gram"], "goal at B = 1024", ha="right", va="bottom", transform=left.get_yaxis_transform()
    )
    left.set(xscale="log", ylim=(0, None), xlabel="batch size B", ylabel="time / time of the Gram product")
    left.set_title("The regularizer over the Gram product")
    if rows:
        left.legend()

    peers = find(results, "peers", device=device)
    names = list(dict.fromkeys(row["what"] for row in peers))
    for name, style in zip(names, list(plots.modality_style("abcd").values())[1:], strict=False):
        points = [(row["B"], row["ratio"]) for row in peers if row["what"] == name]
        right.plot(*zip(*points, strict=True), label=name.split()[0], **style)
    right.axhline(1.0, color="black", linewidth=1)
    right.text(0.99, 1.0, "regularizer", ha="right", va="top", transform=right.get_yaxis_transform())
    right.set(xscale="log", ylim=(0, None), xlabel="batch size B", ylabel="time / time of the regularizer")
    right.set_title("The same terms from other libraries, D = 512")
    if peers:
        right.legend(loc="center right")
    for ax, shown in ((left, rows), (right, peers)):
        sizes = sorted({row["B"] for row in shown})
        ax.set_xticks(sizes, [f"{size // 1024}k" if size >= 1024 else f"{size}" for size in sizes])
        ax.minorticks_off()
    who = results["machine"]
    on = who["gpu"] if device == "cuda" else f"{who['processor']}, one thread"
    fig.supxlabel(f"{on}, PyTorch {who['torch']}", fontsize=9, color="dimgray")
    return fig


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    found = json.loads(Path(sys.argv[1]).read_text())
    print(table(found))
    if len(sys.argv) > 2:
        figure(found).savefig(sys.argv[2], dpi=110)
