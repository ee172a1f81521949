"""Two processes that lose each other at a start are started again; whatever else ends them ends the script."""

import subprocess
import sys

import pytest

from scripts import kill_processes

LOST = "import sys; sys.stderr.write('error: process 0 lost another process'); sys.exit(4)"
BROKEN = "import sys; sys.stderr.write('Traceback'); sys.exit(1)"
LOGS = "import sys; open(sys.argv[1] + '/metrics.jsonl', 'w').write('{\"step\": 3, \"loss/total\": 1.0}\\n')"


@pytest.fixture
def starts(monkeypatch, tmp_path):
    """Programs that the next starts run, the last one for ever."""
    programs: list[str] = []

    def start(config, workdir, steps):
        workdir.mkdir(exist_ok=True)
        program = programs.pop(0) if len(programs) > 1 else programs[0]
        command = [sys.executable, "-S", "-c", program, str(workdir)]
        return [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for _ in range(2)]

    monkeypatch.setattr(kill_processes, "start", start)
    return programs


def reach(folder, lost, anew=False):
    """Of two programs that are over: all that they said is read."""
    processes = kill_processes.reach("x", folder, 5, 3, lost, anew)
    kill_processes.finish(processes)
    return processes


def test_a_start_that_was_lost_is_told_and_made_again(starts, tmp_path, capsys):
    starts += [LOST, LOST, LOGS]
    lost: list[str] = []
    assert len(reach(tmp_path / "run", lost)) == 2
    assert lost == ["before step 3: error: process 0 lost another process"] * 2
    assert capsys.readouterr().out.count("processes lost each other") == 2


def test_a_run_that_nothing_may_happen_to_begins_anew(starts, tmp_path):
    starts += [LOST, LOGS]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoint").touch()
    reach(tmp_path / "run", [], anew=True)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["metrics.jsonl"]


def test_a_run_that_does_not_come_there_is_ended_and_not_left_behind(starts, tmp_path, monkeypatch):
    made = []
    begin = kill_processes.start
    monkeypatch.setattr(kill_processes, "start", lambda *given: made.extend(begin(*given)) or made)
    monkeypatch.setattr(kill_processes, "PATIENCE_S", 0.2)
    starts += ["import time; time.sleep(60)"]
    with pytest.raises(SystemExit, match=r"does not come to step 3 in 0\.2 s"):
        reach(tmp_path / "run", [])
    for process in made:
        with process.stderr:
            assert process.wait(timeout=30) == -9


def test_another_end_and_too_many_lost_starts_end_the_script(starts, tmp_path):
    starts += [BROKEN]
    with pytest.raises(SystemExit, match=r"processes ended with \[1, 1\]: Traceback"):
        reach(tmp_path / "run", [])
    starts[:] = [LOST]
    with pytest.raises(SystemExit, match="lost each other 4 times in a row"):
        reach(tmp_path / "run", [])
