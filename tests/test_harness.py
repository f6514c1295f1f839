"""The tests' own ground: what is left behind is seen, and so is a skip in CI."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests import skips

ROOT = Path(__file__).resolve().parent.parent


def run_pytest(directory: Path, body: str, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """A pytest of its own over one test file, under the same plugins."""
    (directory / "conftest.py").write_text(
        'pytest_plugins = ["tests.leaks", "tests.skips", "tests.lifting"]\n'
    )
    (directory / "test_it.py").write_text(textwrap.dedent(body))
    (directory / "pytest.ini").write_text("[pytest]\ntrio_mode = true\n")
    clean = {name: value for name, value in os.environ.items() if name != "CI"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rfE", *args, str(directory)],
        cwd=directory,
        env={**clean, "PYTHONPATH": str(ROOT), "COLUMNS": "300", **env},
        capture_output=True,
        text=True,
        timeout=50,
    )


def test_what_is_left_behind_fails_the_test(tmp_path: Path) -> None:
    # What keeps it alive is the module, so that no garbage collection can help.
    result = run_pytest(
        tmp_path,
        """
        import socket, threading
        import trio
        from p2p.resources.resources import Resources
        from p2p.resources.table import of_this_machine

        kept = []
        release = threading.Event()

        def test_descriptor():
            kept.append(socket.socket())

        def test_thread():
            threading.Thread(target=release.wait, name="forgotten", daemon=True).start()

        async def test_thread_of_trio():
            with trio.move_on_after(0.01):
                await trio.to_thread.run_sync(release.wait, abandon_on_cancel=True)

        async def test_task():
            trio.lowlevel.spawn_system_task(trio.sleep_forever, name="nobody's")

        async def main():
            trio.lowlevel.spawn_system_task(trio.sleep_forever, name="nobody's either")

        def test_task_of_a_run_inside():
            trio.run(main)

        def test_scope():
            resources = Resources(of_this_machine())
            kept.append((resources, resources.outbound(None, None)))
        """,
    )
    assert result.returncode == 1, result.stdout + result.stderr
    assert "6 passed, 6 errors" in result.stdout
    for name, left in {
        "test_descriptor": "descriptor",
        "test_thread": "thread forgotten",
        "test_thread_of_trio": "thread",
        "test_task": "task nobody's",
        "test_task_of_a_run_inside": "task nobody's either",
        "test_scope": "1 resource scope",
    }.items():
        assert re.search(rf"ERROR test_it.py::{name} - .*left behind: {left}", result.stdout), result.stdout


def test_what_is_cleaned_up_passes(tmp_path: Path) -> None:
    result = run_pytest(
        tmp_path,
        """
        import gc, socket, threading
        import pytest, trio

        class Cycle:
            def __init__(self):
                self.me = self
                self.held = socket.socket()

        @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
        def test_garbage_is_no_leak():
            Cycle()

        async def test_a_cached_thread_is_idle():
            await trio.to_thread.run_sync(int)

        async def test_tasks_of_nurseries_are_owned(nursery):
            nursery.start_soon(trio.sleep_forever)

        def test_joined():
            thread = threading.Thread(target=int)
            thread.start()
            thread.join()
        """,
    )
    assert result.returncode == 0, result.stdout + result.stderr


SKIPPING = """
    import pytest
    def test_it():
        pytest.skip("not today")
    @pytest.mark.xfail
    def test_known():
        raise AssertionError
    """


def test_a_skip_in_ci_is_a_failure(tmp_path: Path) -> None:
    result = run_pytest(tmp_path, SKIPPING, CI="true")
    assert result.returncode == 1, result.stdout
    assert "1 failed, 1 xfailed" in result.stdout
    assert "allowed_skips.txt does not allow it" in result.stdout
    assert "not today" in result.stdout


def test_a_module_skipped_in_ci_is_a_failure(tmp_path: Path) -> None:
    body = "import pytest\npytest.skip('not here', allow_module_level=True)\n"
    assert run_pytest(tmp_path, body, CI="true").returncode != 0


def test_a_skip_elsewhere_is_a_skip(tmp_path: Path) -> None:
    result = run_pytest(tmp_path, SKIPPING)
    assert result.returncode == 0, result.stdout
    assert "1 skipped, 1 xfailed" in result.stdout


def test_the_list_of_allowed_skips() -> None:
    allowed = skips.read_allowed("# why\n\ntests/a.py::test_one  # needs a second machine\n")
    assert allowed == {"tests/a.py::test_one": "needs a second machine"}
    assert skips.is_allowed("tests/a.py::test_one", allowed)
    assert skips.is_allowed("tests/a.py::test_one[x]", allowed)
    assert not skips.is_allowed("tests/a.py::test_one_more", allowed)
    with pytest.raises(ValueError, match="no reason"):
        skips.read_allowed("tests/a.py::test_one\n")


def test_the_committed_list_is_readable_and_names_files_that_exist() -> None:
    for name in skips.read_allowed(skips.LIST.read_text()):
        assert (ROOT / name.partition("::")[0]).exists(), name


LIFTED = """
    import pytest
    import trio

    @pytest.mark.lifted(limits={})
    async def test_that_fails_without_its_bound():
        raise AssertionError("memory grew")

    @pytest.mark.lifted(limits={})
    async def test_that_fails_in_a_nursery():
        async with trio.open_nursery():
            raise trio.TooSlowError

    @pytest.mark.lifted(limits={})
    def test_that_cannot_fail():
        pass

    @pytest.mark.lifted(limits={})
    def test_with_a_mistake():
        undefined

    def test_without_a_bound():
        pass
    """


def test_with_bounds_lifted_tests_must_fail(tmp_path: Path) -> None:
    result = run_pytest(tmp_path, LIFTED, "--lifted")
    assert "2 failed, 2 passed, 1 deselected" in result.stdout, result.stdout
    assert re.search(r"FAILED .*::test_that_cannot_fail - .*passed with its bound lifted", result.stdout)
    assert re.search(r"FAILED .*::test_with_a_mistake - NameError", result.stdout)


def test_without_the_option_nothing_is_lifted(tmp_path: Path) -> None:
    result = run_pytest(tmp_path, LIFTED)
    assert "3 failed, 2 passed" in result.stdout, result.stdout
