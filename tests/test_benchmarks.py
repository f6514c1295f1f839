"""What measures is itself tested: the shape of its records, what it asserts, and that it runs. Never how fast."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from benchmarks import command, machine, ratios, record, targets
from benchmarks.command import main
from benchmarks.macro import links, runner
from benchmarks.macro.works import WORKS, Figure
from benchmarks.page import page
from tests.interop.peer import PeerError


def result(median: float, **more: Any) -> dict[str, Any]:
    return {"values": [median], "median": median, "low": median, "high": median, **more}


def made_up(**medians: float) -> dict[str, Any]:
    """A record with one work, bulk of 64 KiB writes."""
    return {
        "schema": record.SCHEMA,
        "kind": "compare",
        "busy_before": 0.0,
        "machine": machine.facts(),
        "implementations": {
            **{name: {"version": "1"} for name in medians},
            "rust": {"missing": "cargo: not found"},
        },
        "works": [
            {
                "name": "bulk-64k",
                "title": "bulk",
                "unit": "MB/s",
                "cpu_unit": "CPU s/GB",
                "higher_is_better": True,
                "link": "",
                "results": {name: result(median) for name, median in medians.items()},
            }
        ],
    }


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    told = made_up(floor=1000.0, ours=700.0)
    record.add_ratios(told["works"])
    record.write(tmp_path / "it.json", told)
    assert record.read(tmp_path / "it.json") == told
    assert told["works"][0]["results"]["ours"]["of_floor"] == 0.7


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda it: it.pop("works"), "no works"),
        (lambda it: it.update(schema=0), "schema 0"),
        (lambda it: it["machine"].pop("cpu"), "cpu is not told"),
        (lambda it: it["works"][0].pop("unit"), "bulk-64k: no unit"),
        (lambda it: it["works"][0]["results"].update(go=result(1)), "go is not introduced"),
        (lambda it: it["works"][0]["results"].update(ours={}), "neither figures nor a reason"),
    ],
)
def test_what_is_no_record_is_refused(change: Any, said: str, tmp_path: Path) -> None:
    told = made_up(ours=700.0)
    change(told)
    with pytest.raises(record.BadRecord, match=said):
        record.write(tmp_path / "it.json", told)


def test_repeats_are_told_by_their_median_and_their_spread() -> None:
    told = record.summary(
        [3.0, 1.0, 2.0], [(1.0, 4.0), (3.0, 4.0), (2.0, 9.0)], [{"p95": 1}, {"p95": 2}, {"p95": 9}]
    )
    assert (told["low"], told["median"], told["high"]) == (1, 2, 3)
    assert told["cpu"] == {"dialer": 2, "listener": 4}
    assert told["extra"] == {"p95": 2}


def test_a_ratio_that_does_not_hold_is_told() -> None:
    assert not ratios.broken(made_up(floor=1000.0, ours=700.0, py=100.0))
    (problem,) = ratios.broken(made_up(floor=1000.0, ours=700.0, py=400.0))
    assert problem == "bulk-64k: ours is 1.75 times as good as py, not at least 2"
    assert not ratios.broken(made_up(floor=1000.0, ours=700.0, py=400.0), timed=False)


def test_lower_is_better_turns_a_ratio_round() -> None:
    told = made_up(floor=100.0, ours=300.0)
    told["works"][0] |= {"name": "round-trip", "higher_is_better": False}
    assert not ratios.broken(told)
    told["works"][0]["results"]["ours"] = result(500.0)
    assert ratios.broken(told) == ["round-trip: ours is 5.00 times as much as floor, not at most 3.2"]


def test_ours_must_not_fail_at_anything() -> None:
    told = made_up(go=1000.0)
    told["works"][0]["results"]["ours"] = {"failed": "it broke"}
    assert ratios.broken(told) == ["bulk-64k: ours failed: it broke"]
    told["works"][0]["results"]["ours"] = {"unmeasured": "no such command"}
    assert ratios.broken(told) == ["bulk-64k: ours failed: no such command"]


def test_an_alarm_is_half_of_a_target_that_is_a_ratio() -> None:
    alarms = [alarm for alarm in ratios.ASSERTED if alarm.against != "py"]
    assert [alarm.work for alarm in alarms] == [target.work for target in targets.TARGETS if target.relative]
    for target, alarm in zip((each for each in targets.TARGETS if each.relative), alarms, strict=True):
        assert (alarm.at_least or 0) == (target.at_least or 0) / 2
        assert (alarm.at_most or 0) == (target.at_most or 0) * 2


def judged(told: dict[str, Any], target: targets.Target) -> tuple[float | None, bool | None, float | None]:
    (verdict,) = targets.judge(told, [target])
    margin = None if verdict.margin is None else round(verdict.margin, 3)
    return verdict.value, verdict.held, margin


def test_targets_are_judged_by_figures_ratios_and_what_they_cost() -> None:
    told = made_up(floor=1000.0, ours=700.0, js=200.0)
    assert judged(told, targets.Target("bulk-64k", at_least=500)) == (700, True, 0.4)
    assert judged(told, targets.Target("bulk-64k", at_least=0.8, against="floor")) == (0.7, False, -0.125)
    assert judged(told, targets.Target("bulk-64k", at_least=4, against="js")) == (3.5, False, -0.125)
    assert judged(told, targets.Target("bulk-64k", at_least=1, against="go")) == (None, None, None)
    assert judged(told, targets.Target("bulk-64k", at_least=1, beside="bulk-1k")) == (None, None, None)
    assert judged(told, targets.Target("bulk-1k", at_least=1)) == (None, None, None)
    cpu = targets.Target("bulk-64k", at_most=1.5, against="floor", figure=targets.CPU)
    assert judged(told, cpu) == (None, None, None)
    results = told["works"][0]["results"]
    results["ours"] |= {"cpu": {"dialer": 1.5, "listener": 1.5}, "extra": {"modules": 400}}
    results["floor"]["cpu"] = {"dialer": 1.0, "listener": 1.5}
    assert judged(told, cpu) == (1.2, True, 0.2)
    assert judged(told, targets.Target("bulk-64k", at_most=500, figure="modules")) == (400, True, 0.2)


def test_of_figures_that_are_better_when_lower_a_multiple_is_turned_round() -> None:
    told = made_up(floor=100.0, ours=200.0, js=600.0)
    told["works"][0] |= {"name": "handshake", "higher_is_better": False}
    assert judged(told, targets.Target("handshake", at_least=4, against="js")) == (3, False, -0.25)
    assert judged(told, targets.Target("handshake", at_most=1.6, against="floor")) == (2, False, -0.25)
    told["works"].append(told["works"][0] | {"name": "other", "results": {"ours": result(100.0)}})
    assert judged(told, targets.Target("handshake", at_most=4, beside="other")) == (2, True, 0.5)


def test_the_page_tells_figures_ratios_and_who_is_missing() -> None:
    told = made_up(floor=1000.0, ours=700.0, go=900.0)
    told["works"][0]["results"]["go"] = {"failed": "it broke\nhere"}
    told["works"][0]["results"]["ours"]["cpu"] = {"dialer": 1.25, "listener": 0.5}
    record.add_ratios(told["works"])
    shown = page(told, None, [("plot.svg", "a plot")])
    assert "| bulk, MB/s | 1,000 ±0% | 700 ±0% | 70% |" in shown
    assert "| bulk | ≥ 0.65 × floor | 0.70 × | held | 8% |" in shown
    assert "| bulk | ≥ 4 × js | – | not measured |  |" in shown
    assert "| bulk | 0.70 × |  |" in shown
    assert "| bulk, CPU s/GB | – | 1.25 + 0.50 |" in shown
    assert "**rust is missing**: cargo: not found" in shown
    assert "go failed at “bulk”: it broke" in shown
    assert "![a plot](plot.svg)" in shown


@pytest.mark.parametrize(("busy", "told"), [(0.05, False), (0.5, True)])
def test_the_page_says_when_the_machine_was_busy(busy: float, told: bool) -> None:
    compare = made_up(ours=700.0) | {"busy_before": busy}
    assert ("disturbed" in page(compare, None, [])) is told


def test_how_busy_a_machine_is_lies_between_nothing_and_all() -> None:
    assert 0 <= machine.busy(0.01) <= 1


def test_micro_figures_have_a_table_of_their_own() -> None:
    micro = made_up(ours=1.5)
    micro["works"][0]["results"]["ours"]["extra"] = {"frames_per_second": 2_000_000}
    assert "| bulk | 1.50 | 2,000,000 frames/s |" in page(made_up(ours=1.0), micro, [])


def test_a_command_that_a_peer_does_not_know_is_no_failure_of_what_it_would_measure() -> None:
    lacking, failing = runner.Taken(), runner.Taken()
    lacking.fail(PeerError("go", "bench_new", {"kind": "bad_request", "error": "unknown"}))
    failing.fail(PeerError("go", "bench_new", {"kind": "timeout", "error": "too slow"}))
    assert lacking.result() == {"unmeasured": "its peer cannot be asked: unknown"}
    assert failing.result() == {"failed": "PeerError: go peer: bench_new: timeout: too slow"}
    assert not lacking.goes_on
    assert not failing.goes_on


def test_what_else_a_measurement_tells_has_a_row_of_its_own() -> None:
    taken = runner.Taken()
    taken.take(Figure(2.0, 1, {"p95": 3.0}), None)
    taken.take(Figure(4.0, 1, {"p95": 9.0}), None)
    assert taken.result_also("p95")["values"] == [3.0, 9.0]
    assert taken.sees("p95")
    assert not taken.sees("shares")


def test_what_a_peer_cannot_be_asked_is_told_as_no_failure() -> None:
    told = made_up(ours=700.0, go=900.0)
    told["works"][0]["results"]["go"] = {"unmeasured": "its peer cannot be asked: bench_new"}
    assert not ratios.broken(told)
    shown = page(told, None, [])
    assert "failed" not in shown
    assert "- Not measured at “bulk”, for want of a command in the peer: go" in shown


@pytest.mark.timeout(240)  # a dozen processes are started
def test_all_of_it_runs_between_two_processes(tmp_path: Path) -> None:
    out = tmp_path / "macro.json"
    assert main("macro", [], ["--quick", "--virtual", "--peers=floor,ours,nobody", f"--out={out}"]) == 0
    told = record.read(out)
    assert told["implementations"]["nobody"] == {"missing": "there is no peer of it"}
    works = {work["name"]: work["results"] for work in told["works"]}
    assert "virtual" in told["links"]["50ms"]
    rows = {work.name for work in WORKS}
    rows |= {f"{work.name}-{also.name}" for work in WORKS for also in work.also}
    assert rows <= set(works)
    # Sizes of crowds are part of names, and --quick has smaller ones.
    of_crowds = {"idle-1000": "idle-15", "idle-dialing-1000": "idle-dialing-15"}
    for target in targets.TARGETS:
        if target.work != "bulk-mplex":
            assert of_crowds.get(target.work, target.work) in works
    for name, results in works.items():
        assert "median" in results["ours"], f"{name}: {results['ours']}"
        assert "failed" not in results.get("floor", {}), name
    assert works["bulk-64k"]["ours"]["cpu"]["dialer"] > 0


@pytest.mark.timeout(240)
def test_a_part_of_a_run_is_not_taken_for_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "RESULTS", tmp_path / "whole")
    monkeypatch.setattr(command, "PARTS", tmp_path / "parts")
    assert main("macro", ["ours"], ["--quick", "--only=start"]) == 0
    (written,) = tmp_path.rglob("*.json")
    assert written.parent.name == "parts"
    assert [work["name"] for work in record.read(written)["works"]] == ["start"]


@pytest.mark.timeout(240)
def test_a_link_is_made_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """Where the machine allows it; elsewhere the run says why not, and turns to the virtual network."""
    out = tmp_path / "linked.json"
    assert main("macro", [], ["--quick", "--only=bulk-loss", "--peers=ours", f"--out={out}"]) == 0
    told = record.read(out)
    (work,) = told["works"]
    assert ("virtual" in told["links"]["loss"]) == ("virtual" in work["title"])
    assert work["results"]["ours"]["median"] < links.LINKS["loss"].rate / 1e6
    assert not list(Path("/run/netns").glob(f"p2pbench{os.getpid()}*"))
