"""A crash leaves no picture of the memory."""

import os
import subprocess
import sys

CRASH = "import os; from vpnrs_core.host import coredump; coredump.forbid(); os.abort()"


def test_a_process_that_crashes_dumps_no_core(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", CRASH], cwd=tmp_path, stderr=subprocess.DEVNULL)
    _, status = os.waitpid(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert os.WIFSIGNALED(status)
    assert not os.WCOREDUMP(status)
    assert list(tmp_path.iterdir()) == []


def test_the_limit_is_one_byte_and_those_it_starts_have_it_too():
    ask = "import resource; print(resource.getrlimit(resource.RLIMIT_CORE))"
    start = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {ask!r}])"
    code = f"from vpnrs_core.host import coredump; coredump.forbid(); {start}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() in ("(1, 1)", "(0, 0)")
